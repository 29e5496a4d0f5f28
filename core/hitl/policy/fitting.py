"""Making a preview fit: whole if it can be, else with head, tail and size of what was cut (SECURITY G2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from hitl.policy.escaping import escape

# Longest string that is left whole, tried in this order until everything fits.
_CAPS: Final = (4096, 1024, 256, 64)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A preview as JSON text, plain in the sense of G1.

    Attributes:
        text: at most the limit, always valid JSON.
        oversize: something was cut.
        whole: top-level names (as shown) whose values stand there uncut.
    """

    text: str
    oversize: bool
    whole: frozenset[str]


def fit(arguments: Mapping[str, Any], limit: int) -> Fitted:
    """The arguments as escaped JSON in at most `limit` bytes of UTF-8.

    Long strings lose their middle first (``… 14210 more …`` stands there instead); where that is not enough, only the
    head and tail of the whole text are left.
    """
    if len(orjson.dumps(arguments)) <= limit:
        text = orjson.dumps(_escaped(arguments))
        if len(text) <= limit:
            return Fitted(text.decode(), oversize=False, whole=frozenset(map(escape, arguments)))
    for cap in _CAPS:
        cut = {name: _shortened(value, cap) for name, value in arguments.items()}
        if len(orjson.dumps(cut)) <= limit and len(text := orjson.dumps(_escaped(cut))) <= limit:
            whole = frozenset(escape(name) for name, value in arguments.items() if cut[name] == value)
            return Fitted(text.decode(), oversize=True, whole=whole)
    full = orjson.dumps(arguments).decode()
    # Escaping and quoting may write a character up to ten times as long, so less is tried until it fits.
    for share in (3, 6, 12, 40):
        rest = {
            "…": f"{len(arguments)} arguments, {len(full.encode())} bytes: too many to show",
            "head": escape(full[: limit // share]),
            "tail": escape(full[-(limit // share) :]),
        }
        if len(text := orjson.dumps(rest)) <= limit:
            return Fitted(text.decode(), oversize=True, whole=frozenset())
    return Fitted("{}", oversize=True, whole=frozenset())


def _escaped(value: Any) -> Any:
    match value:
        case str():
            # JSON escapes line breaks and tabs itself, and whoever prints the value decides what to do with them.
            return escape(value, keep="\n\t")
        case dict():
            return {escape(key): _escaped(child) for key, child in value.items()}
        case list():
            return [_escaped(child) for child in value]
        case _:
            return value


def _shortened(value: Any, cap: int) -> Any:
    match value:
        case str() if len(value) > cap:
            head, tail = cap * 2 // 3, cap // 3
            return f"{value[:head]}… {len(value) - head - tail} more …{value[-tail:]}"
        case dict():
            return {key: _shortened(child, cap) for key, child in value.items()}
        case list():
            return [_shortened(child, cap) for child in value]
        case _:
            return value
