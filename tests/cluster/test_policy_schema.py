"""What the compiler refuses the API server refuses too, as far as a schema can say it; what it takes passes."""

from typing import Any

import pytest

from cluster.authoring import a_policy
from cluster.misspelled import PLURALS
from hitl.errors import ApiError, InvalidPolicy
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.policy.parse import parse_policy, parse_tool_server

VERSION = "hitl.dev/v1alpha1"
RULE = {"action": "Confirm", "tools": ["a"]}


def rule(**more: Any) -> dict[str, Any]:
    return {"rules": [RULE | more]}


def args(**more: Any) -> dict[str, Any]:
    return rule(args={"a": more})


def compiles(kind: str, spec: Any) -> bool:
    try:
        _ = parse_tool_server({"name": "p"}, spec) if kind == "ToolServer" else parse_policy(kind, {"name": "p"}, spec)
    except InvalidPolicy:
        return False
    return True


async def refusal(admin: KubeAPI, kind: str, spec: Any) -> str:
    """What the API server says against it; empty if it passes."""
    where = None if kind == "ClusterAgentPolicy" else "default"
    manifest = a_policy({}, "p", kind) | {"spec": spec}
    try:
        await admin.create(path_of(VERSION, PLURALS[kind], where), manifest, dry_run=True)
    except ApiError as error:
        return error.message
    return ""


