"""`--edit name=value`: what a reviewer typed, as a JSON Merge Patch over the arguments that were shown."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hitl.approvals.edits import check_patch
from hitl.approvals.requests import ApprovalRequest
from hitl.errors import InvalidCall, InvalidDecision
from hitl.policy.envelope import parse_json
from hitl.policy.escaping import as_plain
from hitl.policy.strict_json import MAX_INTEGER
from hitl_cli.arguments import arguments_of

_HINT = "--edit"
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# More of a value is not repeated in an error.
_ECHOED = 100


def patch_of(request: ApprovalRequest, typed: Sequence[str]) -> Mapping[str, Any]:
    """The patch. Values are JSON; where the argument shown is a string, bare words are that string; null removes.

    A name is an argument's, or a JSON pointer to what stands inside one: ``/config/retries=5``.

    Raises:
        click.BadParameter: not name=value, a name that is not there or given twice, or a value that is no JSON.
        InvalidDecision: this request cannot take it (`check_patch`).
    """
    shown = arguments_of(request.spec.call.arguments_preview)
    patch: dict[str, Any] = {}
    for each in typed:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise _refused(f'"{_echo(each)}" is not name=value')
        path, before = ((name,), None) if shown is None else _found(shown, name)
        _put(patch, path, _value(name, value, was_text=isinstance(before, str)), name)
    try:
        check_patch(request.spec, patch)
    except InvalidDecision as error:
        # It lists names that the agent chose; a line break in one must not start a line of the error (G1).
        raise InvalidDecision(as_plain(str(error))) from error
    return patch


def _found(shown: Mapping[str, Any], name: str) -> tuple[tuple[str, ...], Any]:
    """Where `name` points to in the arguments, and what stands there."""
    path: tuple[str, ...] = (name,)
    if name.startswith("/") and name not in shown:
        path = tuple(part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/"))
    here: Any = shown
    for at, part in enumerate(path):
        if not isinstance(here, Mapping):
            whole = "".join(f"/{each}" for each in path[:at])
            raise _refused(f"{_echo(name)}: {_echo(whole)} has no names to point at; edit it as a whole")
        if part not in here:
            inside = f" in /{'/'.join(path[:at])}" if at else ""
            has = ", ".join(here) or "none"
            raise _refused(f"there is no argument {_echo(part)}{_echo(inside)}; it has: {_echo(has)}")
        here = here[part]
    return path, here


def _put(patch: dict[str, Any], path: Sequence[str], value: Any, name: str) -> None:
    """Nest the value below the objects on its way; two edits of one place contradict each other."""
    *outer, last = path
    for part in outer:
        patch = patch.setdefault(part, _Nested())
        if not isinstance(patch, _Nested):
            raise _refused(f'"{_echo(name)}" lies in what another --edit replaces')
    if last in patch:
        raise _refused(f'"{_echo(name)}" is given twice')
    patch[last] = value


class _Nested(dict[str, Any]):
    """An object that pointers made, not one that was typed."""


def _value(name: str, text: str, *, was_text: bool) -> Any:
    # 0042 stays the text it was; "quoted" is JSON's own way to say text, and null removes the argument.
    if was_text and text != "null" and not text.startswith('"'):
        return text
    try:
        return parse_json(text.encode())
    except InvalidCall as error:
        if _NUMBER.fullmatch(text):
            raise _refused(
                f"{_echo(name)}: {_echo(text)} is a number that programs on the way would round (beyond "
                f"±{MAX_INTEGER}, or with more digits than they keep); {_hint(name, text)}"
            ) from error
        raise _refused(
            f"{_echo(name)}: {_echo(text)} is no JSON value ({_echo(str(error))}); {_hint(name, text)}"
        ) from error


def _hint(name: str, text: str) -> str:
    if text.startswith('"'):
        return f'text that begins with " ends with ", and one inside is \\": --edit \'{_echo(name)}="…"\''
    quoted = json.dumps(text, ensure_ascii=False) if len(text) <= _ECHOED else '"…"'
    return f"text goes in double quotes: --edit {shlex.quote(f'{_echo(name)}={quoted}')}"


def _echo(text: str) -> str:
    return text if len(text) <= _ECHOED else f"{text[:_ECHOED]}…"


def _refused(message: str) -> click.BadParameter:
    return click.BadParameter(message, param_hint=_HINT)
