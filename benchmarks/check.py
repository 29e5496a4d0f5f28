"""What `Check` costs over the socket beside an empty grpc.aio echo, and how soon a sidecar gives its first verdict.

A real sidecar with a real hub's config, a real echo process, and one client that alternates between them, so that
whatever else the machine does happens to both.
"""

import asyncio
import statistics
import time
from typing import Any

import grpc
import orjson
from grpc import aio

from benchmarks.processes import UNLIMITED, Stage, stage
from benchmarks.rows import Row, ceiling
from hitl.v1 import gate_pb2

BUDGET = 1.2
START_BUDGET = 250.0
ROUNDS = 40
CALLS = 250  # of each kind in one round
AT_ONCE = 32
STARTS = 5

# 0.5 KB of arguments.
BODY = gate_pb2.CheckRequest(
    call=gate_pb2.ToolCall(
        server="shop",
        tool="get_order",
        arguments_json=orjson.dumps({f"argument_{n}": f"value of some length {n}" for n in range(12)}),
        session_id="s1",
    )
).SerializeToString()


def run() -> list[Row]:
    """Ratios of latency and throughput, and the start."""
    with stage(UNLIMITED) as running:
        starts = [_start(running) for _ in range(STARTS)]
        with running.echo() as echo, running.sidecar():
            echoed, checked, rates = asyncio.run(_alternate(echo, running.gate))
    return [
        _ratio("Check over the socket beside an empty echo, p50", _at(checked, 50), _at(echoed, 50)),
        _ratio("Check over the socket beside an empty echo, p99", _at(checked, 99), _at(echoed, 99)),
        Row("  Check p50 / p99", f"{_at(checked, 50):.0f} / {_at(checked, 99):.0f} µs"),
        Row("  echo p50 / p99", f"{_at(echoed, 50):.0f} / {_at(echoed, 99):.0f} µs"),
        Row(f"  calls a second, {AT_ONCE} at once, Check / echo", f"{rates[1]:.0f} / {rates[0]:.0f}"),
        ceiling("sidecar start to first verdict, median", statistics.median(starts), START_BUDGET, "ms", digits=0),
    ]


def _ratio(what: str, value: float, base: float) -> Row:
    return Row(what, f"{value / base:.2f} x", f"<= {BUDGET:g} x", value / base <= BUDGET)


def _at(values: list[float], percent: int) -> float:
    """A percentile, µs."""
    return statistics.quantiles(values, n=100)[percent - 1] * 1e6


async def _alternate(echo: str, gate: str) -> tuple[list[float], list[float], tuple[float, float]]:
    """Seconds of every echo and every Check, and the median rates of both."""
    async with aio.insecure_channel(echo) as echoes, aio.insecure_channel(gate) as gates:
        methods = (echoes.unary_unary("/bench.Echo/Echo"), gates.unary_unary("/hitl.v1.GateService/Check"))
        for method in methods:
            await method(BODY, wait_for_ready=True, timeout=30)
        answer = gate_pb2.CheckResponse.FromString(await methods[1](BODY))
        if answer.outcome != gate_pb2.OUTCOME_ALLOWED:
            raise RuntimeError(f"the measured call must be allowed, but: {answer.message}")
        await _sequence(methods[0], CALLS)
        await _sequence(methods[1], CALLS)
        times: tuple[list[float], list[float]] = ([], [])
        rates: tuple[list[float], list[float]] = ([], [])
        for _ in range(ROUNDS):
            for index, method in enumerate(methods):
                times[index].extend(await _sequence(method, CALLS))
                rates[index].append(await _rate(method, CALLS * 2))
        return times[0], times[1], (statistics.median(rates[0]), statistics.median(rates[1]))


async def _sequence(method: Any, calls: int) -> list[float]:
    """One after the other."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        await method(BODY)
        times.append(time.perf_counter() - began)
    return times


async def _rate(method: Any, calls: int) -> float:
    """Calls a second, several at once."""

    async def worker() -> None:
        for _ in range(calls // AT_ONCE):
            await method(BODY)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return calls / (time.perf_counter() - began)


def _start(running: Stage) -> float:
    """Milliseconds from starting the process to its first ALLOWED."""
    began = time.perf_counter()
    with running.sidecar(ready=False):
        while not (running.folder / "gate.sock").exists():
            time.sleep(0.001)
        with grpc.insecure_channel(running.gate) as channel:
            check = channel.unary_unary("/hitl.v1.GateService/Check")
            while True:
                answer = gate_pb2.CheckResponse.FromString(check(BODY, timeout=30, wait_for_ready=True))
                if answer.outcome == gate_pb2.OUTCOME_ALLOWED:
                    return (time.perf_counter() - began) * 1000
                time.sleep(0.001)
