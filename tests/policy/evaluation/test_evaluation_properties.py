"""What must hold of any policies and any call: I14, I15, I2 and A8, over generated documents through the real compiler.

Strictness is a partial order. A verdict is at least as strict as another if it denies, or if its action is no less, it
is CLARIFY wherever the other is, time runs out no later, and every group of people who could approve it could have
approved the other, before and after escalation. Who can approve is worked out here by brute force.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from typing import Any

import orjson
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hitl.policy.actions import Action
from hitl.policy.calls import Agent, ToolCall
from hitl.policy.config import compile_config
from hitl.policy.envelope import parse_call
from hitl.policy.evaluation import evaluate
from hitl.policy.explanation import explain
from hitl.policy.ledger import Ledger, Sightings
from hitl.policy.spec import Config
from hitl.policy.verdicts import ApprovalTerms, Requirement, SecondFactor, Verdict

NOW = 1_790_000_000.0
AGENT = Agent(namespace="shop", workload="deploy/support", labels={"app": "support"})
GROUPS = ("support", "legal", "oncall")
SLOW = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

# Who may come to vote: (groups, second factor shown).
PEOPLE = (
    ({"support"}, SecondFactor.NONE),
    ({"support"}, SecondFactor.HARDWARE),
    ({"legal"}, SecondFactor.NONE),
    ({"legal"}, SecondFactor.ANY),
    ({"oncall"}, SecondFactor.NONE),
    ({"support", "legal"}, SecondFactor.NONE),
    (set(), SecondFactor.ANY),
)


def maybe(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


globs = st.lists(
    st.sampled_from(["*", "get_*", "pay/*", "pay/send", "crm/get_user", "shell/exec", "docs/list_pages"]),
    min_size=1,
    max_size=2,
    unique=True,
)
matchers = st.one_of(
    maybe(
        amount=st.sampled_from([{"min": 10}, {"max": 100}, {"in": [5, 50]}, {"present": True}]),
        to=st.sampled_from([{"equals": "ana"}, {"matches": "^a"}, {"present": False}]),
        path=st.sampled_from([{"within": ["/workspace"]}, {"startsWith": "/"}]),
        items=st.just({"each": {"max": 3}}),
    ),
    st.just({}),
)
people = st.lists(st.sampled_from(GROUPS), min_size=1, max_size=2, unique=True)
actions = st.sampled_from(["Allow", "Notify", "Confirm", "MultiFactor", "Suggest", "Deny", "Score"])
limits = st.sampled_from(
    [
        {"calls": 2, "per": "1h", "then": "Deny"},
        {"sum": "amount", "max": 60, "per": "1h", "then": "Deny"},
        {"calls": 1, "per": "1h", "by": "session", "then": "Deny"},
    ]
)


@st.composite
def rule_specs(draw: st.DrawFn, *, relaxing: bool = True) -> dict[str, Any]:
    rule = draw(
        maybe(
            args=matchers,
            ensure=matchers,
            closed=st.just("Arguments"),
            cel=st.sampled_from(["args.amount > 20", "has(args.to)", "session.tainted", "args.to == 'ana'"]),
            reviewers=people,
            requirements=st.lists(requirement_specs, min_size=1, max_size=2, unique_by=lambda each: each["name"]),
            timeout=st.sampled_from(["1m", "1h"]),
            level=st.sampled_from(["low", "critical"]),
            limit=limits,
            final=st.just(value=True),
        )
    )
    rule |= {"action": draw(actions), "tools": draw(globs)}
    if "reviewers" in rule:
        rule.pop("requirements", None)
    if rule["action"] == "Deny":
        rule.pop("limit", None)
    if not relaxing:
        rule.pop("final", None)
    return rule


requirement_specs = st.fixed_dictionaries(
    {"name": st.sampled_from(["one", "two"])},
    optional={
        "approvals": st.integers(1, 2),
        "anyOf": people,
        "secondFactor": st.sampled_from(["None", "Any", "Hardware"]),
    },
)
approvals = maybe(
    reviewers=people,
    timeout=st.sampled_from(["1m", "1h"]),
    escalate=st.just([{"after": "30s", "to": ["oncall"]}]),
    multiFactor=maybe(
        reviewers=people,
        secondFactor=st.sampled_from(["Any", "Hardware"]),
        satisfiedBy=st.sampled_from([["SecondFactor"], ["SecondFactor", "SecondPerson"]]),
    ),
    onBehalfOf=st.just("Confirm"),
)
raisers = maybe(
    confidence=st.sampled_from([{"auto": 60, "notify": 40, "clarify": 20}, {"missing": "Confirm"}]),
    novelty=st.sampled_from(["Notify", {"action": "Confirm", "watch": ["to"]}]),
    externalImpact=st.just("Confirm"),
    taintedEgress=st.just("MultiFactor"),
    anomaly=st.just("Confirm"),
)
redactions = maybe(
    keys=st.lists(st.sampled_from(["token", "to", "note*"]), max_size=2, unique=True),
    patterns=st.just([{"name": "letters", "regex": "xx+|yyy+"}]),
    oversize=st.sampled_from(["Deny", "MultiFactor"]),
)


@st.composite
def policy_specs(draw: st.DrawFn, *, cluster: bool = False) -> dict[str, Any]:
    spec = draw(
        maybe(
            rules=st.lists(rule_specs(relaxing=not cluster), max_size=4),
            undeclared=st.sampled_from(
                ["Notify", "Confirm", "Suggest", "Deny", "Score", *([] if cluster else ["Allow"])]
            ),
            protectedPaths=st.just(["/srv/ledger"]),
            redaction=redactions,
            approval=approvals,
            **{"raise": raisers},
        )
    )
    autonomy = ["SuggestOnly", "ReadOnly", "Calibrated"]
    spec["autonomy"] = draw(st.sampled_from(autonomy if cluster else [*autonomy, "AuditOnly"]))
    if not cluster:
        spec |= draw(
            maybe(
                mode=st.just("Monitor"),
                posture=st.sampled_from(["Conservative", "Permissive"]),
                trust=st.just([{"tools": ["*"], "ceiling": "Allow"}]),
                podSelector=st.sampled_from([{"matchLabels": {"app": "support"}}, {"matchLabels": {"app": "other"}}]),
            )
        )
    return spec


documents = st.builds(
    lambda specs, cluster: {"AgentPolicy": specs, "ClusterAgentPolicy": cluster},
    st.lists(policy_specs(), max_size=3),
    st.lists(policy_specs(cluster=True), max_size=1),
)
# As above, and the first policy has something to say on every call.
spoken_on = st.builds(
    lambda first, document: document | {"AgentPolicy": [{"undeclared": "Score"} | first, *document["AgentPolicy"]]},
    policy_specs().map(lambda spec: {key: value for key, value in spec.items() if key not in ("mode", "podSelector")}),
    documents,
)
long_text = st.sampled_from(["", "a short word", "lorem ipsum dolor sit amet " * 12, "x" * 200, "y" * 20_000])
calls = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(["crm/get_user", "crm/delete_user", "pay/send", "shell/exec", "docs/list_pages"]),
        "arguments": maybe(
            amount=st.sampled_from([5, 50, 500, -1, "many"]),
            to=st.sampled_from(["ana", "bo", 7]),
            path=st.sampled_from(["/workspace/a", "/srv/ledger/b", "~/.ssh/id", "/workspace/../etc"]),
            items=st.sampled_from([[1, 2], [5], "none"]),
            url=st.just("https://evil.example/x"),
            token=long_text,
            note=long_text,
        ),
        "confidence": st.sampled_from([None, 95, 75, 55, 30]),
        "external": st.booleans(),
        "tainted": st.booleans(),
        "past": st.sampled_from(["new", "known", "used", "lost", "denied"]),
    }
)


def written(value: Any) -> Any:
    """As an author would write it: an empty list or mapping is left out."""
    if isinstance(value, dict):
        kept = {key: written(inner) for key, inner in value.items()}
        return {key: inner for key, inner in kept.items() if inner not in ({}, [])}
    return [written(inner) for inner in value] if isinstance(value, list) else value


def compiled(document: dict[str, list[dict[str, Any]]]) -> Config:
    return compile_config(
        {
            "schema": 1,
            "namespace": "shop",
            "namespaceUID": "uid-shop",
            "baseline": "present" if document["ClusterAgentPolicy"] else "none",
            "keyID": "k1",
            "settings": {},
            "policies": [
                {
                    "kind": kind,
                    "name": f"{kind[0].lower()}{number}",
                    "namespace": "shop" if kind == "AgentPolicy" else "",
                    "uid": f"uid-{kind}-{number}",
                    "generation": 1,
                    "spec": written(spec),
                }
                for kind, specs in document.items()
                for number, spec in enumerate(specs)
            ],
            "toolServers": [
                {
                    "name": "docs",
                    "uid": "uid-docs",
                    "generation": 1,
                    "spec": {"tools": [{"name": "list_pages", "level": "low"}]},
                }
            ],
        }
    )


def call_of(described: dict[str, Any]) -> ToolCall:
    server, _, tool = described["tool"].partition("/")
    return parse_call(
        server,
        tool,
        orjson.dumps(described["arguments"]),
        session_id="s1",
        confidence_percent=described["confidence"],
        external_impact=described["external"],
    )


def ledger_of(described: dict[str, Any], call: ToolCall, config: Config) -> Ledger:
    ledger = Ledger.lost(NOW - 10) if described["past"] == "lost" else Ledger()
    match described["past"]:
        case "known":
            ledger.record_allowed(call.name, Sightings((("to", "ana"),), ("evil.example",)), NOW - 60)
        case "denied":
            for _ in range(6):
                ledger.record_decision(NOW - 60, denied=True)
        case "used":
            # What every limit of this config would have been charged had the same call run twice before.
            for _ in range(2):
                ledger.charge(evaluate(config, call, Ledger(), NOW, agent=AGENT).charges, NOW - 60)
    return ledger


def verdict_of(config: Config, described: dict[str, Any], ledger: Ledger | None = None) -> Verdict:
    call = call_of(described)
    past = ledger_of(described, call, config) if ledger is None else ledger
    return evaluate(config, call, past, NOW, agent=AGENT, tainted=described["tainted"], sameness="same")


def fills(requirement: Requirement, voters: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every group of voters that fills a requirement."""
    rank = (SecondFactor.NONE, SecondFactor.ANY, SecondFactor.HARDWARE)
    eligible = [who for who in voters if not requirement.any_of or PEOPLE[who][0] & set(requirement.any_of)]
    with_factor = [who for who in eligible if rank.index(PEOPLE[who][1]) >= rank.index(requirement.second_factor)]
    yield from combinations(with_factor, requirement.approvals)
    if requirement.or_second_person:
        yield from combinations(eligible, requirement.approvals + 1)


