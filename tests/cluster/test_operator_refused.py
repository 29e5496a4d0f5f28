"""An operator that the API server does not know: what it says of that, how often, and that it goes on by itself."""

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml

from cluster.gated_pods import Pods, let_nodes_make_tokens, node_access, until
from cluster.operators import Installation
from control_plane.running import ControlPlane
from hitl.errors import ApiError, StoreUnavailable
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.trouble import Trouble

pytestmark = pytest.mark.timeout(240)

REFUSED = (
    "own-name-unknown",
    "pods-not-followed",
    "namespaces-not-followed",
    "root-key-unavailable",
    "policies-unreadable",
)


@pytest.fixture
async def installation(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Installation]:
    """No replica yet."""
    let_nodes_make_tokens(control_plane)
    async with KubeAPI.open(node_access(as_user)) as node:
        installation = Installation(Pods(control_plane, namespace, admin, node), tmp_path)
        yield installation
        await installation.close()


async def test_a_refused_token_is_named_once_and_a_good_one_needs_no_restart(
    installation: Installation, control_plane: ControlPlane, admin: KubeAPI, tmp_path: Path
) -> None:
    """401: page and log name the server, the refusal and where the token is from, once; then it becomes ready."""
    token = tmp_path / "token"
    token.write_text("nonsense")
    config = yaml.safe_load(control_plane.admin.read_text())
    config["users"][0]["user"] = {"tokenFile": str(token)}
    kubeconfig = tmp_path / "operator.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    operator = await installation.operator("a").start("--kubeconfig", str(kubeconfig))
    words = f"the API server {control_plane.url} does not accept the operator's credentials (401 Unauthorized)"
    step = f"renew the token or certificate of {kubeconfig}"

    async def says_so() -> bool:
        status, page = await operator.get("/readyz")
        remarks = [line for line in page.splitlines() if line.startswith("[!] no news of ")]
        return status == 503 and len(remarks) >= 3 and all(words in each and step in each for each in remarks)

    await until(says_so)
    await until(lambda: all(f"{event} " in operator.log.read_text() for event in REFUSED))
    token.write_text(await a_token(admin))
    await operator.ready()
    log = operator.log.read_text()
    refusals = [line for line in log.splitlines() if "(401 " in line]
    assert {line.split(" ")[2] for line in refusals} == set(REFUSED)
    assert repeated(log) == []
    assert all(" ERROR " in line and words in line and step in line for line in refusals)
    await until(lambda: ended(operator.log.read_text()) >= set(REFUSED))
    assert "no news of" not in (await operator.get("/readyz"))[1]


async def test_C3_an_operator_that_is_somebody_else_says_so_and_serves_nobody(
    installation: Installation, control_plane: ControlPlane, admin: KubeAPI, tmp_path: Path
) -> None:
    """C3: with an administrator's credentials no vote would ever count: page and log name both users and what to type;
    with a token of the right account in their place it becomes ready.
    """
    kubeconfig = tmp_path / "operator.kubeconfig"
    kubeconfig.write_text(control_plane.admin.read_text())
    wrong = await installation.operator("a").start("--kubeconfig", str(kubeconfig))
    step = f"kubectl create token {DEFAULT.service_account} -n {DEFAULT.namespace}"

    async def says_so() -> bool:
        status, page = await wrong.get("/readyz")
        named = [line for line in page.splitlines() if line.startswith("[-] identity: ")]
        seen = all(f"[+] {each}" in page for each in ("pods", "namespaces", "policies"))
        return status == 503 and seen and any(DEFAULT.operator in each and step in each for each in named)

    await until(says_so)
    assert "[-] hub: it is not known yet whether it is the operator" in (await wrong.get("/readyz"))[1]
    lines = [line for line in wrong.log.read_text().splitlines() if " wrong-identity " in line]
    assert len(lines) == 1
    assert "knows this operator as admin" in lines[0]
    assert str(kubeconfig) in lines[0]
    assert step in lines[0]
    await wrong.end()
    token = tmp_path / "token"
    token.write_text(await a_token(admin))
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"][0]["user"] = {"tokenFile": str(token)}
    kubeconfig.write_text(yaml.safe_dump(config))
    await (await installation.operator("b").start("--kubeconfig", str(kubeconfig))).ready()


async def test_a_token_that_goes_bad_later_is_named_once_by_each_who_needs_it(
    installation: Installation, control_plane: ControlPlane, admin: KubeAPI, tmp_path: Path
) -> None:
    """401 while it runs: no line comes at every try; the Lease's words show when many have been made."""
    token = tmp_path / "token"
    token.write_text(await a_token(admin))
    config = yaml.safe_load(control_plane.admin.read_text())
    config["users"][0]["user"] = {"tokenFile": str(token)}
    kubeconfig = tmp_path / "operator.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    operator = await (await installation.operator("a").start("--kubeconfig", str(kubeconfig))).ready()
    await until(operator.leads)
    token.write_text("nonsense")
    # It is lost when it could not be renewed for long, after many tries of everybody.
    needed = ("lease-lost", "lease-attempt-failed", "reports-unusable", "enforcement-not-checked")
    await until(lambda: all(f" {event} " in operator.log.read_text() for event in needed))
    log = operator.log.read_text()
    assert repeated(log) == []
    assert "problem=Unauthorized" not in log


async def test_trouble_is_told_once_for_every_change(admin: KubeAPI, caplog: pytest.LogCaptureFixture) -> None:
    """The same failure again says nothing; another one, and the same one after it worked, does."""
    caplog.set_level("INFO")
    trouble = Trouble(admin, "pods-not-followed")
    refused, away = ApiError(403, "Forbidden", "pods is forbidden"), StoreUnavailable("it is away")
    for error in (refused, refused, away, away):
        trouble.tell(error)
    assert trouble.why == "it is away"
    trouble.over()
    trouble.over()
    assert trouble.why == ""
    trouble.tell(refused)
    assert [line.split(" ")[0] for line in caplog.messages] == [
        "pods-not-followed",
        "pods-not-followed",
        "works-again",
        "pods-not-followed",
    ]


async def a_token(admin: KubeAPI) -> str:
    """One that the operator's ServiceAccount has from the API server."""
    account = {"metadata": {"name": DEFAULT.service_account}}
    path = path_of("v1", "serviceaccounts", DEFAULT.namespace, DEFAULT.service_account)
    await admin.apply(path, {"apiVersion": "v1", "kind": "ServiceAccount", **account}, field_manager="test")
    path = path_of("v1", "serviceaccounts", DEFAULT.namespace, DEFAULT.service_account, "token")
    made = await admin.create(path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    return str(made["status"]["token"])


def repeated(log: str) -> list[str]:
    """Lines about a trouble that say of it what was said last, though it did not end in between."""
    last: dict[str, str] = {}
    found = []
    for line in log.splitlines():
        event, _, words = line.split(" ", 2)[2].partition(" ")
        if event == "works-again":
            last.pop(words.removeprefix("after="), None)
        elif words.startswith("problem="):
            found += [line] if last.get(event) == words else []
            last[event] = words
    return found


def ended(log: str) -> set[str]:
    """What works again."""
    return set(re.findall(r"works-again after=(\S+)", log))
