r"""Text from agents and servers, made so that it cannot draw our interface (SECURITY G1).

Whatever cannot be seen, or moves what is seen, is written out as ``\u202e`` (``\U000e0041`` beyond the first plane).
The agent's own backslashes are doubled exactly where they would otherwise read as such an escape, so two different
texts never look alike: in front of ``u202e`` an odd number of backslashes means the invisible character, an even number
that somebody typed it. A Windows path keeps its single backslashes.

Because of that, escaping twice is wrong (the second pass would take our own escapes for the agent's words). Text is
escaped once, by the sidecar, and stored so; `as_plain` is for the edges that cannot know, and leaves plain text alone.
"""

import re
import unicodedata
from collections.abc import Iterator
from enum import Enum
from functools import cache, lru_cache
from typing import Any, Final

# Runs of combining marks longer than this climb over neighbouring lines; no writing system needs more.
MAX_MARKS: Final = 4

# Drawn as nothing or as blank although their category is a letter's, a mark's or a symbol's: combining grapheme joiner,
# Hangul fillers, Khmer inherent vowels, Mongolian and other variation selectors (two of the last choose between text
# and emoji, and stay), braille blank, and the tag plane as a whole.
_INVISIBLE_CLASS = (
    r"\x{034F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{180B}-\x{180F}\x{2065}\x{2800}\x{3164}\x{FE00}-\x{FE0D}\x{FFA0}"
    r"\x{FFF0}-\x{FFF8}\x{E0000}-\x{E0FFF}"
)
_UNSEEN_CLASS = r"\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}" + _INVISIBLE_CLASS
_MARK_CLASS = r"\p{Mn}\p{Me}"
_UNPLAIN = rf"[{_UNSEEN_CLASS}]|[{_MARK_CLASS}]{{{MAX_MARKS + 1}}}|(?:^|[\x00-\x2F\\])[{_MARK_CLASS}]"
_UNSEEN = rf"[{_UNSEEN_CLASS}]"
_MARK = rf"[{_MARK_CLASS}]"

# Letters of scripts that are not regularly written together with Latin ones.
_FOREIGN = r"[^\P{L}\p{Latin}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Bopomofo}]"

_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x85\u2028\u2029]")
_BACKSLASHES = re.compile(r"\\+")
_WORD = re.compile(r"[^\W\d_]{2,}")
# Japanese and Korean mix these with each other and with Latin as a matter of course.
_EAST_ASIAN = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})


@cache
def _re2(pattern: str) -> Any:
    """The pattern, compiled once it is needed: a list of plain ASCII must not wait 10 ms for these tables."""
    import re2  # noqa: PLC0415 - start-up: see above

    return re2.compile(pattern)


def plain(text: str) -> bool:
    """Whether text may be stored and shown as it is: nothing in it is invisible, moves or piles up (SECURITY G1)."""
    if text.isascii():
        return text.isprintable()
    try:
        return _re2(_UNPLAIN).search(text) is None
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8 form
        return False


def escape(text: str, *, limit: int | None = None, keep: str = "") -> str:
    r"""Text whose every character can be seen: what cannot is written as ``\u202e``, newlines included.

    Args:
        text: as the agent or server wrote it. Never the result of another `escape`.
        limit: at most so many characters of result; where more is cut off, it ends in ``… 412 more``.
        keep: control characters to leave alone, for values that get escaped again by JSON (``"\n\t"``).
    """
    if limit is not None and len(text) > limit:
        return _cut(text, limit, keep)
    visible = text
    for character in keep:
        visible = visible.replace(character, " ")
    if plain(visible) and "\\u" not in text and "\\U" not in text:
        return text
    escaped = "".join(_pieces(text, keep))
    return _cut(text, limit, keep) if limit is not None and len(escaped) > limit else escaped


def escape_line(text: str, *, limit: int | None = None) -> str:
    """As `escape`, for a column or a one-line field: every line break is shown as ⏎, tabs as a space."""
    if not (text.isascii() and text.isprintable()):
        text = _LINE_BREAK.sub("⏎", text).replace("\t", " ")
    return escape(text, limit=limit)


def as_plain(text: str) -> str:
    """The text itself if it is plain, else escaped as a line. Applying it twice changes nothing."""
    return text if plain(text) else escape_line(text)


def seen_text(text: str) -> str:
    """What a person reads: compatibility forms folded (NFKC), characters that show nothing left out, lines kept."""
    folded = unicodedata.normalize("NFKC", text).replace("\t", " ")
    return "\n".join(_re2(_UNSEEN).sub("", line) for line in folded.split("\n"))


def is_mixed_script(word: str) -> bool:
    """Whether letters of scripts that do not belong together stand in one word, as in paypal with a Cyrillic a."""
    if word.isascii():
        return False
    scripts = {unicodedata.name(letter, "?").split(" ")[0].split("-")[0] for letter in word if letter.isalpha()}
    scripts -= {"FULLWIDTH", "HALFWIDTH", "MODIFIER", "FEMININE", "MASCULINE", "MICRO"}
    if scripts & _EAST_ASIAN:
        scripts = (scripts - _EAST_ASIAN - {"LATIN", "IDEOGRAPHIC"}) | {"CJK"}
    return len(scripts) > 1


def mixed_script_words(text: str) -> tuple[str, ...]:
    r"""The words of a text that mix scripts, each once, with what is not ASCII written out: ``p\u0430ypal``."""
    if text.isascii() or _re2(_FOREIGN).search(text) is None:
        return ()
    found = dict.fromkeys(word for word in _WORD.findall(text) if is_mixed_script(word))
    return tuple("".join(letter if letter.isascii() else _written_out(letter) for letter in word) for word in found)


def _pieces(text: str, keep: str) -> Iterator[str]:
    """One piece of result for each character of text; joined they are the escaped text."""
    doubled: set[int] = set()
    for run in _BACKSLASHES.finditer(text):
        following = text[run.end() : run.end() + 1]
        if following and (following in "uU" or (following not in keep and not plain("\\" + following))):
            doubled.update(range(*run.span()))
    marks = MAX_MARKS  # a mark without a base would sit on whatever stands before the text
    for place, character in enumerate(text):
        if character.isascii():
            if character == "\\":
                yield "\\\\" if place in doubled else "\\"
                marks = MAX_MARKS
            else:
                yield character if character.isprintable() or character in keep else _written_out(character)
                marks = 0 if "0" <= character < "\x7f" else MAX_MARKS
        elif (kind := _kind(character)) is _Kind.UNSEEN:
            yield _written_out(character)
            marks = MAX_MARKS
        elif kind is _Kind.MARK:
            marks += 1
            yield character if marks <= MAX_MARKS else _written_out(character)
        else:
            yield character
            marks = 0


class _Kind(Enum):
    UNSEEN = 1
    MARK = 2
    SEEN = 3


@lru_cache(maxsize=8192)
def _kind(character: str) -> _Kind:
    if "\ud800" <= character <= "\udfff" or _re2(_UNSEEN).search(character):
        return _Kind.UNSEEN
    return _Kind.MARK if _re2(_MARK).search(character) else _Kind.SEEN


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _cut(text: str, limit: int, keep: str) -> str:
    room = limit - len(f"… {len(text)} more")
    if room < 0:
        return "…"[:limit]
    pieces, used = [], 0
    for piece in _pieces(text[: limit + 1], keep):
        if used + len(piece) > room:
            break
        pieces.append(piece)
        used += len(piece)
    while pieces and pieces[-1] in ("\\", "\\\\"):  # how many they stand for depends on what was cut off
        pieces.pop()
    return f"{''.join(pieces)}… {len(text) - len(pieces)} more"