def met(requirements: Sequence[Requirement], voters: Sequence[int]) -> bool:
    """Whether these voters fill all requirements, each of them one place."""
    if not requirements:
        return True
    first, *rest = requirements
    return any(met(rest, [who for who in voters if who not in chosen]) for chosen in fills(first, voters))


def widened(terms: ApprovalTerms) -> tuple[Requirement, ...]:
    """The requirements once all escalation has happened."""
    return tuple(
        replace(
            requirement,
            any_of=requirement.any_of
            and tuple(
                {
                    *requirement.any_of,
                    *(to for step in terms.escalation if step.origin == requirement.origin for to in step.to),
                }
            ),
        )
        for requirement in terms.requirements
    )


def at_least_as_strict(after: Verdict, before: Verdict) -> bool:
    if after.action is Action.DENY:
        return True
    if after.action < before.action or (before.clarify and not after.clarify):
        return False
    if before.terms is None:
        return True
    assert after.terms is not None, "what holds has terms"
    if after.terms.timeout > before.terms.timeout:
        return False
    if after.terms.on_behalf_of_may_approve and not before.terms.on_behalf_of_may_approve:
        return False
    for voters in (group for size in range(len(PEOPLE)) for group in combinations(range(len(PEOPLE)), size)):
        if met(after.terms.requirements, voters) and not met(before.terms.requirements, voters):
            return False
        if met(widened(after.terms), voters) and not met(widened(before.terms), voters):
            return False
    return True


