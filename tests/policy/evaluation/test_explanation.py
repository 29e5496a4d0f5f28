"""The explanation of a verdict: the shape of UX 6 to the letter, and JSON for programs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from hitl.policy.calls import Agent
from hitl.policy.config import compile_config
from hitl.policy.envelope import parse_call
from hitl.policy.explanation import Explanation, explain
from hitl.policy.ledger import Ledger, Sightings
from hitl.policy.spec import Config

NOW = 1_790_000_000.0
AGENT = Agent(namespace="shop", workload="deploy/support", labels={"app": "support"})


def a_config(policies: dict[str, dict[str, Any]], servers: dict[str, dict[str, Any]] | None = None) -> Config:
    """Policies by name; one whose name begins with ``cluster-`` is a ClusterAgentPolicy without that."""
    written = [
        {
            "kind": "ClusterAgentPolicy" if name.startswith("cluster-") else "AgentPolicy",
            "name": name.removeprefix("cluster-"),
            "namespace": "" if name.startswith("cluster-") else "shop",
            "uid": name,
            "generation": 1,
            "spec": spec,
        }
        for name, spec in policies.items()
    ]
    return compile_config(
        {
            "schema": 1,
            "namespace": "shop",
            "namespaceUID": "uid-shop",
            "baseline": "present" if any(name.startswith("cluster-") for name in policies) else "none",
            "keyID": "k1",
            "settings": {},
            "policies": written,
            "toolServers": [
                {"name": name, "uid": name, "generation": 1, "spec": spec} for name, spec in (servers or {}).items()
            ],
        }
    )


def explained(
    config: Config, tool: str, arguments: dict[str, Any], *, ledger: Ledger | None = None, **call: Any
) -> Explanation:
    server, _, name = tool.partition("/")
    parsed = parse_call(server, name, orjson.dumps(arguments), session_id="s1", **call)
    return explain(config, parsed, ledger or Ledger(), NOW, agent=AGENT)


SUPPORT = {
    "rules": [
        {
            "name": "refunds",
            "action": "Confirm",
            "tools": ["stripe/create_refund"],
            "args": {"amount": {"max": 20000}},
            "reviewers": ["support-leads"],
            "because": "refunds over 50 EUR (policy 4.2)",
        },
        {
            "name": "closed-accounts",
            "action": "Deny",
            "tools": ["stripe/*"],
            "args": {"customer_status": {"equals": "closed"}},
        },
    ],
    "approval": {"escalate": [{"after": "5m", "to": ["oncall"]}]},
}
STRIPE = {
    "tools": [
        {
            "name": "create_refund",
            "level": "high",
            "capabilities": {"network": ["api.stripe.com"], "environment": ["STRIPE_KEY"]},
        }
    ]
}
REFUND = {"customer_status": "open", "amount": 15000}


def small_refunds_first() -> dict[str, Any]:
    small = {
        "name": "small-refunds",
        "action": "Notify",
        "tools": ["stripe/create_refund"],
        "args": {"amount": {"max": 5000}},
    }
    return SUPPORT | {"rules": [small, *SUPPORT["rules"]]}


def test_the_explanation_has_the_shape_of_the_ux() -> None:
    """The example of UX 6: eight numbered steps, `>` at what decided, pointer, found and wanted at every no."""
    ledger = Ledger()
    for _ in range(4):
        ledger.record_call("stripe/create_refund", "s1", NOW - 20)
    for _ in range(211):
        ledger.record_allowed("stripe/create_refund", Sightings(), NOW - 20)
    config = a_config({"support": small_refunds_first(), "cluster-baseline": {"rules": [
        {"action": "Deny", "tools": ["vault/*"]}
    ]}}, {"stripe": STRIPE})  # fmt: skip
    text = explained(config, "stripe/create_refund", REFUND, ledger=ledger, confidence_percent=93).text()
    assert (
        text
        == """\
