"""Protected paths: what is refused wherever an argument is a path, a URL or a command (DESIGN 7.3).

Here doubt refuses: every way to read a text counts, case does not, a wildcard in a command matches what it could match,
`~` is any home directory. Symbolic links are out of sight: what they point to only the tool's own file system knows.
The opposite question, whether a path surely lies inside a directory, is `path_cleaning.within_any`.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Final

from hitl.errors import EvaluationFailed
from hitl.policy.globs import segment_matcher
from hitl.policy.path_candidates import Effort, path_candidates
from hitl.policy.path_cleaning import clean_path, clean_root, is_within

__all__ = ["Effort", "Protection", "clean_path", "is_within", "path_candidates", "protected", "protection"]

# Candidates with wildcards are compared with every protected path, character by character (SECURITY A5).
MAX_WILD: Final = 32
# A wildcard component that is longer counts as * alone: nobody writes it, and comparing it takes long.
_LONGEST_WILD: Final = 64
_DEEPEST_NAME: Final = 16
_DEEPEST_PROC: Final = 8

Parts = tuple[str, ...]

_WILD = re.compile(r"[*?\[]")
# Without one of these a text is no more than names of files.
_LEADS_SOMEWHERE = re.compile(r"[/\\~$%]|[^\x00-\x7f]")
_BRACKET = re.compile(r"\[[^\]/]*\]")
_DRIVE = re.compile(r"[a-z]:/")
# Directories with home directories in them; root's own are spelled out.
_HOMES: Final = (("home",), ("users",), ("c:", "users"))
_ROOTS_HOME: Final = (("root",), ("var", "root"))
_HOME_ROOTS: Final = frozenset({"home", "users", "root", "var", "c:", "proc"})
# The first of the parts: a place from the root, in a known user's home, in a home that only the tool knows.
_ROOT, _HOME, _SOME_HOME = "/", "~", "~?"
# Stand-ins for wildcards while a protected path is cleaned as if it were plain.
_STAND_INS = {"*": "\ue000", "?": "\ue001"}


class Protection:
    """The protected paths of a policy, compiled.

    ``/etc`` and ``~/.ssh`` are places, with everything below them. What starts neither with ``/`` nor with ``~``
    (``.env``, ``*.pem``, ``.git/hooks``) is a name, wherever it stands. ``*`` and ``?`` stay within one component.
    """

    __slots__ = ("_deepest", "_holds_all", "_names", "_places", "_roots", "_wild_names", "_wild_places")

    def __init__(self, patterns: Iterable[str]) -> None:
        """Compile what an author wrote. ValueError, with the next step, for what is no path."""
        self._places: dict[Parts, str] = {}
        self._wild_places: list[tuple[Parts, str]] = []
        self._names: dict[str, list[tuple[Parts, str]]] = {}
        self._wild_names: list[tuple[Parts, tuple[Callable[[str], bool], ...], str]] = []
        for pattern in patterns:
            self._add(pattern)
        self._deepest = max(map(len, self._places), default=0)
        self._holds_all = (_ROOT,) in self._places
        # What no place can start with is off the list at once.
        self._roots = _HOME_ROOTS.union(place[1] for place in self._places if len(place) > 1)

    def _add(self, pattern: str) -> None:
        if "**" in pattern:
            raise ValueError(f"{pattern!r}: ** is not understood; a path already covers everything below it")
        cleaned = clean_root(re.sub(r"[*?]", lambda wildcard: _STAND_INS[wildcard[0]], pattern))
        for wildcard, stand_in in _STAND_INS.items():
            cleaned = cleaned.replace(stand_in, wildcard)
        wild = _WILD.search(cleaned) is not None
        if not (cleaned.startswith(("/", "~")) or _DRIVE.match(cleaned.lower())):
            parts = _split(cleaned)
            if not any(part.strip("*?") for part in parts):
                raise ValueError(f"{pattern!r} would protect everything; write a rule that denies the tool instead")
            if len(parts) > _DEEPEST_NAME:
                raise ValueError(f"{pattern!r} has more than {_DEEPEST_NAME} parts; start it with / or ~")
            if wild:
                self._wild_names.append((parts, tuple(map(segment_matcher, parts)), pattern))
            else:
                self._names.setdefault(parts[0], []).append((parts, pattern))
            return
        try:
            places = _places(cleaned, protected=True)
        except EvaluationFailed as error:
            raise ValueError(f"{pattern!r}: {error}") from error
        for place in places:
            if wild:
                self._wild_places.append((place, pattern))
            else:
                self._places.setdefault(place, pattern)

    def covers(self, candidate: str, effort: Effort | None = None) -> str | None:
        """The protected path, as written, at or below which a candidate may lie; None if there is none.

        Raises:
            EvaluationFailed: finding out takes more than what may be spent.
        """
        effort = effort or Effort()
        wild = _WILD.search(candidate) is not None
        parts = _split(candidate)
        if not parts:
            return self._places.get((_ROOT,)) if candidate == "/" else None
        if self._names or self._wild_names:
            effort.spend(len(parts) * (1 + len(self._wild_names)))
            for start in range(len(parts)):
                if hit := self._name_at(parts, start, effort, wild=wild):
                    return hit
        if not (wild or self._wild_places or self._holds_all or parts[0] in self._roots or parts[0][0] in "~."):
            return None
        for place in _places(candidate, protected=False):
            if hit := self._place_of(place, effort, wild=wild):
                return hit
        return None

    def found_in(self, value: str, effort: Effort | None = None) -> tuple[str, str] | None:
        """(the protected path, the candidate that it covers) of the first hit in an argument; None if there is none.

        Args:
            value: the argument.
            effort: what may be spent, shared by the texts of one call; by default as much as a whole call may.

        Raises:
            EvaluationFailed: as `path_candidates`, or for more than 32 candidates with wildcards.
        """
        if not (self._names or self._wild_names or _LEADS_SOMEWHERE.search(value)):
            return None
        effort = effort or Effort()
        candidates = path_candidates(value, effort)
        effort.spend(2 * len(candidates))
        if len(candidates) > MAX_WILD and sum(_WILD.search(each) is not None for each in candidates) > MAX_WILD:
            raise EvaluationFailed(f"it holds more than {MAX_WILD} pieces with wildcards that could be paths")
        return next(((hit, each) for each in candidates if (hit := self.covers(each, effort))), None)

    def _name_at(self, parts: Parts, start: int, effort: Effort, *, wild: bool) -> str | None:
        for name, pattern in self._names.get(parts[start], ()):
            if parts[start : start + len(name)] == name:
                return pattern
        if wild:
            return self._wildly_named(parts[start : start + _DEEPEST_NAME], effort)
        for _, predicates, pattern in self._wild_names:
            here = parts[start : start + len(predicates)]
            if len(here) == len(predicates) and all(fits(part) for fits, part in zip(predicates, here, strict=True)):
                return pattern
        return None

    def _wildly_named(self, parts: Parts, effort: Effort) -> str | None:
        names = [each for named in self._names.values() for each in named]
        for name, pattern in (*names, *((name, pattern) for name, _, pattern in self._wild_names)):
            if len(parts) >= len(name) and all(map(partial(_may_name, effort), parts, name)):
                return pattern
        return None

    def _place_of(self, place: Parts, effort: Effort, *, wild: bool) -> str | None:
        for length in range(1, min(len(place), self._deepest) + 1):
            if pattern := self._places.get(place[:length]):
                return pattern
        compared = self._wild_places
        if wild:
            compared = [*compared, *self._places.items()]
        return next(
            (pattern for protected_place, pattern in compared if _reaches(effort, place, protected_place)), None
        )


@lru_cache(maxsize=256)
def protection(patterns: tuple[str, ...]) -> Protection:
    """These protected paths, compiled once. ValueError as `Protection`."""
    return Protection(patterns)


def protected(path: str, patterns: Iterable[str]) -> str | None:
    """The first of these protected paths, as written, that covers a candidate (see `path_candidates`); else None."""
    return protection(tuple(patterns)).covers(path)


def _split(cleaned: str) -> Parts:
    folded = (cleaned if cleaned.isascii() else unicodedata.normalize("NFKC", cleaned)).casefold()
    return tuple([part for part in folded.split("/") if part not in ("", ".")])


def _places(cleaned: str, *, protected: bool) -> list[Parts]:
    """Where a cleaned path lies, under every name that the place has: from the root, and within a home directory."""
    parts = _split(cleaned)
    if not parts:
        if cleaned != "/":
            return []
        return [(_ROOT,), (_SOME_HOME,)] if protected else [(_ROOT,)]
    if parts[0] == "..":
        # Out of a directory that is not known: the rest may start anywhere, also at the root.
        return _places("/" + "/".join(part for part in parts if part != ".."), protected=protected)
    if cleaned.startswith("~"):
        return _home_places(parts[1:], protected=protected)
    if not (cleaned.startswith("/") or _DRIVE.match(cleaned.lower())):
        return []
    places: list[Parts] = []
    for _ in range(_DEEPEST_PROC):
        places.append((_ROOT, *parts))
        if (below := _below_home(parts)) is not None:
            # A protected /home/bob/x is met by ~/x, which may be bob's; the place ~/x of a policy is met by
            # /home/bob/x.
            places.append((_SOME_HOME if protected else _HOME, *below))
        elif protected and _holds_homes(parts):
            places.append((_SOME_HOME,))
        if not (len(parts) > 3 and parts[0] == "proc" and parts[2] in ("root", "cwd")):
            return places
        parts = parts[3:]  # /proc/1/root/etc is /etc, too
    raise EvaluationFailed(f"it goes through /proc/…/root {_DEEPEST_PROC} times; send the plain path")


def _holds_homes(parts: Parts) -> bool:
    """Whether a protected place has all home directories below it, as /home does."""
    return any(len(parts) <= len(home) and all(map(partial(_may_equal, Effort()), parts, home)) for home in _HOMES)


def _home_places(below: Parts, *, protected: bool) -> list[Parts]:
    if below and below[0] == "..":
        rest = "/".join(part for part in below if part != "..")
        return [*_places(f"/{rest}", protected=protected), *_places(f"/home/{rest}", protected=protected)]
    return [(_HOME, *below), (_SOME_HOME, *below)] if protected else [(_SOME_HOME, *below)]


def _below_home(parts: Parts) -> Parts | None:
    for home in _ROOTS_HOME:
        if parts[: len(home)] == home:
            return parts[len(home) :]
    for home in _HOMES:
        if parts[: len(home)] == home and len(parts) > len(home):
            return parts[len(home) + 1 :]
    return None


def _reaches(effort: Effort, place: Parts, wanted: Parts) -> bool:
    """Whether a place may be `wanted` or lie below it; either may hold wildcards."""
    for at, part in enumerate(wanted):
        if at >= len(place):
            return False
        if at and "**" in place[at]:
            return True  # any depth: it may reach what is protected
        if not _may_equal(effort, _plain_wild(place[at]), part):
            return False
    return True


def _may_name(effort: Effort, part: str, wanted: str) -> bool:
    """Whether a component may be a protected name. Not where both are wild: `ls src*` is not about `*.pem`."""
    if _WILD.search(part) and (_WILD.search(wanted) or not part.strip("*?")):
        return False
    return _may_equal(effort, _plain_wild(part), wanted)


def _plain_wild(part: str) -> str:
    """A component with ``[abc]`` as ``?``."""
    if len(part) > _LONGEST_WILD and _WILD.search(part):
        return "*"
    return _BRACKET.sub("?", part)


def _may_equal(effort: Effort, one: str, other: str) -> bool:
    """Whether some name fits both of two wildcard patterns."""
    effort.spend(1)
    if not (_WILD.search(one) or _WILD.search(other)):
        return one == other
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        effort.spend(1)
        left, right = todo.pop()
        if left == len(one) and right == len(other):
            return True
        here = one[left : left + 1], other[right : right + 1]
        steps: list[tuple[int, int]] = []
        if "*" in here:
            steps += [(left + 1, right), (left, right + 1)]
        elif all(here) and ("?" in here or here[0] == here[1]):
            steps.append((left + 1, right + 1))
        for step in steps:
            if step[0] <= len(one) and step[1] <= len(other) and step not in seen:
                seen.add(step)
                todo.append(step)
    return False
