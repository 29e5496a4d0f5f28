"""What docs/kubernetes.md tells people to type does what it says there, on a real API server."""

import asyncio
import base64
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
import yaml
from grpc import aio

from cluster.gated_pods import EVER
from cluster.oidc_issuer import Issuer
from control_plane.certificates import Authority
from control_plane.installing import applied
from control_plane.running import ControlPlane
from docs.blocks import ROOT, blocks
from hitl.kube.shipped import apply_command
from hitl_operator.cluster.main import _parser
from hitl_operator.cluster.root_key import read_key
from hitl_operator.cluster.tls import ServingCertificate
from hitl_operator.cluster.trouble import MEND
from hitl_sidecar.hub_channel import HubTrust, open_channel, target_of
from hitl_sidecar.options import parse

PAGE = "docs/kubernetes.md"


def the_block(start: str) -> str:
    """The text of the one block that begins so."""
    (found,) = (each.text for each in blocks(PAGE) if each.text.startswith(start))
    return found


def test_who_may_decide_is_answered_as_shown(control_plane: ControlPlane, namespace: str) -> None:
    """The role binding of the page gives a person of the group the verb, and nobody else."""
    bind, ask, answer = the_block("$ kubectl create rolebinding").splitlines()
    bind, ask = (
        shlex.split(each.removeprefix("$ kubectl ").replace("-n shop", f"-n {namespace}")) for each in (bind, ask)
    )
    done = control_plane.kubectl(*bind)
    assert done.returncode == 0, done.stderr
    until = time.monotonic() + EVER  # the API server goes by a binding a moment after it was stored
    while answer not in (done := control_plane.kubectl(*ask)).stdout:
        assert time.monotonic() < until, done.stdout + done.stderr
    assert done.returncode == 0, done.stderr
    refused = control_plane.kubectl(
        "auth", "can-i", "approve", "approvalrequests", "--subresource=confirm", "-n", namespace,
        "--as", "bo@example.com", "--as-group", "juniors",
    )  # fmt: skip
    assert (refused.returncode, refused.stdout.strip()) == (1, "no")


@pytest.mark.parametrize("rule", [("*", "*"), ("hitl.dev", "*")], ids=["of everything", "of ours"])
def test_a_role_by_wildcard_decides_and_relaxes_as_the_page_warns(
    control_plane: ControlPlane, namespace: str, rule: tuple[str, str]
) -> None:
    """RBAC cannot leave verbs out: both tiers, an override and relax come with the asterisk."""
    group, resources = rule
    name = f"everything-{namespace}"
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name, "namespace": namespace}}
    rights = [{"apiGroups": [group], "resources": [resources], "verbs": ["*"]}]
    person = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "wil@example.com"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    applied(
        control_plane,
        {**head, "kind": "Role", "rules": rights},
        {**head, "kind": "RoleBinding", "roleRef": reference, "subjects": [person]},
    )
    until = time.monotonic() + EVER
    wishes = [("approve", "ar", f"--subresource={tier}") for tier in ("confirm", "multi-factor")]
    wishes += [("override", "ar", "--subresource=multi-factor"), ("relax", "agentpolicies")]
    for wish in wishes:
        asked = ("auth", "can-i", *wish, "-n", namespace, "--as", "wil@example.com")
        while (said := control_plane.kubectl(*asked).stdout.strip()) != "yes":
            assert time.monotonic() < until, (wish, said)


def test_D5_the_mapping_shown_is_the_one_that_is_tried() -> None:
    """D5: kube-apiserver is configured in test_oidc_second_factor as the page says."""
    shown = yaml.safe_load(the_block("apiVersion: apiserver.config.k8s.io"))
    tried = Issuer("https://127.0.0.1:1", Authority("test")).authentication_configuration()
    assert shown["apiVersion"] == tried["apiVersion"]
    mapped, rules = shown["jwt"][0]["claimMappings"], shown["jwt"][0]["userValidationRules"]
    assert mapped["extra"] == tried["jwt"][0]["claimMappings"]["extra"]
    assert [each["expression"] for each in rules] == [e["expression"] for e in tried["jwt"][0]["userValidationRules"]]


