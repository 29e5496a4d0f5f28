"""How well level inference agrees with people: `python -m benchmarks.levels TOOLS.jsonl`.

Each line of the file is a tool: server, name, description, arguments[{name}], annotations, level, and family (who
published it; figures on families that shaped the lexicon are inflated). Prints the share of tools whose level is exact,
too low (under), high or critical but called medium or lower (missed), and low or medium but called high or higher
(false gate): for servers that are trusted, that are not, and for the bare name.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hitl.policy.levels import Inferred, infer_level
from hitl.policy.spec import Level, ToolDefinition

WAYS = ("trusted", "untrusted", "name only")


def main() -> int:
    """Print one line per way; with --wrong also each tool whose level differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.levels", description=__doc__)
    parser.add_argument("tools", type=Path, help="JSON lines")
    parser.add_argument("--family", action="append", help="only these families")
    parser.add_argument("--wrong", action="store_true", help="also list what differs, as a trusted server's tool")
    options = parser.parse_args()
    tools = [json.loads(line) for line in options.tools.read_text(encoding="utf-8").splitlines() if line.strip()]
    if options.family:
        tools = [tool for tool in tools if tool["family"] in options.family]
    if not tools:
        parser.error("no tools left; check the file and --family")
    print(f"{len(tools)} tools of {len({tool['server'] for tool in tools})} servers")
    print(f"{'':<10} {'exact':>7} {'under':>7} {'missed':>7} {'false gate':>11}")
    for way in WAYS:
        shares = figures((Level[tool["level"].upper()], inferred(tool, way).level) for tool in tools)
        print(f"{way:<10} {shares[0]:>7.3f} {shares[1]:>7.3f} {shares[2]:>7.3f} {shares[3]:>11.3f}")
    if options.wrong:
        for tool in tools:
            found = inferred(tool, "trusted")
            if found.level.word != tool["level"]:
                print(f"{tool['name']}: wanted {tool['level']}, found {found.level.word}: {found.reason}")
    return 0


def inferred(tool: dict[str, Any], way: str) -> Inferred:
    """The level of one tool, knowing as much as `way` says."""
    arguments = tuple(argument["name"] for argument in tool["arguments"])
    hints = {name: value for name, value in (tool["annotations"] or {}).items() if isinstance(value, bool)}
    definition = ToolDefinition(tool["name"], tool["description"], arguments, hints)
    name = f"{tool['server']}/{tool['name']}"
    if way == "name only":
        return infer_level(name, None, arguments)
    return infer_level(name, definition, arguments, trusted=way == "trusted")


def figures(pairs: Iterable[tuple[Level, Level]]) -> tuple[float, float, float, float]:
    """Shares of (exact, under, missed, false gate) among (wanted, found)."""
    rows = list(pairs)
    exact = sum(wanted == found for wanted, found in rows)
    under = sum(found < wanted for wanted, found in rows)
    missed = sum(wanted >= Level.HIGH and found <= Level.MEDIUM for wanted, found in rows)
    gated = sum(wanted <= Level.MEDIUM and found >= Level.HIGH for wanted, found in rows)
    return exact / len(rows), under / len(rows), missed / len(rows), gated / len(rows)


if __name__ == "__main__":
    raise SystemExit(main())
