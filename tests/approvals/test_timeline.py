"""Deadlines, the extra round, escalation steps and notes: what is in force at which moment."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import a_note, a_request, at, noted, written
from hitl.approvals.requests import ApprovalRequest, NoteType, RequestStatus, Verified
from hitl.approvals.settle import settle
from hitl.approvals.timeline import LONGEST, deadline_of, in_force, requirements_due
from hitl.approvals.transitions import with_verified
from hitl.errors import HitlError
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement

ORIGIN = "AgentPolicy/shop/support"
LEAD = Requirement("lead", any_of=("leads",), origin=ORIGIN)
CLUSTER = Requirement("cluster/security", any_of=("security",), origin="ClusterAgentPolicy/base")
STEPS = (EscalationStep(600, ("managers",), ORIGIN), EscalationStep(300, ("oncall", "leads"), ORIGIN))


def groups_at(request: ApprovalRequest, seconds: float) -> tuple[str, ...]:
    return in_force(request, at(seconds)).requirements[0].any_of


def test_the_deadline_is_creation_plus_timeout_until_something_is_written() -> None:
    """A request with an empty status, as a cluster stores it, ends after its timeout."""
    assert deadline_of(a_request()) == at(900)
    assert deadline_of(a_request(RequestStatus(expiration_time=at(903)))) == at(903)
    assert deadline_of(a_request(timeout=8 * 86400)) == at(7 * 86400)


def test_a_deadline_written_a_moment_off_is_not_corrected() -> None:
    """Store and hub stamp with two clocks: what was written stands, or every look would want to write again."""
    request = a_request(RequestStatus(expiration_time=at(899.7)))
    assert in_force(request, at(10)).deadline == at(899.7)
    assert in_force(request, at(899.8)).expired


@pytest.mark.parametrize(
    ("on_timeout", "seconds", "expired", "rounds"),
    [
        (OnTimeout.ABORT, 899, False, 0),
        (OnTimeout.ABORT, 900, True, 0),
        (OnTimeout.RETRY, 900, False, 1),
        (OnTimeout.RETRY, 1799, False, 1),
        (OnTimeout.RETRY, 1800, True, 1),
        (OnTimeout.ESCALATE, 900, False, 1),
        (OnTimeout.ESCALATE, 1800, True, 1),
        (OnTimeout.ESCALATE, 99999, True, 1),
    ],
)
def test_I13_every_way_to_time_out_ends(on_timeout: OnTimeout, seconds: int, expired: bool, rounds: int) -> None:
    """I13: Abort ends at the deadline, Escalate and Retry after one more timeout, seen on time or long after."""
    force = in_force(a_request(on_timeout=on_timeout), at(seconds))
    assert (force.expired, force.rounds) == (expired, rounds)


def test_escalation_steps_come_due_by_time_in_their_order() -> None:
    """After 5 minutes oncall, after 10 managers too; known groups are not listed twice."""
    request = a_request(requirements=(LEAD,), escalation=STEPS)
    assert groups_at(request, 299) == ("leads",)
    assert groups_at(request, 300) == ("leads", "oncall")
    assert groups_at(request, 600) == ("leads", "oncall", "managers")
    assert in_force(request, at(0)).next_change == at(300)
    assert in_force(request, at(300)).next_change == at(600)
    assert in_force(request, at(600)).next_change == at(900)


def test_escalation_widens_only_its_own_policys_requirements() -> None:
    """A team's escalation adds nobody to what the cluster baseline asks, nor to a requirement that anyone may meet."""
    anyone = Requirement("reviewer", origin=ORIGIN)
    request = a_request(requirements=(LEAD, CLUSTER, anyone), escalation=STEPS)
    assert [each.any_of for each in in_force(request, at(600)).requirements] == [
        ("leads", "oncall", "managers"),
        ("security",),
        (),
    ]


def test_a_timeout_that_escalates_adds_every_group_the_policy_names() -> None:
    """With onTimeout Escalate all steps are taken at once; with none left the same people get a second chance."""
    later = (EscalationStep(3600, ("managers",), ORIGIN),)
    request = a_request(requirements=(LEAD,), escalation=later, on_timeout=OnTimeout.ESCALATE)
    assert groups_at(request, 899) == ("leads",)
    assert groups_at(request, 900) == ("leads", "managers")
    retry = a_request(requirements=(LEAD,), escalation=later, on_timeout=OnTimeout.RETRY)
    assert groups_at(retry, 900) == ("leads",)
    assert groups_at(a_request(requirements=(LEAD,), on_timeout=OnTimeout.ESCALATE), 900) == ("leads",)


