"""How decisions are told: the first line on stdout says what is now true, the rest on stderr what follows from it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hitl.approvals.conditions import CancelReason, outcome
from hitl.approvals.requests import ApprovalRequest, Category, DecisionKind, Kind, State
from hitl.approvals.requirements import votes
from hitl.errors import HitlError, NoLongerPending
from hitl_cli.arguments import changes
from hitl_cli.deciding import PATIENCE, Recorded, Stage
from hitl_cli.difference import patched
from hitl_cli.edge import exit_code_of
from hitl_cli.endings import deciders, ending, ending_in_a_row, refused_edit, state_at
from hitl_cli.exits import Exit, worst
from hitl_cli.lines import Line, hanging
from hitl_cli.page import who_decides
from hitl_cli.render import Output
from hitl_cli.requests import RESOURCE, agent_of
from hitl_cli.session import Session
from hitl_cli.times import took


@dataclass(frozen=True, slots=True)
class Choice:
    """What was typed."""

    kind: DecisionKind
    names: Sequence[str]
    reason: str = ""
    category: Category | None = None
    edits: Sequence[str] = ()
    group: bool = False
    items: Sequence[str] = ()

    @property
    def verb(self) -> str:
        """``approved``, ``denied`` or ``overridden``."""
        return self.kind.value.lower()


@dataclass(frozen=True, slots=True)
class Skip:
    """A request of a batch that is left alone, and why."""

    request: ApprovalRequest
    why: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A request of a batch that could not be decided; as it stands now."""

    request: ApprovalRequest
    error: HitlError


Answer = Recorded | Skip | Failure
_NOUNS = {
    DecisionKind.APPROVED: "approval",
    DecisionKind.DENIED: "denial",
    DecisionKind.OVERRIDDEN: "override",
}


def print_one(session: Session, choice: Choice, recorded: Recorded) -> Exit:
    """One decision in full."""
    screen, request = session.screen, recorded.request
    match screen.output:
        case Output.NAME:
            screen.data(f"{RESOURCE}/{request.name}")
        case Output.JSON | Output.YAML:
            from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - start-up: seldom asked for here

            screen.document(request_to_manifest(request))
        case Output.TABLE | Output.WIDE:
            screen.data(f"{RESOURCE}/{request.name} {_words(session, choice, recorded)}")
            screen.talk(*_details(session, choice, recorded))
    return _code(recorded)


def print_many(session: Session, choice: Choice, answers: Sequence[Answer]) -> Exit:
    """One line for each of several, then how many there were of each kind; the worst exit code wins."""
    screen = session.screen
    match screen.output:
        case Output.NAME:
            screen.data(*(f"{RESOURCE}/{a.request.name}" for a in answers if isinstance(a, Recorded)))
        case Output.JSON | Output.YAML:
            from hitl.kube.requests import request_to_manifest  # noqa: PLC0415 - as above

            items = [request_to_manifest(answer.request) for answer in answers]
            screen.document({"apiVersion": "v1", "kind": "List", "items": items})
        case Output.TABLE | Output.WIDE:
            rows = [_row(session, choice, answer) for answer in answers]
            screen.data(*(f"{RESOURCE}/{a.request.name} {words}" for a, (words, _) in zip(answers, rows, strict=True)))
            screen.talk(", ".join(f"{count} {kind}" for kind, count in Counter(kind for _, kind in rows).items()))
    return worst(_code(answer) for answer in answers)


def _code(answer: Answer) -> Exit:
    match answer:
        case Skip():
            return Exit.ERROR
        case Failure():
            return exit_code_of(answer.error)
        case Recorded(stage=Stage.DECISIVE):
            return Exit.DONE
        case Recorded(stage=Stage.OVERTAKEN):
            return Exit.NOT_DECISIVE if _is_superseded(answer.request) else Exit.NO_LONGER_PENDING
        case Recorded():
            return Exit.NOT_DECISIVE


def _row(session: Session, choice: Choice, answer: Answer) -> tuple[str, str]:
    """The words of one line, and what it counts as in the last one."""
    match answer:
        case Skip():
            return f"skipped: {answer.why}", "skipped"
        case Failure(error=NoLongerPending()):
            now = session.now()
            words = f"{ending_in_a_row(answer.request, now)}, not {choice.verb}"
            return words, state_at(answer.request, now).value.lower()
        case Failure():
            first, *_ = str(answer.error).split("\n")
            return f"not {choice.verb}: {first}", f"not {choice.verb}"
        case Recorded(stage=Stage.DECISIVE):
            return _words(session, choice, answer), choice.verb
        case Recorded():
            return _words(session, choice, answer), "recorded"


