"""Single rules of evaluation: what fails denies, what is bounded stays bounded, what relaxes is named."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from hitl.policy.actions import Action
from hitl.policy.builtin import BUILT_IN
from hitl.policy.calls import Agent, ToolCall
from hitl.policy.config import compile_config
from hitl.policy.envelope import parse_call
from hitl.policy.evaluation import evaluate, redactor_of, sightings
from hitl.policy.ledger import Ledger
from hitl.policy.plans import plan_of
from hitl.policy.spec import Config, ToolDefinition
from hitl.policy.verdicts import Verdict

NOW = 1_790_000_000.0
AGENT = Agent(namespace="shop", workload="deploy/support", labels={"app": "support"})


def a_config(
    *specs: dict[str, Any],
    baseline: dict[str, Any] | None = None,
    servers: tuple[dict[str, Any], ...] = (),
    **settings: Any,
) -> Config:
    policies = [
        {
            "kind": "AgentPolicy",
            "name": f"p{number}",
            "namespace": "shop",
            "uid": str(number),
            "generation": 1,
            "spec": spec,
        }
        for number, spec in enumerate(specs)
    ]
    if baseline is not None:
        policies.append(
            {
                "kind": "ClusterAgentPolicy",
                "name": "base",
                "namespace": "",
                "uid": "b",
                "generation": 1,
                "spec": baseline,
            }
        )
    return compile_config(
        {
            "schema": 1,
            "namespace": "shop",
            "namespaceUID": "uid-shop",
            "baseline": "none" if baseline is None else "present",
            "keyID": "k1",
            "settings": settings,
            "policies": policies,
            "toolServers": list(servers),
        }
    )


def a_call(tool: str = "box/put", arguments: dict[str, Any] | None = None, **call: Any) -> ToolCall:
    server, _, name = tool.partition("/")
    return parse_call(server, name, orjson.dumps(arguments or {}), **call)


def judged(config: Config, call: ToolCall, ledger: Ledger | None = None, now: float = NOW, **more: Any) -> Verdict:
    return evaluate(config, call, ledger or Ledger(), now, agent=AGENT, **more)


ALLOW_ALL = {"rules": [{"name": "all", "action": "Allow", "tools": ["*"]}]}


@pytest.mark.parametrize(
    ("rule", "arguments", "names"),
    [
        ({"args": {"n": {"min": 5}}}, {"n": "many"}, "/n"),
        ({"args": {"items": {"each": {"max": 3}}}}, {"items": "none"}, "/items"),
        ({"args": {"url": {"hosts": ["example.com"]}}}, {"url": "not a url at all"}, "/url"),
        ({"args": {"text": {"matches": "a"}}}, {"text": "a" * 17_000}, "/text"),
        ({"args": {"path": {"within": ["/w"]}}}, {"path": "/w/%2e%2e/a"}, "/path"),
        ({"ensure": {"n": {"max": 5}}}, {"n": []}, "/n"),
        ({"cel": "args.n > 5"}, {}, "args.n > 5"),
        ({"cel": "args.n > 5"}, {"n": "six"}, "args.n > 5"),
        ({"cel": "args.a[3] == 1"}, {"a": [1]}, "args.a[3] == 1"),
        ({"limit": {"sum": "n", "max": 5, "per": "1h"}}, {"n": "six"}, "sums n"),
        ({"limit": {"calls": 5, "per": "1h", "by": "user"}}, {}, "counts by user"),
    ],
    ids=[
        "a number matcher on text",
        "each on text",
        "hosts on no URL",
        "a pattern on 17 KB",
        "a path with two readings",
        "ensure on a list",
        "CEL on an absent key",
        "CEL on another type",
        "CEL out of range",
        "a sum of text",
        "a limit by an absent argument",
    ],
)
def test_I2_A1_what_a_rule_cannot_evaluate_is_denied(
    rule: dict[str, Any], arguments: dict[str, Any], names: str
) -> None:
    """I2, A1: Deny/EVALUATION_FAILED that names policy, rule and expression or pointer, though the rule says Allow and
    though a later rule would allow everything.
    """
    spec = {"rules": [{"name": "broken", "action": "Allow", "tools": ["*"]} | rule, *ALLOW_ALL["rules"]]}
    verdict = judged(a_config(spec), a_call(arguments=arguments))
    assert (verdict.action, verdict.reason_code) == (Action.DENY, "EVALUATION_FAILED")
    assert 'rule "broken" of policy p0' in verdict.explanation
    assert names in verdict.explanation
    assert verdict.explanation in verdict.message
    assert verdict.rule == "AgentPolicy/shop/p0#broken"


def test_A1_the_expression_is_named_whatever_words_are_in_it() -> None:
    """A1: redaction, which goes by words such as token, leaves the author's own expression readable."""
    source = "args.token == 'tok_1' && args.password.size() > 3"
    config = a_config({"rules": [{"action": "Allow", "tools": ["*"], "cel": source}]})
    assert source in judged(config, a_call(arguments={"token": "tok_1"})).explanation


