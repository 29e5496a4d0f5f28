"""Names of servers and tools: the one form that rules see, and the words inside a name (SECURITY A4)."""

import re
import unicodedata
from functools import lru_cache

from hitl.errors import InvalidCall

# Where an agent names no server: a built-in tool of its framework.
LOCAL_SERVER = "local"

_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ALLOWED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
# Longer than any acceptable name in any notation; checked before normalising, which may take long and expand.
_RAW_LIMIT = 512
# "HTTPServer2go" -> HTTP, Server, 2, go: capitals before a capitalised word, a word, capitals, digits.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W\d_A-Za-z]+")


def clean_name(text: str, what: str) -> str:
    """The name as it is judged, shown and forwarded: NFKC, trimmed, its capitals kept.

    Args:
        text: the name as sent.
        what: ``server`` or ``tool``, for the message.

    Raises:
        InvalidCall: it is not ``[A-Za-z0-9._-]{1,128}`` after normalising; the message shows the code point of the
            first character that is to blame, because a homoglyph looks like the letter it imitates.
    """
    if _NAME.fullmatch(text):
        return text
    if len(text) > _RAW_LIMIT:
        raise InvalidCall(f"{what} name has {len(text)} characters, at most 128 are allowed; send the tool's own name")
    cleaned = unicodedata.normalize("NFKC", text).strip()
    if _NAME.fullmatch(cleaned):
        return cleaned
    raise InvalidCall(_why_refused(cleaned, what))


def lookup_name(server: str, tool: str) -> str:
    """``server/tool`` as rules, limits and history see it: NFKC, trimmed, lower-case.

    Args:
        server: server name as sent; empty for the agent's own tools, which are ``local/…``.
        tool: tool name as sent.

    Raises:
        InvalidCall: one of them is not a name.
    """
    return f"{clean_name(server or LOCAL_SERVER, 'server')}/{clean_name(tool, 'tool')}".lower()


@lru_cache(maxsize=8192)
def words_of(name: str) -> tuple[str, ...]:
    """The words of an identifier in lower case: ``getUserAPIKeys2`` gives get, user, api, keys, 2.

    Cuts at capitals, digits, underscores, dots and hyphens. Of ``server/tool`` pass the tool's part.
    """
    return tuple(word.lower() for word in _WORD.findall(name))


def word_set(text: str) -> frozenset[str]:
    """The words of a table that is written as text, separated by spaces."""
    return frozenset(text.split())


def first_word(tool: str) -> str:
    """The first word of a tool's name in lower case, usually its verb; empty if it has none."""
    words = words_of(tool)
    return words[0] if words else ""


def _why_refused(cleaned: str, what: str) -> str:
    if not cleaned:
        return f"{what} name is empty; send the name that the tool's owner gave it"
    for place, character in enumerate(cleaned):
        if character in _ALLOWED:
            continue
        if character == "/":
            return (
                f'{what} name "{_ascii(cleaned)}" contains "/"; send server and tool apart, '
                'for example server "stripe" and tool "create_refund"'
            )
        title = unicodedata.name(character, "no name")
        return (
            f'{what} name "{_ascii(cleaned)}" has U+{ord(character):04X} ({title}) at position {place + 1}; '
            "only A-Z a-z 0-9 . _ - are allowed, so that no name can look like another: rename it at its server"
        )
    return f"{what} name has {len(cleaned)} characters, at most 128 are allowed; send the tool's own name"


def _ascii(text: str) -> str:
    # What is not printable ASCII is shown by its code point: the message must not repeat the trick it complains about.
    shown = text if len(text) <= 80 else text[:80] + "..."
    return shown.encode("unicode_escape").decode("ascii").replace('"', "'")