WRONG = {
    # (spec, what the API server says)
    "a word in other capitals": ({"mode": "monitor"}, "spec.mode: Unsupported value"),
    "an unknown word": ({"posture": "Lax"}, "spec.posture: Unsupported value"),
    "a fifth autonomy": ({"autonomy": 5}, "spec.autonomy: Unsupported value"),
    "autonomy as a text": ({"autonomy": "4"}, "spec.autonomy: Unsupported value"),
    "autonomy as a boolean": ({"autonomy": True}, "spec.autonomy"),
    "no list": ({"rules": {}}, "spec.rules"),
    "an empty list": ({"rules": []}, "spec.rules: Invalid value: 0"),
    "an item that is no object": ({"rules": ["x"]}, "spec.rules[0]"),
    "too many rules": ({"rules": [RULE] * 129}, "spec.rules: Too many: 129: must have at most 128 items"),
    "a rule without an action": ({"rules": [{"tools": ["a"]}]}, "spec.rules[0].action: Required value"),
    "a rule without tools": ({"rules": [{"action": "Deny"}]}, "spec.rules[0].tools: Required value"),
    "no tools in the list": (rule(tools=[]), "spec.rules[0].tools"),
    "two stars": (rule(tools=["a**"]), "** is not a glob here; * already matches any run of characters up to /"),
    "two slashes": (rule(tools=["a/b/c"]), "write tool or server/tool"),
    "nothing before the slash": (rule(tools=["/a"]), "write tool or server/tool"),
    "braces in a glob": (rule(tools=["{a,b}"]), "holds what no tool name has"),
    "a glob with a space": (rule(tools=["a b"]), "and something on both sides of it, without blanks"),
    "a glob with a line break": (rule(tools=["a\nb"]), "holds what no tool name has"),
    "a name with a space": (rule(name="a b"), '"a b" is not a name; write letters'),
    "args that ask nothing": (rule(args={}), "spec.rules[0].args"),
    "an argument of which nothing is asked": (args(), "spec.rules[0].args.a"),
    "a matcher that is a bare value": (rule(args={"a": 5}), "spec.rules[0].args.a"),
    "too many arguments": (rule(args={f"a{n}": {"min": 1} for n in range(33)}), "at most 32"),
    "min over max": (args(min=3, max=1), "min is more than max; no number fits"),
    "min over max of each item": (args(each={"min": 3, "max": 1}), "min is more than max; no number fits"),
    "min as a text": (args(min="1"), "spec.rules[0].args.a.min"),
    "absent and yet matched": (args(present=False, min=1), "spec.rules[0].args.a.present"),
    "present as a word": (args(present="yes"), "spec.rules[0].args.a.present"),
    "an empty list of values": (args(**{"in": []}), "spec.rules[0].args.a.in"),
    "too many values": (args(**{"in": list(range(257))}), "spec.rules[0].args.a.in"),
    "an empty pattern": (args(matches=""), "spec.rules[0].args.a.matches"),
    "a blank text": (rule(because="  "), "spec.rules[0].because"),
    "a pattern that is too long": (args(matches="a" * 1025), "spec.rules[0].args.a.matches: Too long"),
    "an item of within that is a number": (args(within=[5]), "spec.rules[0].args.a.within[0]"),
    "closed to something else": (rule(closed="All"), "spec.rules[0].closed"),
    "reviewers in two ways": (rule(reviewers=["a"], requirements=[{"name": "a"}]), "exclude each other"),
    "a group twice": (rule(reviewers=["a", "a"]), "something stands there twice"),
    "a group with a space around it": (rule(reviewers=[" a"]), "spec.rules[0].reviewers[0]"),
    "two requirements of one name": (rule(requirements=[{"name": "a"}] * 2), "two requirements have one name"),
    "a requirement for nobody": (rule(requirements=[{"name": "a", "approvals": 0}]), "approvals"),
    "an unknown second factor": (rule(requirements=[{"name": "a", "secondFactor": "SMS"}]), "secondFactor"),
    "a duration without a unit": (rule(timeout="15"), '"15" is not a duration; write digits and a unit'),
    "a duration with a space": (rule(timeout="15 m"), '"15 m" is not a duration; write digits and a unit'),
    "a duration that is a number": (rule(timeout=15), "spec.rules[0].timeout"),
    "a limit under Deny": (rule(action="Deny", limit={"calls": 1, "per": "1h"}), "no meaning under Deny"),
    "a limit without a window": (rule(limit={"calls": 1}), "spec.rules[0].limit.per: Required value"),
    "a limit of nothing": (rule(limit={"per": "1h"}), "a limit needs either calls: N, or sum: ARGUMENT"),
    "a limit of both": (rule(limit={"calls": 1, "sum": "a", "max": 1, "per": "1h"}), "a limit needs either"),
    "a sum without a maximum": (rule(limit={"sum": "a", "per": "1h"}), "max belongs to sum, and sum needs it"),
    "a maximum of calls": (rule(limit={"calls": 1, "max": 1, "per": "1h"}), "max belongs to sum"),
    "a maximum of nothing": (rule(limit={"sum": "a", "max": 0, "per": "1h"}), "spec.rules[0].limit.max"),
    "a limit that makes it easier": (rule(limit={"calls": 1, "per": "1h", "then": "Notify"}), "must be stricter"),
    "a limit that changes nothing": (rule(limit={"calls": 1, "per": "1h", "then": "Confirm"}), "must be stricter"),
    "a limit by workload": (rule(limit={"calls": 1, "per": "1h", "by": "workload"}), "arrives in a later version"),
    "an unknown level": (rule(level="High"), "spec.rules[0].level"),
    "an effect twice": (rule(effects=["Financial", "Financial"]), "something stands there twice"),
    "an unseen character": (rule(because="safe\u202e"), "spec.rules[0].because"),
    "a line break": (rule(because="one\ntwo"), "spec.rules[0].because"),
    "a link that is none": (rule(link="intranet/page"), "spec.rules[0].link"),
    "a summary that is too long": (rule(summary="a" * 161), "spec.rules[0].summary: Too long"),
    "final as a word": (rule(final="yes"), "spec.rules[0].final"),
    "a weight over 100": ({"scoring": {"weights": {"low": 101}}}, "spec.scoring.weights.low"),
    "a weight with a fraction": ({"scoring": {"weights": {"low": 1.5}}}, "spec.scoring.weights.low"),
    "weights that fall": ({"scoring": {"weights": {"high": 5}}}, "a riskier level never scores less"),
    "thresholds that fall": ({"scoring": {"thresholds": {"notify": 60}}}, "must not fall; the defaults are"),
    "a threshold of nothing": ({"scoring": {"thresholds": {"notify": 0}}}, "spec.scoring.thresholds.notify"),
    "trust without a ceiling": ({"trust": [{"tools": ["a"]}]}, "spec.trust[0].ceiling: Required value"),
    "trust up to Deny": ({"trust": [{"ceiling": "Deny", "tools": ["a"]}]}, "spec.trust[0].ceiling"),
    "trust in nothing": ({"trust": [{"ceiling": "Allow"}]}, "needs either tools or publisher"),
    "another kind of key": ({"trust": [{"ceiling": "Allow", "publisher": "rsa:1"}]}, "spec.trust[0].publisher"),
    "confidence that rises": ({"raise": {"confidence": {"auto": 10}}}, "must not rise; the defaults are"),
    "confidence over 100": ({"raise": {"confidence": {"auto": 101}}}, "spec.raise.confidence.auto"),
    "a raiser that allows": ({"raise": {"novelty": "Allow"}}, "spec.raise.novelty"),
    "a raiser without an action": ({"raise": {"novelty": {"watch": ["to"]}}}, "novelty.action: Required value"),
    "an action of a raiser": ({"raise": {"externalImpact": {"action": "Allow"}}}, "spec.raise.externalImpact.action"),
    "a path twice": ({"protectedPaths": ["/etc", "/etc"]}, "something stands there twice"),
    "a name of secrets in capitals": ({"redaction": {"patterns": [{"name": "X", "regex": "a"}]}}, "patterns[0].name"),
    "two patterns of one name": (
        {"redaction": {"patterns": [{"name": "x", "regex": "a"}] * 2}}, "two patterns have one name",
    ),
    "a key with a slash": ({"redaction": {"keys": ["a/b"]}}, "spec.redaction.keys[0]"),
    "an oversize that is neither": ({"redaction": {"oversize": "Confirm"}}, "spec.redaction.oversize"),
    "responses as a word": ({"redaction": {"responses": "yes"}}, "spec.redaction.responses"),
    "escalation to nobody": ({"approval": {"onTimeout": "Escalate"}}, "needs somebody to escalate to"),
    "a step without a time": ({"approval": {"escalate": [{"to": ["a"]}]}}, "after: Required value"),
    "too many denials": ({"approval": {"denialsToEnd": 11}}, "spec.approval.denialsToEnd"),
    "a factor that cannot satisfy": (
        {"approval": {"multiFactor": {"secondFactor": "Any", "satisfiedBy": ["SecondPerson"]}}},
        "leaves SecondFactor out",
    ),
    "no factor where only one satisfies": (
        {"approval": {"multiFactor": {"secondFactor": "None", "satisfiedBy": ["SecondFactor"]}}}, "None cannot be",
    ),
    "a review without a period": ({"review": {}}, "spec.review.every: Required value"),
    "a label's value with a space": ({"podSelector": {"matchLabels": {"a": "x y"}}}, "spec.podSelector.matchLabels.a"),
    "a label's value that is a number": ({"podSelector": {"matchLabels": {"a": 1}}}, "spec.podSelector.matchLabels.a"),
    "In without values": (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}, "In and NotIn need values",
    ),
    "Exists with values": (
        {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}},
        "In and NotIn need values",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "says"), WRONG.values(), ids=WRONG)
