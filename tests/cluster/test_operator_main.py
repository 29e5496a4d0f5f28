"""The operator as a process: what it waits for, what it says of itself, how it ends (SECURITY H1)."""

import asyncio
import base64
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest
from grpc import aio

from cluster.gated_pods import EVER, Pods, let_nodes_make_tokens, node_access, until
from cluster.hubs_over_tls import Line
from cluster.operators import Installation, Operator
from cluster.rights import bound, rights_without
from cluster.voting import PATIENCE
from control_plane.certificates import Authority
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT, Shipped
from hitl.policy.config import compile_config
from hitl.v1 import hub_pb2

pytestmark = pytest.mark.timeout(600)
A_LOOK = 600.0  # seconds for a look at the pods of every gated namespace that other tests left


@pytest.fixture
async def installation(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Installation]:
    """A gated namespace; no replica yet."""
    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user), deadline=PATIENCE) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        installation = Installation(pods, tmp_path)
        yield installation
        await installation.close()


async def line_to(installation: Installation, operator: Operator) -> Line:
    """The connection of a gated pod's sidecar."""
    pod = await installation.pods.create()
    return Line(installation.folder, await installation.pods.token(pod), installation.ca, operator.address)


async def first_config(line: Line) -> hub_pb2.ConfigUpdate:
    """Its first config; the hub may hear of the pod a moment after it was made."""

    async def ask() -> hub_pb2.ConfigUpdate | None:
        try:
            return await line.config()
        except aio.AioRpcError:
            return None

    found: hub_pb2.ConfigUpdate = await until(ask)
    return found


async def config_with(line: Line, wanted: Callable[[hub_pb2.ConfigUpdate], bool]) -> hub_pb2.ConfigUpdate:
    """The first of the following configs that is wanted; whatever else changes in the cluster may bring others."""
    async with asyncio.timeout(EVER):
        while True:
            message = await line.message()
            if message.WhichOneof("message") == "config" and wanted(message.config):
                found: hub_pb2.ConfigUpdate = message.config
                return found


@pytest.mark.parametrize(
    ("resource", "check"),
    [("pods", "pods"), ("agentpolicies", "policies"), ("approvalrequests", "hub")],
)
async def test_H1_nothing_is_handed_out_before_everything_was_seen(
    installation: Installation, control_plane: ControlPlane, resource: str, check: str
) -> None:
    """H1: while one kind cannot be listed the hub's port is closed and /readyz names it; then it serves."""
    account = f"without-{resource}"
    user = Shipped(service_account=account).operator
    await asyncio.to_thread(applied, control_plane, *rights_without(user, resource))
    operator = await installation.operator("a").start("--service-account", account, user=user)
    others = {"pods", "namespaces", "policies"} - {check}

    async def waits_for_it_alone() -> bool:
        status, text = await operator.get("/readyz")
        seen = all(f"[+] {name}" in text for name in others)
        return status == 503 and f"[-] {check}: " in text and seen

    await until(waits_for_it_alone)
    await until(lambda: says_what_is_refused(operator, control_plane.url, resource))
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", int(operator.address.rpartition(":")[2])), timeout=EVER)
    assert (await operator.get("/healthz"))[0] == 200
    everything = bound("ClusterRole", {"name": f"test-all-{resource}"}, "hitl-operator", user)
    await asyncio.to_thread(applied, control_plane, everything)
    await operator.ready()
    line = await line_to(installation, operator)
    config = await first_config(line)
    assert config.identity.namespace == installation.pods.namespace
    await line.close()


async def says_what_is_refused(operator: Operator, server: str, resource: str) -> bool:
    """Whether page and log name the server, what it refuses, and the next step."""
    texts = (await operator.get("/readyz"))[1], operator.log.read_text()
    words = (f"the API server {server} refuses: ", resource, "kubectl apply --server-side")
    return all(word in text for text in texts for word in words)


async def test_calls_that_need_nobody_are_served_where_votes_cannot_count(
    installation: Installation, control_plane: ControlPlane
) -> None:
    """C4, H1: an operator that may not read the admission policies serves config, and says that nobody can decide."""
    account = "without-admission"
    user = Shipped(service_account=account).operator
    rights = rights_without(user, "validatingadmissionpolicies")
    await asyncio.to_thread(applied, control_plane, *rights)
    operator = await (await installation.operator("a").start("--service-account", account, user=user)).ready()
    said = ("[!] enforcement: ENFORCEMENT_LOST", "[+] running\n", "[ ] lease: ")

    async def says_so() -> bool:
        page = (await operator.get("/readyz"))[1]
        return all(words in page for words in said)

    await until(says_so)
    line = await line_to(installation, operator)
    await first_config(line)
    await line.close()