@SLOW
@given(documents, calls, rule_specs(), st.integers(0, 2), st.integers(0, 4))
def test_I15_adding_a_deny_rule_makes_nothing_less_strict(
    document: dict[str, Any], call: dict[str, Any], rule: dict[str, Any], policy: int, place: int
) -> None:
    """I15: a Deny rule put anywhere into any policy, baselines included, makes no call less strict."""
    kind = "AgentPolicy" if policy < len(document["AgentPolicy"]) else "ClusterAgentPolicy"
    assume(document[kind])
    rule |= {"action": "Deny"}
    rule.pop("limit", None)
    if kind == "ClusterAgentPolicy":
        rule.pop("final", None)
    more = deepcopy(document)
    spec = more[kind][policy if kind == "AgentPolicy" else 0]
    spec["rules"] = [*spec.get("rules", [])[:place], rule, *spec.get("rules", [])[place:]]
    before_config, after_config = compiled(document), compiled(more)
    ledger = ledger_of(call, call_of(call), before_config)
    before, after = verdict_of(before_config, call, ledger), verdict_of(after_config, call, ledger)
    assert at_least_as_strict(after, before), (before, after)


@SLOW
@given(documents, calls, policy_specs(cluster=True))
def test_I15_adding_a_baseline_makes_nothing_less_strict(
    document: dict[str, Any], call: dict[str, Any], baseline: dict[str, Any]
) -> None:
    """I15: one more ClusterAgentPolicy makes no call less strict and lets nobody approve who could not before."""
    before_config = compiled(document)
    after_config = compiled(document | {"ClusterAgentPolicy": [*document["ClusterAgentPolicy"], baseline]})
    ledger = ledger_of(call, call_of(call), before_config)
    before, after = verdict_of(before_config, call, ledger), verdict_of(after_config, call, ledger)
    assert at_least_as_strict(after, before), (before, after)