async def test_what_the_compiler_refuses_is_not_stored(admin: KubeAPI, spec: Any, says: str) -> None:
    """Each is wrong to both, and the API server names the place or says what to write."""
    assert not compiles("AgentPolicy", spec)
    assert says in await refusal(admin, "AgentPolicy", spec)


STEP = {"after": "a week", "to": ["a"]}
IN_WORDS = {
    "spec.rules[0].timeout": ("AgentPolicy", rule(timeout="15 m")),
    "spec.rules[0].limit.per": ("AgentPolicy", rule(limit={"calls": 1, "per": "day"})),
    "spec.approval.timeout": ("AgentPolicy", {"approval": {"timeout": "5 min"}}),
    "spec.approval.holdBudget": ("AgentPolicy", {"approval": {"holdBudget": "-1s"}}),
    "spec.approval.escalate[0].after": ("AgentPolicy", {"approval": {"escalate": [STEP]}}),
    "spec.approval.remind": ("AgentPolicy", {"approval": {"remind": "1.5h"}}),
    "spec.approval.denialCooldown": ("AgentPolicy", {"approval": {"denialCooldown": "10"}}),
    "spec.review.every": ("ClusterAgentPolicy", {"review": {"every": "month"}}),
    "spec.rules[0].name": ("AgentPolicy", rule(name="a b")),
    "spec.rules[0].requirements[0].name": ("AgentPolicy", rule(requirements=[{"name": "-"}])),
    "spec.rules[0].tools[0]": ("ClusterAgentPolicy", rule(tools=["a b"])),
    "spec.trust[0].tools[0]": ("AgentPolicy", {"trust": [{"ceiling": "Notify", "tools": ["a\u2028/b/c"]}]}),
    "spec.tools[0].name": ("ToolServer", {"tools": [{"name": "a b"}]}),
}


