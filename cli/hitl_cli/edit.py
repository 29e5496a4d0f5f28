"""`--edit name=value`: what a reviewer typed, as a JSON Merge Patch over the arguments that were shown."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hitl.approvals.edits import check_patch
from hitl.approvals.requests import ApprovalRequest
from hitl.errors import InvalidCall
from hitl.policy.envelope import parse_json
from hitl_cli.arguments import arguments_of

_HINT = "--edit"


def patch_of(request: ApprovalRequest, typed: Sequence[str]) -> Mapping[str, Any]:
    """The patch. Values are JSON; where the argument shown is a string, bare words are that string; null removes.

    Raises:
        click.BadParameter: not name=value, a name given twice, or a value that is no JSON.
        InvalidDecision: this request cannot take it (`check_patch`).
    """
    shown = arguments_of(request.spec.call.arguments_preview) or {}
    patch: dict[str, Any] = {}
    for each in typed:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise click.BadParameter(f'"{each}" is not name=value', param_hint=_HINT)
        if name in patch:
            raise click.BadParameter(f'"{name}" is given twice', param_hint=_HINT)
        patch[name] = _value(name, value, was_text=isinstance(shown.get(name), str))
    check_patch(request.spec, patch)
    return patch


def _value(name: str, text: str, *, was_text: bool) -> Any:
    # 0042 stays the text it was; "quoted" is JSON's own way to say text, and null removes the argument.
    if was_text and text != "null" and not text.startswith('"'):
        return text
    try:
        return parse_json(text.encode())
    except InvalidCall as error:
        raise click.BadParameter(
            f"{name}: {text} is no JSON value ({error}); text goes in double quotes: --edit '{name}=\"{text}\"'",
            param_hint=_HINT,
        ) from error