def _words(session: Session, choice: Choice, recorded: Recorded) -> str:
    """What is now true of the request, continuing a line that began with its name."""
    request = recorded.request
    noun = _NOUNS[choice.kind]
    match recorded.stage:
        case Stage.DECISIVE if _is_done(choice, request):
            return "marked as done"
        case Stage.DECISIVE:
            return f"{choice.verb} with changes" if recorded.decision.arguments_patch else choice.verb
        case Stage.MORE_NEEDED:
            filled, places = _count(session, choice, request)
            return f"{noun} recorded, not yet decisive ({filled} of {places})"
        case Stage.NOT_COUNTED:
            return f"{noun} recorded, not yet counted"
        case Stage.OVERTAKEN if _is_superseded(request):
            return "made way for the changed call, which another person must approve"
        case Stage.OVERTAKEN:
            return f"{ending_in_a_row(request, session.now())}, not {choice.verb}"


def _count(session: Session, choice: Choice, request: ApprovalRequest) -> tuple[int, int]:
    if choice.kind is DecisionKind.DENIED:
        return len(deciders(request, DecisionKind.DENIED)), request.spec.denials_to_end
    return votes(session.place.progress(request))


def _details(session: Session, choice: Choice, recorded: Recorded) -> list[Line]:
    request, decision, width = recorded.request, recorded.decision, session.screen.width
    match recorded.stage:
        case Stage.NOT_COUNTED:
            return [
                f"  no control plane looked at it within {PATIENCE:.0f}s; whether it will count is not known",
                *asyncio.run(session.place.unheard(request)),
            ]
        case Stage.OVERTAKEN if _is_superseded(request):
            return [f"Next: {session.hint('list')}"]
        case Stage.OVERTAKEN:
            return _overtaken(session, request, width)
        case Stage.MORE_NEEDED if choice.kind is DecisionKind.APPROVED:
            return who_decides(request, session.place, session.now())
        case Stage.DECISIVE if choice.kind is DecisionKind.APPROVED and decision.arguments_patch is not None:
            told = f"{_replaced(request)}the agent is told what changed · {_picked_up(recorded)}"
            lines = [*changes(*patched(request, decision.arguments_patch), width), *hanging("  ", told, width)]
            looked = f"What became of it: {session.hint('show', request.name, about=request)}"
            return lines if request.status.consumed_time else [*lines, looked]
        case Stage.DECISIVE if _is_done(choice, request):
            return hanging("  ", f"{request.spec.summary} · the agent is told that a person did it", width)
        case Stage.DECISIVE if choice.kind is not DecisionKind.DENIED:
            told = f"{request.spec.summary} · digest {request.spec.digest[:8]} · {_picked_up(recorded)}"
            return hanging("  ", told, width)
        case _:
            return hanging("  the agent is told: ", f'"{decision.reason}"', width) if decision.reason else []


def _is_done(choice: Choice, request: ApprovalRequest) -> bool:
    """Whether a suggestion was answered by doing it: the agent never runs one."""
    return choice.kind is DecisionKind.APPROVED and request.spec.kind is Kind.SUGGESTION


def _overtaken(session: Session, request: ApprovalRequest, width: int) -> list[Line]:
    """How it ended instead, and where to look."""
    refused = refused_edit(request)
    words = f"the edited call was refused: {refused}" if refused else ending(request, session.now())
    return [*hanging("  ", words, width), f"Next: {session.hint('show', request.name, about=request)}"]


def _replaced(request: ApprovalRequest) -> str:
    new, old = request.status.consumed_digest, request.spec.digest
    return f"digest {new[:8]} replaces {old[:8]}; " if new and new != old else ""


def _picked_up(recorded: Recorded) -> str:
    request, decided = recorded.request, recorded.decision.time
    taken = request.status.consumed_time
    if taken is None and recorded.decision.arguments_patch is not None:
        return "the policy is asked about the changed call when the agent picks it up, and may refuse it"
    if taken is None:
        return "approved, not yet picked up by the agent; it resumes on its next try"
    return f"released to {agent_of(request)}{f' in {took(taken - decided)}' if decided else ''}"


def _is_superseded(request: ApprovalRequest) -> bool:
    condition = outcome(request.status.conditions, State.CANCELLED)
    return condition is not None and condition.reason == CancelReason.SUPERSEDED
