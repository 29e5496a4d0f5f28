"""`hitl freeze` and `hitl thaw` in a home: an entry in ``freezes.json``, which the control plane there follows."""

import asyncio
import contextlib
import getpass
import json
import os
import secrets
import socket
import time
from collections.abc import Sequence
from typing import Final

import click

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import HitlError, InvalidPolicy, NotFound
from hitl.policy.freezes import Freeze, frozen_words
from hitl.policy.globs import normalise
from hitl.policy.parsing_freezes import parse_freeze
from hitl.stores.freezes import FILE, change_freezes, in_force, new_uid, read_freezes
from hitl_cli.exits import Exit
from hitl_cli.home import Home
from hitl_cli.render import Output
from hitl_cli.session import Session

_PATIENCE: Final = 5.0  # seconds in which the control plane cancels what waits
_LOOK_EVERY: Final = 0.05  # seconds


def freeze(session: Session, *, tools: Sequence[str], reason: str, until: str, yes: bool) -> Exit:
    """Stop the home's agents, or some tools of theirs."""
    session.need_home()
    home, screen = session.home, session.screen
    namespace = _namespace(home)
    if session.namespace not in (None, namespace):
        raise click.UsageError(f"this home serves namespace {namespace}; leave -n out, or name another --home")
    pressed = _pressed(session, namespace, tools=tools, reason=reason, until=until)
    before = asyncio.run(_waiting(session, pressed))
    what = f"calls of {', '.join(tools)}" if tools else "every call"
    if not yes:
        if not screen.is_interactive:
            raise click.UsageError("nobody is there to be asked; add --yes")
        screen.error(f"This refuses {what} in {home.path}, and cancels {_count(len(before))} that wait.")
        if screen.ask("Freeze? [y/N] ").lower() not in ("y", "yes"):
            raise click.Abort
    change_freezes(home.path / FILE, lambda known: (*known, pressed))
    if screen.output is Output.NAME:
        screen.data(pressed.name)
        return Exit.DONE
    if not screen.output.is_for_people:
        screen.document(pressed.to_json())
        return Exit.DONE
    undo = f"Undo: {session.hint('thaw', pressed.name)}"
    if not _is_served(home):
        screen.data(f"{home.path} is frozen: {what} will be refused")
        screen.talk(f"No control plane runs here now; it obeys once it starts. {undo}")
        return Exit.DONE
    ends = time.monotonic() + _PATIENCE
    left = before
    while left and time.monotonic() < ends:
        time.sleep(_LOOK_EVERY)
        left = before & asyncio.run(_waiting(session, pressed))
    screen.data(
        f"{home.path} is frozen: {what} {'are' if tools else 'is'} refused; {_count(len(before - left))} cancelled"
    )
    if left:
        screen.error(f"{_count(len(left))} still wait: the control plane here does not answer; end it to be sure")
    screen.talk(undo)
    return Exit.NOT_DECISIVE if left else Exit.DONE


def thaw(session: Session, names: Sequence[str], *, mine: bool) -> Exit:
    """Lift freezes by name, or all of one's own."""
    session.need_home()
    home, screen, me = session.home, session.screen, _who(session)

    def lifted(known: tuple[Freeze, ...]) -> tuple[Freeze, ...]:
        wanted = [each for each in known if each.by == me] if mine else [_named(known, name) for name in names]
        gone.extend(dict.fromkeys(each.name for each in wanted))
        return tuple(each for each in known if each.name not in gone)

    gone: list[str] = []
    left = change_freezes(home.path / FILE, lifted)
    for name in gone:
        screen.data(name if screen.output is Output.NAME else f"{name} thawed")
    if not gone:
        screen.talk(f"{me} froze nothing in {home.path}.")
    for each in in_force(left, session.now()):
        screen.talk(f"Still: {frozen_words(each)} ({each.name})")
    return Exit.DONE


def names_of(session: Session) -> list[tuple[str, str]]:
    """What is frozen in the home, with who stopped it and why."""
    return [(each.name, f"{each.by}: {each.reason}") for each in read_freezes(session.home.path / FILE)]


def _pressed(session: Session, namespace: str, *, tools: Sequence[str], reason: str, until: str) -> Freeze:
    spec: dict[str, object] = {"type": "Freeze", "by": _who(session), "reason": reason}
    if tools:
        spec["tools"] = list(tools)
    if until:
        spec["until"] = until
    name = f"freeze-{secrets.token_hex(3)}"
    metadata = {"name": name, "namespace": namespace, "uid": new_uid(), "generation": 1}
    try:
        found, _ = parse_freeze(metadata, spec)
    except InvalidPolicy as error:
        raise click.UsageError(str(error.problems[0]).removeprefix("spec.")) from error
    return found


def _who(session: Session) -> str:
    return session.person or os.environ.get("HITL_AS") or getpass.getuser()


def _named(known: Sequence[Freeze], typed: str) -> Freeze:
    found = [each for each in known if each.name == typed] or [each for each in known if each.name.startswith(typed)]
    if not found:
        there = ", ".join(each.name for each in known) or "nothing is frozen"
        raise NotFound(f"no freeze is called {typed}, or begins so; here: {there}")
    if len(found) > 1:
        raise HitlError(f"{typed} could be {', '.join(each.name for each in found)}; type more of it")
    return found[0]


async def _waiting(session: Session, freeze: Freeze) -> frozenset[str]:
    def is_meant(request: ApprovalRequest) -> bool:
        call = request.spec.call
        return freeze.covers(f"{normalise(call.server)}/{normalise(call.tool)}")

    async with session.place.open(viewed=False) as desk:
        return frozenset(each.handle for each in await desk.waiting() if is_meant(each))


def _namespace(home: Home) -> str:
    home.uid()  # says what to do where no control plane has run here yet
    return str(json.loads((home.path / "home.json").read_bytes()).get("namespace", "default"))


def _is_served(home: Home) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(home.hub_socket))
        return True
    return False


def _count(number: int) -> str:
    return f"{number} request{'' if number == 1 else 's'}"
