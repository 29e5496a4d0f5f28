"""Ten thousand calls at once that all need a person: with raised settings none is lost or refused, on default settings
20 wait and all others are refused with LIMIT, and memory stays within its bounds.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson
from grpc import aio

from benchmarks.processes import UNLIMITED, resident, stage
from benchmarks.rows import Row, ceiling
from hitl.v1 import gate_pb2, gate_pb2_grpc

CALLS = 10_000
IDLE_BUDGET = 55.0
HELD_BUDGET = 300.0
DEFAULT_HELD = 20
_GIVE_UP = 300.0  # seconds
_FLAT = 15.0  # MiB that an allocator may keep after a burst and it still counts as flat


def run() -> list[Row]:
    """Memory idle, with ten thousand holds, and after a burst on default settings."""
    raised = asyncio.run(_burst(UNLIMITED, waiting=CALLS))
    default = asyncio.run(_burst("", waiting=DEFAULT_HELD))
    waited, refused = default.outcomes["PENDING RULE"], default.outcomes["DENIED LIMIT"]
    return [
        ceiling("sidecar memory, idle", raised.idle, IDLE_BUDGET, "MiB", digits=1),
        ceiling(f"sidecar memory with {CALLS} holds of 0.5 KB", raised.held, HELD_BUDGET, "MiB", digits=1),
        Row(
            f"burst of {CALLS}, raised settings: waiting / lost or refused",
            f"{raised.outcomes['PENDING RULE']} / {CALLS - raised.outcomes['PENDING RULE']}",
            f"{CALLS} / 0",
            raised.outcomes["PENDING RULE"] == CALLS,
        ),
        Row("  until the hub had opened all of them", f"{raised.seconds:.1f} s"),
        Row(
            f"burst of {CALLS}, default settings: waiting / refused with LIMIT",
            f"{waited} / {refused}",
            f"{DEFAULT_HELD} / {CALLS - DEFAULT_HELD}",
            (waited, refused) == (DEFAULT_HELD, CALLS - DEFAULT_HELD),
        ),
        ceiling("  sidecar memory after it", default.held, IDLE_BUDGET + _FLAT, "MiB", digits=1),
    ]


@dataclass(frozen=True, slots=True)
class Burst:
    """What one burst did.

    Attributes:
        idle, held: resident memory before it, and once everything was waiting or answered, MiB.
        seconds: until that.
        outcomes: outcome and reason of every call, those that waited answered because the sidecar ended.
    """

    idle: float
    held: float
    seconds: float
    outcomes: Counter[str]


async def _burst(settings: str, *, waiting: int) -> Burst:
    with stage(settings) as running, running.sidecar() as sidecar:
        await asyncio.sleep(1)
        idle = resident(sidecar.pid)
        async with aio.insecure_channel(running.gate) as channel:
            stub = gate_pb2_grpc.GateServiceStub(channel)  # type: ignore[no-untyped-call]
            began = time.monotonic()
            calls = [
                asyncio.ensure_future(_outcome(stub.Check(_request(n), timeout=2 * _GIVE_UP))) for n in range(CALLS)
            ]
            while time.monotonic() - began < _GIVE_UP:
                await asyncio.sleep(0.2)
                answered = sum(call.done() for call in calls)
                if answered >= CALLS - waiting and await asyncio.to_thread(running.waiting) >= waiting:
                    break
            seconds = time.monotonic() - began
            await asyncio.sleep(1)
            held = resident(sidecar.pid)
            sidecar.terminate()
            outcomes = Counter(await asyncio.gather(*calls))
    return Burst(idle, held, seconds, outcomes)


async def _outcome(call: Any) -> str:
    try:
        answer = await call
    except aio.AioRpcError as error:
        return f"{error.code().name} {error.details()}"
    return f"{gate_pb2.Outcome.Name(answer.outcome).removeprefix('OUTCOME_')} {answer.reason_code}"


def _request(number: int) -> gate_pb2.CheckRequest:
    """A call like no other: 0.5 KB of arguments."""
    arguments = {"customer": f"C-{number}", "amount": 15000, "note": "x" * 450}
    call = gate_pb2.ToolCall(server="shop", tool="refund", arguments_json=orjson.dumps(arguments))
    return gate_pb2.CheckRequest(call=call)
