"""How much people may say on one request, on a real API server: as much as leaves room for its end (I13, C1)."""

from collections.abc import Callable

import orjson
import pytest

from cluster.voting import ANA, PATIENCE, Court, Json, Person, adding, applies, ending, note_of, refused, vote_of
from hitl.approvals.requests import Requirement
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from stores.asking import a_spec

pytestmark = pytest.mark.timeout(600)

DENSE = "<&>" * 666
"""As many characters as a reason may have, near enough, each of which the API server stores as six bytes."""
Entry = Callable[[Person, int], Json]
GROUPS = tuple(f"{n:03d}{'<' * 100}" for n in range(24))


async def test_I13_a_request_that_is_full_of_words_can_still_be_denied_and_ended(court: Court) -> None:
    """I13, C1: crowds say the heaviest they may until nobody is let in; then a denial is, and the operator's word."""
    crowd = [Person(f"{n:02d}{'<' * 250}@example.com", ("crowd", *GROUPS)) for n in range(40)]
    court.let_in_group("crowd", "hitl-senior-reviewer", "hitl-test-writes-anything", member=crowd[0])
    asked = tuple(Requirement(f"r{n}", approvals=3, any_of=crowd[0].groups) for n in range(7))
    request = await court.ask(a_spec(requirements=asked, patchable=("/amount",)))

    def remark(person: Person, number: int) -> Json:
        return note_of(person, request, "Feedback", number, reason=DENSE)

    def edit(person: Person, _number: int) -> Json:
        patch = {f"{n}{'&' * 40}": 1 for n in range(20)}
        return vote_of(person, request, groups=crowd[0].groups[:4], argumentsPatch={"amount": patch})

    def crowded(person: Person, _number: int) -> Json:
        return vote_of(person, request, groups=list(crowd[0].groups[:20]))

    def denial(person: Person, _number: int) -> Json:
        return vote_of(person, request, "Denied", reason=DENSE)

    notes = await fill(court, request, crowd[:8], remark, notes=8)
    votes = await fill(court, request, crowd[8:19], edit) + await fill(court, request, crowd[19:30], crowded)
    denials = await fill(court, request, crowd[30:], denial)
    assert 20 < notes < 64, "all of them would fit, or hardly any"
    assert 5 < votes < 22, "likewise"
    assert 2 < denials < 10, "likewise"

    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    entries = (await court.look(request))["status"]
    words = [
        *({"reviewer": each["reviewer"], "groups": each.get("groups", [])} for each in entries["decisions"]),
        *({"reviewer": each["reviewer"], "note": each["n"]} for each in entries["notes"]),
    ]
    async with court.operator() as api:
        ended = await court.outcome(request, {"verified": words, **ending("Denied")}, api)
    assert ended["status"]["state"] == "Denied"
    print(f"{notes} notes, {votes} approvals, {denials} denials: {len(stored(ended)) >> 10} KiB")  # noqa: T201


async def fill(court: Court, request: Json, people: list[Person], entry: Entry, notes: int = 0) -> int:
    """Let people say it one after the other (`notes`: so many notes each), until there is no room; how many could."""
    path, where = court.path(request["metadata"]["name"], "status"), "notes" if notes else "decisions"
    said = 0
    for person in people:
        login = Access.from_kubeconfig(court.plane.admin, as_user=person.name, as_groups=person.groups)
        async with KubeAPI.open(login, deadline=PATIENCE) as api:
            for number in range(1, 1 + (notes or 1)):
                manager = f"crowd-{where}-{person.name[:2]}-{number}"
                try:
                    await applies(api, path, request, [entry(person, number)], manager=manager, where=where)
                except ApiError as error:
                    if "more than the request has room for" in str(error):
                        return said
                    raise
                said += 1
    return said


def stored(request: Json) -> bytes:
    """What the API server keeps of it: JSON in which <, > and & are escaped."""
    text = orjson.dumps(request)
    for character in b"<>&":
        text = text.replace(bytes([character]), b"\\u%04x" % character)
    return text


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": [f"{n:02d}{'<' * 240}" for n in range(16)]},
        {"argumentsPatch": {"amount": "<" * 6000}},
    ],
    ids=["groups", "an edit"],
)
async def test_C1_one_entry_alone_does_not_fill_a_request(court: Court, changes: Json) -> None:
    """C1: <, > and & count as the six bytes that they take where they are stored, and the refusal says so."""
    wordy = Person("wordy@example.com", tuple(changes.get("groups", ("support-leads",))), ANA.roles)
    court.let_in(wordy, {"hitl-test-writes-anything-too": ("approvalrequests/status", "patch")})
    request = await court.ask(a_spec(patchable=("/amount",)))
    entry = vote_of(wordy, request, reason="&" * 2000, **changes)
    await refused(court, wordy, request, adding(entry), "<, > and & take six bytes each", ways=("apply",))