def test_a_step_after_the_deadline_never_comes() -> None:
    """Nobody is added to a request whose time is up."""
    request = a_request(requirements=(LEAD,), escalation=(EscalationStep(900, ("oncall",), ORIGIN),))
    force = in_force(request, at(5000))
    assert force.expired
    assert force.requirements == (LEAD,)


def test_an_extend_note_moves_the_deadline_and_an_escalate_note_takes_the_next_step() -> None:
    """Extend adds its minutes to the deadline, Escalate brings the next step forward; each is counted."""
    request = a_request(requirements=(LEAD,), escalation=STEPS)
    request = noted(request, a_note("ana", 1, minutes=10), when=60)
    request = noted(request, a_note("ana", 2, NoteType.ESCALATE), when=61)
    force = in_force(request, at(62))
    assert (force.deadline, force.escalated, force.notes_applied) == (at(1500), 1, 2)
    assert groups_at(request, 62) == ("leads", "oncall")
    assert groups_at(request, 300) == ("leads", "oncall")
    assert groups_at(request, 600) == ("leads", "oncall", "managers")


@pytest.mark.parametrize("kind", [NoteType.EXTEND, NoteType.ESCALATE])
def test_an_unverified_note_moves_nothing(kind: NoteType) -> None:
    """A note changes the terms only once the hub has said whose it is."""
    request = a_request(requirements=(LEAD,), escalation=STEPS)
    unjudged = noted(request, a_note("ana", 1, kind), when=60, verified=False)
    assert in_force(unjudged, at(70)) == in_force(request, at(70))


def test_a_refused_note_and_a_note_of_a_later_moment_move_nothing() -> None:
    """A note that the hub refused never counts; one that was stored after the moment in question does not yet."""
    request = noted(a_request(), a_note("ana"), when=60, verified=False)
    refused = written(request, with_verified(request, [Verified("ana", note=1, refused="signature does not fit")]))
    assert in_force(refused, at(70)).notes_applied == 0
    counted = written(request, with_verified(request, [Verified("ana", note=1)]))
    assert [in_force(counted, at(seconds)).notes_applied for seconds in (59, 60)] == [0, 1]


def test_I13_notes_cannot_keep_a_request_open_past_seven_days() -> None:
    """I13: eight notes of each of three people still leave the end at creation + 7 days."""
    request = a_request(on_timeout=OnTimeout.RETRY)
    for index, who in enumerate(("ana", "bo", "cy")):
        for n in range(1, 9):
            try:
                request = noted(request, a_note(who, n, minutes=2 * 1440), when=index * 8 + n)
            except HitlError:
                break
    force = in_force(request, at(100))
    assert force.deadline == at(LONGEST.total_seconds())
    assert in_force(request, at(LONGEST.total_seconds())).expired


def test_a_note_that_came_in_time_counts_also_if_it_is_judged_late() -> None:
    """A hub that was away at the deadline still honours the extension that was stored before it."""
    request = noted(a_request(), a_note("ana", minutes=60), when=899)
    assert not in_force(request, at(1000)).expired
    assert in_force(request, at(900 + 3600)).expired


def test_a_note_after_the_deadline_revives_nothing() -> None:
    """Where the time was up when the note came, it stays up."""
    request = a_request()
    late = replace(RequestStatus(), notes=(a_note("ana", time=at(901)),))
    request = replace(request, status=replace(late, verified=noted(a_request(), a_note("ana"), when=1).status.verified))
    assert in_force(request, at(902)).expired
    assert in_force(request, at(902)).notes_applied == 0


def test_a_note_judged_in_the_second_round_keeps_nothing_open_past_its_end() -> None:
    """The round was granted before the hub saw the note: what was told to end at 30 minutes ends then."""
    request = noted(a_request(on_timeout=OnTimeout.RETRY), a_note("ana", minutes=10), when=899, verified=False)
    request = written(request, settle(request, at(900)).status)  # type: ignore[arg-type]
    request = written(request, with_verified(request, [Verified("ana", note=1)]))
    request = written(request, settle(request, at(1000)).status)  # type: ignore[arg-type]
    assert (request.status.expiration_time, request.status.notes_applied) == (at(1800), 1)
    assert not in_force(request, at(1799)).expired
    assert in_force(request, at(1800)).expired