def test_what_the_agent_hears_is_what_decided() -> None:
    """The author's `because` is told where his rule alone decided, and not where a raiser asks for more than it."""
    rule = {"action": "Confirm", "tools": ["*"], "because": "Policy 4.2."}
    config = a_config({"rules": [rule], "raise": {"novelty": "MultiFactor"}})
    ledger, call = Ledger(), a_call()
    raised = judged(config, call, ledger).message
    assert raised.startswith("Waiting for a reviewer with a second factor, or two reviewers. Do other work")
    ledger.record_allowed(call.name, sightings(config, call, agent=AGENT), NOW)
    assert judged(config, call, ledger).message.startswith("Waiting for a reviewer: Policy 4.2. Do other work")


def test_I2_another_policys_allow_does_not_mend_a_failure() -> None:
    """I2: one policy that cannot be evaluated denies, whatever the others say; so does a baseline."""
    broken = {"rules": [{"action": "Allow", "tools": ["*"], "cel": "args.n > 5"}]}
    assert judged(a_config(ALLOW_ALL, broken), a_call()).action is Action.DENY
    assert judged(a_config(ALLOW_ALL, baseline=broken), a_call()).action is Action.DENY


@pytest.mark.parametrize(
    ("call", "now"),
    [
        (replace(a_call(), arguments={"x": object()}, arguments_json=b'{"x":"/"}'), NOW),
        (a_call(), float("nan")),
        (replace(a_call(), arguments=None), NOW),  # type: ignore[arg-type]
        (replace(a_call("box/put"), name=None), NOW),  # type: ignore[arg-type]
    ],
    ids=["arguments without a JSON form", "a time that is none", "no arguments at all", "no name at all"],
)
def test_I2_no_exception_leads_to_allow(call: ToolCall, now: float) -> None:
    """I2: what the envelope would never let through denies when it comes nevertheless, under any policy that holds."""
    for spec in (
        {"undeclared": "Confirm"},
        {"undeclared": "Score"},
        {"rules": [{"action": "Confirm", "tools": ["*"]}]},
    ):
        verdict = judged(a_config(spec), call, now=now)
        assert verdict.action is Action.DENY, verdict
        assert verdict.reason_code == "EVALUATION_FAILED"


def test_I2_a_path_too_intricate_to_search_is_denied() -> None:
    """I2: what cannot be searched for protected paths is refused, even where a rule allows everything."""
    verdict = judged(a_config(ALLOW_ALL), a_call(arguments={"path": "/a" * 9000}))
    assert (verdict.action, verdict.reason_code) == (Action.DENY, "EVALUATION_FAILED")
    assert "protected paths" in verdict.explanation


