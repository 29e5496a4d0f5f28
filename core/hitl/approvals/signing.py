"""What a reviewer signs (SECURITY D5): everything that makes this decision this one, in exactly one spelling."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785

from hitl.approvals.requests import ApprovalRequest, Decision, Note, Proof
from hitl.errors import InvalidDecision

DECISION_VERSION: Final = "hitl.dev/decision/v1"
NOTE_VERSION: Final = "hitl.dev/note/v1"

# A signature proves presence now, not at some time; a clock may be a minute ahead of ours, no more.
OLDEST: Final = timedelta(minutes=5)
FARTHEST_AHEAD: Final = timedelta(minutes=1)


def signed_text(cluster_uid: str, request: ApprovalRequest, decision: Decision) -> bytes:
    """The bytes under a decision's signature: canonical JSON (RFC 8785).

    Whoever signs puts the time into `decision.proof` first, with an empty signature; the signature itself and the
    store's stamp are not part of the text. Times are in whole seconds, so that no store can change them.

    Uid and digest are those that the decision names. A good signature therefore does not say that it answers this
    request: whoever verifies it also compares the two with the request's own.

    Args:
        cluster_uid: UID of the cluster (standalone: of the home directory).
        request: the one that was shown.
        decision: with its proof.

    Raises:
        InvalidDecision: it carries no proof, or a value that has no exact JSON form.
    """
    return _canonical(
        {
            "version": DECISION_VERSION,
            **_about(cluster_uid, request, decision.proof),
            "requestUID": decision.request_uid,
            "digest": decision.digest,
            "reviewer": decision.reviewer,
            "decision": decision.decision.value,
            "reason": decision.reason,
            "category": decision.category.value if decision.category else None,
            "groups": sorted(decision.groups),
            "argumentsPatch": None if decision.arguments_patch is None else _plain(decision.arguments_patch),
            "answer": decision.answer,
        }
    )


def signed_note(cluster_uid: str, request: ApprovalRequest, note: Note) -> bytes:
    """The bytes under a note's signature; as `signed_text`."""
    return _canonical(
        {
            "version": NOTE_VERSION,
            **_about(cluster_uid, request, note.proof),
            "requestUID": note.request_uid,
            "digest": request.spec.digest,
            "reviewer": note.reviewer,
            "n": note.n,
            "type": note.type.value,
            "minutes": note.minutes,
            "reason": note.reason,
            "category": note.category.value if note.category else None,
        }
    )


def fresh(proof: Proof, now: datetime) -> bool:
    """Whether the proof was made in the last five minutes, and not more than a minute from now."""
    return -FARTHEST_AHEAD <= now - proof.time <= OLDEST


def _about(cluster_uid: str, request: ApprovalRequest, proof: Proof | None) -> dict[str, Any]:
    if proof is None:
        raise InvalidDecision(f"the word on {request.name} carries no proof; sign it with the reviewer's key")
    return {
        "clusterUID": cluster_uid,
        "namespace": request.namespace,
        "name": request.name,
        "proof": proof.type,
        **({"factors": sorted(proof.factors)} if proof.factors else {}),
        "time": proof.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _canonical(document: dict[str, Any]) -> bytes:
    try:
        return rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidDecision(f"it has no exact JSON form to sign: {error}; give such a value as a string") from error


def _plain(value: Any) -> Any:
    """Mappings as dicts: the only kind that JCS writes."""
    if hasattr(value, "items"):
        return {name: _plain(child) for name, child in value.items()}
    return [_plain(child) for child in value] if isinstance(value, list | tuple) else value
