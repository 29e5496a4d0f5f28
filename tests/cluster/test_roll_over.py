"""Replicas with certificates of their own, and sidecars that stay connected while the authority rolls over (B1, F3).

Processes on a real API server. Their clock is the machine's: months pass by writing into the Secret when steps began.
"""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster.gated_pods import EVER, Pods, let_nodes_make_tokens, node_access, until
from cluster.operators import Installation, Operator, SidecarProcess
from cluster.voting import PATIENCE
from control_plane.running import ControlPlane
from hitl.approvals.requests import State
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.issuing import an_authority, names_of
from hitl_operator.cluster.rotation import (
    AUTHORITY_LIFETIME,
    NAME,
    NEXT_AT,
    SERVING_LIFETIME,
    TAKES_OVER_AFTER,
    Certificates,
    fresh,
    from_secret,
    to_secret,
)
from hitl_sidecar.ca_bundle import ca_certificates

pytestmark = pytest.mark.timeout(900)
SECRET = path_of("v1", "secrets", DEFAULT.namespace, NAME)
NAMES = names_of("hitl-operator", DEFAULT.namespace)
DAY = timedelta(days=1)


@pytest.fixture
async def installation(
    tmp_path: Path, control_plane: ControlPlane, namespace: str, admin: KubeAPI, as_user: Callable[..., Access]
) -> AsyncIterator[Installation]:
    """A gated namespace, whose policy ana approves for; the operator has no certificates yet, and no replica."""
    let_nodes_make_tokens(control_plane)
    await forgotten(admin)
    async with KubeAPI.open(node_access(as_user), deadline=PATIENCE) as node:
        pods = Pods(control_plane, namespace, admin, node)
        await pods.account()
        installation = Installation(pods, tmp_path)
        installation.pair = ()
        await installation.people()
        yield installation
        await installation.close()
    await forgotten(admin)


async def forgotten(admin: KubeAPI) -> None:
    with suppress(ApiError):
        await admin.delete(SECRET)


async def made_at(admin: KubeAPI, when: datetime) -> Certificates:
    """The installation's certificates, as if they had been made then."""
    held = fresh(NAMES, when)
    await admin.create(SECRET.rpartition("/")[0], to_secret(held))
    return held


async def stored(admin: KubeAPI) -> Certificates:
    return from_secret(await admin.get(SECRET))


async def stored_with(admin: KubeAPI, wanted: Callable[[Certificates], bool]) -> Certificates:
    """What stands in the Secret, once it is so."""

    async def look() -> Certificates | None:
        try:
            found = await stored(admin)
        except ApiError:
            return None
        return found if wanted(found) else None

    found: Certificates = await until(look)
    return found


async def kept(sidecar: SidecarProcess, wanted: bytes) -> None:
    """Returns once the sidecar keeps the certificates of this bundle."""
    file = sidecar.folder / "state" / "hub-ca.pem"
    await until(lambda: file.exists() and ca_certificates(file.read_bytes()) == ca_certificates(wanted))


async def shown(operator: Operator, roots: bytes) -> dict[str, Any]:
    """The certificate that a client with these roots sees; ssl.SSLError where it does not believe it."""
    host, _, port = operator.address.rpartition(":")
    context = ssl.create_default_context(cadata=roots.decode())
    context.set_alpn_protocols(["h2"])
    async with asyncio.timeout(EVER):
        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=NAMES[0])
    found: dict[str, Any] = writer.get_extra_info("peercert")
    writer.close()
    with suppress(OSError):  # a warning of another test otherwise
        await writer.wait_closed()
    return found


async def serves(operator: Operator, held: Certificates) -> None:
    """Returns once a replica shows this certificate."""

    async def look() -> bool:
        return int((await shown(operator, held.bundle))["serialNumber"], 16) == held.serving.leaf.serial_number

    await until(look)


async def written(admin: KubeAPI, **data: bytes) -> None:
    """Put this into the Secret, under its keys: ``previous_ca__crt`` stands for ``previous-ca.crt``."""
    encoded = {key.replace("__", "."): base64.b64encode(value).decode() for key, value in data.items()}
    await admin.merge_patch(SECRET, {"data": {key.replace("_", "-"): value for key, value in encoded.items()}})


def expiry(page: str, certificate: str) -> float:
    """What /metrics says of it."""
    name = f'hitl_certificate_expiry_timestamp_seconds{{certificate="{certificate}"}} '
    return next(float(line.removeprefix(name)) for line in page.splitlines() if line.startswith(name))


async def test_B1_two_replicas_that_start_at_the_same_moment_serve_under_one_authority(
    installation: Installation, admin: KubeAPI
) -> None:
    """B1: without any certificate; a sidecar that was injected with its PEM believes both, and their metrics tell."""
    one, two = await asyncio.gather(*(installation.operator(name).start() for name in ("a", "b")))
    await asyncio.gather(one.ready(), two.ready())
    held = await stored(admin)
    installation.ca = held.injected.decode()
    for operator in (one, two):
        await serves(operator, held)
        page = (await operator.get("/metrics"))[1]
        assert expiry(page, "serving") == held.serving.ends.timestamp()
        assert expiry(page, "ca") == held.authority_ends.timestamp()
        assert "PRIVATE" not in operator.log.read_text()
        sidecar = await installation.sidecar(operator)
        assert await sidecar.check("c1", "get_refund") == "ALLOWED"