@pytest.mark.parametrize("path", IN_WORDS)
async def test_durations_and_names_are_refused_in_words_alone(admin: KubeAPI, path: str) -> None:
    """DESIGN 6: nobody has to read a pattern to learn how a duration, a tool or a rule is written."""
    kind, spec = IN_WORDS[path]
    assert not compiles(kind, spec)
    said = await refusal(admin, kind, spec)
    assert f"{path}: Invalid value" in said
    assert "write" in said
    assert "should match" not in said


TIGHTENS = {
    "Monitor": ({"mode": "Monitor"}, "Monitor is not for a baseline"),
    "AuditOnly": ({"autonomy": "AuditOnly"}, "AuditOnly is not for a baseline"),
    "AuditOnly by its number": ({"autonomy": 4}, "AuditOnly is not for a baseline"),
    "Permissive": ({"posture": "Permissive"}, "Permissive is not for a baseline"),
    "trust": ({"trust": [{"ceiling": "Allow", "tools": ["a"]}]}, "ceilings are not for a baseline"),
    "undeclared Allow": ({"undeclared": "Allow"}, "Allow says nothing here"),
    "a final rule": (rule(final=True), "a final rule is not for a baseline"),
    "an unknown word": ({"forbid": ["Deny"]}, "spec.forbid[0]"),
    "a word twice": ({"forbid": ["Trust", "Trust"]}, "something stands there twice"),
}


@pytest.mark.parametrize(("spec", "says"), TIGHTENS.values(), ids=TIGHTENS)
async def test_A7_a_baseline_may_only_tighten(admin: KubeAPI, spec: Any, says: str) -> None:
    """A7: what could only relax is refused in a ClusterAgentPolicy; what forbids is refused elsewhere."""
    assert not compiles("ClusterAgentPolicy", spec)
    assert says in await refusal(admin, "ClusterAgentPolicy", spec)


SERVERS = {
    "an address without a scheme": ({"endpoint": "a.example"}, "spec.endpoint"),
    "an address with a user": ({"endpoint": "https://me@a.example"}, "spec.endpoint"),
    "here and there": ({"endpoint": "https://a", "container": {"image": "a"}}, "container excludes endpoint"),
    "a container without an image": ({"container": {"command": ["a"]}}, "spec.container.image: Required value"),
    "a credential without a place": ({"credentials": [{"header": "A"}]}, "secretKeyRef: Required value"),
    "a header with a space": (
        {"credentials": [{"header": "A B", "secretKeyRef": {"name": "a", "key": "b"}}]}, "spec.credentials[0].header",
    ),
    "trusted as a word": ({"trusted": "yes"}, "spec.trusted"),
    "a tool's name with a space": ({"tools": [{"name": "a b"}]}, '"a b" is not a tool name; write letters'),
    "a tool without a name": ({"tools": [{"level": "low"}]}, "spec.tools[0].name: Required value"),
    "one tool twice": ({"tools": [{"name": "a"}, {"name": "a"}]}, "Duplicate value"),
    "a name with a slash": ({"tools": [{"name": "a/b"}]}, '"a/b" is not a tool name; write letters'),
    "a level of its own": ({"tools": [{"name": "a", "level": "extreme"}]}, "spec.tools[0].level"),
    "a digest that is too short": ({"tools": [{"name": "a", "definitionDigest": "ab"}]}, "definitionDigest"),
    "a variable with a dash": (
        {"tools": [{"name": "a", "capabilities": {"environment": ["A-B"]}}]}, "capabilities.environment[0]",
    ),
    "another answer to change": ({"onDefinitionChange": "Ignore"}, "spec.onDefinitionChange"),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "says"), SERVERS.values(), ids=SERVERS)
async def test_a_wrong_tool_server_is_not_stored(admin: KubeAPI, spec: Any, says: str) -> None:
    """Each is wrong to the compiler, too."""
    assert not compiles("ToolServer", spec)
    assert says in await refusal(admin, "ToolServer", spec)


