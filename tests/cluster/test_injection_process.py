"""The operator as a process with its webhook: flags, readiness, metrics, and pods of a real API server (DESIGN 11)."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.backstop import IMAGE
from cluster.gated_pods import EVER, until
from cluster.operators import Installation
from cluster.webhooks import a_pod, is_gated, registration
from control_plane.certificates import Authority
from control_plane.running import ControlPlane
from hitl.errors import HitlError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of

pytestmark = pytest.mark.timeout(600)


async def test_every_replica_injects(installation: Installation, admin: KubeAPI) -> None:
    """Two replicas, of which one at most leads: each is ready with its webhook, gates a pod the same, and counts it."""
    namespace, pem, made = installation.pods.namespace, installation.ca.read_bytes(), []
    for name in ("a", "b"):
        operator = installation.operator(name)
        await operator.start("--admission", "127.0.0.1:0", "--sidecar-image", IMAGE, "--ca", str(installation.ca))
        await operator.ready()
        port = int(operator.admission().rpartition(":")[2])
        assert "[+] admission\n" in (await operator.get("/readyz"))[1]
        async with registration(admin, f"hitl-{name}", namespace, port, pem):
            made.append(await until(lambda: gated(admin, namespace)))

        async def counted(operator: Any = operator) -> bool:
            lines = (await operator.get("/metrics"))[1].splitlines()
            name = 'hitl_injections_total{outcome="injected"} '
            return any(line.startswith(name) and float(line.removeprefix(name)) >= 1 for line in lines)

        await until(counted)
    assert made[0]["spec"]["initContainers"] == made[1]["spec"]["initContainers"]
    assert made[0]["spec"]["initContainers"][0]["env"][1]["value"] == pem.decode()


async def gated(admin: KubeAPI, namespace: str) -> dict[str, Any] | None:
    """A pod as it would be stored, once it would be gated."""
    try:
        pod = await admin.create(
            path_of("v1", "pods", namespace), a_pod("support", serviceAccountName="support"), dry_run=True
        )
    except HitlError:
        return None
    return pod if is_gated(pod) else None


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--sidecar-image": None}, 2, "--admission and --sidecar-image go together"),
        ({"--admission": None}, 2, "--admission and --sidecar-image go together"),
        ({"--admission": "9443"}, 2, "must be HOST:PORT"),
        ({"--ca": None}, 2, "needs --ca"),
        ({"--sidecar-image": "no image"}, 1, "--sidecar-image: 'no image' is no image"),
        ({"--service": "Hub"}, 1, "--service: 'Hub' is no name"),
        ({"--admission": "127.0.0.1:TAKEN"}, 1, "--admission 127.0.0.1:TAKEN: cannot be bound"),
    ],
)
def test_what_it_cannot_inject_with_is_named(
    tmp_path: Path, control_plane: ControlPlane, change: dict[str, str | None], code: int, words: str
) -> None:
    """Exit code 2 for a wrong call, 1 and one line for what it finds; never a traceback."""
    authority = Authority("x")
    certificate, key = authority.server("hub").write(tmp_path, "hub")
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options: dict[str, str | None] = {
            "--kubeconfig": str(control_plane.admin),
            "--listen": "127.0.0.1:0",
            "--http": "127.0.0.1:0",
            "--tls-cert": str(certificate),
            "--tls-key": str(key),
            "--ca": str(tmp_path / "ca.crt"),
            "--admission": "127.0.0.1:0",
            "--sidecar-image": IMAGE,
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
    assert words.replace("TAKEN", port) in done.stderr
    assert "Traceback" not in done.stderr


async def test_E1_a_backstop_that_is_weakened_is_reported_and_voids_no_vote(
    installation: Installation, control_plane: ControlPlane
) -> None:
    """E1: where pods are injected, what keeps them gated is among the guards that are watched; votes go on counting."""
    operator = installation.operator("a")
    await operator.start("--admission", "127.0.0.1:0", "--sidecar-image", IMAGE, "--ca", str(installation.ca))
    await operator.ready()

    async def shown(guard: str, value: str) -> bool:
        wanted = f'hitl_guard_as_shipped{{guard="{guard}"}} {value}'
        return wanted in (await operator.get("/metrics"))[1].splitlines()

    # Nobody has installed it here; the policies that votes rest on stand.
    await until(lambda: shown("ValidatingAdmissionPolicy/hitl-protected", "0.0"))
    await until(lambda: shown("ValidatingAdmissionPolicy/hitl-decisions", "1.0"))
    assert "enforcement:" not in (await operator.get("/readyz"))[1]
