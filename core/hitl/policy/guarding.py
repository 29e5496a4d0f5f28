"""Protected paths, looked for in everything that a call might open (DESIGN 7.3)."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import re2

from hitl.policy.builtin import BUILT_IN, PROCESS_WORDS, PROSE_ARGUMENTS, PROTECTED_PATHS
from hitl.policy.calls import ToolCall
from hitl.policy.capabilities import kind_of
from hitl.policy.names import words_of
from hitl.policy.paths import Effort, Protection, protection
from hitl.policy.spec import ToolDeclaration
from hitl.policy.strict_json import pointer
from hitl.policy.values import MAX_SCANNED
from hitl.policy.voices import Voice

# Without one of these no ASCII text leads to a path from the root or from home.
_SIGNS = b"/\\~$%"
_LEADS_SOMEWHERE = re.compile(r"[/\\~$%]")
# Text that means what it says to every reader: no quotes, escapes, encodings, variables, wildcards or line breaks. In
# it a protected path can only stand with its last component written out.
_PLAIN = re.compile(r"[A-Za-z0-9 /._:@=,;&#+()|<>!~^-]*", re.ASCII)
_ODD = re.compile(r"\.\.|[%\\$\[]")
_WILD = re.compile(r"[*?]+")


class Guard:
    """The protected paths of everybody who speaks to some pods."""

    def __init__(self, voices: Sequence[Voice]) -> None:
        own = {voice: voice.policy.protected_paths for voice in voices}
        self._by_voice = {voice: protection(paths) for voice, paths in own.items() if paths}
        built_in = next(voice for voice in voices if voice.policy.ref == BUILT_IN.ref)
        self._by_voice[built_in] = protection(PROTECTED_PATHS)
        everything = tuple(path for paths in own.values() for path in paths) + PROTECTED_PATHS
        self._all: Protection = protection(everything)
        # A protected name such as .env or *.pem needs no slash before it.
        self._has_names = any(not path.startswith(("/", "~")) for path in everything)
        self._last_parts = _last_parts(everything, whole_homes=self._all.covers("~") is not None)

    def hits(self, call: ToolCall, declaration: ToolDeclaration | None) -> dict[Voice, tuple[str, str]]:
        """Whose paths the call may touch: (the path as written, pointer of the argument that leads there).

        Raises:
            EvaluationFailed: an argument is too long, or all of them together too intricate, to be searched.
        """
        data = call.arguments_json
        # One look at the whole: most calls hold nothing that leads anywhere.
        if not self._has_names and len(data.translate(None, _SIGNS)) == len(data) and data.isascii():
            return {}
        suspicious: list[_Text] = []
        for name, value in call.arguments.items():
            if isinstance(value, str):
                if self._leads(value):
                    suspicious.append(_Text((name,), name in PROSE_ARGUMENTS, value))
            elif isinstance(value, dict | list):
                self._look_into(value, (name,), suspicious, is_prose=name in PROSE_ARGUMENTS)
            if self._leads(name):
                suspicious.append(_Text((name,), is_prose=False, text=name))
        if not suspicious:
            return {}
        if any(each.is_prose for each in suspicious) and not runs_processes(call, declaration):
            suspicious = [each for each in suspicious if not each.is_prose]
        return self._found_in(suspicious)

    def _found_in(self, texts: list["_Text"]) -> dict[Voice, tuple[str, str]]:
        found: dict[Voice, tuple[str, str]] = {}
        effort = Effort()
        searched: set[str] = set()
        for each in texts:
            if each.text in searched:
                continue
            searched.add(each.text)
            if self._all.found_in(each.text, effort) is None:
                continue
            for voice, paths in self._by_voice.items():
                if voice not in found and (hit := paths.found_in(each.text, effort)) is not None:
                    found[voice] = (hit[0], pointer(*each.steps))
            if len(found) == len(self._by_voice):
                break
        return found

    def _look_into(
        self, parent: Any, steps: tuple[str | int, ...], suspicious: list["_Text"], *, is_prose: bool = False
    ) -> None:
        """Collects what is inside; as deep as the envelope lets arguments be.

        Prose is text, or a list of texts, right below a name for prose: an object there has names of its own, and
        what is in ``{"body": {"path": …}}`` may well be opened.
        """
        for step, value in parent.items() if isinstance(parent, dict) else enumerate(parent):
            here = is_prose if isinstance(step, int) else step in PROSE_ARGUMENTS
            if isinstance(value, str):
                if self._leads(value):
                    suspicious.append(_Text((*steps, step), here, value))
            elif isinstance(value, dict | list):
                # A list of lists is no list of texts.
                self._look_into(value, (*steps, step), suspicious, is_prose=here and isinstance(step, str))
            if isinstance(step, str) and self._leads(step):
                suspicious.append(_Text((*steps, step), is_prose=False, text=step))

    def _leads(self, text: str) -> bool:
        """Whether a text could lead to a protected path: cheap, and never wrong in saying no."""
        if not self._has_names and _LEADS_SOMEWHERE.search(text) is None and text.isascii():
            return False
        if self._last_parts is None or len(text) > MAX_SCANNED or _PLAIN.fullmatch(text) is None:
            return True
        return self._last_parts.search(text) is not None


def _last_parts(paths: Sequence[str], *, whole_homes: bool) -> Any:
    """Finds the literal part of the last component of any of these paths, whatever its case; None if one has none.

    Args:
        paths: the protected paths, as written.
        whole_homes: they cover a home directory, such as /root or /home: ``~`` leads there without their names.
    """
    parts = {"~"} if whole_homes else set()
    for path in paths:
        last = path.rstrip("/").rpartition("/")[2]
        literal = max(_WILD.split(last), key=len)
        # "~" and "~bo" are any home directory, and /home/ana leads there without either.
        if len(literal) < 2 or last.startswith("~") or not path.isascii() or _ODD.search(path):
            return None
        parts.add(literal.lower())
    return re2.compile(f"(?i){'|'.join(re2.escape(part) for part in sorted(parts))}")


class _Text(NamedTuple):
    """A text of the arguments that could lead to a path."""

    steps: tuple[str | int, ...]
    is_prose: bool
    text: str


def runs_processes(call: ToolCall, declaration: ToolDeclaration | None) -> bool:
    """Whether what the tool is given may be run: declared, named so, or taking a command."""
    if declaration is not None and declaration.process:
        return True
    return not PROCESS_WORDS.isdisjoint(words_of(call.tool)) or any(
        kind_of(name) == "command" for name in call.arguments
    )