async def test_settings_and_keys_reach_sidecars_without_a_restart(installation: Installation, admin: KubeAPI) -> None:
    """A changed settings file and a new key epoch: the next config has them; settings that are wrong change nothing."""
    operator = installation.operator("a")
    operator.settings.write_text("maxStaleness: 10m\n")
    await (await operator.start()).ready()
    line = await line_to(installation, operator)
    first = await first_config(line)
    assert b'"maxStaleness":"600s"' in first.document_json
    operator.settings.write_text("maxStalenes: 5m\n")
    await until(lambda: "settings-refused" in operator.log.read_text())
    operator.settings.write_text("maxStaleness: 5m\n")
    second = await config_with(line, lambda config: b'"maxStaleness":"300s"' in config.document_json)
    path = path_of("v1", "secrets", DEFAULT.namespace, "hitl-keys")
    epoch = int(base64.b64decode((await admin.get(path))["data"]["epoch"])) + 1
    await admin.merge_patch(path, {"data": {"epoch": base64.b64encode(str(epoch).encode()).decode()}})
    newest = second.keys[0].id
    third = await config_with(line, lambda config: config.keys[0].id != newest)
    assert [key.id for key in third.keys][1] == newest
    await line.close()


async def test_it_serves_metrics_and_ends_in_order(installation: Installation) -> None:
    """SIGTERM: the stream ends, the Lease is given back, exit code 0; metrics were Prometheus's text until then."""
    operator = await (await installation.operator("a").start()).ready()
    await until(operator.leads)
    line = await line_to(installation, operator)
    await first_config(line)

    async def counts_it() -> bool:
        status, text = await operator.get("/metrics")
        return status == 200 and any(f'hitl_sidecars{{current="{it}"}} 1.0' in text for it in ("true", "false"))

    await until(counts_it)
    operator.send(signal.SIGTERM)
    while (message := await line.message()) is not aio.EOF:
        assert message.WhichOneof("message") in ("heartbeat", "config")
    assert await operator.ended() == 0
    assert "lease-given-back" in operator.log.read_text()
    await line.close()


@pytest.mark.timeout(1500)
async def test_the_leader_reports_pods_without_a_gate(installation: Installation, admin: KubeAPI) -> None:
    """By the metric and by an Event beside the pod, with the operator's own rights; others of the server may count."""
    pod = await installation.pods.create("open-7d9f-abcde", init=(), gated=False)
    operator = await (await installation.operator("a").start()).ready()

    async def told() -> list[str]:
        events = [each async for each in admin.list(path_of("v1", "events", installation.pods.namespace))]
        return [each["involvedObject"]["uid"] for each in events if each["reason"] == "Unprotected"]

    assert await until(told, A_LOOK) == [pod["metadata"]["uid"]]

    async def counted() -> bool:
        lines = (await operator.get("/metrics"))[1].splitlines()
        numbers = [
            float(line.split()[-1]) for line in lines if line.startswith('hitl_unprotected_pods{why="NoSidecar"}')
        ]
        return any(number >= 1 for number in numbers)

    await until(counted, A_LOOK)


async def test_a_pod_that_no_policy_selects_gets_the_built_in_one(installation: Installation) -> None:
    """B2: its config says that there is no baseline, and compiles."""
    operator = await (await installation.operator("a").start()).ready()
    line = await line_to(installation, operator)
    document = orjson.loads((await first_config(line)).document_json)
    assert document["policies"] == []
    assert document["baseline"] == "none"
    compile_config(document)
    await line.close()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--listen": "nonsense"}, 2, "must be HOST:PORT"),
        ({"--http": ""}, 2, "must be HOST:PORT"),
        ({"--tls-key": "other.key"}, 1, "is not the key of"),
        ({"--tls-cert": "none.crt"}, 1, "cannot be read"),
        ({"--settings": "broken.yaml"}, 1, "maxStalenes"),
        ({"--kubeconfig": "none.kubeconfig"}, 1, "none.kubeconfig"),
        ({"--kubeconfig": None}, 1, "this is not a pod; give --kubeconfig"),
        ({"--http": "127.0.0.1:TAKEN"}, 1, "cannot be bound"),
        ({"--factors": "pwd"}, 1, "pwd"),
    ],
)
def test_what_it_cannot_start_with_is_named(
    tmp_path: Path, control_plane: ControlPlane, change: dict[str, str | None], code: int, words: str
) -> None:
    """Exit code 2 for a wrong call, 1 and one line for what it finds; never a traceback."""
    certificate, key = Authority("x").server("hub").write(tmp_path, "hub")
    Authority("y").server("hub").write(tmp_path, "other")
    (tmp_path / "broken.yaml").write_text("maxStalenes: 5m\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options: dict[str, str | None] = {
            "--kubeconfig": str(control_plane.admin),
            "--listen": "127.0.0.1:0",
            "--http": "127.0.0.1:0",
            "--tls-cert": str(certificate),
            "--tls-key": str(key),
            **{name: text.replace("TAKEN", port) if text else text for name, text in change.items()},
        }
        command = [f"{name}={text}" for name, text in options.items() if text is not None]
        done = subprocess.run(
            [sys.executable, "-m", "hitl_operator.cluster", *command],
            capture_output=True,
            text=True,
            timeout=EVER,
            check=False,
            cwd=tmp_path,
        )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
