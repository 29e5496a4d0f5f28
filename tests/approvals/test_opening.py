"""Which request stands for a call: attach, open, or refuse (DESIGN 8 "Key", SECURITY B4, B5)."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from approvals.asked import DIGEST, a_request, a_spec, at, voted, written
from hitl.approvals.conditions import CancelReason
from hitl.approvals.messages import AgentOutcome
from hitl.approvals.opening import Attach, Create, Refuse, first_status, may_touch, open_or_attach
from hitl.approvals.requests import ApprovalRequest, DecisionKind, RequestSpec
from hitl.approvals.settle import approve_unheld, cancel, consume, expire, settle
from hitl.approvals.timeline import LONGEST
from hitl.approvals.transitions import guard_opening
from hitl.policy.settings import Settings
from hitl.policy.verdicts import Requirement

BY_ID = a_spec(call=replace(a_spec().call, call_id="toolu_1"), key="toolu_1")
EDITED = "77aa01be" * 8


def opened(spec: RequestSpec, *standing: ApprovalRequest, **changes: Any) -> Attach | Create | Refuse:
    """What becomes of the call while `standing` hold the names n = 0, 1, …"""
    named = {f"r-{n}": replace(request, name=f"r-{n}") for n, request in enumerate(standing)}
    about: dict[str, Any] = {
        "name_of": lambda n: f"r-{n}",
        "find": named.get,
        "earlier": (),
        "open_in_workload": 0,
        "open_in_namespace": 0,
        "settings": Settings(),
        "now": at(60),
        **changes,
    }
    return open_or_attach(spec, **about)


def pending(spec: RequestSpec) -> ApprovalRequest:
    return replace(a_request(), spec=spec)


def approved(spec: RequestSpec) -> ApprovalRequest:
    request = voted(pending(spec), "ana")
    return written(request, approve_unheld(request, at(40)))


def consumed(spec: RequestSpec) -> ApprovalRequest:
    request = voted(pending(spec), "ana")
    return written(request, consume(request, at(50), digest=spec.digest, by="pod/1").status)  # type: ignore[arg-type]


def denied(spec: RequestSpec) -> ApprovalRequest:
    request = voted(pending(spec), "bo", DecisionKind.DENIED, reason="no")
    return written(request, settle(request, at(40)).status)  # type: ignore[arg-type]


def expired(spec: RequestSpec) -> ApprovalRequest:
    return written(pending(spec), expire(pending(spec), at(900)))


def cancelled(spec: RequestSpec, reason: CancelReason) -> ApprovalRequest:
    return written(pending(spec), cancel(pending(spec), at(5), reason, "because"))


def test_the_first_call_opens_a_request() -> None:
    """With nothing standing there the request of n = 0 is created."""
    assert opened(a_spec()) == Create("r-0", a_spec())


@pytest.mark.parametrize("spec", [a_spec(), BY_ID], ids=["by digest", "by call_id"])
@pytest.mark.parametrize("standing", [pending, approved])
def test_B4_a_retry_attaches_instead_of_asking_twice(spec: RequestSpec, standing: Any) -> None:
    """B4: the same call finds its request, pending or approved and not yet released."""
    found = opened(spec, standing(spec))
    assert isinstance(found, Attach)
    assert found.request.name == "r-0"


def test_a_retry_attaches_also_after_the_policy_changed() -> None:
    """What was asked under other terms still stands for the call: its release compares the policies (I8)."""
    assert isinstance(opened(a_spec(requirements=(Requirement("boss"),)), pending(a_spec())), Attach)


@pytest.mark.parametrize("ended", [denied, expired, lambda spec: cancelled(spec, CancelReason.WITHDRAWN)])
@pytest.mark.parametrize("spec", [a_spec(), BY_ID], ids=["by digest", "by call_id"])
def test_an_ended_request_raises_n(spec: RequestSpec, ended: Any) -> None:
    """What was denied (and cooled down), expired or was withdrawn is asked anew, and names the earlier request."""
    assert opened(spec, ended(spec)) == Create("r-1", replace(spec, earlier="r-0"))
    assert opened(spec, ended(spec), ended(spec)) == Create("r-2", replace(spec, earlier="r-1"))


def test_of_two_identical_calls_the_second_gets_a_request_of_its_own() -> None:
    """Without call_id a consumed request raises n: the other call is asked for, naming the one that ran."""
    assert opened(a_spec(), consumed(a_spec())) == Create("r-1", a_spec(earlier="r-0"))
    found = opened(a_spec(), consumed(a_spec()), pending(a_spec()))
    assert isinstance(found, Attach)
    assert found.request.name == "r-1"


def test_I6_a_released_call_id_stays_released() -> None:
    """I6: with equal call_id a second try is ALREADY_RELEASED, never a second request."""
    found = opened(BY_ID, expired(BY_ID), consumed(BY_ID))
    assert isinstance(found, Refuse)
    assert (found.answer.outcome, found.earlier) == (AgentOutcome.ALREADY_RELEASED, "r-1")


@pytest.mark.parametrize("standing", [pending, approved, consumed, denied, expired])
def test_B4_a_call_id_belongs_to_one_call(standing: Any) -> None:
    """B4: the same call_id with another digest is refused, whether the first call still waits or has ended."""
    found = opened(replace(BY_ID, digest=EDITED), standing(BY_ID))
    assert isinstance(found, Refuse)
    assert (found.answer.outcome, found.answer.reason_code) == (AgentOutcome.INVALID, "CALL_ID_REUSED")


def test_D3_after_an_edit_the_call_id_comes_back_with_the_edited_calls_digest() -> None:
    """D3: a request that made way lets its successor use the call_id, and only such a request does."""
    edited = replace(BY_ID, digest=EDITED, excluded=("ana",))
    found = opened(edited, cancelled(BY_ID, CancelReason.SUPERSEDED), supersedes=True)
    assert found == Create("r-1", replace(edited, earlier="r-0"))
    assert isinstance(opened(edited, cancelled(BY_ID, CancelReason.WITHDRAWN), supersedes=True), Refuse)
    asked_before = [expired(BY_ID), cancelled(BY_ID, CancelReason.SUPERSEDED)]
    assert isinstance(opened(edited, *asked_before, supersedes=True), Create)
    assert isinstance(opened(edited, *reversed(asked_before), supersedes=True), Refuse)


def test_D3_the_call_as_it_was_before_the_edit_is_told_of_the_edit() -> None:
    """D3: a retry that knows nothing of the edit is neither asked for again nor refused as somebody else's call_id."""
    for spec, later in ((BY_ID, 86_400), (a_spec(), 600)):
        two = replace(spec, requirements=(Requirement("r", 2),))
        request = voted(pending(two), "ana", arguments_patch={"amount": 12000})
        request = written(request, settle(request, at(40)).status)  # type: ignore[arg-type]
        found = opened(two, request, now=at(later))
        assert isinstance(found, Refuse)
        assert (found.answer.outcome, found.answer.reason_code) == (AgentOutcome.CANCELLED, "EDITED")
        assert '{"amount": 12000}' in found.answer.message
        successor = replace(two, digest=EDITED, excluded=("ana",))
        assert isinstance(opened(successor, request, supersedes=True, now=at(later)), Create)
    assert isinstance(opened(two, request, now=at(640)), Create), "without a call_id it is another intention by then"


