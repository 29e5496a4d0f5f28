"""The only printer. stdout carries data, stderr carries talk; `-o name|json|yaml` keeps stderr silent.

Every line passes `_shown`, so nothing that an agent or server wrote can move the cursor, change colours or reorder text
(G1), whether or not it was stored escaped. Colour marks only tiers, outcomes and what is about to expire, and only on
a terminal without NO_COLOR.
"""

import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TextIO

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hitl.policy.escaping import as_plain, plain

Line = str | Text

# UX: at most 100 columns, however wide the terminal is.
WIDEST = 100
# -o wide asks for more columns than fit beside a summary there, as it does in kubectl.
_WIDEST_WIDE = 160
_GAP = 3
# A summary shorter than this no longer says what would happen: other columns go first.
_LEAST_CUT = 24


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


class Tint(StrEnum):
    """The few colours there are; the values are rich's style names."""

    NONE = ""
    NOTIFY = "blue"
    CONFIRM = "yellow"
    MULTI_FACTOR = "red"
    REFUSED = "red"
    EXPIRING = "red"
    APPROVED = "green"


_TINTS = {
    "Notify": Tint.NOTIFY,
    "Confirm": Tint.CONFIRM,
    "MultiFactor": Tint.MULTI_FACTOR,
    "Deny": Tint.REFUSED,
    "Denied": Tint.REFUSED,
    "Expired": Tint.REFUSED,
    "Approved": Tint.APPROVED,
    "Consumed": Tint.APPROVED,
}


def word(text: str) -> Text:
    """A tier, action or state in its colour."""
    return Text(_shown(text), style=_TINTS.get(text, Tint.NONE))


def tinted(text: str, tint: Tint) -> Text:
    """Text in one of the few colours."""
    return Text(_shown(text), style=tint)


def line(*parts: Line) -> Text:
    """One line put together from plain and coloured parts; every part is escaped."""
    whole = Text()
    for part in parts:
        whole.append_text(_safe(part))
    return whole


def wrapped(text: str, width: int) -> list[str]:
    """`text` broken into lines of at most `width` cells; its ⏎ are line breaks again, one line each."""
    lines: list[str] = []
    for paragraph in _shown(text, keep_breaks=True).split("\n"):
        lines.extend(_folded(paragraph.rstrip(" "), max(width, 8)))
    return lines


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells; what is missing is an …"""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; at most one is `cut` to the width, it stands last and is never dropped."""

    title: str
    cut: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[Line]], width: int) -> list[Text]:
    """Header and rows, three spaces between columns. What does not fit is dropped, the last uncut column first."""
    cells = [[Text(column.title) for column in columns], *([_safe(cell) for cell in row] for row in rows)]
    sizes = [max(cell_len(row[at].plain) for row in cells) for at in range(len(columns))]
    kept = _kept(columns, sizes, width)
    lines = []
    for row in cells:
        whole = Text()
        room = width
        for at in kept:
            cell = row[at]
            if columns[at].cut:
                whole.append_text(Text(cut(cell.plain, max(room, 8)), style=cell.style, spans=list(cell.spans)))
                continue
            padding = sizes[at] - cell_len(cell.plain) + _GAP
            whole.append_text(cell).append(" " * padding)
            room -= sizes[at] + _GAP
        whole.rstrip()
        lines.append(whole)
    return lines


def _kept(columns: Sequence[Column], sizes: Sequence[int], width: int) -> list[int]:
    kept = list(range(len(columns)))
    while True:
        needed = sum(min(sizes[at], _LEAST_CUT) if columns[at].cut else sizes[at] for at in kept) + _GAP * (
            len(kept) - 1
        )
        droppable = [at for at in kept[1:] if not columns[at].cut]
        if needed <= width or not droppable:
            return kept
        kept.remove(droppable[-1])


class Screen:
    """Where one run of the program prints.

    Attributes:
        output: what `-o` asked for.
        width: columns there are, at most 100 (-o wide: 160).
    """

    def __init__(self, output: Output = Output.TABLE, *, width: int | None = None) -> None:
        self.output = output
        widest = _WIDEST_WIDE if output is Output.WIDE else WIDEST
        self.width = min(width or shutil.get_terminal_size((widest, 24)).columns, widest)

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
        print(_shown(question), end="", file=sys.stderr, flush=True)
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
                live.update(Group(*(_safe(each) for each in page)), refresh=True)


def _print(stream: TextIO, lines: Iterable[Line]) -> None:
    if not stream.isatty():
        for each in lines:
            print(_safe(each).plain, file=stream)
        return
    console = _console(stream)
    for each in lines:
        console.print(_safe(each), soft_wrap=True)


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


def _safe(part: Line) -> Text:
    """The part itself if nothing in it is hidden, else its escaped text without colours."""
    if isinstance(part, str):
        return Text(_shown(part))
    return part if plain(part.plain) else Text(_shown(part.plain))


def _shown(text: str, *, keep_breaks: bool = False) -> str:
    escaped = as_plain(text)
    return escaped.replace("⏎", "\n") if keep_breaks else escaped


def _folded(paragraph: str, width: int) -> list[str]:
    """Break at spaces, and inside words that are longer than the line; counts cells, as terminals do."""
    first, *others = paragraph.split(" ")
    lines: list[str] = []
    current = first
    for piece in [*others, None]:
        while cell_len(current) > width:
            head = _head(current, width)
            lines.append(head)
            current = current[len(head) :]
        if piece is None:
            break
        joined = f"{current} {piece}"
        if cell_len(joined) <= width:
            current = joined
        else:
            lines.append(current)
            current = piece
    return [*lines, current]


def _head(text: str, width: int) -> str:
    """As many characters as fit into `width` cells, at least one."""
    size = 0
    for at, character in enumerate(text):
        size += cell_len(character)
        if size > width:
            return text[: max(at, 1)]
    return text


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
