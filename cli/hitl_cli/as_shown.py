"""Approving what was shown, and nothing that took its place (SECURITY G1, D4).

The agent chooses what the beginning of a name means: it withdraws the call that a reviewer looked at and asks for
another one of the same tool, or one more of the same group. So an approval needs names that only the call shown can
have; else the call is shown now, and the person says yes to that.
"""

import shlex
from collections.abc import Sequence

from hitl.approvals.requests import ApprovalRequest, DecisionKind
from hitl.errors import AmbiguousName
from hitl_cli.answers import Choice
from hitl_cli.arguments import argument_lines
from hitl_cli.group_page import group_page
from hitl_cli.lines import Line, hanging, line, shown, word
from hitl_cli.requests import agent_of, is_telling, tier_of, tool_of
from hitl_cli.session import Session


def is_as_shown(session: Session, choice: Choice, requests: Sequence[ApprovalRequest]) -> bool:
    """Whether these requests are the ones that the person means; at a terminal they are shown, and that is asked.

    Raises:
        AmbiguousName: a name was too short to say so, and nobody can be asked; it gives the whole command.
    """
    if choice.kind is DecisionKind.DENIED:
        return True  # what is refused in error can be asked for again
    typed = choice.items or choice.names
    unsaid = [each for each in requests if not any(is_telling(each, name) for name in typed)]
    if not unsaid:
        return True
    screen = session.screen
    if not (screen.is_interactive and screen.output.is_for_people):
        raise AmbiguousName(_refusal(session, choice, requests), tuple(each.name for each in requests))
    screen.talk(*_shown(session, choice, requests))
    which = "this call" if len(requests) == 1 else f"these {len(requests)} calls"
    return screen.ask(f"Approve {which}? [y/N] ").lower() in ("y", "yes")


def _shown(session: Session, choice: Choice, requests: Sequence[ApprovalRequest]) -> list[Line]:
    width = session.screen.width
    if choice.group or choice.items:
        return group_page(requests, session.now(), width)
    lines: list[Line] = []
    for each in requests:
        facts = line(f"{each.name}   ", word(tier_of(each)), f" · agent {agent_of(each)}")
        lines += [facts, *hanging("  ", each.spec.summary, width), f"  {tool_of(each)}"]
        lines += argument_lines(each.spec.call.arguments_preview, width, full=True)
    return lines


def _refusal(session: Session, choice: Choice, requests: Sequence[ApprovalRequest]) -> str:
    first = requests[0]
    if choice.group or choice.items:
        what, more = "a group is approved by the names of its calls; another one may have joined it", ["--group"]
    else:
        what, more = "the name is too short to approve by; another call may have taken its place", []
    named = [f"  {each.name}   {shown(each.spec.summary)}" for each in requests]
    return "\n".join(
        [
            f"{what} since you looked; nothing was recorded",
            *named,
            f"Look:  {session.hint('show', first.name, *more, about=first)}",
            f"Next:  {session.hint('approve', *_words(choice, requests), about=first)}",
        ]
    )


def _words(choice: Choice, requests: Sequence[ApprovalRequest]) -> list[str]:
    """The command's words that name everything in full."""
    names = [each.name for each in requests]
    of_one_group = bool(choice.items) or (choice.group and len(choice.names) == 1)
    words = [names[0], "--item", ",".join(names)] if of_one_group else names
    words += [part for each in choice.edits for part in ("--edit", shlex.quote(each))]
    return [*words, "--reason", shlex.quote(choice.reason)] if choice.reason else words
