"""Everything in an argument that could be opened as a file: the argument itself, words of a command, parts of a URL.

More rather than less is found, because what is found is only ever used to refuse. This is no shell: what a program
computes (variables, substitutions) becomes a wildcard at best.
"""

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from hitl.errors import EvaluationFailed
from hitl.policy.path_cleaning import clean_path, decodings, local_paths
from hitl.policy.values import MAX_SCANNED

# Commands have a few; comparing thousands with every protected path would take long (SECURITY A5).
MAX_CANDIDATES: Final = 2000
# Some thirty milliseconds: ten times what a long command takes, and no more than other calls can be let wait.
MAX_EFFORT: Final = 30_000

_SIMPLE = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)
_PLAIN_PATH = re.compile(r"[~/]?[A-Za-z0-9._][A-Za-z0-9._/-]*", re.ASCII)
# Nearly all URLs: no encoding, no user, nothing a shell would see.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]+)?(/[A-Za-z0-9._/-]*)?(?:\?([A-Za-z0-9._/&=-]*))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHELL_WORDS = re.compile(r"[\s\x00-\x1f;|&<>()`]+")
_QUOTED_WORDS = re.compile(r"[\s\x00-\x1f;|&<>()`\"',]+")
_HAS_SYNTAX = re.compile(r"[\"'\\${`,]")
_INNER = re.compile(r"[=:,@?&#]")
_ATTACHED = re.compile(r"-[A-Za-z]([/~$.].*)", re.DOTALL)
_URL_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*(/[^?#\s]*)")
_DIRECTORY = re.compile(r"(?:\bcd|\bpushd|\bchdir|(?<!\S)-C|--directory|--git-dir|--work-tree)[\s=]+([^\s;|&<>()`]+)")
_FIELD_SEPARATOR = re.compile(r"\$(?:IFS\b|\{IFS[^}]{0,99}\})")
_ANSI_QUOTED = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BRACES = re.compile(r"\{[^{}/]*\}")
_VARIABLE = re.compile(r"\$(?!HOME\b|\{HOME\})(?:[A-Za-z_][A-Za-z0-9_]*|\{[^}]{0,99}\})")


class Effort:
    """What may still be spent on searching the texts of one call, all of them together (SECURITY A5).

    Counted, not timed, so that the same call always gets the same answer; a step is about a microsecond.
    """

    __slots__ = ("_left",)

    def __init__(self, steps: int = MAX_EFFORT) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Takes these steps off what is left. EvaluationFailed when it was not enough."""
        self._left -= steps
        if self._left < 0:
            raise EvaluationFailed("it holds too much that could be paths to search it all; send less at once")


def path_candidates(value: str, effort: Effort | None = None) -> tuple[str, ...]:
    """Everything in a text that could be opened as a file, cleaned; wildcards are left in.

    Args:
        value: the text.
        effort: what may be spent, shared by the texts of one call; by default as much as a whole call may.

    Raises:
        EvaluationFailed: over 16 KiB, percent-encoded more than eight times, more than two thousand pieces, or more
            than what may be spent.
    """
    if _SIMPLE.fullmatch(value):
        return (value,) if value else ()
    if len(value) > MAX_SCANNED:
        raise EvaluationFailed(f"it has {len(value)} characters, and at most {MAX_SCANNED} are searched for paths")
    if _PLAIN_PATH.fullmatch(value):
        return (clean_path(value),)
    if url := _PLAIN_URL.fullmatch(value):
        pieces = (url[1], *_INNER.split(url[2])) if url[2] else (url[1],)
        return tuple(clean_path(piece) for piece in pieces if piece)
    effort = effort or Effort()
    candidates: dict[str, None] = {}
    for text in _texts(value):
        # Splitting is quick where there is nothing to split; every piece is paid for by itself.
        effort.spend(10 + len(text) // 8)
        for piece in _pieces(text):
            effort.spend(4 + len(piece) // 4)
            candidates[_cleaned(piece)] = None
        if len(candidates) > MAX_CANDIDATES:
            raise EvaluationFailed(
                f"it holds more than {MAX_CANDIDATES} pieces that could be paths; send fewer at once"
            )
    candidates.pop(".", None)
    return tuple(candidates)


def _texts(value: str) -> Iterator[str]:
    """The text in every encoding it may be understood in."""
    for text in decodings(value):
        yield text
        if not text.isascii():
            yield unicodedata.normalize("NFKC", text)


def _pieces(text: str) -> Iterator[str]:
    yield from local_paths(text.strip())
    if _HAS_SYNTAX.search(text):
        shell = _unquoted(text)
        words = dict.fromkeys((*_SHELL_WORDS.split(shell), *_QUOTED_WORDS.split(text)))
    else:
        shell = text
        words = dict.fromkeys(_SHELL_WORDS.split(text))
    directories = _DIRECTORY.findall(shell)[:4]
    for word in words:
        if directories:
            yield from (f"{directory}/{word}" for directory in directories)
        if _SIMPLE.fullmatch(word):
            yield word
            continue
        yield from local_paths(word)
        if url := _URL_PATH.match(word):
            yield url[1]
        if attached := _ATTACHED.match(word):
            yield attached[1]
        if len(inner := _INNER.split(word)) > 1:
            yield from inner


def _unquoted(text: str) -> str:
    """The text as a shell would read it: quotes gone, escapes done, what it cannot know as a wildcard."""
    text = _FIELD_SEPARATOR.sub(" ", text)
    text = _ANSI_QUOTED.sub(lambda quoted: _ESCAPE.sub(_unescaped, quoted[1]), text)
    text = text.replace("\\\n", "").replace('"', "").replace("'", "")
    text = _ESCAPED.sub(r"\1", text)
    return _VARIABLE.sub("*", _BRACES.sub("*", text))


def _unescaped(escape: re.Match[str]) -> str:
    hexadecimal = escape[1] or escape[2]
    if hexadecimal:
        return chr(int(hexadecimal, 16))
    return chr(int(escape[3], 8) & 0xFF) if escape[3] else escape[4]


def _cleaned(piece: str) -> str:
    if not piece or _SIMPLE.fullmatch(piece):
        return piece or "."
    # A control character is no obstacle here: it is dropped, as careless programs do, and the rest is judged.
    return clean_path(_CONTROL.sub("", piece))