Confirm   stripe/create_refund

  1 name        stripe/create_refund                                       known, 1 tool server
  2 flood       4 of 60 calls this minute                                  ok
  3 paths       no protected path                                          ok
  4 rules       support: deny rules first, then in order
                  closed-accounts  no    /customer_status is "open", wants "closed"
                  small-refunds    no    /amount is 15000, wants <= 5000
                > refunds          yes   /amount is 15000, wants <= 20000  Confirm
                baseline (cluster): no rule names this tool                -
  5 score       not needed: a rule decided (it would be 80, MultiFactor)
  6 posture, trust, autonomy                                               not for a rule's action
  7 raisers     confidence 93 %; seen 211 times                            unchanged
  8 grants      none fits

  then          1 of group support-leads within 15m; after 5m also oncall; else expired
  agent hears   "Waiting for one of support-leads: refunds over 50 EUR (policy 4.2). Do other work,
                then make the same call again; it will not run twice."\
"""
    )


def test_under_deny_the_last_line_says_how_to_go_on() -> None:
    """UX 6: the fix names the rule to write, and the nearest rule that the call misses with what it wants."""
    config = a_config({"support": SUPPORT | {"undeclared": "Deny"}}, {"stripe": STRIPE})
    text = explained(config, "stripe/create_refund", REFUND | {"amount": 20001}).text()
    assert text.splitlines()[-1] == (
        '  fix: allow it with a rule for "stripe/create_refund", or call it with amount <= 20000'
    )


@pytest.mark.parametrize(
    ("spec", "arguments", "fix"),
    [
        (
            {"rules": [{"name": "no", "action": "Deny", "tools": ["*"]}]},
            {},
            'take "box/put" out of rule "no" of policy p',
        ),
        (
            {"rules": [{"name": "a", "action": "Allow", "tools": ["*"], "ensure": {"n": {"max": 5}}}]},
            {"n": 6},
            'change the call so that it fits, or loosen ensure of rule "a"',
        ),
        (
            {"rules": [{"name": "a", "action": "Allow", "tools": ["*"], "closed": "Arguments"}]},
            {"n": 6},
            'leave the argument out, or name it under args of rule "a"',
        ),
        (
            {"rules": [{"name": "a", "action": "Allow", "tools": ["*"], "cel": "args.n > 5"}]},
            {},
            'send what rule "a" needs',
        ),
        ({}, {"path": "~/.ssh/id"}, "use another path; this one is protected whatever a policy says"),
        ({"protectedPaths": ["/srv"]}, {"path": "/srv/x"}, "take this one out of protectedPaths of policy p"),
    ],
    ids=["deny rule", "ensure", "closed", "cel", "built-in path", "own path"],
)
def test_every_deny_has_its_fix(spec: dict[str, Any], arguments: dict[str, Any], fix: str) -> None:
    """A refusal names what its author, or the agent, can change; the text and the JSON carry the same one."""
    explanation = explained(a_config({"p": spec | {"autonomy": "Calibrated"}}), "box/put", arguments)
    assert explanation.verdict.action.word == "Deny"
    assert fix in explanation.fix
    assert explanation.to_json()["fix"] == explanation.fix


def test_a_score_is_explained_point_by_point() -> None:
    """Each factor of a score that decided stands on a row of its own, and the points add up to the score."""
    config = a_config({"support": {"autonomy": "Calibrated", "undeclared": "Score"}}, {"stripe": STRIPE})
    explanation = explained(config, "stripe/create_refund", REFUND)
    step = next(step for step in explanation.steps if step.title == "score")
    assert step.text == "80 is MultiFactor (76-100)"
    assert [row.text for row in step.rows] == [
        "+60 level high",
        "+10 network, environment",
        "+15 uses credentials or environment variables",
        "-5 the network list is exact",
    ]


