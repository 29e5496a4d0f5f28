"""The one-line summary that an author writes for a rule: ``mail {args.to}: {args.subject}``.

Rendered over redacted arguments (I10). Escaping is the caller's last step, because only it knows where the text goes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hitl.errors import EvaluationFailed
from hitl.policy.values import string_form

MAX_SUMMARY: Final = 160

_PIECE = re.compile(r"(?P<open>\{\{)|(?P<close>\}\})|\{(?P<placeholder>[^{}]*)\}|(?P<stray>[{}])|(?P<text>[^{}]+)")
# A step is the name of an argument, a member, or the index of an item.
_PLACEHOLDER = re.compile(r"args((?:\.[A-Za-z0-9_-]+)+|(?:/[^/{}\s]+)+)", re.ASCII)
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. Making one raises ValueError, with the next step, for an unknown placeholder.

    Attributes:
        text: as the author wrote it.
        arguments: names of the arguments it shows.
    """

    text: str
    arguments: frozenset[str] = field(init=False, repr=False, compare=False)
    _parts: tuple[str | tuple[str, ...], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = _parse(self.text)
        object.__setattr__(self, "_parts", parts)
        object.__setattr__(self, "arguments", frozenset(part[0] for part in parts if isinstance(part, tuple)))

    def render(self, arguments: Mapping[str, Any]) -> str:
        """The text over redacted arguments, at most 160 characters; what is missing shows as ``?``."""
        text = "".join(part if isinstance(part, str) else _rendered(arguments, part) for part in self._parts)
        return text if len(text) <= MAX_SUMMARY else f"{text[: MAX_SUMMARY - 1]}…"


def _parse(text: str) -> tuple[str | tuple[str, ...], ...]:
    if len(text) > MAX_SUMMARY:
        raise ValueError(f"the summary has {len(text)} characters, at most {MAX_SUMMARY} are allowed")
    if not text.strip():
        raise ValueError("the summary is empty; leave it out")
    parts: list[str | tuple[str, ...]] = []
    for piece in _PIECE.finditer(text):
        match piece.lastgroup:
            case "open":
                parts.append("{")
            case "close":
                parts.append("}")
            case "stray":
                raise ValueError(
                    f"{piece[0]!r} stands alone at character {piece.start() + 1}; write {piece[0] * 2} for one"
                )
            case "placeholder":
                parts.append(_steps(piece["placeholder"]))
            case _:
                parts.append(piece[0])
    return tuple(parts)


def _steps(placeholder: str) -> tuple[str, ...]:
    found = _PLACEHOLDER.fullmatch(placeholder)
    if not found:
        guess = "args." + placeholder.partition(".")[2] if "." in placeholder else f"args.{placeholder}"
        hint = f"{{{guess}}}" if _PLACEHOLDER.fullmatch(guess) else "{args.NAME}"
        raise ValueError(
            f"{{{placeholder}}} is no placeholder; write {hint}, or {{args.NAME.MEMBER}} or {{args/NAME/MEMBER}} for "
            "what is inside, and {{ for a brace"
        )
    path = found[1]
    if path.startswith("."):
        return tuple(path[1:].split("."))
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/"))


def _rendered(arguments: Mapping[str, Any], steps: tuple[str, ...]) -> str:
    value: Any = arguments
    for step in steps:
        if isinstance(value, Mapping):
            value = value.get(step, _MISSING)
        elif isinstance(value, list | tuple) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = _MISSING
    if value is _MISSING:
        return "?"
    if isinstance(value, str):
        return value[:MAX_SUMMARY]
    try:
        return string_form(value)[:MAX_SUMMARY] if value is not None else "null"
    except EvaluationFailed:
        return "?"
