"""`kubectl hitl list` beside `kubectl get` of the same requests, as a reviewer types them, in one run."""

import asyncio
import time
from collections.abc import Callable
from statistics import median

from benchmarks.cluster import Running, running
from benchmarks.rows import Row, ceiling
from benchmarks.stored import fill

WAITING = 20
MANY = 500
RUNS = 15
_BUDGET_MS = 300.0
REVIEWER = "ana@example.com"


def run() -> list[Row]:
    """Milliseconds of each command, warm: the median of several runs, taken in turns."""
    with running() as stage:
        rows = []
        for count in (WAITING, MANY):
            asyncio.run(fill(stage, count, ends=False, first=count))
            listed, got = _in_turns(
                lambda: _kubectl(stage, "hitl", "list"), lambda: _kubectl(stage, "get", "approvalrequests")
            )
            total = WAITING if count == WAITING else WAITING + MANY
            rows += [
                ceiling(f"kubectl hitl list, {total} waiting", listed, _BUDGET_MS, "ms", digits=0)
                if count == WAITING
                else Row(f"kubectl hitl list, {total} waiting", f"{listed:.0f} ms"),
                Row("  beside kubectl get", f"{listed / got:.1f} x ({got:.0f} ms)"),
            ]
    return rows


def _in_turns(*commands: Callable[[], None]) -> list[float]:
    """Median milliseconds of each; what disturbs one disturbs the others alike."""
    took: list[list[float]] = [[] for _ in commands]
    for turn in range(RUNS + 2):
        for command, times in zip(commands, took, strict=True):
            began = time.perf_counter()
            command()
            if turn > 1:  # the first ones fill caches
                times.append(1000 * (time.perf_counter() - began))
    return [median(times) for times in took]


def _kubectl(stage: Running, *words: str) -> None:
    done = stage.cluster.kubectl_of(REVIEWER, *words)
    if done.returncode:
        raise RuntimeError(done.stderr)
