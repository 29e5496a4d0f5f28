"""YAML to values by way of PyYAML's node graph, which knows the line of everything.

Scalars are resolved here, not by YAML 1.1: what YAML 1.1 and 1.2 (or JSON) read differently is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import yaml

from hitl.policy.parsing_reader import child_path

UNREADABLE: Final = "HITL120"
KEY_TWICE: Final = "HITL121"
TRAP: Final = "HITL123"
TOO_LARGE: Final = "HITL124"

MAX_NODES: Final = 100_000
MAX_DEPTH: Final = 64

_LONGEST_PATH = 120
# The shortest exact form of a double has at most 24 characters.
_LONGEST_DECIMAL = 64
_STRING = "tag:yaml.org,2002:str"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
_OCTAL = re.compile(r"[+-]?0[oO][0-7]+", re.ASCII)
_WORDS: Final[Mapping[str, Any]] = {"true": True, "false": False, "null": None, "~": None, "": None}
_TRAPS: Final = {
    "tag:yaml.org,2002:bool": "a boolean to some readers and a word to others; write true or false, or quote it",
    "tag:yaml.org,2002:int": "an octal, binary, sexagesimal or grouped number; write it in plain digits, or quote it",
    "tag:yaml.org,2002:float": "a number in a spelling that JSON does not have; write it in plain digits, or quote it",
    "tag:yaml.org,2002:timestamp": "a date to YAML; quote it",
    "tag:yaml.org,2002:merge": "a merge key, which is not read here; write the keys out",
    "tag:yaml.org,2002:null": "null in a spelling that JSON does not have; leave the key out, or quote it",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that is wrong, and the line of it."""

    number: int
    path: str
    message: str
    code: str
    document: int


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document that could be read.

    Attributes:
        index: its place in the text, from 0.
        first: its first line, from 1.
        lines: line of every path; of a key for members, of the item for items.
    """

    index: int
    first: int
    value: Any
    lines: Mapping[str, int]


class _Refused(Exception):
    """Reading on would not help."""

    def __init__(self, line: Line) -> None:
        super().__init__(line.message)
        self.line = line


def read_documents(text: str) -> tuple[list[Document], list[Line]]:
    """Every document that is not empty and could be read, and what is wrong with the others."""
    documents: list[Document] = []
    broken: list[Line] = []
    index = -1
    try:
        for index, node in enumerate(_composed(text)):
            if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
                continue
            reading = _Reading(index)
            try:
                value = reading.value(node, "", 0)
            except _Refused as refused:
                broken.append(refused.line)
                continue
            broken += reading.broken
            if not reading.broken:
                documents.append(Document(index, node.start_mark.line + 1, value, reading.lines))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        number = mark.line + 1 if mark else 1
        where = f" at column {mark.column + 1}" if mark else ""
        broken.append(Line(number, "", f"not YAML{where}: {error.problem or error.context}", UNREADABLE, index + 1))
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{code:04X} is not allowed in YAML; remove it"
        broken.append(Line(number, "", message, UNREADABLE, index + 1))
    except RecursionError:
        broken.append(Line(1, "", f"nested deeper than {MAX_DEPTH} levels; flatten it", TOO_LARGE, index + 1))
    return documents, broken


def _composed(text: str) -> Iterator[yaml.Node | None]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _string_trap(text: str) -> str | None:
    """Why a plain word that is a string to YAML 1.1 is something else to kubectl; None if it is not."""
    if text in ("y", "Y", "n", "N"):
        return "a boolean to kubectl; quote it"
    if _DECIMAL.fullmatch(text) or _OCTAL.fullmatch(text):
        return "a number to kubectl; quote it, or write it in plain digits"
    return None


class _Reading:
    """One document on its way from nodes to values."""

    def __init__(self, index: int) -> None:
        self.lines: dict[str, int] = {}
        self.broken: list[Line] = []
        self._index = index
        self._nodes = 0

    def value(self, node: yaml.Node, path: str, depth: int) -> Any:
        """The value of a node; what is wrong inside it is noted in `broken`."""
        # Aliases are expanded here, and counted each time: a bomb of them ends at the same bound as honest size.
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            what = (
                f"more than {MAX_NODES} values" if self._nodes > MAX_NODES else f"nested deeper than {MAX_DEPTH} levels"
            )
            raise _Refused(self._line(node, path, f"{what}, aliases expanded; split or flatten it", TOO_LARGE))
        self.lines.setdefault(path, node.start_mark.line + 1)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path, depth)
            case yaml.SequenceNode():
                return [self.value(item, child_path(path, at), depth + 1) for at, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, path)
            case _:
                raise AssertionError(f"PyYAML has no such node: {node}")

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            number = key_node.start_mark.line + 1
            key = self._key(key_node, path)
            if key is None:
                continue
            where = child_path(path, key)
            if key in first:
                message = f"the key {key!r} is already on line {first[key]}; readers keep only one, remove the other"
                self.broken.append(self._line(key_node, path, message, KEY_TWICE))
                continue
            first[key] = number
            self.lines[where] = number
            members[key] = self.value(value_node, where, depth + 1)
        return members

    def _key(self, node: yaml.Node, path: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.broken.append(self._line(node, path, "a key must be a word, not a list or mapping", UNREADABLE))
            return None
        if node.tag == _STRING:
            return str(node.value)
        merge = node.tag == "tag:yaml.org,2002:merge"
        why = _TRAPS[node.tag] if merge else "no string to YAML; quote it"
        self.broken.append(self._line(node, path, f"the key {node.value} is {why}", TRAP))
        return None

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        text = str(node.value)
        if node.tag == _STRING:
            if node.style is None and (why := _string_trap(text)):
                self.broken.append(self._line(node, path, f"{text[:60]} is {why}", TRAP))
            return text
        if node.style is None:
            if text in _WORDS and node.tag in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"):
                return _WORDS[text]
            if node.tag == "tag:yaml.org,2002:int" and _INTEGER.fullmatch(text) and len(text) <= 400:
                return int(text)
            if node.tag == "tag:yaml.org,2002:float" and _DECIMAL.fullmatch(text):
                return self._decimal(node, path, text)
        why = _TRAPS.get(node.tag, f"tagged {node.tag}, which is not read here; remove the tag")
        self.broken.append(self._line(node, path, f"{text[:60]} is {why}", TRAP))
        return None

    def _decimal(self, node: yaml.Node, path: str, text: str) -> float:
        value = float(text)
        if len(text) > _LONGEST_DECIMAL or Decimal(repr(value)) != Decimal(text):
            message = f"{text[:60]} does not survive as a JSON number; write fewer digits"
            self.broken.append(self._line(node, path, message, TRAP))
        return value

    def _line(self, node: yaml.Node, path: str, message: str, code: str) -> Line:
        return Line(node.start_mark.line + 1, path[:_LONGEST_PATH], message, code, self._index)