RIGHT = {
    "AgentPolicy": [
        {},
        {"autonomy": 3},
        {"raise": {}, "scoring": {}, "redaction": {}, "approval": {}, "podSelector": {}},
        {"podSelector": {"matchLabels": {"app": "", "x.example/y": "a"}}},
        rule(tools=[" Stripe/Create_* ", "\uff41?"], timeout="1h30m", link="https://a.example/b?c=d"),
        rule(tools=[f"t{n}" for n in range(64)], because="Größe: 5 € – für Ünïcode", cel="has(args.a) && args.a > 1.5"),
        args(equals=None),
        args(**{"in": [None, 1, "a", True, [1], {"b": 1}], "notIn": [0.5]}),
        args(min=-1.5, max=9007199254740991, maxLength=0),
        args(within="/workspace"),
        args(within=["/workspace", "."], hosts="*.example.com"),
        args(each={"each": {"each": {"matches": "^a+$", "notMatches": "b"}}}),
        rule(args={"/items/0/price": {"present": True}, "absent": {"present": False}}, ensure={"b": {"min": 1}}),
        rule(limit={"sum": "/a/b", "max": 0.5, "per": "31d", "by": "customer", "then": "Deny"}),
        {"rules": [{"action": "Score", "tools": ["*"], "limit": {"calls": 1, "per": "1s", "then": "Notify"}}]},
        {"raise": {"novelty": {"action": "Ignore", "watch": ["to"]}, "externalImpact": "Confirm", "anomaly": "Deny"}},
        {"approval": {"denialCooldown": "0s", "multiFactor": {"secondFactor": "None"}, "reasonRequired": ["Denied"]}},
    ],
    "ClusterAgentPolicy": [
        {},
        {"forbid": ["Monitor", "AuditOnly", "Final", "Trust", "Incident", "Permissive"]},
        {"undeclared": "Notify", "scoring": {"thresholds": {"notify": 1}}},
        rule(final=False),
    ],
    "ToolServer": [
        {},
        {"endpoint": "https://a.example:8443/mcp", "trusted": False, "tools": [{"name": "Read.File"}, {"name": "b"}]},
        {"tools": [{"name": "a", "capabilities": {"network": ["*"], "environment": ["*", "AWS_*"], "process": True}}]},
    ],
}


@pytest.mark.parametrize(("kind", "spec"), [(kind, spec) for kind, specs in RIGHT.items() for spec in specs])
async def test_what_the_compiler_takes_is_stored(admin: KubeAPI, kind: str, spec: Any) -> None:
    """Unusual, but right to both."""
    assert compiles(kind, spec)
    assert await refusal(admin, kind, spec) == ""


ONLY_COMPILED = {
    "a duration out of range": rule(timeout="8d"),
    "two rules of one name": {"rules": [RULE | {"name": "a"}, RULE | {"name": "A"}]},
    "a pattern that is none": args(matches="("),
    "a pattern that repeats too often": args(matches="a{17}"),
    "an expression that is none": rule(cel="args.a >"),
    "an expression that is no condition": rule(cel="1 + 1"),
    "a placeholder that is none": rule(summary="{amount}"),
    "a pointer that is none": rule(args={"//a": {"min": 1}}),
    "a directory with a wildcard": args(within="/a/*"),
    "a place that is neither text nor list": args(within=5),
    "a raiser that is a number": {"raise": {"novelty": 5}},
    "steps in the wrong order": {
        "approval": {"escalate": [{"after": "5m", "to": ["a"]}, {"after": "5m", "to": ["b"]}]},
    },
    "a label that has no name": {"podSelector": {"matchLabels": {"a b": "x"}}},
    "a group twice among those that will do": rule(requirements=[{"name": "a", "anyOf": ["b", "b"]}]),
}


@pytest.mark.parametrize("spec", ONLY_COMPILED.values(), ids=ONLY_COMPILED)
async def test_C6_what_only_compiling_finds_is_stored_and_not_accepted(admin: KubeAPI, spec: Any) -> None:
    """C6: a schema cannot say it, so the condition Accepted does; the list is here so that nobody is surprised."""
    assert not compiles("AgentPolicy", spec)
    assert await refusal(admin, "AgentPolicy", spec) == ""
