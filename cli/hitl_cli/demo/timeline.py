"""How the demo tells its story: who did what, what came of it, when."""

import subprocess
from collections.abc import Callable
from typing import Any

from hitl_cli.lines import unfolded, wrapped

WIDEST = 100
MARGIN = 16
"""Columns of time and name, before what happened."""


class Timeline:
    """Prints one line per event, aligned; `write` is the renderer's.

    Attributes:
        interactive: a person at the terminal decides; outcomes are then theirs.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float], *, interactive: bool, program: str = "hitl"
    ) -> None:
        self._program = program
        self._write = write
        self._clock = clock
        self._start = clock()
        self.interactive = interactive
        self._told = ""

    def scene(self, number: int, title: str) -> None:
        self._write("")
        self._write(f"{number:>2}  {title}")

    def asks(self, name: str, arguments: str) -> None:
        first, *more = wrapped(f"{name} {arguments}", WIDEST - MARGIN)
        self._line("agent", first)
        for line in more:
            self._line("", line, timed=False)

    def answer(self, answer: dict[str, Any]) -> None:
        why = answer.get("rule", "").rpartition("#")[2]
        why = f"rule {why}" if why else f"score {answer['score']}" if "score" in answer else answer.get("reason", "")
        self._line("gate", "   ".join(part for part in (answer["outcome"], why) if part))
        message = answer.get("message", "")
        # A retry that attached is told the same; once is enough for who reads along.
        if message and answer["outcome"] not in ("ALLOWED", "APPROVED") and message != self._told:
            for line in unfolded(message, WIDEST - MARGIN - 2):
                self._line("", f"│ {line}", timed=False)
        self._told = message
        if "ran" in answer:
            self._line("ran", str(answer["ran"]))

    def command(self, done: subprocess.CompletedProcess[str], verb: str, reviewer: str) -> None:
        """A command that somebody ran in a process of its own."""
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        first, *more = wrapped(
            f"{self._program} {verb}: {said[0] if said else ''} (exit {done.returncode})", WIDEST - MARGIN
        )
        self._line(reviewer, first)
        for line in more:
            self._line("", line, timed=False)

    def note(self, text: str) -> None:
        self._line("", f"- {text}")

    def _line(self, who: str, text: str, *, timed: bool = True) -> None:
        moment = f"{self._clock() - self._start:6.2f}s" if timed else " " * 7
        self._write(f"{moment}  {who:<{MARGIN - 11}}  {text}")
