"""Globs over lookup names ``server/tool`` (DESIGN 18).

Names and globs are compared as NFKC, lower-cased and trimmed. ``*`` is any run of characters without ``/``, ``?`` is
one character. A lookup name has exactly one slash, and no wildcard crosses it: a glob is two patterns side by side.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_LENGTH = 253

_NAME_CHARACTERS = re.compile(r"[a-z0-9._*?-]+", re.ASCII)


def normalise(text: str) -> str:
    """NFKC, lower case, trimmed: the form in which names and globs meet."""
    return unicodedata.normalize("NFKC", text).strip().lower()


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled glob.

    Attributes:
        text: as the author wrote it, trimmed; for messages.
        server, tool: the normalised pattern on either side of the slash.
        matches: whether a lookup name (normalised, exactly one slash) fits.
    """

    text: str
    server: str
    tool: str
    matches: Callable[[str], bool] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> "Glob":
        """Compile `text`. ValueError, with the next step, for what can match no lookup name."""
        pattern = normalise(text)
        if not pattern:
            raise ValueError("a glob must not be empty; * matches every tool")
        if len(pattern) > MAX_LENGTH:
            raise ValueError(f"the glob has {len(pattern)} characters, at most {MAX_LENGTH} are allowed")
        if "**" in pattern:
            raise ValueError(f"{text!r}: ** is not a glob here; * already matches any run of characters up to /")
        if "/" not in pattern:
            pattern = f"*/{pattern}"
        server, _, tool = pattern.partition("/")
        if not server or not tool or "/" in tool:
            raise ValueError(
                f"{text!r} must be tool or server/tool, with at most one / and something on both sides of it"
            )
        for part in (server, tool):
            if not _NAME_CHARACTERS.fullmatch(part):
                strange = next(character for character in part if not _NAME_CHARACTERS.fullmatch(character))
                raise ValueError(
                    f"{text!r} holds {strange!r}, which no tool name has; names are letters, digits, '.', '_' and '-', "
                    f"wildcards are * and ?. List alternatives as globs of their own"
                )
        return cls(text.strip(), server, tool, _compile(server, tool))

    def covers(self, other: "Glob") -> bool:
        """Whether every name that `other` matches is matched by this one; False where that is not plain."""
        return _covers(self.server, other.server) and _covers(self.tool, other.tool)

    def __str__(self) -> str:
        return self.text


def segment_matcher(pattern: str) -> Callable[[str], bool]:
    """A predicate for one segment (no slashes): ``*`` any run, ``?`` one character, all else literal."""
    if "?" not in pattern:
        match pattern.count("*"):
            case 0:
                return pattern.__eq__
            case 1:
                head, _, tail = pattern.partition("*")
                shortest = len(head) + len(tail)
                return lambda text: len(text) >= shortest and text.startswith(head) and text.endswith(tail)
            case 2 if len(pattern) > 2 and pattern[0] == pattern[-1] == "*":
                middle = pattern[1:-1]
                return lambda text: middle in text
            case _:
                pass
    return lambda text: _wild(pattern, text)


def _compile(server: str, tool: str) -> Callable[[str], bool]:
    if not _is_wild(server) and not _is_wild(tool):
        return f"{server}/{tool}".__eq__
    # The commonest globs in one string operation; each relies on the one slash that a lookup name has.
    if not _is_wild(server) and not _is_wild(tool[:-1]) and tool[-1] == "*":
        prefix = f"{server}/{tool[:-1]}"
        return lambda name: name.startswith(prefix)
    if server == "*":
        if tool == "*":
            return bool
        if not _is_wild(tool):
            suffix = f"/{tool}"
            return lambda name: name.endswith(suffix)
        if not _is_wild(tool[:-1]) and tool[-1] == "*":
            infix = f"/{tool[:-1]}"
            return lambda name: infix in name
        matches_tool = segment_matcher(tool)
        return lambda name: matches_tool(name.partition("/")[2])
    server_matches, tool_matches = segment_matcher(server), segment_matcher(tool)

    def both(name: str) -> bool:
        server_name, _, tool_name = name.partition("/")
        return server_matches(server_name) and tool_matches(tool_name)

    return both


def _is_wild(pattern: str) -> bool:
    return "*" in pattern or "?" in pattern


def _wild(pattern: str, text: str) -> bool:
    """Greedy matching with one step back: at most len(pattern) * len(text) steps, whatever the pattern."""
    at_pattern = at_text = 0
    star = -1
    resume = 0
    while at_text < len(text):
        if at_pattern < len(pattern) and pattern[at_pattern] == "*":
            star, resume = at_pattern, at_text
            at_pattern += 1
        elif at_pattern < len(pattern) and pattern[at_pattern] in ("?", text[at_text]):
            at_pattern += 1
            at_text += 1
        elif star >= 0:
            resume += 1
            at_pattern, at_text = star + 1, resume
        else:
            return False
    return all(character == "*" for character in pattern[at_pattern:])


def _covers(wide: str, narrow: str) -> bool:
    """Sound, not complete: read `narrow` as a text in which only a * of `wide` may swallow a * of `narrow`."""
    reachable = {0}
    for character in narrow:
        step: set[int] = set()
        for position in _past_stars(wide, reachable):
            if position < len(wide) and wide[position] == "*":
                step.add(position)
            elif position < len(wide) and character != "*" and wide[position] in ("?", character):
                step.add(position + 1)
        reachable = step
    return len(wide) in _past_stars(wide, reachable)


def _past_stars(pattern: str, positions: set[int]) -> set[int]:
    """`positions` and those reached by letting a * match nothing."""
    reached: set[int] = set()
    for start in positions:
        position = start
        reached.add(position)
        while position < len(pattern) and pattern[position] == "*":
            position += 1
            reached.add(position)
    return reached
