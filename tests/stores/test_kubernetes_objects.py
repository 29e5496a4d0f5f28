"""A stored object read as a request and changes written as patches, without a server."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.settle import settle
from hitl.approvals.settlement import Outcome
from hitl.errors import AlreadyExists, ApiError, Conflict, Forbidden, InvalidDecision, InvalidInput, NotFound, Refused
from hitl.kube.requests import request_to_manifest
from hitl.stores.kubernetes.objects import entry_of, new_object, request_of, status_patch
from hitl.stores.kubernetes.refusals import of_creating, of_deciding, of_reading, of_writing, words_of
from hitl.stores.kubernetes.reviewing import manager_of
from stores.asking import a_decision, a_note, a_spec, approved_by, believed, cancelled, consumed

T0 = datetime(2026, 5, 1, 2, 47, 10, tzinfo=UTC)
MODEL = ApprovalRequest("shop", "create-refund-7f3kq00000", "u-1", "41", T0, a_spec())


def stored(request: ApprovalRequest = MODEL, **metadata: Any) -> dict[str, Any]:
    found = request_to_manifest(request)
    found["metadata"].update(metadata)
    return found


def owner(manager: str, second: int, *entries: str) -> dict[str, Any]:
    owned = {f"k:{entry}": {".": {}} for entry in entries}
    part = "f:notes" if entries and '"n"' in entries[0] else "f:decisions"
    time = (T0 + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"manager": manager, "operation": "Apply", "time": time, "fieldsV1": {"f:status": {part: owned}}}


def test_I13_a_request_that_nobody_wrote_to_ends_at_creation_plus_timeout() -> None:
    """I13: a hub that dies right after its create leaves a request with the terms of the spec, which ends in time."""
    request = request_of(stored())
    assert request.status.expiration_time == T0 + timedelta(seconds=900)
    assert request.status.requirements == request.spec.requirements
    before, after = (settle(request, T0 + timedelta(seconds=seconds)) for seconds in (899, 900))
    assert (before.outcome, after.outcome) == (Outcome.WAITING, Outcome.EXPIRED)
    assert before.status is None


def test_C4_a_deadline_is_read_as_it_is_stored() -> None:
    """C4: what somebody wrote is seen as written, also where nothing else was, and the end comes when it should."""
    found = stored()
    found["status"] = {"state": "Pending", "expirationTime": "2099-01-01T00:00:00.000000Z"}
    request = request_of(found)
    assert request.status.expiration_time == datetime(2099, 1, 1, tzinfo=UTC)
    assert settle(request, T0 + timedelta(seconds=900)).outcome is Outcome.EXPIRED


def test_a_newer_servers_metadata_is_passed_over_and_an_unknown_field_of_ours_is_not() -> None:
    """Whatever an API server adds to metadata a request is read; an unknown field of spec or status has a path."""
    later = stored(generation=3, selfLink="/x", somethingNew={"a": 1}, managedFields=[], finalizers=["x"])
    assert request_of(later) == request_of(stored())
    later["spec"]["mood"] = "good"
    with pytest.raises(InvalidInput, match=r"spec\.mood"):
        request_of(later)


def test_votes_and_notes_have_the_time_of_the_servers_books() -> None:
    """The time of an entry is that of its manager, whatever stands in it; a co-owner who came later changes nothing."""
    voted = approved_by(MODEL, T0 + timedelta(seconds=99), "ana")
    voted = replace(voted, status=replace(voted.status, notes=(a_note(MODEL, "ben", 2),)))
    books = [
        owner("hitl:decision:ben", 60, '{"reviewer":"ana"}'),
        owner("hitl:decision:ana", 30, '{"reviewer":"ana"}'),
        owner("hitl:note-2:ben", 40, '{"n":2,"reviewer":"ben"}'),
        {"manager": "hitl-operator", "time": "2026-05-01T02:47:11Z", "fieldsV1": {"f:status": {"f:state": {}}}},
    ]
    read = request_of(stored(voted, managedFields=books))
    assert read.status.decisions[0].time == T0 + timedelta(seconds=30)
    assert read.status.notes[0].time == T0 + timedelta(seconds=40)


def test_a_vote_that_the_servers_books_do_not_know_has_no_time() -> None:
    """Without an owner an entry has no time, so it comes last and moves nothing (fails closed)."""
    read = request_of(stored(approved_by(MODEL, T0, "ana")))
    assert read.status.decisions[0].time is None


def test_opening_carries_no_status() -> None:
    """An opening is one create: name, namespace and what is asked; the server gives the rest."""
    body = new_object("shop", "n", a_spec())
    assert sorted(body) == ["apiVersion", "kind", "metadata", "spec"]
    assert body["metadata"] == {"namespace": "shop", "name": "n"}


def test_the_first_write_says_the_terms_and_later_ones_only_what_changed() -> None:
    """The operator writes changed keys only, never decisions or notes, bound to the version that was read."""
    voted = approved_by(request_of(stored()), T0, "ana")
    unjudged = replace(voted, status=replace(voted.status, verified=()))
    first = status_patch(unjudged, believed(unjudged))
    assert first["metadata"] == {"resourceVersion": "41"}
    assert sorted(first["status"]) == ["expirationTime", "requirements", "verified"]
    last = status_patch(voted, consumed(voted, T0))
    assert sorted(last["status"]) == [
        "conditions",
        "consumedBy",
        "consumedDigest",
        "consumedTime",
        "resolvedTime",
        "state",
    ]


def test_C2_a_reviewer_applies_his_own_entry_under_a_manager_of_its_own() -> None:
    """C2: the body has one entry and no time; each decision and each note has another manager, also for long names."""
    request = request_of(stored())
    body = entry_of(request, a_decision(request, time=T0))
    (entry,) = body["status"]["decisions"]
    assert (entry["reviewer"], "time" in entry, "notes" in body["status"]) == ("ana", False, False)
    assert "state" not in body["status"]
    entries = [a_decision(request), a_decision(request, "ben"), a_note(request), a_note(request, n=2)]
    long = [a_decision(request, f"{'x' * 200}{n}") for n in range(2)]
    managers = [manager_of(each) for each in (*entries, *long, a_decision(request, "änä"))]
    assert managers[:4] == ["hitl:decision:ana", "hitl:decision:ben", "hitl:note-1:ana", "hitl:note-2:ana"]
    assert len(set(managers)) == len(managers)
    assert all(len(each) <= 128 and each.isascii() for each in managers)


POLICY = (
    "approvalrequests.hitl.dev \"x\" is forbidden: ValidatingAdmissionPolicy 'hitl-decisions' with binding "
    "'hitl-decisions' denied request: you are ana and speak for nobody else"
)


def refusal(status: int, reason: str, message: str = "no", **details: Any) -> ApiError:
    return ApiError(status, reason, message, details)


def test_what_a_policy_says_is_shown_without_the_machinery_around_it() -> None:
    """A person reads the policy's sentence, or what is wrong with which field."""
    assert words_of(refusal(403, "Forbidden", POLICY)) == "you are ana and speak for nobody else"
    causes = [{"field": "status.state", "message": "follows from the conditions"}]
    assert words_of(refusal(422, "Invalid", "long", causes=causes)) == "status.state: follows from the conditions"
    assert words_of(refusal(403, "Forbidden", 'User "ana" cannot')) == 'User "ana" cannot'