@pytest.mark.parametrize(
    ("start", "reads"),
    [
        ("$ python -m hitl_operator.cluster", lambda words: _parser().parse_args(words)),
        ("$ python -m hitl_sidecar", parse),
    ],
)
def test_the_programs_take_the_options_shown(start: str, reads: object) -> None:
    """What is typed to start operator and sidecar by hand is understood."""
    words = shlex.split(the_block(start).removeprefix("$ "))
    assert callable(reads)
    assert reads(words[3:]) is not None


async def test_the_certificate_shown_is_believed_under_the_hub_s_name(tmp_path: Path) -> None:
    """The commands of the page make a pair that the hub serves with, and a CA by which sidecars know it."""
    await asyncio.to_thread(_typed, the_block("$ openssl req"), tmp_path)
    server = aio.server()
    credentials = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key").credentials()
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    (tmp_path / "token").write_text("a-token\n")
    words = shlex.split(the_block("$ python -m hitl_sidecar"))
    name = words[words.index("--hub") + 1].partition(":")[0]
    trust = HubTrust(tmp_path / "ca.crt", tmp_path / "token", name)
    try:
        async with open_channel(target_of(f"127.0.0.1:{port}", trust), trust, trust.read_ca()) as channel:
            with pytest.raises(aio.AioRpcError) as answered:
                await channel.unary_unary("/nothing/There")(b"", timeout=EVER)
        assert answered.value.code() is grpc.StatusCode.UNIMPLEMENTED, answered.value.details()
    finally:
        await server.stop(None)


def test_the_epoch_is_raised_as_shown(control_plane: ControlPlane, namespace: str) -> None:
    """The patch of the page leaves the root as it is, and what stands there then is a key of epoch two."""
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hitl-keys", "namespace": namespace}}
    applied(control_plane, {**secret, "data": {"root": base64.b64encode(bytes(32)).decode(), "epoch": "MQ=="}})
    patch = the_block("$ kubectl get secret").splitlines()[1].replace("-n hitl-system", f"-n {namespace}")
    done = control_plane.kubectl(*shlex.split(patch.removeprefix("$ kubectl ")))
    assert done.returncode == 0, done.stderr
    found = control_plane.kubectl("get", "secret", "hitl-keys", "-n", namespace, "-o", "json").stdout
    assert read_key(json.loads(found)) == (bytes(32), 2)


def test_the_manifests_are_what_the_tests_install(control_plane: ControlPlane) -> None:
    """`python -m hitl_operator.manifests` prints exactly what the API server of the tests has."""
    printed = list(yaml.safe_load_all(_manifests()))
    assert {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ClusterRole"} <= {
        each["kind"] for each in printed
    }
    done = control_plane.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=_manifests())
    assert done.returncode == 0, done.stderr
    diff = control_plane.kubectl("diff", "--server-side", "-f", "-", stdin="\n---\n".join(map(json.dumps, printed)))
    assert diff.returncode == 0, diff.stdout


def _typed(block: str, folder: Path) -> None:
    """Every command of a block, in a folder."""
    for command in block.splitlines():
        words = shlex.split(command.removeprefix("$ "))
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=EVER, check=False)
        assert done.returncode == 0, done.stderr


def _manifests() -> str:
    done = subprocess.run([sys.executable, "-m", "hitl_operator.manifests"], capture_output=True, text=True, check=True)
    return done.stdout


def test_C4_one_command_installs_and_mends_wherever_it_is_named() -> None:
    """C4: pages, Events and `/readyz` say the same: without --force-conflicts it stops at the fields to be mended."""
    command = apply_command()
    assert "--force-conflicts" in command
    assert command in MEND
    for page in (PAGE, "docs/enforcement.md"):
        said = [line for line in (ROOT / page).read_text().splitlines() if "hitl_operator.manifests |" in line]
        assert said
        assert all(line.strip().removeprefix("$ ") == command for line in said)
