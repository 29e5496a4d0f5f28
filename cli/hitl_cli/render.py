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
from typing import Any, TextIO

from hitl.policy.escaping import plain
from hitl_cli.lines import Column, Line, safe, shown, table

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
        from rich.console import Group  # noqa: PLC0415 - start-up: only a repainting list needs it
        from rich.live import Live  # noqa: PLC0415

        with Live(console=_console(sys.stdout), auto_refresh=False) as live:
            async for page in pages:
                live.update(Group(*(safe(each) for each in page)), refresh=True)


def _print(stream: TextIO, lines: Iterable[Line]) -> None:
    if not stream.isatty():
        for each in lines:
            print(safe(each).plain, file=stream)
        stream.flush()  # whoever reads a feed through a pipe waits for each line
        return
    console = _console(stream)
    for each in lines:
        console.print(safe(each), soft_wrap=True)


def _console(stream: TextIO) -> Any:
    from rich.console import Console  # noqa: PLC0415 - start-up: 12 ms that piped output never needs

    return Console(
        file=stream,
        force_terminal=stream.isatty(),
        no_color=bool(os.environ.get("NO_COLOR")),
        highlight=False,
        markup=False,
        emoji=False,
    )


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # A hidden character can only stand inside a string, where the ASCII form is the same JSON, visibly.
    return text if _all_plain(text) else json.dumps(value, indent=2)


def _yaml(value: Any) -> str:
    import yaml  # noqa: PLC0415 - start-up: 15 ms that only -o yaml needs

    def dump(*, allow_unicode: bool) -> str:
        return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=allow_unicode, width=WIDEST))

    text = dump(allow_unicode=True)
    return text if _all_plain(text) else dump(allow_unicode=False)


def _all_plain(text: str) -> bool:
    return all(plain(each) for each in text.split("\n"))
