"""What `approve` and `deny` have in common: which requests are meant, the reason, and carrying it out."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from hitl.approvals.requests import ApprovalRequest, Category, DecisionKind
from hitl.errors import AmbiguousName, HitlError, NoLongerPending, NotFound
from hitl.stores.protocol import ReviewerStore
from hitl_cli.answers import Answer, Choice, Failure, Skip, print_many, print_one
from hitl_cli.as_shown import is_as_shown
from hitl_cli.deciding import Recorded, Reviewer
from hitl_cli.edit import patch_of
from hitl_cli.endings import deciders
from hitl_cli.exits import Exit
from hitl_cli.past import alone_because, group_of
from hitl_cli.place import Place
from hitl_cli.requests import chosen
from hitl_cli.session import Session
from hitl_cli.wishes import Wish

# How many of the usual answers are offered.
_USUAL = 3


def decide(session: Session, choice: Choice) -> Exit:
    """Carry it out and print what came of it: one request in full, several in one line each."""
    requests, reviewer = asyncio.run(_read(session, choice))
    alone = len(requests) == 1 and not choice.group
    if alone:
        reviewer.check(requests[0], choice.kind)
    if not is_as_shown(session, choice, requests):
        session.screen.talk("nothing was recorded")
        return Exit.ERROR
    warning = reviewer.spends_a_half_vote(requests[0]) if alone and choice.kind is DecisionKind.APPROVED else ""
    if not _is_meant(session, warning):
        session.screen.talk("nothing was recorded")
        return Exit.ERROR
    # Outside the event loop: there Ctrl-C at the question would only be seen after the answer.
    wish = _wish(session, choice, requests)
    if alone and wish.patch is not None:
        _need_policies_leave(session, requests[0], wish.patch)
    if alone:
        return print_one(session, choice, asyncio.run(record_one(session, reviewer, requests[0], wish)))
    return print_many(session, choice, asyncio.run(_record_all(session, choice, reviewer, requests, wish)))


def _is_meant(session: Session, warning: str) -> bool:
    """Whether a vote is cast in spite of a warning: at a terminal that is asked."""
    if not warning:
        return True
    session.screen.talk(f"warning: {warning}")
    if not (session.screen.is_interactive and session.screen.output.is_for_people):
        return True
    return session.screen.ask("Approve without it? [y/N] ").lower() in ("y", "yes")


def _need_policies_leave(session: Session, request: ApprovalRequest, patch: Mapping[str, Any]) -> None:
    """Refuse a change that the policies would refuse, before the one vote is spent on it. HitlError says why."""
    from hitl_cli.rehearsal import refusal_of_edit  # noqa: PLC0415 - start-up: brings the whole compiler

    why = refusal_of_edit(session, request, patch)
    if why:
        deny = session.hint("deny", request.name, "--reason", '"…"', about=request)
        raise HitlError(
            f"the policy refuses the changed call: {why}; nothing was recorded\n"
            f"Change it otherwise, or refuse it: {deny}"
        )


async def _read(session: Session, choice: Choice) -> tuple[list[ApprovalRequest], Reviewer]:
    async with session.place.open() as desk:
        requests = _meant(session.place, await desk.around(choice.names, decides=True), choice)
        verbs = ("deny",) if choice.kind is DecisionKind.DENIED else ("approve", *(["edit"] if choice.edits else []))
        return requests, Reviewer(session.place, await desk.voter(requests, *verbs), session.now)


async def record_one(session: Session, reviewer: Reviewer, request: ApprovalRequest, wish: Wish) -> Recorded:
    """Record one decision and see for a moment what comes of it. Errors as `Reviewer.record`."""
    async with session.place.open(viewed=False, follows=True) as desk:
        return await reviewer.record(desk.store, request, wish)


async def _record_all(
    session: Session, choice: Choice, reviewer: Reviewer, requests: Sequence[ApprovalRequest], wish: Wish
) -> list[Answer]:
    async with session.place.open(viewed=False, follows=True) as desk:
        return await asyncio.gather(
            *(
                _one_of_many(reviewer, desk.store, each, wish, skip=_reason_to_skip(choice, each, requests[0]))
                for each in requests
            )
        )


def _meant(place: Place, everything: Sequence[ApprovalRequest], choice: Choice) -> list[ApprovalRequest]:
    """The requests that were named, or the group of the one; all names are settled before anything is recorded."""
    named = _each_chosen(everything, choice.names, place)
    if choice.group or choice.items:
        members = _each_once(member for request in named for member in group_of(request, everything))
        if not choice.items:
            return members
        try:
            named = [chosen(members, item, place) for item in choice.items]
        except NotFound as error:
            names = ", ".join(member.name for member in members)
            first, *_ = str(error).split("\n")
            raise click.UsageError(f"--item: {first}. The group has: {names}") from error
    return _each_once(named)


def _each_chosen(everything: Sequence[ApprovalRequest], names: Sequence[str], place: Place) -> list[ApprovalRequest]:
    """The requests that all these names mean; where one means none, what becomes of the others is said as well."""
    found: list[ApprovalRequest] = []
    for at, name in enumerate(names):
        try:
            found.append(chosen(everything, name, place))
        except (NotFound, AmbiguousName) as error:
            if len(names) == 1:
                raise
            others = ", ".join(each for number, each in enumerate(names) if number != at)
            first, *rest = str(error).split("\n")
            words = "\n".join(
                [first, *rest, f"Nothing was recorded, for {others} neither: all names are settled first."]
            )
            if isinstance(error, AmbiguousName):
                raise AmbiguousName(words, error.candidates) from error
            raise NotFound(words) from error
    return found


def _each_once(requests: Iterable[ApprovalRequest]) -> list[ApprovalRequest]:
    return list({request.uid: request for request in requests}.values())


def _wish(session: Session, choice: Choice, requests: Sequence[ApprovalRequest]) -> Wish:
    reason, category = choice.reason, choice.category
    required = any(_wants_reason(request, choice.kind) for request in requests)
    if not reason.strip() and (required or choice.kind is DecisionKind.DENIED):
        # A denial without a word teaches the agent nothing: at a terminal it is asked for in any case.
        if session.screen.is_interactive and session.screen.output.is_for_people:
            reason, category = _asked(session, choice, requests[0])
        if required and not reason:
            raise click.UsageError(
                f'{requests[0].name} wants a reason, the agent reads it: --reason "…"; nothing was recorded',
                click.get_current_context(silent=True),
            )
    patch = patch_of(requests[0], choice.edits) if choice.edits else None
    return Wish(choice.kind, reason, category, patch)


def _wants_reason(request: ApprovalRequest, kind: DecisionKind) -> bool:
    tier = "MultiFactor" if request.spec.tier == "multi-factor" else "Confirm"
    return not {kind.value, tier}.isdisjoint(request.spec.reason_required)


def _asked(session: Session, choice: Choice, request: ApprovalRequest) -> tuple[str, Category | None]:
    """A reason typed at the terminal, or the number of one that this policy's reviewers give most."""
    usual = _usual_answers(request, asyncio.run(_everything(session))) if choice.kind is DecisionKind.DENIED else []
    size = max((len(text) for text, _ in usual), default=0)
    session.screen.talk("Why? The agent reads this.")
    for number, (text, category) in enumerate(usual, 1):
        session.screen.talk(f"  {number}  {text.ljust(size)}{f'   ({category.kebab})' if category else ''}")
    while True:
        typed = session.screen.ask("  or type a reason: " if usual else "  reason: ")
        if not usual or not typed.isdecimal():
            return typed, choice.category
        if 0 < int(typed) <= len(usual):
            text, category = usual[int(typed) - 1]
            return text, choice.category or category
        session.screen.talk(f"  there is no {typed}: {'1' if len(usual) == 1 else f'1 to {len(usual)}'}, or words")


