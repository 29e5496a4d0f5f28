"""A second factor from a real login: the provider's `amr`, mapped by structured authentication, asked by the policy."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster.oidc_issuer import Issuer, issuing
from cluster.voting import ANA, SERIAL, Court, Person, a_court, applies, proof, vote_of
from control_plane.installing import install
from control_plane.kubeconfigs import by_token, kubeconfig_of
from control_plane.running import ControlPlane
from hitl.approvals.requests import RequestSpec
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.policy.verdicts import Requirement, SecondFactor
from stores.asking import a_spec

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster-full")]
PROVIDER_READ = 120.0  # seconds within which the API server has fetched the provider's keys


@dataclass(frozen=True, slots=True)
class Town:
    """An API server that believes one provider, and a court in it."""

    issuer: Issuer
    court: Court
    folder: Path

    def kubeconfig(self, token: str) -> Path:
        """How somebody with this ID token reaches the API server."""
        plane = self.court.plane
        path = self.folder / f"{next(SERIAL)}.kubeconfig"
        path.write_text(kubeconfig_of(plane.url, plane.ca_file.read_bytes(), by_token(token)))
        return path

    def api(self, token: str) -> AbstractAsyncContextManager[KubeAPI]:
        """A client with this ID token."""
        return KubeAPI.open(Access.from_kubeconfig(self.kubeconfig(token)))

    def whoami(self, token: str) -> Any:
        """What the API server makes of a token; None where it does not take it."""
        shown = self.court.plane.kubectl("auth", "whoami", "-o", "json", kubeconfig=self.kubeconfig(token))
        return json.loads(shown.stdout)["status"]["userInfo"] if shown.returncode == 0 else None

    async def vote(self, token: str, request: dict[str, Any], entry: dict[str, Any]) -> None:
        """Cast a vote as whoever the token says."""
        path = self.court.path(request["metadata"]["name"], "status")
        async with self.api(token) as api:
            await applies(api, path, request, [entry], manager=f"hitl-{next(SERIAL)}")


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """An API server of its own, started with `--authentication-config`."""
    folder = tmp_path_factory.mktemp("oidc")
    with issuing(folder) as issuer:
        configuration = folder / "authentication.json"
        configuration.write_text(json.dumps(issuer.authentication_configuration()))
        flags = [f"--authentication-config={configuration}"]
        with ControlPlane.start(folder / "control-plane", extra_apiserver_flags=flags) as plane:
            install(plane)
            town = Town(issuer, a_court(plane), folder)
            until = time.monotonic() + PROVIDER_READ
            while town.whoami(issuer.login("early@example.com")) is None:
                assert time.monotonic() < until, "the API server never took the provider's tokens"
            yield town


def hardware() -> RequestSpec:
    """A call that wants one lead with a hardware key."""
    wanted = Requirement("leads", any_of=("support-leads",), second_factor=SecondFactor.HARDWARE)
    return a_spec(tier="multi-factor", on_behalf_of="", requirements=(wanted,))


@pytest.fixture
async def request_of(town: Town) -> dict[str, Any]:
    """A pending request that wants a hardware key."""
    return await town.court.ask(hardware())


def login(town: Town, *amr: str, person: Person = ANA, **claims: Any) -> str:
    return town.issuer.login(person.name, person.groups, amr=amr, **claims)


def test_D5_the_methods_of_a_login_reach_the_api_server(town: Town) -> None:
    """The token's `amr` becomes userInfo.extra under hitl.dev/amr, beside name and groups."""
    seen = town.whoami(login(town, "pwd", "hwk"))
    assert seen["username"] == ANA.name
    assert set(ANA.groups) <= set(seen["groups"])
    assert seen["extra"]["hitl.dev/amr"] == ["pwd", "hwk"]
    assert "hitl.dev/amr" not in (town.whoami(town.issuer.login(ANA.name)).get("extra") or {})


async def test_D5_a_login_with_a_hardware_key_may_approve(town: Town, request_of: dict[str, Any]) -> None:
    """Somebody whose provider saw a hardware key approves what wants one, and the vote says so."""
    vote = vote_of(ANA, request_of, groups=["support-leads"], proof=proof("hwk"))
    await town.vote(login(town, "pwd", "hwk", "mfa"), request_of, vote)
    stored = await town.court.look(request_of)
    assert stored["status"]["decisions"] == [vote]


@pytest.mark.parametrize(
    ("amr", "shown", "words"),
    [
        pytest.param(("pwd",), None, "needs a second factor", id="a password alone"),
        pytest.param(("pwd", "otp"), ("otp",), "needs a hardware key", id="a one-time code"),
        pytest.param(("pwd", "otp"), ("hwk",), "your login does not carry hwk", id="a key that was not there"),
        pytest.param(("pwd", "hwk"), None, "needs a second factor", id="a key that the vote does not name"),
        pytest.param(None, ("hwk",), "your login does not carry hwk", id="a provider that says nothing"),
    ],
)
async def test_D5_a_login_without_a_hardware_key_may_not(
    town: Town, request_of: dict[str, Any], amr: tuple[str, ...] | None, shown: tuple[str, ...] | None, words: str
) -> None:
    """Whatever the vote claims, the API server believes only what the provider signed."""
    token = town.issuer.login(ANA.name, ANA.groups, amr=amr)
    vote = vote_of(ANA, request_of, proof=proof(*shown) if shown else None)
    with pytest.raises(ApiError, match=words):
        await town.vote(token, request_of, vote)
    assert "decisions" not in (await town.court.look(request_of))["status"]


@pytest.mark.parametrize(("amr", "code"), [(("pwd", "hwk"), 5), (("pwd", "otp"), 4)], ids=["hardware key", "code"])
async def test_D5_kubectl_hitl_approves_with_what_the_login_carries(
    town: Town, request_of: dict[str, Any], amr: tuple[str, ...], code: int
) -> None:
    """`kubectl hitl approve` names the factors of one's own login; without a hardware key it ends as forbidden.

    Exit code 5: recorded, and not counted yet, for no operator runs here.
    """
    name, namespace = request_of["metadata"]["name"], town.court.namespace
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run,
        [town.court.plane.kubectl_program, "hitl", "approve", name, "-n", namespace, "--reason", "read and agreed"],
        env={**os.environ, "PATH": programs, "KUBECONFIG": str(town.kubeconfig(login(town, *amr)))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    stored = (await town.court.look(request_of))["status"].get("decisions", [])
    assert [each["proof"]["factors"] for each in stored] == ([["hwk"]] if code == 5 else [])


async def test_D5_a_password_is_enough_to_deny(town: Town, request_of: dict[str, Any]) -> None:
    """No is said without a second factor."""
    await town.vote(login(town, "pwd"), request_of, vote_of(ANA, request_of, "Denied"))
    assert (await town.court.look(request_of))["status"]["decisions"][0]["decision"] == "Denied"


@pytest.mark.parametrize("wrong", ["another signer", "another audience", "run out", "a name of the system's"])
async def test_I3_a_token_that_the_provider_did_not_give_for_this_cluster_is_nobody(town: Town, wrong: str) -> None:
    """A stranger's signature, another audience, an old token and a borrowed system name are not taken at all."""
    old = int(time.time()) - 3600
    tokens = {
        "another signer": town.issuer.forged(ANA.name, ANA.groups, ["hwk"]),
        "another audience": login(town, "hwk", aud="another-cluster"),
        "run out": login(town, "hwk", iat=old, exp=old + 600),
        "a name of the system's": town.issuer.login("system:admin", ["system:masters"], amr=["hwk"]),
    }
    assert town.whoami(tokens[wrong]) is None