@SLOW
@given(spoken_on, calls, policy_specs())
def test_I15_A8_adding_a_policy_makes_nothing_less_strict_where_another_speaks(
    document: dict[str, Any], call: dict[str, Any], policy: dict[str, Any]
) -> None:
    """I15, A8: one more policy of any mode makes no call less strict on which a policy of the namespace speaks. One
    that only watches does not count where others bind: there the built-in policy goes on speaking.
    """
    before_config = compiled(document)
    ledger = ledger_of(call, call_of(call), before_config)
    before = verdict_of(before_config, call, ledger)
    assert before.policies[0].name == "a0"
    after = verdict_of(compiled(document | {"AgentPolicy": [*document["AgentPolicy"], policy]}), call, ledger)
    assert at_least_as_strict(after, before), (before, after)


@SLOW
@given(documents, calls)
def test_I14_the_same_input_gives_the_same_verdict_and_text(document: dict[str, Any], call: dict[str, Any]) -> None:
    """I14: a document that went through JSON, compiled anew, gives an equal verdict, and `explain` tells of it."""
    config, again = compiled(document), compiled(orjson.loads(orjson.dumps(document)))
    ledger = ledger_of(call, call_of(call), config)
    first, second, cached = (verdict_of(each, call, ledger) for each in (config, again, config))
    assert first == second == cached
    explained = [
        explain(each, call_of(call), ledger, NOW, agent=AGENT, tainted=call["tainted"], sameness="same")
        for each in (config, again)
    ]
    assert explained[0].text() == explained[1].text()
    assert explained[0].to_json() == explained[1].to_json()
    assert replace(explained[0].verdict, score_otherwise=None) == first


