"""Protobuf and domain: what goes over the wire comes back as it was, and what is not ours is refused."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from hitl.approvals.requests import (
    CallShown,
    Category,
    Decision,
    DecisionKind,
    Kind,
    Proof,
    RequestSpec,
)
from hitl.errors import InvalidInput
from hitl.policy.actions import Action
from hitl.policy.calls import Agent
from hitl.policy.envelope import parse_call
from hitl.policy.verdicts import EscalationStep, Factor, OnTimeout, PolicyRef, Requirement, SecondFactor, Verdict
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.calls import call_from_proto
from hitl.wire.identity import (
    Identity,
    agent_from_metadata,
    agent_to_metadata,
    identity_from_proto,
    identity_to_proto,
)
from hitl.wire.requests import (
    proof_of,
    result_from_proto,
    result_to_proto,
    review_of,
    terms_from_json,
    terms_to_json,
)
from hitl.wire.verdicts import action_to_proto, verdict_to_proto

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
SPEC = RequestSpec(
    kind=Kind.TOOL_CALL,
    summary="refund",
    requester="system:serviceaccount:shop:support",
    agent_pod="support-1",
    agent_pod_uid="u",
    service_account="support",
    workload="deploy/support",
    session_id="s",
    call=CallShown("stripe", "create_refund", "{}"),
    digest="ab" * 32,
    key="ab" * 32,
    sameness="cd" * 32,
    tier="multi-factor",
    requirements=(Requirement("a", 2, ("support",), SecondFactor.ANY, or_second_person=True, origin="P"),),
    timeout=60,
    on_timeout=OnTimeout.RETRY,
    denials_to_end=2,
    denial_cooldown=30,
    escalation=(EscalationStep(5, ("oncall",), "P"),),
    reason_required=("Denied",),
    on_behalf_of="kim",
    on_behalf_of_may_approve=True,
    excluded=("ana",),
    patchable=("/amount",),
)
TERMS = (
    *("kind", "digest", "tier", "requirements", "timeout", "on_timeout", "denials_to_end", "denial_cooldown"),
    *("escalation", "reason_required", "on_behalf_of", "on_behalf_of_may_approve", "excluded", "patchable"),
)


@pytest.mark.parametrize("action", Action)
def test_actions_have_the_same_numbers_on_the_wire(action: Action) -> None:
    """Every action is its own number there."""
    name = "ACTION_" + "".join(f"_{c}" if c.isupper() else c for c in action.word).upper().lstrip("_")
    assert action_to_proto(action) == gate_pb2.Action.Value(name)


def test_a_verdict_goes_over_whole() -> None:
    """Action, score, factors, rule, revision, digest and what Enforce would have done."""
    verdict = Verdict(
        action=Action.ALLOW,
        reason_code="MONITOR",
        message="m",
        score=70,
        factors=(Factor("level", 60, "high"), Factor("exact", -5, "short")),
        rule="AgentPolicy/shop/support#r",
        would_have=Action.DENY,
        revision="rev",
    )
    message = verdict_to_proto(verdict, digest="d")
    assert (message.action, message.score, message.rule) == (gate_pb2.ACTION_ALLOW, 70, "AgentPolicy/shop/support#r")
    assert [(f.name, f.points, f.reason) for f in message.factors] == [("level", 60, "high"), ("exact", -5, "short")]
    assert (message.would_have, message.revision, message.digest) == (gate_pb2.ACTION_DENY, "rev", "d")


def test_no_score_is_not_a_score_of_zero() -> None:
    """A verdict that a rule decided carries no score."""
    message = verdict_to_proto(Verdict(action=Action.DENY, reason_code="RULE", message="m"))
    assert not message.HasField("score")


@pytest.mark.parametrize(
    ("rule", "policies", "wanted"),
    [
        ("AgentPolicy/shop/b#r", ("a", "b"), "AgentPolicy/shop/b"),
        ("", ("default", "a", "b"), "AgentPolicy/shop/a"),
        ("", ("default",), ""),
    ],
)
def test_a_verdict_names_the_policy_that_decided(rule: str, policies: tuple[str, ...], wanted: str) -> None:
    """The rule's policy, else the first that spoke, as where a score decides; nothing for the built-in one."""
    refs = tuple(
        PolicyRef("BuiltIn", "", n) if n == "default" else PolicyRef("AgentPolicy", "shop", n) for n in policies
    )
    verdict = Verdict(action=Action.NOTIFY, reason_code="SCORE", message="m", rule=rule, policies=refs)
    assert verdict_to_proto(verdict).policy == wanted


