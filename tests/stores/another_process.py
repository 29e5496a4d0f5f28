"""What a second process does with the same file: `python another_process.py DATABASE TIME JOB …`; one word a line."""

import asyncio
import resource
import sys
from datetime import datetime
from itertools import count
from pathlib import Path

from asking import NAMESPACE, Clock, a_decision, a_spec, believed, cancelled, consumed, opening, two_people

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


async def fill(store: SQLiteStore, clock: Clock) -> None:
    """Opens large requests, several to a commit, until the system lets files grow no more; then with room again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    large = a_spec(explanation="x" * 20_000)
    for n in range(100):
        names = [f"r-{n}-{each}" for each in range(5)]
        results = await asyncio.gather(
            *(store.create(NAMESPACE, name, large, opening(clock)) for name in names), return_exceptions=True
        )
        for name, result in zip(names, results, strict=True):
            say(name, type(result).__name__)
        if any(isinstance(result, BaseException) for result in results):
            break
    say("room", str(results[-1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await store.create(NAMESPACE, "after", large, opening(clock))
    say("after", "ApprovalRequest")


async def main(database: str, time: str, job: str, *arguments: str) -> None:
    clock = Clock(datetime.fromisoformat(time))
    async with SQLiteStore.open(Path(database), clock=clock, patience=60) as store:
        await {"decide": decide, "consume": consume, "burst": burst, "fill": fill}[job](store, clock, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
