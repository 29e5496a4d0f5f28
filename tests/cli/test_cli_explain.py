"""`hitl explain` against UX 6 and DESIGN 18: what programs read, what people read, and strict input."""

import json
from pathlib import Path

import pytest

from cli.homes import AHome, a_spec

SUPPORT = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support, namespace: shop}
spec:
  podSelector: {matchLabels: {app: support}}
  autonomy: Calibrated
  undeclared: Score
  rules:
  - {name: closed-accounts, action: Deny, tools: [stripe/*], args: {customer_status: {equals: closed}}}
  - {name: small-refunds, action: Notify, tools: [stripe/create_refund], args: {amount: {min: 1, max: 5000}}}
  - {name: refunds, action: Confirm, tools: [stripe/create_refund], args: {amount: {max: 20000}},
     reviewers: [support-leads], because: "Refunds over 50 EUR: policy 4.2"}
  raise: {novelty: Confirm}
"""
SERVER = """\
apiVersion: hitl.dev/v1alpha1
kind: ToolServer
metadata: {name: migrator, namespace: shop}
spec:
  tools:
  - name: apply
    level: high
    capabilities: {network: [db.prod.internal], filesystem: {write: [/migrations/]}}
"""
BASELINE = """\
apiVersion: hitl.dev/v1alpha1
kind: ClusterAgentPolicy
metadata: {name: baseline}
spec:
  rules:
  - {name: nobody-pays-twice, action: Deny, tools: [stripe/create_refund], args: {amount: {min: 19000}}}
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder with a policy and a tool server."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "support.yaml").write_text(SUPPORT)
    (folder / "tools.yaml").write_text(SERVER)
    return folder


def a_call(folder: Path, **fields: object) -> str:
    """A CALL.json."""
    call = {"server": "stripe", "tool": "create_refund", "arguments": {"amount": 15000}, **fields}
    file = folder.parent / "call.json"
    file.write_text(json.dumps(call))
    return str(file)


def test_programs_read_action_score_tier_rule_factors_and_reason(home: AHome, policies: Path) -> None:
    """-o json carries the agreed keys; where a rule decided there is no score."""
    done = home.process("explain", "-f", str(policies), "--call", a_call(policies), "-o", "json")
    assert (done.code, done.err) == (0, "")
    answer = json.loads(done.out)
    assert {"action", "score", "tier", "rule", "factors", "reason"} <= answer.keys()
    assert answer["action"] == answer["tier"] == "Confirm"
    assert answer["score"] is None
    assert answer["rule"] == "AgentPolicy/shop/support#refunds"
    assert "policy 4.2" in answer["reason"]


def test_a_scored_call_shows_the_factors_that_add_up_to_it(home: AHome, policies: Path) -> None:
    """The migration of DESIGN 7.5: 70, Confirm, and every factor with name, points and reason."""
    call = a_call(policies, server="migrator", tool="apply", arguments={"version": "0042"}, history={"allowed": 1})
    answer = home.hitl("explain", "-f", str(policies), "--call", call, "-o", "json").document
    assert (answer["action"], answer["score"], answer["rule"]) == ("Confirm", 70, None)
    assert sum(factor["points"] for factor in answer["factors"]) == 70
    assert all(factor.keys() == {"name", "points", "reason"} for factor in answer["factors"])


def test_a_denied_call_has_no_tier(home: AHome, policies: Path) -> None:
    """Deny is no tier: null in JSON."""
    call = a_call(policies, arguments={"amount": 1, "customer_status": "closed"})
    answer = home.hitl("explain", "-f", str(policies), "--call", call, "-o", "json").document
    assert (answer["action"], answer["tier"]) == ("Deny", None)


def test_a_baseline_given_with_another_file_counts(home: AHome, policies: Path, tmp_path: Path) -> None:
    """-f may be repeated and takes all three kinds; the cluster's Deny wins."""
    (tmp_path / "baseline.yaml").write_text(BASELINE)
    files = ["-f", str(policies), "-f", str(tmp_path / "baseline.yaml")]
    call = a_call(policies, arguments={"amount": 19500})
    assert home.hitl("explain", *files, "--call", call, "-o", "json").document["action"] == "Deny"


def test_people_read_the_steps_and_what_decided(home: AHome, policies: Path) -> None:
    """The text of UX 6: the verdict first, each rule with its reason, > at the one that decided, and why."""
    lines = home.hitl("explain", "-f", str(policies), "--call", a_call(policies)).lines
    assert lines[0] == "Confirm   stripe/create_refund"
    text = "\n".join(lines)
    assert "closed-accounts" in text
    assert "small-refunds    no    /amount is 15000, wants <= 5000" in text
    assert "> refunds          yes" in text
    assert any(each.strip().startswith("then") and "1 of group support-leads within 15m" in each for each in lines)
    assert any(each.strip().startswith("agent hears") for each in lines)
    assert max(map(len, lines)) <= 100


def test_the_text_fits_eighty_columns(home: AHome, policies: Path) -> None:
    """On 80 columns no line is wider."""
    lines = home.hitl("explain", "-f", str(policies), "--call", a_call(policies), columns=80).lines
    assert max(map(len, lines)) <= 80


def test_tool_and_args_may_be_typed(home: AHome, policies: Path) -> None:
    """--tool and --args instead of a file."""
    typed = home.hitl("explain", "-f", str(policies), "--tool", "stripe/create_refund", "--args", '{"amount": 100}')
    assert typed.lines[0].startswith("Notify") or typed.lines[0].startswith("Confirm")
    assert typed.code == 0


def test_labels_choose_the_policies_once_they_are_given(home: AHome, policies: Path) -> None:
    """Without labels every policy is taken to select the agent, and a note says so; with labels they decide."""
    unsaid = home.hitl("explain", "-f", str(policies), "--call", a_call(policies))
    assert unsaid.lines[0].startswith("Confirm")
    assert "note: every policy is taken to select the agent" in unsaid.err
    other = a_call(policies, agent={"namespace": "shop", "labels": {"app": "other"}})
    answer = home.hitl("explain", "-f", str(policies), "--call", other, "-o", "json").document
    assert answer["rule"] is None
    same = a_call(policies, agent={"namespace": "shop", "labels": {"app": "support"}})
    assert home.hitl("explain", "-f", str(policies), "--call", same, "-o", "json").document["rule"].endswith("#refunds")


def test_a_past_changes_what_is_novel(home: AHome, policies: Path) -> None:
    """A small refund by an agent that never made one is novel; one that made two hundred is not asked."""
    new = a_call(policies, arguments={"amount": 100})
    assert home.hitl("explain", "-f", str(policies), "--call", new, "-o", "json").document["action"] == "Confirm"
    known = a_call(policies, arguments={"amount": 100}, history={"allowed": 200})
    assert home.hitl("explain", "-f", str(policies), "--call", known, "-o", "json").document["action"] == "Notify"


@pytest.mark.parametrize("spelling", ["sessionID", "sessionId", "session_id"])
def test_keys_may_be_written_as_agents_write_them(home: AHome, policies: Path, spelling: str) -> None:
    """CamelCase or snake_case: the same key."""
    assert home.hitl("explain", "-f", str(policies), "--call", a_call(policies, **{spelling: "s1"})).code == 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"toool": 1}, 'a call: unknown key "toool"; known here: server, tool'),
        ({"agent": {"labls": {}}}, 'agent: unknown key "labls"'),
        ({"agent": {"labels": {"app": 1}}}, 'agent.labels: "app" is 1, wanted text in quotes'),
        ({"confidencePercent": "high"}, "\"confidencePercent\" is 'high', wanted a whole number"),
        ({"confidencePercent": True}, '"confidencePercent" is True, wanted a whole number'),
        ({"confidencePercent": 101}, "confidence_percent is 101; send 0 to 100, or nothing"),
        ({"tool": ""}, '"tool" is missing'),
        ({"tool": "cr\u0435ate_refund"}, "tool"),
        ({"history": {"allowed": 10**9}}, '"allowed" is 1000000000, wanted 0 to 10080'),
        ({"sessionID": "a", "session_id": "b"}, "are the same key"),
        ({"arguments": []}, '"arguments" is [], wanted an object'),
    ],
)
def test_A3_a_call_that_is_not_plain_is_refused_by_name(
    home: AHome, policies: Path, fields: dict[str, object], words: str
) -> None:
    """A3: unknown keys, wrong types and homoglyphs are named, with the file; exit code 1, nothing is guessed."""
    file = a_call(policies, **fields)
    done = home.hitl("explain", "-f", str(policies), "--call", file)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {file}: ")
    assert words in done.err


@pytest.mark.parametrize(
    "text",
    [
        '{"tool": "x", "tool": "y"}',
        '{"tool": "x", "arguments": {"a": NaN}}',
        '{"tool": "x", "arguments": {"a": 12345678901234567890123}}',
        '{"tool": "x", "arguments": ' + '{"a":' * 50 + "1" + "}" * 51,
        "[]",
        "not json",
    ],
)
def test_A3_json_that_can_be_read_two_ways_is_refused(home: AHome, policies: Path, text: str) -> None:
    """A3: duplicate keys, NaN, numbers that do not survive, 50 levels, no object: refused as the gate would."""
    file = policies.parent / "call.json"
    file.write_text(text)
    done = home.hitl("explain", "-f", str(policies), "--call", str(file))
    assert done.code == 1
    assert done.err.startswith(f"error: {file}: ")


def test_a_broken_policy_is_named_by_file_and_line(home: AHome, policies: Path) -> None:
    """Every problem with file, line and code; nothing is explained under half a policy."""
    (policies / "support.yaml").write_text(SUPPORT.replace("action: Confirm", "acton: Confirm"))
    done = home.hitl("explain", "-f", str(policies), "--call", a_call(policies))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {policies}/support.yaml:11: ")
    assert "acton" in done.err


def test_policies_of_several_namespaces_need_a_choice(home: AHome, policies: Path) -> None:
    """Nobody guesses a namespace: -n says which."""
    (policies / "other.yaml").write_text(SUPPORT.replace("namespace: shop", "namespace: other"))
    call = a_call(policies)
    done = home.hitl("explain", "-f", str(policies), "--call", call)
    assert done.code == 1
    assert "the policies are of several namespaces (other, shop); say which: -n NS" in done.err
    answer = home.hitl("explain", "-f", str(policies), "--call", call, "-n", "other", "-o", "json").document
    assert answer["rule"] == "AgentPolicy/other/support#refunds"


@pytest.mark.parametrize(
    "words",
    [[], ["--args", "{}"], ["--tool", "x", "--call", "y.json"], ["some-request", "--tool", "x"]],
    ids=["nothing", "arguments alone", "two calls", "a name and a call"],
)
def test_exactly_one_call_must_be_named(home: AHome, policies: Path, words: list[str]) -> None:
    """None or two calls: a mistake on the command line, exit code 2."""
    assert home.hitl("explain", "-f", str(policies), *words).code == 2


def test_a_live_request_is_explained_under_the_policies_of_now(decided_home: AHome) -> None:
    """By its name: from the redacted arguments, under what the control plane accepted last, and both are said."""
    decided_home.request("live-1", a_spec())
    done = decided_home.hitl("explain", "live-1")
    assert done.lines[0] == "Confirm   stripe/create_refund"
    assert "note: judged from the redacted arguments" in done.err
    assert "note: under the policies that the home's control plane accepted last" in done.err
    assert (
        decided_home.hitl("explain", "live-1", "-o", "json").document["rule"] == "AgentPolicy/default/support#refunds"
    )


def test_without_policies_anywhere_the_next_step_is_said(home: AHome) -> None:
    """No -f and no control plane: exit code 1, and how to name policies."""
    done = home.hitl("explain", "--tool", "x")
    assert done.code == 1
    assert "name the policies: -f PATH" in done.err


def test_a_shorter_confidence_asks_the_user(home: AHome, policies: Path) -> None:
    """Confidence 60 %: CLARIFY, which the headline says."""
    call = a_call(policies, confidencePercent=60)
    assert home.hitl("explain", "-f", str(policies), "--call", call).lines[0].startswith("Clarify")
