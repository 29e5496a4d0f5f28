"""The demo's agent: a process that asks the gate before each tool call and runs only what is ALLOWED.

Orders come as JSON lines on stdin (a model would think of them), answers go as JSON lines to stdout. It is also the
shortest honest example of a client: every answer but ALLOWED, and every gRPC error, means do not execute.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from hitl.v1 import gate_pb2, gate_pb2_grpc
from hitl_cli.demo.world import World

DEADLINE = 60.0
"""Seconds an RPC may take; the gate answers before, with PENDING if need be."""


class ExampleAgent:
    """Asks, runs, reports."""

    def __init__(self, gate: gate_pb2_grpc.GateServiceStub, world: World) -> None:
        self.gate = gate
        self.world = world

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry out one order and say what came of it; a gate that cannot be reached is an answer too: no."""
        try:
            match order["do"]:
                case "check":
                    return await self.check(order)
                case "await":
                    return await self.wait(order)
                case "cancel":
                    request = gate_pb2.CancelRequest(handle=order["handle"], reason=order.get("reason", ""))
                    answer = await self.gate.Cancel(request, timeout=DEADLINE)
                    return {"outcome": _outcome(answer.outcome)}
                case unknown:
                    raise ValueError(f"no such order: {unknown}")
        except grpc.aio.AioRpcError as error:
            return {"outcome": "NO ANSWER", "message": f"{error.code().name}: {error.details()}"}

    async def check(self, order: dict[str, Any]) -> dict[str, Any]:
        """Ask for one call and, if it is released, run exactly the arguments that were released."""
        sent = order["raw"] if "raw" in order else json.dumps(order["arguments"])
        call = gate_pb2.ToolCall(
            server=order["server"],
            tool=order["tool"],
            arguments_json=sent.encode(),
            call_id=order.get("callID", ""),
            session_id=order.get("session", "demo"),
            justification=order.get("justification", ""),
            claimed_user=order.get("claimedUser", ""),
        )
        if "confidence" in order:
            call.confidence_percent = order["confidence"]
        request = gate_pb2.CheckRequest(call=call)
        if "wait" in order:
            request.wait.CopyFrom(_duration(order["wait"]))
        answer = await self.gate.Check(request, timeout=DEADLINE)
        said: dict[str, Any] = {
            "outcome": _outcome(answer.outcome),
            "reason": answer.reason_code,
            "message": answer.message,
            "handle": answer.handle,
            "action": gate_pb2.Action.Name(answer.verdict.action).removeprefix("ACTION_"),
            "rule": answer.verdict.rule,
        }
        if answer.verdict.HasField("score"):
            said["score"] = answer.verdict.score
        if answer.outcome == gate_pb2.OUTCOME_ALLOWED:
            released = answer.arguments_json if answer.HasField("arguments_json") else sent.encode()
            said["ran"], result = self._execute(f"{order['server']}/{order['tool']}", json.loads(released))
            if answer.permit:
                output = json.dumps(said["ran"]).encode()
                report = gate_pb2.ReportRequest(permit=answer.permit, result=result, output_json=output)
                await self.gate.Report(report, timeout=DEADLINE)
        return said

    async def wait(self, order: dict[str, Any]) -> dict[str, Any]:
        """Wait for a decision; this never releases anything."""
        request = gate_pb2.AwaitRequest(handle=order["handle"], wait=_duration(order.get("wait", 0)))
        answer = await self.gate.Await(request, timeout=DEADLINE)
        return {"outcome": _outcome(answer.outcome), "message": answer.message}

    def _execute(self, name: str, arguments: dict[str, Any]) -> tuple[Any, gate_pb2.Result]:
        try:
            return self.world.run(name, arguments), gate_pb2.RESULT_SUCCEEDED
        except Exception as error:  # noqa: BLE001 - a failing tool is a result, whatever it raised
            return f"failed: {error}", gate_pb2.RESULT_FAILED


def _outcome(number: gate_pb2.Outcome) -> str:
    return gate_pb2.Outcome.Name(number).removeprefix("OUTCOME_")


def _duration(seconds: float) -> Duration:
    return Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


async def serve(socket: str, folder: Path) -> None:
    """Read orders until stdin closes; each is answered when it is done, several may wait at once."""
    async with grpc.aio.insecure_channel(f"unix:{socket}") as channel:
        stub = gate_pb2_grpc.GateServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        agent = ExampleAgent(stub, World(folder))

        async def answer(order: dict[str, Any]) -> None:
            said = await agent.obey(order)
            sys.stdout.write(json.dumps({"ref": order["ref"], **said}) + "\n")
            sys.stdout.flush()

        async with asyncio.TaskGroup() as orders:
            while line := await asyncio.to_thread(sys.stdin.readline):
                orders.create_task(answer(json.loads(line)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    parser.add_argument("--world", required=True, type=Path)
    given = parser.parse_args()
    asyncio.run(serve(given.socket, given.world))
