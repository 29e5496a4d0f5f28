"""When a vote came in, by the books of a real API server, also where these are full."""

from datetime import UTC, datetime

import pytest

from cluster.gated_pods import until
from cluster.voting import ANA, SERIAL, Court, Json, Person, note_of, vote_of
from hitl.approvals.timeline import in_force
from hitl.errors import ApiError
from hitl.kube.requests import API_VERSION, KIND, spec_to_manifest
from hitl.policy.verdicts import Requirement
from hitl.stores.kubernetes.objects import request_of
from stores.asking import a_spec

# An API server keeps ten records of who wrote what by update, and throws the oldest together when one more comes. One
# is that of the creation, so nine votes fill it before the operator's first word on them.
FULL = 9


async def test_C2_full_books_move_no_vote_in_time(court: Court) -> None:
    """C2: the operator's first write makes the oldest records one; every vote and note has the time it came in at.

    From then on nobody adds a record by which the next ones would be thrown together; who applies needs none of these.
    """
    crowd = [Person(f"reviewer-{n}@example.com", ("crowd",)) for n in range(FULL + 1)]
    court.let_in_group("crowd", "hitl-reviewer", "hitl-test-writes-anything", member=crowd[0])
    asked = a_spec(on_behalf_of="", requirements=(Requirement("all", approvals=10),), denials_to_end=10)
    request = await opened(court, spec_to_manifest(asked))
    path = court.path(request["metadata"]["name"], "status")
    noted = crowd[0]

    async def updates(person: Person) -> None:
        status = (await court.look(request)).get("status", {})
        where, entry = (
            ("notes", note_of(person, request)) if person is noted else ("decisions", vote_of(person, request))
        )
        async with court.api(person) as api:
            body = {"status": {where: [*status.get(where, []), entry]}}
            await api.merge_patch(path, body, field_manager=f"by-update-{person.name}")

    for person in crowd[:FULL]:
        await updates(person)
        second = datetime.now(UTC).replace(microsecond=0)
        await until(lambda second=second: datetime.now(UTC).replace(microsecond=0) > second)
    before = times(await court.look(request))
    assert len(before) == FULL
    assert None not in before.values()
    assert len(set(before.values())) > FULL // 2, "they came one after the other"

    async with court.operator() as api:
        await court.outcome(request, {"verified": [{"reviewer": noted.name, "note": 1}]}, api)
        await court.outcome(request, {"notesApplied": 1}, api)
    live = await court.look(request)
    assert "ancient-changes" in {each["manager"] for each in live["metadata"]["managedFields"]}
    assert times(live) == before
    terms = in_force(request_of(live), datetime.now(UTC))
    assert (terms.notes_applied, terms.expired) == (1, False)

    with pytest.raises(ApiError, match="he record of who wrote when must stay"):
        await updates(crowd[FULL])
    await court.vote(crowd[FULL], request)
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    after = times(await court.look(request))
    assert {key: time for key, time in after.items() if key in before} == before
    assert len(after) == FULL + 2


async def opened(court: Court, spec: Json) -> Json:
    """A request as the hub makes it, before its first word on it."""
    name = f"create-refund-{next(SERIAL):010d}"
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": court.namespace}}
    async with court.operator() as api:
        return await api.create(court.path(), {**body, "spec": spec}, field_manager="hitl-operator")


def times(found: Json) -> dict[tuple[str, int], datetime | None]:
    status = request_of(found).status
    decisions = {(each.reviewer, 0): each.time for each in status.decisions}
    return decisions | {(each.reviewer, each.n): each.time for each in status.notes}