def test_A5_a_value_is_searched_up_to_16_kib() -> None:
    """A5: a pattern on a value of 16 KiB is answered, on one byte more the call is denied."""
    spec = {"rules": [{"name": "all", "action": "Allow", "tools": ["*"], "args": {"text": {"matches": "^a"}}}]}
    assert judged(a_config(spec), a_call(arguments={"text": "a" * 16_384})).action is Action.ALLOW
    assert judged(a_config(spec), a_call(arguments={"text": "a" * 16_385})).reason_code == "EVALUATION_FAILED"


def test_A5_names_that_an_agent_makes_up_do_not_fill_the_memory() -> None:
    """A5: a plan keeps at most 4 096 tools, and few verdicts, scores and levels of each, whatever is called."""
    config = a_config({"undeclared": "Score", "autonomy": "Calibrated"})
    for number in range(4_200):
        judged(config, a_call(f"box/tool{number}"))
    for number in range(300):
        judged(config, a_call("box/get", {f"argument{number}": 1}))
    plan = plan_of(config, AGENT.labels)
    assert len(plan._tools) == 4_096
    tool = plan.tool("box/get", None)
    assert max(map(len, (tool.scores, tool.levels, tool.verdicts, tool.constants))) <= 256


def test_A7_whatever_relaxes_is_named_in_the_verdict() -> None:
    """A7: a call that runs only because of Monitor or AuditOnly is recorded as such, with what would have been."""
    for spec, name in (({"mode": "Monitor"}, "Monitor"), ({"autonomy": "AuditOnly"}, "AuditOnly")):
        verdict = judged(a_config(spec | {"undeclared": "MultiFactor"}), a_call())
        assert (verdict.recorded_as, verdict.would_have) == (name, Action.MULTI_FACTOR)
        assert verdict.action <= Action.NOTIFY


def test_A7_trust_and_permissive_stay_above_the_floors() -> None:
    """A7: a ceiling of Allow under Permissive leaves a critical tool MultiFactor and a tool with a file Notify."""
    spec = {"undeclared": "Score", "autonomy": "Calibrated", "posture": "Permissive"}
    config = a_config(spec | {"trust": [{"tools": ["*"], "ceiling": "Allow"}]})
    assert judged(config, a_call("db/drop_database", {"name": "users"})).action is Action.MULTI_FACTOR
    assert judged(config, a_call("fs/get_text", {"path": "/workspace/a"})).action is Action.NOTIFY


def test_A7_a_final_rule_still_keeps_limits_and_ensure() -> None:
    """A7: `final` switches raisers off and nothing else."""
    rule = {"name": "f", "action": "Allow", "tools": ["*"], "final": True, "ensure": {"n": {"max": 5}}}
    config = a_config({"rules": [rule | {"limit": {"calls": 1, "per": "1h"}}]})
    assert judged(config, a_call(arguments={"n": 5}, confidence_percent=1)).action is Action.ALLOW
    assert judged(config, a_call(arguments={"n": 6})).reason_code == "ENSURE"
    assert judged(config, a_call(arguments={"n": 5}), Ledger.lost(NOW)).reason_code == "LIMIT"


def test_I15_a_rule_put_in_front_does_not_empty_a_limit() -> None:
    """I15: an unnamed rule keeps its window when a Deny rule in front of it moves the number that it is called by."""
    limited = {"action": "Allow", "tools": ["pay/*"], "limit": {"calls": 1, "per": "1h"}}
    before = a_config({"rules": [limited]})
    after = a_config({"rules": [{"action": "Deny", "tools": ["db/*"]}, limited]})
    ledger, call = Ledger(), a_call("pay/send")
    ledger.charge(judged(before, call, ledger).charges, NOW)
    assert judged(before, call, ledger).reason_code == "LIMIT"
    assert judged(after, call, ledger).reason_code == "LIMIT"


