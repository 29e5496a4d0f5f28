"""What a CEL expression reads, found in its tokens: which arguments, and which regular expressions.

The library compiles and evaluates; it neither bounds the patterns of `matches` nor tells which arguments it will scan,
and SECURITY A5 asks for both.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
      # A backslash protects nothing in a raw literal, so raw ones are tried first.
    | (?P<raw>(?:[rR][bB]?|[bB][rR])(?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"\n]*"|'[^'\n]*'))
    | (?P<string>[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)
    | (?P<number>[0-9][0-9A-Za-z.]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Reads:
    """What an expression reads.

    Attributes:
        arguments: names of the arguments whose content it may scan; None: it may scan any.
        patterns: the string literals given to `matches`, as written.
        open_patterns: whether `matches` also gets something else than one literal.
    """

    arguments: frozenset[str] | None
    patterns: tuple[str, ...]
    open_patterns: bool


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


_END = _Token("end", "")


def reads_of(source: str) -> Reads:
    """What an expression that compiles reads; where that is not plain, more rather than less."""
    tokens = [
        _Token("string" if found.lastgroup == "raw" else str(found.lastgroup), found[0])
        for found in _TOKEN.finditer(source)
        if found.lastgroup != "space"
    ]
    named: set[str] = set()
    patterns: list[str] = []
    everything = open_patterns = False
    for index, token in enumerate(tokens):
        if token.kind != "name":
            continue
        if token.text == "args":
            argument, length = _argument_at(tokens, index)
            if argument is None:
                everything = True
            elif not _is_only_measured(tokens, index, length):
                named.add(argument)
        elif token.text.strip("`") == "matches":
            before, opening, literal, closing = (_at(tokens, index + step) for step in (-1, 1, 2, 3))
            if (before.text, opening.text, literal.kind, closing.text) == (".", "(", "string", ")"):
                patterns.append(literal.text)
            else:
                open_patterns = True
    return Reads(None if everything else frozenset(named), tuple(patterns), open_patterns)


def _argument_at(tokens: Sequence[_Token], index: int) -> tuple[str | None, int]:
    """The argument that `args` at `index` selects, and how many tokens that takes; None if it is not one by name."""
    operator, name, after = (_at(tokens, index + step) for step in (1, 2, 3))
    if operator.text == "." and name.kind == "name" and after.text != "(":
        return name.text.strip("`"), 3
    if operator.text == "[" and name.kind == "string" and after.text == "]" and _is_plain(name.text):
        return name.text[1:-1], 4
    return None, 1


def _is_only_measured(tokens: Sequence[_Token], index: int, length: int) -> bool:
    """Whether this is `size(args.x)`, `has(args.x)` or `args.x.size()`: however long x is, it is not scanned."""
    around = (_at(tokens, index - 2).text, _at(tokens, index - 1).text, _at(tokens, index + length).text)
    if around in (("size", "(", ")"), ("has", "(", ")")):
        return _at(tokens, index - 3).text != "."
    return tuple(_at(tokens, index + length + step).text for step in range(4)) == (".", "size", "(", ")")


def _is_plain(literal: str) -> bool:
    return literal[0] in "\"'" and not literal.startswith(('"""', "'''")) and "\\" not in literal


def _at(tokens: Sequence[_Token], index: int) -> _Token:
    return tokens[index] if 0 <= index < len(tokens) else _END