@pytest.mark.parametrize(
    ("made", "wanted", "words"),
    [
        (of_deciding(refusal(403, "Forbidden", POLICY), "shop", "x"), Forbidden, "speak for nobody else"),
        (of_deciding(refusal(403, "Forbidden", "cannot"), "shop", "x"), Forbidden, "ask for the role hitl-reviewer"),
        (of_deciding(refusal(422, "Invalid", POLICY), "shop", "x"), InvalidDecision, "speak for nobody else"),
        (of_writing(refusal(409, "Conflict"), "shop", "x"), Conflict, "read it and decide again"),
        (of_writing(refusal(422, "Invalid", "stays"), "shop", "x"), Refused, "stays"),
        (of_writing(refusal(404, "NotFound", name="x"), "shop", "x"), NotFound, "shop/x"),
        (of_creating(refusal(409, "AlreadyExists"), "shop", "x"), AlreadyExists, "shop/x"),
        (of_creating(refusal(404, "NotFound", kind="namespaces"), "shop", "x"), NotFound, "no namespace shop"),
        (of_reading(refusal(401, "Unauthorized"), "shop"), Forbidden, "log in again"),
        (of_reading(refusal(403, "Forbidden"), "shop"), Forbidden, "hitl-viewer"),
    ],
)
def test_each_no_of_the_server_has_one_meaning(made: Exception, wanted: type[Exception], words: str) -> None:
    """Statuses become the errors that the protocol names, with the next step in words."""
    assert type(made) is wanted
    assert words in str(made)


def test_a_cancellation_is_a_small_patch() -> None:
    """What ends a request writes condition, state and time, with the terms if nothing was written before."""
    request = request_of(stored())
    patch = status_patch(request, cancelled(request, T0))
    assert sorted(patch["status"]) == ["conditions", "expirationTime", "requirements", "resolvedTime", "state"]