def test_I15_redaction_of_another_policy_does_not_make_room() -> None:
    """I15: a policy whose redaction hides what made a call too long leaves it refused."""
    holds = {"rules": [{"action": "Confirm", "tools": ["*"]}]}
    hides = holds | {"redaction": {"patterns": [{"name": "ex", "regex": "xx+"}]}}
    call = a_call(arguments={"note": "x" * 20_000})
    assert judged(a_config(holds), call).reason_code == "OVERSIZE"
    assert judged(a_config(holds, hides), call).reason_code == "OVERSIZE"


def test_I15_naming_a_secret_of_the_agents_does_not_vouch_for_it() -> None:
    """I15: much hidden under a name stays suspicious, though another policy's redaction or rule names that argument."""
    holds = {"rules": [{"action": "Confirm", "tools": ["*"]}]}
    call = a_call(arguments={"token": "an instruction nobody is meant to read " * 5})
    for more in (
        {"redaction": {"keys": ["token"]}},
        {"rules": [{"action": "Confirm", "tools": ["*"], "args": {"token": {"present": True}}}]},
    ):
        assert judged(a_config(holds), call).reason_code == "HIDDEN"
        assert judged(a_config(holds, more), call).reason_code == "HIDDEN"


def test_G2_a_definition_from_the_agent_vouches_for_no_name() -> None:
    """G2: much hidden text makes a call stricter, also where the definition that the agent handed over for a tool of a
    listed server has an argument of that name, and also where the server's author pinned another definition.
    """
    call = a_call(arguments={"password": "drop everything now " * 100})
    definition = ToolDefinition(name="put", argument_names=("password",))
    holds = {"rules": [{"action": "Confirm", "tools": ["*"]}]}
    for pinned in ({}, {"definitionDigest": "0" * 64}):
        box: dict[str, Any] = {"name": "box", "uid": "t", "generation": 1}
        box["spec"] = {"endpoint": "http://box", "tools": [{"name": "put", "level": "low"} | pinned]}
        config = a_config(holds, servers=(box,))
        for described in (None, definition):
            verdict = judged(config, call, definition=described)
            assert (verdict.action, verdict.reason_code) == (Action.MULTI_FACTOR, "HIDDEN")


def test_G2_a_value_that_a_rule_went_by_is_named_as_not_to_be_hidden() -> None:
    """G2: the verdict names the values that matching rules judged; to ask whether one is there does not count."""
    rule = {"action": "Confirm", "tools": ["*"], "limit": {"sum": "n", "max": 9, "per": "1h", "then": "Deny"}}
    asks = {"args": {"token": {"startsWith": "t"}, "password": {"present": True}}, "ensure": {"/a/b": {"max": 3}}}
    call = a_call(arguments={"token": "t1", "password": "hunter2", "n": 1, "a": {"b": 2}})
    assert judged(a_config({"rules": [rule | asks]}), call).shown == ("/a/b", "/n", "/token")


def test_G2_a_value_shown_because_a_rule_went_by_it_must_fit() -> None:
    """G2: what redaction would have made short enough, but a rule's own look keeps in the clear, is too long."""
    rule = {"action": "Confirm", "tools": ["*"], "args": {"token": {"endsWith": "end"}}}
    call = a_call(arguments={"token": "t" * 2000 + "end"})
    assert judged(a_config({"rules": [rule]}, previewSize=1024), call).reason_code == "OVERSIZE"


def test_I14_evaluation_writes_nothing_down() -> None:
    """I14: a ledger is the same after a thousand evaluations as before."""
    ledger = Ledger()
    ledger.record_call("box/put", "", NOW)
    before = ledger.dump()
    for _ in range(1000):
        judged(a_config({"undeclared": "Score"}), a_call(), ledger)
    assert ledger.dump() == before