MOMENTS = st.integers(0, 4000)


@given(
    events=st.lists(st.tuples(MOMENTS, st.sampled_from(["look", "verify", "extend", "escalate"])), max_size=8),
    on_timeout=st.sampled_from(list(OnTimeout)),
)
def test_I13_what_waits_has_an_end_before_it_and_what_is_past_it_has_ended(
    events: list[tuple[int, str]], on_timeout: OnTimeout
) -> None:
    """I13: however late notes are judged, each write is allowed, and what still waits then has its end before it."""
    request = a_request(requirements=(LEAD,), escalation=STEPS, on_timeout=on_timeout)
    for when, event in sorted(events, key=lambda each: each[0]):
        try:
            if event == "verify":
                entries = [Verified(note.reviewer, note=note.n) for note in request.status.notes]
                request = written(request, with_verified(request, entries))
            elif event != "look":
                note = a_note("ana", len(request.status.notes) + 1, NoteType(event.capitalize()))
                request = noted(request, note, when=when, verified=False)
        except HitlError:
            continue
        found = settle(request, at(when))
        request = written(request, found.status or request.status)
        if found.outcome == "Waiting":
            assert request.status.expiration_time is not None
            assert found.look_again is not None
            assert at(when) < request.status.expiration_time <= at(LONGEST.total_seconds())
            assert at(when) < found.look_again <= request.status.expiration_time


@given(
    looks=st.lists(MOMENTS, max_size=6),
    notes=st.lists(st.tuples(MOMENTS, st.sampled_from([NoteType.EXTEND, NoteType.ESCALATE])), max_size=4),
    on_timeout=st.sampled_from(list(OnTimeout)),
    last=MOMENTS,
)
def test_it_does_not_matter_who_looks_how_often(
    looks: list[int], notes: list[tuple[int, NoteType]], on_timeout: OnTimeout, last: int
) -> None:
    """However often the terms are settled and written in between, at the end they are those of a single late look."""
    fresh = a_request(requirements=(LEAD,), escalation=STEPS, on_timeout=on_timeout)
    watched = untouched = fresh
    events: list[tuple[int, NoteType | None]] = [(when, kind) for when, kind in notes] + [
        (when, None) for when in looks
    ]
    count = 0
    for when, kind in sorted(events, key=lambda event: event[0]):
        if when > last:
            break
        if kind is None:
            found = settle(watched, at(when))
            watched = written(watched, found.status or watched.status)
            continue
        try:
            after = noted(watched, a_note("ana", count + 1, kind), when=when)
        except HitlError:
            continue
        count += 1
        untouched = noted(untouched, a_note("ana", count, kind), when=when)
        watched = after
    if watched.status.state == "Pending":
        assert in_force(watched, at(last)) == in_force(untouched, at(last))
    else:
        assert settle(untouched, at(last)).outcome == "Expired"


def test_I5_B3_one_person_under_two_spellings_extends_once() -> None:
    """I5, B3: of two notes of one number whose authors fold alike, as an API server may have both, the first counts."""
    twins = (a_note("Ünal", 1, time=at(20)), a_note("ünal", 1, time=at(10)), a_note("ÜNAL", 2, time=at(30)))
    words = tuple(Verified(note.reviewer, note=note.n) for note in twins)
    request = a_request(RequestStatus(notes=twins, verified=words))
    force = in_force(request, at(40))
    assert (force.notes_applied, force.deadline) == (2, at(900 + 2 * 15 * 60))


@given(
    escalated=st.integers(0, 2), rounds=st.integers(0, 1), deadline=st.integers(1, 86_400), seconds=st.integers(0, 599)
)
def test_D5_what_is_due_follows_from_the_spec_and_the_clock_alone(
    escalated: int, rounds: int, deadline: int, seconds: int
) -> None:
    """D5: counters and requirements that a hub's token could write widen nothing too early and shrink nothing."""
    told = RequestStatus(
        requirements=(Requirement("anyone"),), escalated=escalated, rounds=rounds, expiration_time=at(deadline)
    )
    request = a_request(told, requirements=(LEAD,), escalation=STEPS, on_timeout=OnTimeout.ESCALATE)
    (due,) = requirements_due(request, at(seconds))
    assert replace(due, any_of=()) == replace(LEAD, any_of=())
    assert due.any_of == (("leads",) if seconds < 300 else ("leads", "oncall"))
