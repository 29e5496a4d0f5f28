"""What a wish to hold a call leads to: the request that stands for it, a new one, or a refusal.

The hub carries it out; where the name was taken meanwhile, it reads that request and decides again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hitl.approvals.conditions import CancelReason, outcome, state_of
from hitl.approvals.cooldown import refusal
from hitl.approvals.edits import tally
from hitl.approvals.messages import Answer, already_released, call_id_reused, cancelled, cooled_down, too_many
from hitl.approvals.requests import ApprovalRequest, RequestSpec, RequestStatus, State
from hitl.approvals.requirements import fold, requirements_in_force, requirements_of
from hitl.approvals.timeline import LONGEST
from hitl.policy.settings import Settings


@dataclass(frozen=True, slots=True)
class Attach:
    """This request stands for the call: wait on it."""

    request: ApprovalRequest


@dataclass(frozen=True, slots=True)
class Create:
    """Nobody was asked yet: create a request of this name. AlreadyExists: read that one and decide again."""

    name: str
    spec: RequestSpec


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody is asked. `earlier` names the request that says why, empty where a limit does."""

    answer: Answer
    earlier: str = ""


def open_or_attach(
    spec: RequestSpec,
    *,
    name_of: Callable[[int], str],
    find: Callable[[str], ApprovalRequest | None],
    earlier: Iterable[ApprovalRequest],
    open_in_workload: int,
    open_in_namespace: int,
    settings: Settings,
    now: datetime,
    supersedes: bool = False,
) -> Attach | Create | Refuse:
    """Which request stands for this call.

    The names of a key are tried in order. One that ended raises n; one that is open is attached to if it is the same
    call, so a retry never asks twice. A key that is a call_id belongs to one call: with another digest it is refused,
    and once released it stays released. Clean-up must therefore keep an ended request while a later one of its key
    is open.

    A call that a reviewer would approve only with changes, in a request that made way for the changed call, is told
    so again, as a denied one is told its denial: for the cooldown, or for good where a call_id says that it is the
    same intention.

    Args:
        spec: what would be asked; its `earlier` is filled in here.
        name_of: n -> name; see `keys.request_name`.
        find: the stored request of that name, or None; one whose time is up should have been settled and written.
        earlier: recently denied requests of the same workload, for the cooldown (SECURITY B4).
        open_in_workload: how many requests of the workload are open now, in all its pods (SECURITY B5).
        open_in_namespace: the same for the namespace.
        settings: for `max_pending_per_…`.
        now: aware, UTC.
        supersedes: the request that stood for this call was just superseded: attach to none but its successor.
    """
    n, named, another = 0, spec.earlier, ""
    while (standing := find(name_of(n))) is not None:
        # Another principal's request is passed by: a rare accident of names, or one of a ServiceAccount it had before.
        if may_touch(standing.spec, service_account=spec.service_account, workload=spec.workload):
            met = _meet(spec, standing, now, supersedes=supersedes)
            if met is not None:
                return met
            named = standing.name
            another = standing.name if _was_another(spec, standing) else ""
        n += 1
    if another:
        return Refuse(call_id_reused(another), another)
    tool = f"{spec.call.server}/{spec.call.tool}"
    if refused := refusal(earlier, spec.sameness, tool, now, spec.denial_cooldown):
        return Refuse(cooled_down(refused), refused.earlier.name)
    for count, limit, where in (
        (open_in_workload, settings.max_pending_per_workload, "workload"),
        (open_in_namespace, settings.max_pending_per_namespace, "namespace"),
    ):
        if count >= limit:
            return Refuse(too_many(count, limit, where))
    return Create(name_of(n), replace(spec, earlier=named))


def first_status(spec: RequestSpec, now: datetime) -> RequestStatus:
    """The status of a request that is created now."""
    ends = now + min(timedelta(seconds=max(1, spec.timeout)), LONGEST)
    return RequestStatus(expiration_time=ends, requirements=requirements_of(spec))


def may_touch(spec: RequestSpec, *, service_account: str, workload: str) -> bool:
    """Whether this agent may attach to, wait on, cancel, consume or report the request: only its own (SECURITY B4)."""
    return (spec.service_account, spec.workload) == (service_account, workload)


def _meet(spec: RequestSpec, standing: ApprovalRequest, now: datetime, *, supersedes: bool) -> Attach | Refuse | None:
    """What a request under one of the key's names means for the call; None: look at the next name."""
    there, state = standing.spec, state_of(standing.status.conditions)
    same = there.digest == spec.digest
    by_call_id = bool(spec.call.call_id) and there.key == spec.key
    if state.is_terminal:
        if by_call_id and state is State.CONSUMED:
            return Refuse(already_released(standing) if same else call_id_reused(standing.name), standing.name)
        made_way = _made_way(standing)
        edit = tally(standing, requirements_in_force(standing)).wanted if made_way and same and not supersedes else None
        if made_way and edit and (by_call_id or now < made_way + timedelta(seconds=spec.denial_cooldown)):
            return Refuse(cancelled(CancelReason.SUPERSEDED, standing.name, edit=edit), standing.name)
        return None
    return Attach(standing) if same and (not supersedes or _is_successor(spec, there)) else None


def _was_another(spec: RequestSpec, passed: ApprovalRequest) -> bool:
    """Whether the call_id stood for another call when it was last asked for, and did not make way for this one."""
    by_call_id = bool(spec.call.call_id) and passed.spec.key == spec.key
    return by_call_id and passed.spec.digest != spec.digest and _made_way(passed) is None


def _made_way(standing: ApprovalRequest) -> datetime | None:
    """When it was superseded: only such a call_id may come back with another digest, that of the edited call."""
    condition = outcome(standing.status.conditions, State.CANCELLED)
    return condition.last_transition_time if condition and condition.reason == CancelReason.SUPERSEDED else None


def _is_successor(spec: RequestSpec, there: RequestSpec) -> bool:
    """Whether an open request already asks what the successor would ask: two callers of one call share it."""
    return (there.tier, requirements_of(there), set(map(fold, there.excluded))) == (
        spec.tier,
        requirements_of(spec),
        set(map(fold, spec.excluded)),
    )