def test_I10_an_allow_shows_nobody_the_arguments() -> None:
    """I10: the verdict of a call that runs unasked has no word of its arguments; one that is told has a summary."""
    secret = {"password": "hunter2hunter2", "n": 1}
    assert judged(a_config(ALLOW_ALL), a_call(arguments=secret)).summary == ""
    told = judged(a_config({"undeclared": "Notify"}), a_call(arguments=secret))
    assert told.summary == "box/put password=[REDACTED:password] n=1"
    assert told.redactions == ("password",)


def test_a_summary_is_one_line_of_at_most_160_characters() -> None:
    """G1: line breaks and invisible characters of arguments are shown as such, and the line is cut."""
    config = a_config({"undeclared": "Confirm"})
    assert judged(config, a_call(arguments={"a": "one\ntwo\u202e"})).summary == "box/put a=one⏎two\\u202e"
    assert len(judged(config, a_call(arguments={"a": "word " * 100})).summary) == 160
    assert len(judged(config, a_call(arguments={"a": "\u202e" * 100})).summary) <= 160


def test_a_verdict_names_every_policy_that_spoke() -> None:
    """DESIGN 7.4: those that abstain are not named, those that lose are."""
    config = a_config(ALLOW_ALL, {"rules": [{"action": "Confirm", "tools": ["other/*"]}]}, {"undeclared": "Notify"})
    assert [ref.name for ref in judged(config, a_call()).policies] == ["p0", "p2"]


def test_without_any_policy_the_built_in_one_speaks() -> None:
    """DESIGN 7.4: Score under ReadOnly, decided by anyone who may approve the tier."""
    verdict = judged(a_config(), a_call("crm/update_customer", {"id": 7}))
    assert verdict.policies == (BUILT_IN.ref,)
    assert verdict.action >= Action.CONFIRM
    assert verdict.terms is not None
    assert verdict.terms.requirements[0].any_of == ()


def test_a_cached_verdict_is_that_of_its_own_config() -> None:
    """Two configs alike but for one rule never answer for each other, in whatever order they are asked."""
    allows, denies = a_config(ALLOW_ALL), a_config({"rules": [{"action": "Deny", "tools": ["*"]}]})
    call = a_call()
    for _ in range(3):
        assert judged(allows, call).action is Action.ALLOW
        assert judged(denies, call).action is Action.DENY
    assert judged(allows, call).revision != judged(denies, call).revision


def test_a_new_definition_is_read_anew() -> None:
    """A tool whose own words change is judged by the new ones at the next call."""
    config = a_config({"undeclared": "Allow", "raise": {"externalImpact": "Confirm"}})
    quiet, open_world = ToolDefinition("put"), ToolDefinition("put", annotations={"openWorldHint": True})
    for definition, wanted in ((quiet, Action.ALLOW), (open_world, Action.CONFIRM), (quiet, Action.ALLOW)):
        assert judged(config, a_call(), definition=definition).action is wanted


def test_what_ran_is_remembered_by_what_policies_watch() -> None:
    """`sightings` gives the ledger the values of watched arguments, by name or pointer, and every host."""
    config = a_config({"raise": {"novelty": {"action": "Confirm", "watch": ["to", "/order/id", "absent"]}}})
    seen = sightings(
        config, a_call(arguments={"to": "ana", "order": {"id": 7}, "url": "https://a.example/x"}), agent=AGENT
    )
    assert seen.values == (("/order/id", "7"), ("to", "ana"))
    assert seen.hosts == ("a.example",)


def test_the_redactor_of_a_pod_hides_what_any_policy_wants_hidden() -> None:
    """I10: what leaves the sidecar is redacted for all policies together, baselines included."""
    config = a_config({"redaction": {"keys": ["plate"]}}, baseline={"redaction": {"keys": ["badge"]}})
    shown = redactor_of(config, AGENT).preview({"plate": "AB 123", "badge": "77", "n": 1}, 4096).arguments
    assert shown["n"] == 1
    assert "AB 123" not in str(shown)
    assert "77" not in str(shown)
