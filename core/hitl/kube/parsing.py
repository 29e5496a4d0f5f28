"""What an API server answers, as values, however deep somebody nested what he wrote.

An API server stores up to 10 000 levels where no policy of ours bounds them; the parser takes 1024. One such object in
a list must not hide all the others, so what lies deeper than anything of ours is left out: null stands there.
"""

import asyncio
import re
from typing import Any, Final

import orjson

# Deeper than every field of a resource; free JSON of people is refused, when it is read, from 32 levels on.
_DEEPEST: Final = 256
_FLAT: Final = rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")'
# From one bracket to the next, past objects and lists without others in them; or to where it is no JSON any more.
_NEXT: Final = re.compile(
    rb"(?:" + _FLAT + rb"|[\[{]" + _FLAT + rb'*+[\]}])*+(?:(?P<opens>[\[{])|(?P<closes>[\]}])|"|\Z)', re.DOTALL
)


def parse_answer(text: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        orjson.JSONDecodeError: it is none.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        flat = shallow(text)
        if flat == text:
            raise
        return orjson.loads(flat)


async def parsed(text: bytes) -> Any:
    """As `parse_answer`, and what takes seconds (a long list with one deep object in it) goes on beside the loop."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return await asyncio.to_thread(parse_answer, text)


def shallow(text: bytes) -> bytes:
    """The same JSON text without what lies too deep in it; as it is, where it is none."""
    if text.count(b"[") + text.count(b"{") <= _DEEPEST:
        return text
    kept, begin, depth = [], 0, 0
    for token in _NEXT.finditer(text):
        match token.lastgroup:
            case "opens":
                depth += 1
                if depth == _DEEPEST + 1:
                    kept += [text[begin : token.start("opens")], b"null"]
            case "closes":
                if depth == _DEEPEST + 1:
                    begin = token.end()
                depth -= 1
    return b"".join([*kept, text[begin:]]) if depth == 0 else text
