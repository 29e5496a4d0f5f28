"""The only printer. stdout carries data, stderr carries talk; `-o name|json|yaml` keeps stderr silent.

Every line is made safe on its way out (`lines.safe`, G1). Colour marks only tiers, outcomes and what is about to
expire, and only on a terminal without NO_COLOR.
"""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from enum import StrEnum
from io import TextIOWrapper
from typing import Any, Final, TextIO

from hitl.policy.escaping import plain
from hitl_cli.lines import Column, Line, Painted, Tint, safe, shown, table

# UX: at most 100 columns, however wide the terminal is.
WIDEST = 100
# -o wide drops no column and cuts no cell, as in kubectl: the terminal folds what is longer than it is wide.
_UNCUT = 100_000


class Output(StrEnum):
    """What `-o` may be."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"

    @property
    def is_for_people(self) -> bool:
        """Whether hints and footers may stand on stderr."""
        return self in (Output.TABLE, Output.WIDE)


class Screen:
    """Where one run of the program prints.

    Attributes:
        output: what `-o` asked for.
        width: columns there are, at most 100; with -o wide as many as anything takes.
    """

    def __init__(self, output: Output = Output.TABLE, *, width: int | None = None) -> None:
        self.output = output
        there = width or shutil.get_terminal_size((WIDEST, 24)).columns
        self.width = _UNCUT if output is Output.WIDE else min(there, WIDEST)

    @property
    def is_interactive(self) -> bool:
        """Whether a person sits at both ends: questions may be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    @property
    def is_terminal(self) -> bool:
        """Whether data goes to a terminal, so that repainting makes sense."""
        return sys.stdout.isatty()

    def data(self, *lines: Line) -> None:
        """Lines on stdout."""
        _print(sys.stdout, lines)

    def talk(self, *lines: Line) -> None:
        """Hints, footers and progress on stderr; silent where a program reads the output."""
        if self.output.is_for_people:
            _print(sys.stderr, lines)

    def error(self, *lines: Line) -> None:
        """What went wrong, on stderr whatever `-o` is."""
        _print(sys.stderr, lines)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[Line]]) -> None:
        """A table on stdout, as wide as the screen."""
        self.data(*table(columns, rows, self.width))

    def document(self, value: Any) -> None:
        """`value` on stdout as YAML if asked for, else as JSON."""
        if self.output is Output.YAML:
            self.data(*_yaml(value).rstrip("\n").split("\n"))
        else:
            self.data(*_json(value).split("\n"))

    def ask(self, question: str) -> str:
        """One line from the person at the terminal; the question stands on stderr."""
        print(shown(question), end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            print(file=sys.stderr)
        return answer.strip()

    async def repaint(self, pages: AsyncIterator[Sequence[Line]]) -> None:
        """Each page in place of the one before; off a terminal one after the other, an empty line between."""
        if not self.is_terminal:
            gap: list[Line] = []
            async for page in pages:
                self.data(*gap, *page)
                sys.stdout.flush()
                gap = [""]
            return
        from rich.console import Console, Group  # noqa: PLC0415 - start-up: only a repainting list needs it
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console(force_terminal=True, no_color=not _has_colours(sys.stdout), highlight=False, emoji=False)
        with Live(console=console, auto_refresh=False) as live:
            async for page in pages:
                live.update(Group(*(Text.assemble(*safe(each).parts) for each in page)), refresh=True)


def _print(stream: TextIO, lines: Iterable[Line]) -> None:
    if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")  # in a locale without our · and … they are written out
    written = _in_colour if _has_colours(stream) else str
    for each in lines:
        print(written(safe(each)), file=stream)
    stream.flush()  # whoever reads a feed through a pipe waits for each line


# ECMA-48's "set graphic rendition" for each colour; every terminal since the VT340 knows these eight.
_CODES: Final = {"red": 31, "green": 32, "yellow": 33, "blue": 34}


def _in_colour(whole: Painted) -> str:
    return "".join(
        text if tint is Tint.NONE or not text else f"\x1b[{_CODES[tint]}m{text}\x1b[0m" for text, tint in whole.parts
    )


def _has_colours(stream: TextIO) -> bool:
    """Whether it is a terminal that shows colours, and whose owner wants them (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown")


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # What is hidden, or not in this locale, can only stand inside a string, where the ASCII form is the same JSON.
    return text if _all_plain(text) and _is_writable(text) else json.dumps(value, indent=2)


def _yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415 - start-up: 15 ms that only -o yaml needs

    def dump(*, allow_unicode: bool) -> str:
        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=allow_unicode, width=WIDEST))

    text = dump(allow_unicode=True)
    return text if _all_plain(text) and _is_writable(text) else dump(allow_unicode=False)


def _all_plain(text: str) -> bool:
    return all(plain(each) for each in text.split("\n"))


def _is_writable(text: str) -> bool:
    """Whether stdout's encoding has all of it."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
