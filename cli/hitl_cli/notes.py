"""What `extend` and `escalate` have in common: a note on a request, which the control plane heeds within moments."""

import asyncio
from dataclasses import dataclass

from hitl.approvals.requests import ApprovalRequest, Note, NoteType, State, Verified
from hitl.approvals.timeline import in_force
from hitl.errors import Forbidden, HitlError
from hitl.stores.protocol import ReviewerStore
from hitl_cli.deciding import PATIENCE, Reviewer
from hitl_cli.exits import Exit
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, chosen
from hitl_cli.session import Session
from hitl_cli.standing import brings_more_people
from hitl_cli.times import clock, until

_VERBS = {NoteType.EXTEND: "extend", NoteType.ESCALATE: "escalate"}


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: more time (`minutes`) or more people."""

    kind: NoteType
    name: str
    minutes: int = 0
    reason: str = ""

    @property
    def verb(self) -> str:
        """What the caller must be allowed to do."""
        return _VERBS[self.kind]


def leave(session: Session, ask: Ask) -> Exit:
    """Write the note, look for a moment whether it is in force, and say so."""
    request, heeded = asyncio.run(_left(session, ask))
    match session.screen.output:
        case Output.NAME:
            session.screen.data(f"{RESOURCE}/{request.name}")
        case Output.JSON | Output.YAML:
            from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: seldom asked for here

            session.screen.document(request_to_manifest(request))
        case Output.TABLE | Output.WIDE:
            done = "extended" if ask.kind is NoteType.EXTEND else "escalated"
            words = done if heeded else f"asked to be {done}, not yet heeded"
            session.screen.data(f"{RESOURCE}/{request.name} {words}")
            session.screen.talk(*(_effect(session, ask, request) if heeded else _unheeded(session, request)))
    return Exit.DONE if heeded else Exit.NOT_DECISIVE


async def _left(session: Session, ask: Ask) -> tuple[ApprovalRequest, bool]:
    async with session.place.open(follows=True) as desk:
        request = chosen(await desk.around([ask.name], decides=True), ask.name, session.place)
        voter = await desk.voter([request], ask.verb)
        reviewer = Reviewer(session.place, voter, session.now)
        reviewer.need_pending(request)
        reviewer.need(request, ask.verb)
        if ask.kind is NoteType.ESCALATE and not brings_more_people(request, session.now()):
            raise HitlError(_nobody_more(session, request))
        note = voter.note(request, ask.kind, minutes=ask.minutes, reason=ask.reason)
        stored = await reviewer.stored(desk.store, request, desk.store.note(request.namespace, request.name, note))
        followed, entry = await _followed(desk.store, stored, note)
    if entry is not None and entry.refused:
        raise Forbidden(voter.not_counted(request, entry.refused))
    return followed, entry is not None and followed.status.notes_applied > request.status.notes_applied


def _nobody_more(session: Session, request: ApprovalRequest) -> str:
    policies = [f"{each.kind} {each.name}" for each in request.spec.policies if each.kind.endswith("Policy")]
    whose = " and ".join(policies) or "the built-in policy"
    why = "every escalation step was taken" if request.spec.escalation else "there is no escalation step"
    return (
        f"nobody more can be asked to decide {request.name}: in {whose} {why}; nothing was recorded\n"
        f"Who can: {session.hint('show', request.name, about=request)}    "
        f"More time: {session.hint('extend', request.name, '15m', about=request)}    "
        "From now on: spec.approval.escalate"
    )


async def _followed(
    store: ReviewerStore, request: ApprovalRequest, note: Note
) -> tuple[ApprovalRequest, Verified | None]:
    """The request once the note is in force or refused, or as it is after PATIENCE, and the hub's word on the note."""
    before = request.status.notes_applied
    changes = store.watch(request.namespace)
    try:
        async with asyncio.timeout(PATIENCE):
            request = await store.get(request.namespace, request.name)
            while (entry := _entry(request, note)) is None or (
                not entry.refused and request.status.notes_applied == before and request.status.state is State.PENDING
            ):
                changed = await anext(changes)
                if changed.uid == request.uid:
                    request = changed
    except TimeoutError:
        pass
    finally:
        await changes.aclose()
    return request, _entry(request, note)


def _entry(request: ApprovalRequest, note: Note) -> Verified | None:
    return next((e for e in request.status.verified if (e.reviewer, e.note) == (note.reviewer, note.n)), None)


def _effect(session: Session, ask: Ask, request: ApprovalRequest) -> list[str]:
    now = session.now()
    deadline = in_force(request, now).deadline
    if ask.kind is NoteType.EXTEND:
        return [f"  it now expires in {until(deadline, now)} ({clock(deadline, now)})"]
    groups = list(dict.fromkeys(group for each in request.status.requirements for group in each.any_of))
    whom = f"people of {', '.join(groups)} may decide it" if groups else "nobody else is named in the policy"
    return [f"  {whom}; it expires in {until(deadline, now)}"]


def _unheeded(session: Session, request: ApprovalRequest) -> list[str]:
    return [
        f"  no control plane looked at it within {PATIENCE:.0f}s; whether it will be heeded is not known",
        *asyncio.run(session.place.unheard(request)),
    ]