@SLOW
@given(documents, calls)
def test_I1_nothing_runs_that_a_binding_policy_would_hold(document: dict[str, Any], call: dict[str, Any]) -> None:
    """I1: what runs binds, or is recorded as Monitor or AuditOnly. What is held says who decides, and
    MultiFactor is never one person without a second factor.
    """
    verdict = verdict_of(compiled(document), call)
    if verdict.action <= Action.NOTIFY:
        assert verdict.recorded_as in ("", "Monitor", "AuditOnly")
        assert verdict.recorded_as or verdict.would_have in (None, verdict.action)
    assert (verdict.terms is not None) == verdict.action.holds
    assert verdict.factors
    assert verdict.score is None or sum(factor.points for factor in verdict.factors) == verdict.score
    if verdict.terms is not None:
        assert verdict.terms.requirements
        lone = [voter for voter in range(len(PEOPLE)) if met(verdict.terms.requirements, [voter])]
        if verdict.action is Action.MULTI_FACTOR:
            assert all(PEOPLE[voter][1] is not SecondFactor.NONE for voter in lone)
            assert not verdict.terms.on_behalf_of_may_approve


@SLOW
@given(documents, calls, st.integers(60, 140))
def test_explanations_fit_their_width(document: dict[str, Any], call: dict[str, Any], width: int) -> None:
    """No line of an explanation is longer than asked for, and every explanation has its numbered steps."""
    config = compiled(document)
    explanation = explain(config, call_of(call), Ledger(), NOW, agent=AGENT)
    lines = explanation.text(width).splitlines()
    assert max(map(len, lines)) <= width
    assert [line[2] for line in lines if line[2:3].isdigit() and line.startswith("  ") and line[3] == " "] == list(
        "12345678"
    )


def test_a_lost_charge_is_not_what_the_order_relies_on() -> None:
    """The strategies above do exceed limits: a used-up limit denies the third call of two."""
    document = {
        "AgentPolicy": [{"rules": [{"action": "Allow", "tools": ["*"], "limit": {"calls": 2, "per": "1h"}}]}],
        "ClusterAgentPolicy": [],
    }
    described = {
        "tool": "pay/send", "arguments": {}, "confidence": None, "external": False, "tainted": False, "past": "used"
    }  # fmt: skip
    assert verdict_of(compiled(document), described | {"past": "new"}).action is Action.ALLOW
    assert verdict_of(compiled(document), described).reason_code == "LIMIT"


def test_the_order_can_tell_less_strict_verdicts() -> None:
    """The brute force is no rubber stamp: fewer groups, a lost CLARIFY, more time or a wider place are less strict."""
    terms = ApprovalTerms(requirements=(Requirement("a", any_of=("support",)),), timeout=60)
    before = Verdict(Action.CONFIRM, "RULE", "", terms=terms)
    assert at_least_as_strict(before, before)
    for laxer in (
        replace(terms, requirements=(Requirement("a"),)),
        replace(terms, requirements=(Requirement("a", any_of=("support", "legal")),)),
        replace(terms, timeout=61),
        replace(terms, on_behalf_of_may_approve=True),
    ):
        assert not at_least_as_strict(replace(before, terms=laxer), before)
    assert not at_least_as_strict(before, replace(before, clarify=True))
    assert not at_least_as_strict(Verdict(Action.NOTIFY, "RULE", ""), before)
