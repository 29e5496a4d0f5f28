"""A policy change, and a freeze, on their way from kubectl to a thousand connected sidecars, each with the token of a
pod of its own.
"""

import asyncio
import itertools
import resource
import secrets
import time
from statistics import quantiles
from typing import Any

import grpc
from grpc import aio

from benchmarks.cluster import POLICY, Running, running
from benchmarks.processes import resident
from benchmarks.rows import Row, ceiling
from control_plane.demo.objects import AGENT, HUB_NAME, NAMESPACE, NODE
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.policy.config import COMPILER, SCHEMA
from hitl.v1 import hub_pb2, hub_pb2_grpc

SIDECARS = 1_000
CHANGES = 5
# In the operator's namespace, so that it stops every namespace.
FREEZE = """\
apiVersion: hitl.dev/v1alpha1
kind: PolicyOverride
metadata: {name: NAME, namespace: hitl-system}
spec: {type: Freeze, by: admin, reason: benchmark}
"""
_CHANNELS = 20  # connections that they share; a thousand of them in one process would measure this program
_BUDGET = 2.0  # seconds
_GIVE_UP = 120.0


def run() -> list[Row]:
    """Seconds from `kubectl` returning until every sidecar has the new config."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    with running() as stage:
        return asyncio.run(_measure(stage))


async def _measure(stage: Running) -> list[Row]:
    before = resident(stage.operator)
    tokens = await _pods(stage)
    revisions: dict[int, str] = {}
    trust = grpc.ssl_channel_credentials(stage.cluster.hub_ca.read_bytes())
    options = [("grpc.ssl_target_name_override", HUB_NAME), ("grpc.use_local_subchannel_pool", 1)]
    channels = [aio.secure_channel(stage.hub, trust, options) for _ in range(_CHANNELS)]
    began = time.perf_counter()
    streams = [
        asyncio.create_task(_sidecar(channels[number % _CHANNELS], number, token, revisions))
        for number, token in enumerate(tokens)
    ]
    try:
        await _until(lambda: len(revisions) == SIDECARS, streams)
        joined = time.perf_counter() - began
        memory = resident(stage.operator)
        took = []
        for number in range(CHANGES):
            old = dict(revisions)
            text = POLICY.replace("delete_*", f"delete_{number}_*")
            done = await asyncio.to_thread(stage.cluster.plane.kubectl, "apply", "-f", "-", stdin=text)
            if done.returncode:
                raise RuntimeError(done.stderr)
            began = time.perf_counter()
            await _until(lambda old=old: all(revisions[each] != old[each] for each in old), streams)
            took.append(time.perf_counter() - began)
        stopped = [await _frozen(stage, number, revisions, streams) for number in range(CHANGES)]
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        for channel in channels:
            await channel.close()
    return [
        ceiling(f"policy change to the last of {SIDECARS} sidecars, worst of {CHANGES}", max(took), _BUDGET, "s"),
        Row("  of these, the middle one", f"{quantiles(took, n=2)[0]:.2f} s"),
        ceiling(
            f"freeze of the whole cluster to the last of {SIDECARS} sidecars, worst of {CHANGES}",
            max(stopped),
            _BUDGET,
            "s",
        ),
        Row(f"until {SIDECARS} sidecars that come at once have their config", f"{joined:.1f} s"),
        Row("operator memory for each connected sidecar", f"{1024 * (memory - before) / SIDECARS:.0f} KiB"),
    ]


async def _frozen(stage: Running, number: int, revisions: dict[int, str], streams: list["asyncio.Task[None]"]) -> float:
    """Press the stop button and release it again; seconds until the last sidecar was told to stop."""
    kubectl = stage.cluster.plane.kubectl
    before = dict(revisions)
    text = FREEZE.replace("NAME", f"stop-{number}")
    done = await asyncio.to_thread(kubectl, "create", "-f", "-", stdin=text)
    if done.returncode:
        raise RuntimeError(done.stderr)
    began = time.perf_counter()
    await _until(lambda: all(revisions[each] != before[each] for each in before), streams)
    took = time.perf_counter() - began
    done = await asyncio.to_thread(kubectl, "delete", "-f", "-", stdin=text)
    if done.returncode:
        raise RuntimeError(done.stderr)
    await _until(lambda: revisions == before, streams)
    return took


async def _until(condition: Any, streams: list["asyncio.Task[None]"]) -> None:
    async with asyncio.timeout(_GIVE_UP):
        while not condition():
            for stream in streams:
                if stream.done():
                    stream.result()
            await asyncio.sleep(0.005)


async def _sidecar(channel: Any, number: int, token: str, revisions: dict[int, str]) -> None:
    """One Sync stream as a sidecar has it: takes every config and says so."""
    stub: Any = hub_pb2_grpc.HubServiceStub(channel)  # type: ignore[no-untyped-call]
    stream = stub.Sync(metadata=(("authorization", f"Bearer {token}"),))
    hello = hub_pb2.Hello(epoch=secrets.token_hex(8), schemas=[SCHEMA], compiler=COMPILER)
    await stream.write(hub_pb2.SyncRequest(hello=hello))
    while (message := await stream.read()) is not aio.EOF:
        if message.WhichOneof("message") == "config":
            revision = message.config.revision
            await stream.write(hub_pb2.SyncRequest(ack=hub_pb2.Ack(revision=revision, accepted=True)))
            revisions[number] = revision
    raise RuntimeError(f"the hub ended stream {number}")


async def _pods(stage: Running) -> list[str]:
    """Tokens of as many gated pods, each bound to its own."""
    slots = asyncio.Semaphore(16)
    numbers = itertools.count()

    async def one(admin: KubeAPI, node: KubeAPI) -> str:
        async with slots:
            name = f"bench-{next(numbers)}"
            pod = await admin.create(path_of("v1", "pods", NAMESPACE), _pod(name))
            bound = {"kind": "Pod", "apiVersion": "v1", "name": name, "uid": pod["metadata"]["uid"]}
            wish = {"spec": {"audiences": ["hitl.dev/hub"], "expirationSeconds": 3600, "boundObjectRef": bound}}
            path = path_of("v1", "serviceaccounts", NAMESPACE, AGENT, "token")
            return str((await node.create(path, wish))["status"]["token"])

    admin_access = stage.access("admin", ["system:masters"])
    node_access = stage.access(f"system:node:{NODE}", ["system:nodes", "system:masters"])
    async with KubeAPI.open(admin_access) as admin, KubeAPI.open(node_access) as node:
        return list(await asyncio.gather(*(one(admin, node) for _ in range(SIDECARS))))


def _pod(name: str) -> dict[str, Any]:
    sidecar = {"name": "hitl-sidecar", "image": "hitl.invalid/sidecar", "restartPolicy": "Always"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "bench", "hitl.dev/gated": "true"}},
        "spec": {
            "serviceAccountName": AGENT,
            "automountServiceAccountToken": False,
            "nodeName": NODE,
            "initContainers": [sidecar],
            "containers": [{"name": "agent", "image": "hitl.invalid/agent"}],
        },
    }
