"""The operator's own certificates in their Secret on a real API server: who makes, changes, spoils and deletes it."""

import asyncio
import base64
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.voting import PATIENCE
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.shipped import DEFAULT
from hitl_operator.cluster.issuing import names_of
from hitl_operator.cluster.own_certificates import OwnCertificates
from hitl_operator.cluster.rotation import AUTHORITY_LIFETIME, NAME, NEXT_AT, SERVING_LIFETIME, fresh, to_secret

LEASE = "hitl-operator"
GROUPS = ("system:serviceaccounts", f"system:serviceaccounts:{DEFAULT.namespace}")
NAMES = names_of("hitl-operator", "hitl-system")
DAY = timedelta(days=1)


def now() -> datetime:
    return datetime.now(UTC)


def replica(api: KubeAPI, namespace: str, clock: Callable[[], datetime] = now) -> OwnCertificates:
    return OwnCertificates(api, namespace, NAMES, clock=clock, lease=LEASE)


def place(namespace: str) -> str:
    return path_of("v1", "secrets", namespace, NAME)


async def made_at(admin: KubeAPI, namespace: str, when: datetime) -> None:
    """What stands there was made then."""
    await admin.create(path_of("v1", "secrets", namespace), to_secret(fresh(NAMES, when)))


async def test_two_replicas_that_start_at_once_serve_under_one_authority(
    admin: KubeAPI, operator_namespace: str
) -> None:
    """B1: one creates the Secret, the other goes by it."""
    found = [replica(admin, operator_namespace) for _ in range(4)]
    await asyncio.gather(*(each.look(leads=False, published=False) for each in found))
    for each in found:
        await each.look(leads=False, published=False)
    assert len({each.bundle for each in found}) == 1
    assert len({each.presented.pair for each in found}) == 1
    assert [each.wrong for each in found] == [""] * 4
    assert found[0].injected.encode() == found[0].bundle


async def test_the_operator_s_own_rights_suffice(admin: KubeAPI, as_user: Callable[..., Access]) -> None:
    """Make, read and renew, as the account that the shipped roles are for."""
    with suppress(ApiError):  # there is none, unless another test left it
        await admin.delete(place(DEFAULT.namespace))
    async with KubeAPI.open(as_user(DEFAULT.operator, GROUPS), deadline=PATIENCE) as api:
        each = replica(api, DEFAULT.namespace)
        while each.held is None:  # for a while it leaves it to a leader of another test, where one left its Lease
            await each.look(leads=False, published=False)
            await asyncio.sleep(0.1)
        before = each.held.serving
        later = OwnCertificates(api, DEFAULT.namespace, names_of("other", "x"), clock=now, lease=LEASE)
        assert await later.look(leads=True, published=False)
        assert later.held is not None
        assert later.held.serving != before
    await admin.delete(place(DEFAULT.namespace))


async def test_the_leader_alone_renews_and_the_others_follow(admin: KubeAPI, operator_namespace: str) -> None:
    """A serving certificate that ended while everything was off: not served with until it is renewed."""
    await made_at(admin, operator_namespace, now() - SERVING_LIFETIME - DAY)
    leader, other = replica(admin, operator_namespace), replica(admin, operator_namespace)
    assert not await other.look(leads=False, published=True)
    assert "has ended; whoever holds the Lease renews it" in other.wrong
    assert await leader.look(leads=True, published=True)
    await other.look(leads=False, published=True)
    assert leader.held == other.held
    assert other.wrong == leader.wrong == ""
    assert leader.ends["serving"] > now() + 20 * DAY


async def test_of_two_leaders_one_writes(admin: KubeAPI, operator_namespace: str) -> None:
    """Who believes that he leads a moment too long loses by compare-and-set, and goes by what the other wrote."""
    await made_at(admin, operator_namespace, now() - AUTHORITY_LIFETIME + NEXT_AT)
    found = [replica(admin, operator_namespace) for _ in range(3)]
    for _ in range(4):
        await asyncio.gather(*(each.look(leads=True, published=True) for each in found))
    for each in found:
        await each.look(leads=False, published=True)
    assert len({each.bundle for each in found}) == 1
    assert found[0].held is not None
    assert found[0].held.next is not None