def test_a_call_is_read_whole() -> None:
    """Every field of the message is in the parsed call; a confidence of 0 is not the same as none at all."""
    message = gate_pb2.ToolCall(
        server="stripe",
        tool="create_refund",
        arguments_json=b'{"amount":1}',
        call_id="c",
        session_id="s",
        agent_path=["main", "sub"],
        justification="because",
        confidence_percent=0,
        claimed_user="kim",
        checkpoint="t",
        alternatives=["wait"],
        external_impact=True,
        context_json=b'{"ticket":"B-1"}',
    )
    call = parse_call(
        "stripe",
        "create_refund",
        b'{"amount":1}',
        call_id="c",
        session_id="s",
        agent_path=("main", "sub"),
        justification="because",
        confidence_percent=0,
        claimed_user="kim",
        checkpoint="t",
        alternatives=("wait",),
        external_impact=True,
        context_json=b'{"ticket":"B-1"}',
    )
    assert call_from_proto(message) == call
    message.ClearField("confidence_percent")
    assert call_from_proto(message) == replace(call, confidence_percent=None)


def test_terms_come_back_as_they_were() -> None:
    """Everything that release compares with survives; nothing else travels."""
    terms = terms_from_json(terms_to_json(SPEC))
    assert {name: getattr(terms, name) for name in TERMS} == {name: getattr(SPEC, name) for name in TERMS}
    assert (terms.summary, terms.session_id, terms.workload) == ("", "", "")


@pytest.mark.parametrize("change", [{"kind": "Wish"}, {"requirements": 7}, {"onTimeout": "Proceed"}, {"tier": None}])
def test_terms_that_are_not_ours_are_refused(change: dict[str, object]) -> None:
    """Unknown words and wrong types are InvalidInput, never a requirement less."""
    document = {**orjson.loads(terms_to_json(SPEC)), **change}
    if change.get("tier", "") is None:
        del document["tier"]
    with pytest.raises(InvalidInput, match="terms that are not ours"):
        terms_from_json(orjson.dumps(document))


def test_an_agent_comes_back_from_metadata() -> None:
    """What a standalone sidecar says of itself is read as it was written."""
    agent = Agent("shop", "support", "deploy/support", "support-1", "u1", {"app": "support"})
    assert agent_from_metadata(agent_to_metadata(agent)) == agent


@pytest.mark.parametrize(
    "value", [b"", b"{", b"[]", b'{"x":1}', b'{"namespace":1}', b'{"namespace":""}', b'{"namespace":"a","labels":7}']
)
def test_metadata_that_is_not_ours_is_refused(value: bytes) -> None:
    """No JSON, no object, unknown keys, wrong types and no namespace are InvalidInput, naming the metadata key."""
    with pytest.raises(InvalidInput, match="hitl-agent-bin"):
        agent_from_metadata(value)


def test_an_identity_comes_back_and_is_never_half() -> None:
    """The hub's word survives; without namespace or one of the uids it is refused."""
    agent = Agent("shop", "support", "deploy/support", "support-1", "u1", {"app": "support"})
    identity = Identity(agent, "ns-uid", "cluster-uid")
    assert identity_from_proto(identity_to_proto(identity)) == identity
    for missing in ("namespace", "namespace_uid", "cluster_uid"):
        message = identity_to_proto(identity)
        message.ClearField(missing)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=missing):
            identity_from_proto(message)


def test_a_decision_becomes_a_review_without_its_proof() -> None:
    """Agents see name, word, reason and category; the proof goes into the audit log alone."""
    decision = Decision(
        "bo",
        DecisionKind.DENIED,
        "d",
        "u",
        reason="no",
        category=Category.MISSING_CONTEXT,
        proof=Proof("ed25519", "c2ln", time=NOON),
    )
    review = review_of(decision)
    assert (review.reviewer, review.approved, review.reason, review.category) == ("bo", False, "no", "MissingContext")
    assert proof_of(decision) == "ed25519:c2ln"
    assert proof_of(replace(decision, proof=Proof("oidc", factors=("hwk", "pin"), time=NOON))) == "oidc:hwk,pin"
    assert proof_of(replace(decision, proof=None)) == ""


@pytest.mark.parametrize("word", ["", "Succeeded", "Failed", "NotStarted"])
def test_results_come_back(word: str) -> None:
    """Every word that a status can hold has its number."""
    assert result_from_proto(result_to_proto(word)) == word


def test_a_result_of_a_newer_peer_is_refused() -> None:
    """Number 9 is not taken for success."""
    with pytest.raises(InvalidInput, match="9"):
        result_from_proto(9)
    assert hub_pb2.HoldResponse().reported_result == gate_pb2.RESULT_UNSPECIFIED