def test_I8_a_successor_never_attaches_to_what_it_supersedes() -> None:
    """I8: after Superseded a request with the old terms is passed by, and one that asks the new ones is shared."""
    new = a_spec(requirements=(Requirement("boss", any_of=("bosses",)),))
    assert opened(new, pending(a_spec()), supersedes=True) == Create("r-1", replace(new, earlier="r-0"))
    found = opened(new, pending(a_spec()), pending(new), supersedes=True)
    assert isinstance(found, Attach)
    assert found.request.name == "r-1"
    other_editor = replace(new, excluded=("bo",))
    assert isinstance(opened(other_editor, pending(new), supersedes=True), Create)


@pytest.mark.parametrize("changes", [{"service_account": "other"}, {"workload": "deploy/other"}])
@pytest.mark.parametrize("spec", [a_spec(), BY_ID], ids=["by digest", "by call_id"])
def test_B4_another_principals_request_is_never_attached_to(changes: dict[str, str], spec: RequestSpec) -> None:
    """B4: a request of another ServiceAccount or workload under the same name is neither attached to nor told of."""
    assert opened(spec, pending(replace(spec, **changes))) == Create("r-1", spec)  # type: ignore[arg-type]


def test_B4_handles_do_not_cross_workloads() -> None:
    """B4: only the same ServiceAccount and workload may touch a request; knowing its name gives nothing."""
    assert may_touch(a_spec(), service_account="support", workload="deploy/support")
    assert not may_touch(a_spec(), service_account="support", workload="deploy/coder")
    assert not may_touch(a_spec(), service_account="coder", workload="deploy/support")


def test_B4_a_denied_call_is_refused_with_the_same_words() -> None:
    """B4: within the cooldown nothing is opened; the denial is repeated and names the request that said it."""
    earlier = denied(a_spec())
    found = opened(a_spec(), earlier, earlier=[earlier])
    assert isinstance(found, Refuse)
    assert found.answer.reason_code == "COOLDOWN"
    assert found.answer.message.startswith('A reviewer said no: "no".')
    assert isinstance(opened(a_spec(), earlier, earlier=[earlier], now=at(641)), Create)
    assert isinstance(opened(a_spec(denial_cooldown=0), earlier, earlier=[earlier]), Create)


@pytest.mark.parametrize(
    ("counts", "refused"),
    [((19, 199), False), ((20, 20), True), ((0, 200), True), ((0, 199), False)],
)
def test_B5_so_many_may_wait_and_no_more(counts: tuple[int, int], refused: bool) -> None:
    """B5: the 21st of a workload and the 201st of a namespace are refused, reason LIMIT, and nobody is asked."""
    found = opened(a_spec(), open_in_workload=counts[0], open_in_namespace=counts[1])
    assert isinstance(found, Refuse) is refused
    if isinstance(found, Refuse):
        assert (found.answer.outcome, found.answer.reason_code) == (AgentOutcome.DENIED, "LIMIT")


def test_B5_attaching_needs_no_room() -> None:
    """B5: a retry of a call that waits is answered also while the limit is reached: it asks nobody new."""
    assert isinstance(opened(a_spec(), pending(a_spec()), open_in_workload=20), Attach)
    more = Settings(max_pending_per_workload=10_000, max_pending_per_namespace=10_000)
    assert isinstance(opened(a_spec(), open_in_workload=20, settings=more), Create)


def test_a_new_request_starts_pending_with_its_terms_and_an_end() -> None:
    """The first status names requirements and deadline, no longer than seven days, and may be created."""
    status = first_status(a_spec(digest=DIGEST), at(0))
    assert (status.expiration_time, [each.name for each in status.requirements]) == (at(900), ["reviewer"])
    guard_opening(status, at(0))
    endless = first_status(a_spec(timeout=90 * 86400), at(0))
    assert endless.expiration_time == at(0) + LONGEST
    assert timedelta(days=7) == LONGEST