async def test_what_is_renewed_is_shown_to_who_comes_next(admin: KubeAPI, operator_namespace: str) -> None:
    """An HTTPS server with the same context, which is never put back: in place, and no key touches a disk."""
    await made_at(admin, operator_namespace, now() - SERVING_LIFETIME + 2 * DAY)
    each = replica(admin, operator_namespace)
    await each.look(leads=False, published=True)
    context = each.presented.context
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        port = server.sockets[0].getsockname()[1]
        before = await shown(port, each.bundle)
        await each.look(leads=True, published=True)
        after = await shown(port, each.bundle)
    assert each.presented.context is context
    assert before["serialNumber"] != after["serialNumber"]
    assert ("DNS", "hitl-operator.hitl-system.svc") in after["subjectAltName"]


async def shown(port: int, roots: bytes) -> dict[str, Any]:
    """What a client that trusts these sees."""
    context = ssl.create_default_context(cadata=roots.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAMES[0])
    found: dict[str, Any] = writer.get_extra_info("peercert")
    writer.close()
    with suppress(OSError):  # a warning of another test otherwise
        await writer.wait_closed()
    return found


async def test_what_was_deleted_is_put_back_by_who_remembers_it(admin: KubeAPI, operator_namespace: str) -> None:
    """B1: no sidecar has to believe another authority; a replica that starts then goes by it, too."""
    first = replica(admin, operator_namespace)
    await first.look(leads=False, published=False)
    before = first.held
    await admin.delete(place(operator_namespace))
    assert await first.look(leads=False, published=False)
    started = replica(admin, operator_namespace)
    await started.look(leads=False, published=False)
    assert started.held == first.held == before


async def test_who_starts_without_it_leaves_it_to_who_leads(admin: KubeAPI, operator_namespace: str) -> None:
    """Deleted while a replica that remembers it lives: the one that starts makes no other."""
    body = {"metadata": {"name": LEASE}, "spec": {"holderIdentity": "replica-a"}}
    await admin.create(path_of("coordination.k8s.io/v1", "leases", operator_namespace), body)
    started = replica(admin, operator_namespace)
    assert not await started.look(leads=False, published=False)
    assert "may put it back" in started.wrong
    assert started.held is None


@pytest.mark.parametrize("spoilt", ["ca.key", "tls.crt"])
async def test_what_was_spoilt_makes_no_other_authority(
    admin: KubeAPI, operator_namespace: str, spoilt: str, caplog: pytest.LogCaptureFixture
) -> None:
    """B1: who read it before serves on and says so; who starts is not ready and says what to do; mended, all go on."""
    first = replica(admin, operator_namespace)
    await first.look(leads=True, published=True)
    before = first.held
    good = await admin.get(place(operator_namespace))
    await admin.merge_patch(place(operator_namespace), {"data": {spoilt: base64.b64encode(b"garbage").decode()}})
    started = replica(admin, operator_namespace)
    for each in (first, started):
        assert not await each.look(leads=True, published=True)
    assert first.held == before
    assert first.wrong == ""
    assert "a replica that read it before puts back what it has" in first.remark
    assert "restore it from a backup" in started.wrong
    assert f"data[{spoilt}]" in started.wrong
    assert started.held is None
    assert "certificates-unusable" in caplog.text
    assert "PRIVATE" not in caplog.text
    await admin.delete(place(operator_namespace))
    await first.look(leads=True, published=True)
    await started.look(leads=False, published=True)
    assert started.held == before
    assert started.wrong == first.remark == ""
    assert (await admin.get(place(operator_namespace)))["data"] == good["data"]


async def test_nothing_is_issued_by_a_clock_that_the_api_server_does_not_share(
    admin: KubeAPI, operator_namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A node a year ahead makes no authority that nobody believes, and ends none; one with a right clock does."""
    ahead = replica(admin, operator_namespace, clock=lambda: now() + 370 * DAY)
    assert not await ahead.look(leads=True, published=True)
    assert "nothing is issued" in ahead.wrong
    right = replica(admin, operator_namespace)
    await right.look(leads=False, published=True)
    assert not await ahead.look(leads=True, published=True)
    assert ahead.held == right.held
    assert "nothing is issued" in ahead.remark
    assert "clock-not-trusted" in caplog.text


async def test_another_authority_is_followed_and_said_loudly(
    admin: KubeAPI, operator_namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who deletes it with all replicas down makes the pods anew; who sees both says that they have to be."""
    first = replica(admin, operator_namespace)
    await first.look(leads=False, published=False)
    await admin.replace(place(operator_namespace), to_secret(fresh(NAMES, now())))
    await first.look(leads=False, published=False)
    assert "certificates-replaced" in caplog.text
    assert "made anew" in caplog.text
