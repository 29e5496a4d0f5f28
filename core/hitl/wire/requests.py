"""What has become of an approval request, as agents and sidecars are told."""

from collections.abc import Iterable
from typing import Any, cast

import orjson

from hitl.approvals.requests import CallShown, Decision, DecisionKind, Kind, RequestSpec
from hitl.errors import InvalidInput
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement, SecondFactor
from hitl.v1 import gate_pb2

_RESULTS = {
    "": gate_pb2.RESULT_UNSPECIFIED,
    "Succeeded": gate_pb2.RESULT_SUCCEEDED,
    "Failed": gate_pb2.RESULT_FAILED,
    "NotStarted": gate_pb2.RESULT_NOT_STARTED,
}
_RESULT_WORDS = {value: word for word, value in _RESULTS.items()}


def review_of(decision: Decision) -> gate_pb2.Review:
    return gate_pb2.Review(
        reviewer=decision.reviewer,
        approved=decision.decision is not DecisionKind.DENIED,
        reason=decision.reason,
        category=str(decision.category or ""),
        overridden=decision.decision is DecisionKind.OVERRIDDEN,
    )


def is_overridden(reviews: Iterable[gate_pb2.Review]) -> bool:
    """Whether somebody approved against what the policy asks for (break-glass)."""
    return any(review.overridden for review in reviews)


def proof_of(decision: Decision) -> str:
    """For the audit log: ``ed25519:<signature>`` or ``oidc:hwk,pin``; empty where only the API server vouches."""
    proof = decision.proof
    return f"{proof.type}:{proof.signature or ','.join(proof.factors)}" if proof else ""


def result_to_proto(word: str) -> gate_pb2.Result:
    """`RequestStatus.result` on the wire; KeyError for a word that no sidecar could have reported."""
    return _RESULTS[word]


def result_from_proto(value: int) -> str:
    """The word for `RequestStatus.result`; InvalidInput for a number that this release does not know."""
    try:
        return _RESULT_WORDS[cast("gate_pb2.Result", value)]
    except KeyError:
        raise InvalidInput(f"result {value} is unknown here; send one of {', '.join(gate_pb2.Result.keys())}") from None


def terms_to_json(spec: RequestSpec) -> bytes:
    """What was approved, for `HoldResponse.terms_json`: what release compares with (I8) and an edit needs (D3)."""
    return orjson.dumps(
        {
            "kind": spec.kind,
            "tier": spec.tier,
            "digest": spec.digest,
            "requirements": [
                {
                    "name": r.name,
                    "approvals": r.approvals,
                    "anyOf": r.any_of,
                    "secondFactor": r.second_factor,
                    "orSecondPerson": r.or_second_person,
                    "origin": r.origin,
                }
                for r in spec.requirements
            ],
            "timeout": spec.timeout,
            "onTimeout": spec.on_timeout,
            "denialsToEnd": spec.denials_to_end,
            "denialCooldown": spec.denial_cooldown,
            "reasonRequired": spec.reason_required,
            "onBehalfOf": spec.on_behalf_of,
            "onBehalfOfMayApprove": spec.on_behalf_of_may_approve,
            "escalation": [{"after": s.after, "to": s.to, "origin": s.origin} for s in spec.escalation],
            "excluded": spec.excluded,
            "patchable": spec.patchable,
        },
        option=orjson.OPT_SORT_KEYS,
    )


def terms_from_json(document: bytes) -> RequestSpec:
    """A spec with nothing but terms. InvalidInput for anything that `terms_to_json` would not have written."""
    try:
        terms: dict[str, Any] = orjson.loads(document)
        return RequestSpec(
            kind=Kind(terms["kind"]),
            summary="",
            requester="",
            agent_pod="",
            agent_pod_uid="",
            service_account="",
            workload="",
            session_id="",
            call=CallShown("", "", ""),
            digest=terms["digest"],
            key="",
            sameness="",
            tier=terms["tier"],
            requirements=tuple(
                Requirement(
                    name=r["name"],
                    approvals=r["approvals"],
                    any_of=tuple(r["anyOf"]),
                    second_factor=SecondFactor(r["secondFactor"]),
                    or_second_person=r["orSecondPerson"],
                    origin=r["origin"],
                )
                for r in terms["requirements"]
            ),
            timeout=terms["timeout"],
            on_timeout=OnTimeout(terms["onTimeout"]),
            denials_to_end=terms["denialsToEnd"],
            denial_cooldown=terms["denialCooldown"],
            reason_required=tuple(terms["reasonRequired"]),
            on_behalf_of=terms["onBehalfOf"],
            on_behalf_of_may_approve=terms["onBehalfOfMayApprove"],
            escalation=tuple(EscalationStep(s["after"], tuple(s["to"]), s["origin"]) for s in terms["escalation"]),
            excluded=tuple(terms["excluded"]),
            patchable=tuple(terms["patchable"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"the hub sent terms that are not ours ({error!r}); hub and sidecar differ in release"
        ) from error
