"""Fenced blocks of our documents, and the comparison of what they show with what the program prints."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language and its text."""

    language: str
    text: str

    def commands(self) -> list[tuple[str, str]]:
        """Of a console block: each command with the output that stands below it."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [(part.partition("\n")[0], part.partition("\n")[2].rstrip()) for part in parts]


def blocks(document: str) -> list[Block]:
    """Every fenced block of a document, in order."""
    text = (ROOT / document).read_text()
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def comparable(text: str) -> list[str]:
    """Lines without what differs from run to run: the random end of names, times, and blanks that follow from them."""
    lines = []
    for line in text.rstrip().splitlines():
        named = re.sub(r"\b([a-z]+(?:-[a-z]+)*)-[0-9a-hjkmnp-tv-z]{10}\b", r"\1-NAME", line)
        lines.append(re.sub(r"\s+", " ", re.sub(r"\b\d+[smh]\b", "TIME", named)).strip())
    return lines
