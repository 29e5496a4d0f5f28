"""`kubectl hitl list` beside `kubectl get` of the same requests, as a reviewer types them, in one run."""

import asyncio
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from benchmarks.cluster import Running, running
from benchmarks.rows import Row, ceiling
from benchmarks.stored import fill

WAITING = 20
MANY = 500
RUNS = 15
_BUDGET_MS = 300.0
REVIEWER = "ana@example.com"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took, milliseconds: by the clock, and of processors, which depends less on who else is there."""

    clock: float
    quickest: float
    processor: float


def run() -> list[Row]:
    """Milliseconds of each command, warm: the median of several runs, taken in turns."""
    with running() as stage:
        rows = []
        for count in (WAITING, MANY):
            asyncio.run(fill(stage, count, ends=False, first=count))
            listed, got, completed = in_turns(
                lambda: _kubectl(stage, "hitl", "list"),
                lambda: _kubectl(stage, "get", "approvalrequests"),
                lambda: _kubectl(stage, "__complete", "hitl", "show", "re"),
            )
            total = WAITING if count == WAITING else WAITING + MANY
            rows += [
                ceiling(f"kubectl hitl list, {total} waiting", listed.clock, _BUDGET_MS, "ms", digits=0)
                if count == WAITING
                else Row(f"kubectl hitl list, {total} waiting", f"{listed.clock:.0f} ms"),
                Row("  the quickest; processor time", f"{listed.quickest:.0f} ms; {listed.processor:.0f} ms"),
                Row("  beside kubectl get", f"{listed.clock / got.clock:.1f} x ({got.clock:.0f} ms)"),
                Row("  a request's name, completed", f"{completed.clock:.0f} ms"),
            ]
    return rows


def in_turns(*commands: Callable[[], None]) -> list[Cost]:
    """Medians of each, and its quickest run; what disturbs one disturbs the others alike."""
    took: list[list[tuple[float, float]]] = [[] for _ in commands]
    for turn in range(RUNS + 2):
        for command, times in zip(commands, took, strict=True):
            began, used = time.perf_counter(), _used()
            command()
            if turn > 1:  # the first ones fill caches
                times.append((1000 * (time.perf_counter() - began), 1000 * (_used() - used)))
    return [
        Cost(
            median(clock for clock, _ in times),
            min(clock for clock, _ in times),
            median(processor for _, processor in times),
        )
        for times in took
    ]


def _used() -> float:
    """Seconds of processors that programs took which have ended; the cluster's own ones have not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _kubectl(stage: Running, *words: str) -> None:
    done = stage.cluster.kubectl_of(REVIEWER, *words)
    if done.returncode:
        raise RuntimeError(done.stderr)
