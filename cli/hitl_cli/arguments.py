"""A call's arguments as a reviewer reads them: one name per line, what changed against another call, an edit."""

import json
from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len

from hitl_cli.lines import Line, cut, line, padded, shown, unfolded

# How much of one value is shown without --full (UX 1).
SHOWN = 1000
_WIDEST_NAME = 24
_MISSING = object()


def arguments_of(preview: str) -> Mapping[str, Any] | None:
    """The arguments of a stored preview; None where it is not one JSON object (too large to show whole)."""
    try:
        parsed = json.loads(preview)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def text_of(value: Any) -> str:
    """A string as it is, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def limited(text: str, *, full: bool) -> str:
    """`text`, cut at 1 000 characters unless `full`, saying how much is missing."""
    if full or len(text) <= SHOWN:
        return text
    return f"{text[:SHOWN]}… {len(text) - SHOWN} more (--full)"


def argument_lines(preview: str, width: int, *, full: bool) -> list[Line]:
    """Each argument under its name. A value of several lines stands behind │: it cannot pose as a name."""
    arguments = arguments_of(preview)
    if arguments is None:
        return framed("arguments", limited(preview, full=full), width)
    if not arguments:
        return [line("  (no arguments)")]
    size = _name_size(arguments)
    lines: list[Line] = []
    for name, value in arguments.items():
        lines.extend(_named(name, limited(text_of(value), full=full), size, width))
    return lines


def framed(label: str, text: str, width: int) -> list[Line]:
    """Words that are not ours: the label, then every line behind │."""
    first = f"  {label}   "
    lines: list[Line] = []
    for each in unfolded(text, width - len(first) - 2):
        lines.append(line(first if not lines else " " * len(first), "│ ", each))
    return lines


def changes(before: Mapping[str, Any], after: Mapping[str, Any], width: int, *, indent: str = "  ") -> list[Line]:
    """What is different, argument by argument: ``- name value`` and ``+ name value``; empty where nothing is."""
    changed = [name for name in {**before, **after} if before.get(name, _MISSING) != after.get(name, _MISSING)]
    size = _name_size(dict.fromkeys(changed))
    lines: list[Line] = []
    for name in changed:
        for sign, side in (("-", before), ("+", after)):
            if name in side:
                value = f"{indent}{sign} {padded(name, size)}   {shown(text_of(side[name]))}"
                lines.append(line(cut(value, width)))
    return lines


def differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of arguments that differ from the first call's; one that only the other has is marked as new."""
    names = [
        f"{name} (new)" if name not in first else name for name in other if other[name] != first.get(name, _MISSING)
    ]
    return names + [f"{name} (gone)" for name in first if name not in other]


def _name_size(arguments: Mapping[str, Any]) -> int:
    return min(max((cell_len(shown(name)) for name in arguments), default=0), _WIDEST_NAME)


def _named(name: str, value: str, size: int, width: int) -> list[Line]:
    first = f"  {padded(name, size)}   "
    pieces = unfolded(value, width - len(first))
    if len(pieces) == 1:
        return [line(first, pieces[0])]
    pieces = unfolded(value, width - len(first) - 2)
    return [line(first if at == 0 else " " * len(first), "│ ", piece) for at, piece in enumerate(pieces)]