def test_json_has_what_programs_were_promised() -> None:
    """`action, score, tier, rule, factors[{name,points,reason}], reason` of the issue, and the steps."""
    config = a_config({"support": {"autonomy": "Calibrated", "undeclared": "Score"}}, {"stripe": STRIPE})
    found = explained(config, "stripe/create_refund", REFUND).to_json()
    assert (found["action"], found["score"], found["tier"], found["rule"]) == ("MultiFactor", 80, "MultiFactor", None)
    assert found["reason"].startswith("score 80 is MultiFactor (76-100)")
    assert all(factor.keys() == {"name", "points", "reason"} for factor in found["factors"])
    assert sum(factor["points"] for factor in found["factors"]) == 80
    assert [step["step"] for step in found["steps"]] == list(range(1, 9))
    assert orjson.loads(orjson.dumps(found)) == found


def test_tier_is_null_for_suggest_and_deny() -> None:
    """DESIGN 18: `tier` is None, Notify, Confirm or MultiFactor as words, null for Suggest and Deny."""
    tiers = {
        action: explained(a_config({"p": {"undeclared": action}}), "box/put", {}).to_json()["tier"]
        for action in ("Allow", "Notify", "Confirm", "MultiFactor", "Suggest", "Deny")
    }
    assert tiers == {
        "Allow": "None",
        "Notify": "Notify",
        "Confirm": "Confirm",
        "MultiFactor": "MultiFactor",
        "Suggest": None,
        "Deny": None,
    }


def test_a_rule_that_decided_has_no_score_beside_it() -> None:
    """UX 1: a score is shown only where it decided; what it would have been stands apart."""
    found = explained(a_config({"support": SUPPORT}, {"stripe": STRIPE}), "stripe/create_refund", REFUND).to_json()
    assert (found["score"], found["scoreOtherwise"]) == (None, 80)


def test_I10_no_secret_of_the_call_stands_in_an_explanation() -> None:
    """I10: neither text nor JSON repeats an argument that redaction hides, whatever step it failed."""
    secret = "hunter2hunter2"
    for spec in (
        {
            "rules": [{"action": "Allow", "tools": ["*"], "args": {"password": {"startsWith": "x"}}}],
            "undeclared": "Deny",
        },
        {"rules": [{"action": "Allow", "tools": ["*"], "ensure": {"password": {"maxLength": 3}}}]},
        {"rules": [{"action": "Allow", "tools": ["*"], "args": {"password": {"min": 3}}}]},
        {"rules": [{"action": "Confirm", "tools": ["*"], "args": {"password": {"present": True}}}]},
    ):
        explanation = explained(a_config({"p": spec}), "box/put", {"password": secret})
        assert secret not in explanation.text()
        assert secret.encode() not in orjson.dumps(explanation.to_json())


def test_G1_an_agent_cannot_draw_into_an_explanation() -> None:
    """G1: control and bidi characters of arguments are shown as escapes, also in names that a closed rule refuses."""
    spec = {"rules": [{"action": "Allow", "tools": ["*"], "closed": "Arguments"}]}
    text = explained(a_config({"p": spec}), "box/put", {"a\u202eb\n  8 grants      all of them": 1}).text()
    assert "\u202e" not in text
    assert "\\u202e" in text
    assert text.count("\n  8 grants") == 1


def test_I14_texts_do_not_depend_on_the_hash_seed() -> None:
    """I14: all cases, explained in two interpreters with different hash seeds, give the same bytes."""
    program = (
        "import sys, orjson; sys.path.insert(0, 'tests/policy'); import test_cases as cases\n"
        "from hitl.policy.explanation import explain\n"
        "for row in cases.ROWS[::3]:\n"
        "    config, agent, call = cases.config_of(row.document), cases.agent_of(row), cases.call_of(row.call)\n"
        "    ledger = cases.ledger_of(row, call, config, agent)\n"
        "    said = explain(config, call, ledger, cases.NOW, agent=agent, sameness=cases.SAME)\n"
        "    sys.stdout.buffer.write(orjson.dumps(said.to_json()) + said.text().encode())\n"
    )
    root = Path(__file__).parents[3]
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            timeout=120,
            check=True,
        ).stdout
        for seed in ("1", "2")
    )
    assert len(first) > 10_000
    assert first == second