async def _everything(session: Session) -> list[ApprovalRequest]:
    async with session.place.open(viewed=False) as desk:
        return await desk.everything()


def _usual_answers(
    request: ApprovalRequest, everything: Iterable[ApprovalRequest]
) -> list[tuple[str, Category | None]]:
    policies = {(ref.kind, ref.namespace, ref.name) for ref in request.spec.policies}
    said = Counter(
        (decision.reason, decision.category)
        for each in everything
        if policies & {(ref.kind, ref.namespace, ref.name) for ref in each.spec.policies}
        for decision in deciders(each, DecisionKind.DENIED)
        if decision.reason
    )
    return [answer for answer, _ in said.most_common(_USUAL)]


def _reason_to_skip(choice: Choice, request: ApprovalRequest, first: ApprovalRequest) -> str:
    """Why a request of a batch must be decided alone; empty where it need not (SECURITY D4)."""
    if choice.kind is DecisionKind.DENIED:
        return ""
    if request.spec.tier == "multi-factor":
        return "MultiFactor is decided one by one"
    return alone_because(request, first) if choice.group or choice.items else ""


async def _one_of_many(
    reviewer: Reviewer, store: ReviewerStore, request: ApprovalRequest, wish: Wish, *, skip: str
) -> Answer:
    if skip:
        return Skip(request, skip)
    try:
        return await reviewer.record(store, request, wish)
    except NoLongerPending as error:
        try:
            return Failure(await store.get(request.namespace, request.name), error)
        except NotFound:
            return Failure(request, error)
    except HitlError as error:
        return Failure(request, error)
