"""What a second process does with the same file: `python another_process.py DATABASE TIME JOB …`; one word a line."""

import asyncio
import sys
from datetime import datetime
from itertools import count
from pathlib import Path

from asking import NAMESPACE, Clock, a_decision, believed, cancelled, consumed, opening, two_people

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import HitlError
from hitl.stores.sqlite import SQLiteStore


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


async def decide(store: SQLiteStore, clock: Clock, name: str, reviewer: str) -> None:
    """One vote, then its version."""
    request = await store.get(NAMESPACE, name)
    say((await store.decide(NAMESPACE, name, a_decision(request, reviewer))).version)


async def consume(store: SQLiteStore, clock: Clock, name: str, sidecar: str) -> None:
    """Read, wait for a line so that everybody starts together, try to release; then what came of it. Runs on."""
    request = await store.get(NAMESPACE, name)
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    try:
        await store.write_status(request, consumed(request, clock(), by=sidecar))
    except HitlError as error:
        say(type(error).__name__)
    else:
        say("released")
    await asyncio.to_thread(sys.stdin.readline)


async def burst(store: SQLiteStore, clock: Clock) -> None:
    """Opens, votes, believes and cancels without end; says each step once it is acknowledged."""
    spec = two_people()

    async def live(name: str) -> None:
        def tell(request: ApprovalRequest) -> ApprovalRequest:
            say(name, request.version, request.status.state.value, str(len(request.status.decisions)))
            return request

        request = tell(await store.create(NAMESPACE, name, spec, opening(clock, spec)))
        request = tell(await store.decide(NAMESPACE, name, a_decision(request)))
        request = tell(await store.write_status(request, believed(request)))
        tell(await store.write_status(request, cancelled(request, clock())))

    for n in count():
        await asyncio.gather(*(live(f"r-{n}-{each}") for each in range(20)))


async def main(database: str, time: str, job: str, *arguments: str) -> None:
    clock = Clock(datetime.fromisoformat(time))
    async with SQLiteStore.open(Path(database), clock=clock) as store:
        await {"decide": decide, "consume": consume, "burst": burst}[job](store, clock, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