async def test_B1_F3_the_authority_rolls_over_while_calls_are_held(installation: Installation, admin: KubeAPI) -> None:
    """B1, F3: a held call survives every step and is released; who was away comes back by what it was injected with;
    who restarts connects by what it kept once the old authority is gone.
    """
    old = await made_at(admin, datetime.now(UTC) - AUTHORITY_LIFETIME + NEXT_AT - DAY)
    one, two = await installation.replicas("a", "b")
    installation.ca = old.injected.decode()
    holding, away = await installation.sidecar(one, two), await installation.sidecar(two, one)
    held_call = asyncio.create_task(holding.insist("held", seconds=800))
    (request,) = await installation.pending()
    await away.stop()

    # The next authority is sent, and injected a while later; it signs two weeks after that.
    rolling = await stored_with(admin, lambda found: found.next is not None)
    await kept(holding, rolling.bundle)
    await stored_with(admin, lambda found: found.injected == rolling.bundle)
    await written(admin, since=(datetime.now(UTC) - TAKES_OVER_AFTER).isoformat().encode())
    rolled = await stored_with(admin, lambda found: found.next is None and found.previous == old.bundle)
    for operator in (one, two):
        await serves(operator, rolled)
        assert await shown(operator, old.bundle)

    # Who was away heard of none of it. Replicas go one by one, and everybody has to connect anew.
    (away.folder / "state" / "hub-ca.pem").unlink(missing_ok=True)
    await away.start(two.address, one.address)
    assert await away.check("c1", "get_refund") == "ALLOWED"
    await kept(away, rolled.bundle)
    for operator in (one, two):
        await operator.end()
        await (await operator.start()).ready()

    # The old authority ends, months after everybody was told of all this.
    ended = an_authority(datetime.now(UTC) - 2 * DAY, DAY).certificate
    told = rolled.authority.certificate + ended
    await written(admin, previous_ca__crt=ended, injected__crt=told, injected_before__crt=told)
    alone = await stored_with(admin, lambda found: not found.previous)
    for operator in (one, two):
        await serves(operator, alone)
        with pytest.raises(ssl.SSLCertVerificationError):
            await shown(operator, old.bundle)
    await kept(away, alone.bundle)
    await away.stop()
    await away.start(two.address, one.address)
    assert await away.check("c2", "get_refund") == "ALLOWED"

    await installation.approve(request)
    assert await held_call == "ALLOWED"
    await installation.state(request, State.CONSUMED)
    assert holding.ran == ["held"]


async def test_a_serving_certificate_that_ended_is_renewed_before_anybody_is_served(
    installation: Installation, admin: KubeAPI
) -> None:
    """An installation that was off for six weeks: who leads renews it, and sidecars of then connect again."""
    old = await made_at(admin, datetime.now(UTC) - SERVING_LIFETIME - 12 * DAY)
    (operator,) = await installation.replicas("a")
    held = await stored(admin)
    assert held.authority == old.authority
    assert held.serving.ends > datetime.now(UTC) + SERVING_LIFETIME - DAY
    await shown(operator, old.injected)
    assert "step=what is served is renewed" in operator.log.read_text().replace('"', "")


async def test_B1_a_secret_deleted_or_spoilt_under_running_replicas_locks_nobody_out(
    installation: Installation, admin: KubeAPI
) -> None:
    """B1: deleted, it comes back as it was; spoilt, replicas go on, one that starts is not ready and says why, and
    deleting it mends it. Whoever was injected believes the hub all the time.
    """
    (one,) = await installation.replicas("a")
    before = await stored(admin)
    await admin.delete(SECRET)
    assert await stored_with(admin, lambda _found: True) == before
    await written(admin, ca__key=b"garbage")
    two = await installation.operator("b").start()

    async def not_ready() -> bool:
        status, text = await two.get("/readyz")
        return (
            status == 503
            and "[-] certificates: Secret hitl-system/hitl-certificates: data[ca.crt], data[ca.key]" in text
        )

    async def remarked() -> bool:
        status, text = await one.get("/readyz")
        return status == 200 and "[!] certificates: " in text

    await until(not_ready)
    await until(remarked)
    assert await shown(one, before.injected)
    await admin.delete(SECRET)
    await two.ready()
    assert await stored(admin) == before
    assert await shown(two, before.injected)


async def test_without_an_authority_no_replica_serves_by_a_key_that_it_was_not_given(
    installation: Installation, admin: KubeAPI
) -> None:
    """Half of the options is a wrong call, not a reason to make certificates."""
    operator = await installation.operator("a").start("--tls-cert", str(installation.folder / "hub-ca.crt"))
    assert await operator.ended() == 2
    assert "--tls-cert and --tls-key go together" in operator.log.read_text()
    with pytest.raises(ApiError):
        await admin.get(SECRET)
