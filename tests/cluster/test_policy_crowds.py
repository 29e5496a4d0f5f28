"""One namespace with many heavy policies keeps nobody waiting but itself, on a real API server (SECURITY B5, H1)."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from cluster.gated_pods import EVER, until
from cluster.policy_replicas import ALLOW, DENY, Author, Replica, Replicas
from cluster_fixtures import a_namespace
from control_plane.running import ControlPlane
from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import Accepted

V1 = "hitl.dev/v1alpha1"
# More than ten times what it takes alone, within which a Deny elsewhere is in force: while the API server takes in the
# crowd, kubectl itself waits for seconds on a machine that others share. Behind the crowd it was a minute.
SECONDS = 15.0
LOOK = 10.0  # seconds: kopf has so long to say what is written, also on a machine that others share
# Seconds that this process computes, whoever shares the machine, before the loop gets to its next task; before policies
# were read beside the loop it was six, and a minute for sixty policies.
BLOCKED = 1.5
# As much as the compiler takes of one policy: 40 ms in 3 KB.
SLOW = {
    "rules": [
        {"action": "Deny", "tools": ["x"], "args": {f"a{n}": {"matches": f"[^\\pL\\pN]{{1,2}}{n}"} for n in range(17)}}
        for _ in range(2)
    ]
}
# More than is read at all, and nearly as much as the API server stores.
GIANT = {
    "rules": [
        {"action": "Deny", "tools": ["x"], "args": {f"a{n}": {"matches": f"(x|y{n})+{'b' * 900}"} for n in range(20)}}
        for _ in range(55)
    ]
}


class Monitor:
    """How long the loop was kept from its tasks by what this process computes, at the longest, in seconds."""

    longest = 0.0


@asynccontextmanager
async def monitored() -> AsyncIterator[Monitor]:
    monitor = Monitor()

    async def watch() -> None:
        while True:
            began = time.process_time()
            await asyncio.sleep(0.02)
            monitor.longest = max(monitor.longest, time.process_time() - began)

    watching = asyncio.create_task(watch())
    try:
        yield monitor
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def create(api: KubeAPI, namespace: str, name: str, spec: dict[str, Any]) -> None:
    body = {"apiVersion": V1, "kind": "AgentPolicy", "metadata": {"name": name}, "spec": spec}

    async def created() -> bool:
        try:
            await api.create(path_of(V1, "agentpolicies", namespace), body, deadline=EVER)
        except StoreUnavailable:
            return False  # it has more to do than it gets done in time; whether it was taken the next attempt tells
        except ApiError as error:
            if error.status != 409 and "failed to configure binding" not in error.message:
                raise
            return error.status == 409  # else the server has just begun to look at baselines
        return True

    await until(created, 5 * EVER)


async def clear(api: KubeAPI, namespace: str) -> None:
    with suppress(ApiError, StoreUnavailable):
        await api.delete(path_of(V1, "agentpolicies", namespace), deadline=EVER)


def reasons(replica: Replica, namespace: str) -> list[Accepted]:
    found = replica.source.acceptance
    return [each.reason for key, each in found.outcomes.items() if key[1] == namespace] if found is not None else []


async def in_force(replica: Replica, author: Author, spec: dict[str, Any]) -> float:
    """How long it takes, in seconds, from kubectl's start until the replica goes by it."""
    began = time.monotonic()
    await author.apply(spec)
    await until(lambda: replica.policies(author.namespace) == {"support": spec})
    return time.monotonic() - began


async def test_B5_a_crowd_of_heavy_policies_keeps_nobody_else_waiting(
    control_plane: ControlPlane, replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """B5, H1: while a namespace writes what takes seconds to read, a Deny in another one is in force at once, the loop
    goes on, and a replica that starts beside all of it gets ready.
    """
    quiet = Author(control_plane, a_namespace(control_plane))
    replica = await replicas.start(look_every=LOOK)
    crowd = {f"slow-{number:02d}": SLOW for number in range(60)} | {f"giant-{number}": GIANT for number in range(8)}
    assert len(json.dumps(GIANT)) > 1_000_000
    try:
        alone = await in_force(replica, quiet, ALLOW)
        async with monitored() as monitor:
            writing = [asyncio.create_task(create(admin, author.namespace, *each)) for each in crowd.items()]
            await until(lambda: len(reasons(replica, author.namespace)) > 5)
            took = await in_force(replica, quiet, DENY)
            await asyncio.gather(*writing)
            await until(lambda: len(reasons(replica, author.namespace)) == len(crowd))
        said = f"the quiet namespace waited {took:.1f} s, alone {alone:.1f} s; longest block {monitor.longest:.2f} s"
        print(said)  # noqa: T201 - for who reads -s
        assert took < SECONDS + 10 * alone
        assert monitor.longest < BLOCKED
        assert reasons(replica, author.namespace).count(Accepted.INVALID) == 8
        giant = replica.outcome(author.namespace, "giant-0")
        assert giant is not None
        assert "at most 256 KiB are read; split it" in giant.message
        async with monitored() as monitor:
            late = await replicas.start(look_every=LOOK)
            assert late.policies(quiet.namespace) == {"support": DENY}
            assert len(reasons(late, author.namespace)) == len(crowd)
        print(f"beside it starts another one; longest block {monitor.longest:.2f} s")  # noqa: T201 - as above
        assert monitor.longest < BLOCKED
    finally:
        await clear(admin, author.namespace)
        await quiet.delete()


async def test_B5_a_namespace_with_too_many_is_told_so_by_name(
    control_plane: ControlPlane, replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """B5: the newest are refused and say what to do; once some are removed they are in force by themselves."""
    replica = await replicas.start_whole("leader", leads=True, look_every=LOOK)
    try:
        for number in range(0, 201, 20):
            names = [f"p-{n:03d}" for n in range(number, min(number + 20, 201))]
            await asyncio.gather(*(create(admin, author.namespace, name, DENY) for name in names))
        await asyncio.sleep(1.1)  # creation is stamped by the second
        await author.apply(DENY, name="newest")
        await until(lambda: reasons(replica, author.namespace).count(Accepted.EXCESSIVE) == 2)
        outcome = replica.outcome(author.namespace, "newest")
        assert outcome is not None
        assert outcome.reason is Accepted.EXCESSIVE

        async def said() -> Any:
            condition = (await author.status("newest"))["conditions"].get("Accepted", {})
            return condition if condition.get("reason") == "Excessive" else None

        condition = await until(said)
        assert condition["status"] == "False"
        assert "has 202 policies and tool servers, the oldest 200 are read" in condition["message"]
        for name in ("p-000", "p-001"):
            await author.delete(name)
        await until(lambda: set(reasons(replica, author.namespace)) == {Accepted.VALID})
    finally:
        await clear(admin, author.namespace)
