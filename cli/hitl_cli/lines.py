"""Lines as values: coloured parts, tables, wrapping and cutting by what a terminal shows. Nothing is printed here.

Whatever goes into a line is made safe first, so no text of an agent or server can move the cursor, change colours or
reorder what stands around it (G1), whether or not it was stored escaped.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.cells import cell_len, set_cell_size

from hitl.policy.escaping import as_plain, plain

_GAP = 3
# A summary shorter than this no longer says what would happen: other columns go first.
_LEAST_CUT = 24


class Tint(StrEnum):
    """The few colours there are; the values are rich's names for them."""

    NONE = ""
    NOTIFY = "blue"
    CONFIRM = "yellow"
    MULTI_FACTOR = "red"
    REFUSED = "red"
    EXPIRING = "red"
    APPROVED = "green"


@dataclass(frozen=True, slots=True)
class Painted:
    """One line with its colours, each of its `parts` in one. As rich's Text, which imports for a tenth of a `list`."""

    parts: tuple[tuple[str, Tint], ...] = ()

    @property
    def plain(self) -> str:
        """Its text without colours."""
        return "".join(text for text, _ in self.parts)

    @property
    def cell_len(self) -> int:
        """How wide a terminal shows it."""
        return cell_len(self.plain)

    def first(self, count: int) -> "Painted":
        """Its first `count` characters."""
        parts = []
        for text, tint in self.parts:
            parts.append((text[:count], tint))
            count = max(count - len(text), 0)
        return Painted(tuple(part for part in parts if part[0]))

    def __add__(self, other: "Painted") -> "Painted":
        return Painted((*self.parts, *other.parts))

    def __str__(self) -> str:
        return self.plain


Line = str | Painted

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


def word(text: str) -> Painted:
    """A tier, action or state in its colour."""
    return tinted(text, _TINTS.get(text, Tint.NONE))


def tinted(text: str, tint: Tint) -> Painted:
    """Text in one of the few colours."""
    return Painted(((shown(text), tint),))


def line(*parts: Line) -> Painted:
    """One line put together from plain and coloured parts; every part is escaped."""
    return Painted(tuple(piece for part in parts for piece in safe(part).parts))


def wrapped(text: str, width: int) -> list[str]:
    """`text`, which is one line, broken where it is wider than `width` cells; its line breaks stay ⏎."""
    return _folded(shown(text).rstrip(" "), max(width, 8))


def unfolded(text: str, width: int) -> list[str]:
    """The same with ⏎ as line breaks again. Only for what stands behind a bar: elsewhere it could pose as ours (G1)."""
    return [each for paragraph in shown(text).split("⏎") for each in wrapped(paragraph, width)]


def hanging(first: str, text: str, width: int) -> list[Line]:
    """One line of text that goes on below where it began, behind `first`; never at the edge, where headings stand."""
    indent = " " * max(cell_len(first), 2)
    return [line(first if at == 0 else indent, piece) for at, piece in enumerate(wrapped(text, width - len(indent)))]


def cut(text: str, width: int) -> str:
    """`text` in at most `width` cells; what is missing is an …"""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(width - 1, 0)).rstrip() + "…"


def padded(text: str, width: int) -> str:
    """`text` made safe, in exactly `width` cells."""
    return set_cell_size(cut(shown(text), width), width)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; at most one is `cut` to the width, it stands last and is never dropped."""

    title: str
    cut: bool = False


def table(columns: Sequence[Column], rows: Iterable[Sequence[Line]], width: int) -> list[Painted]:
    """Header and rows, three spaces between columns. What does not fit is dropped, the last uncut column first."""
    cells = [[safe(column.title) for column in columns], *([safe(cell) for cell in row] for row in rows)]
    sizes = [max(row[at].cell_len for row in cells) for at in range(len(columns))]
    kept = _kept(columns, sizes, width)
    lines = []
    for row in cells:
        whole = Painted()
        room = width
        for at in kept:
            cell = row[at]
            if columns[at].cut:
                whole += _cut_cell(cell, max(room, 8))
                continue
            padding = sizes[at] - cell.cell_len + _GAP
            whole += cell + safe(" " * padding)
            room -= sizes[at] + _GAP
        lines.append(whole.first(len(whole.plain.rstrip())))
    return lines


def _cut_cell(cell: Painted, width: int) -> Painted:
    text = cut(cell.plain, width)
    return cell if text == cell.plain else cell.first(len(text) - 1) + safe(text[-1])


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


def safe(part: Line) -> Painted:
    """The part itself if nothing in it is hidden, else its escaped text without colours."""
    if isinstance(part, str):
        return Painted(((shown(part), Tint.NONE),))
    return part if plain(part.plain) else safe(part.plain)


def shown(text: str) -> str:
    """Text as it may be printed: everything in it can be seen, line breaks are ⏎."""
    return as_plain(text)


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
