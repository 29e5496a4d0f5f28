"""The injection webhook as whoever reaches its port meets it: reviews alone are answered, nothing ends it (I2, F3)."""

import asyncio
import io
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cluster.gated_pods import EVER, until
from cluster.webhooks import Served, a_pod, serving
from control_plane.running import ControlPlane
from hitl.kube.api import KubeAPI
from hitl_operator.cluster.admission import Admission, Webhook
from hitl_operator.cluster.namespaces import NamespaceCache
from hitl_operator.injection.installation import Installation

JSON = {"Content-Type": "application/json"}
AT_ONCE = 8  # large bodies that may be under way


@pytest.fixture
async def served(request: pytest.FixtureRequest, control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Served]:
    """A webhook that runs; nothing is registered. Parameter False: it is as impatient as where it is installed."""
    patient = getattr(request, "param", True)
    async with serving(control_plane, tmp_path, accounts=False, patient=patient) as served:
        yield served


@pytest.fixture
async def client(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody who trusts its authority."""
    trusting = ssl.create_default_context(cadata=served.authority.pem.decode())
    connector = aiohttp.TCPConnector(ssl=trusting, limit=0)
    base = f"https://127.0.0.1:{served.admission.port}"
    timeout = aiohttp.ClientTimeout(total=EVER)
    async with aiohttp.ClientSession(base, connector=connector, timeout=timeout) as session:
        yield session


def a_review(served: Served, pod: Any, **request: Any) -> dict[str, Any]:
    asked = {
        "uid": "u-1",
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": served.namespace,
        "object": pod,
        **request,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}


async def asked(client: aiohttp.ClientSession, review: dict[str, Any]) -> dict[str, Any]:
    """The response inside of the answer."""
    async with client.post("/inject", data=io.BytesIO(orjson.dumps(review)), headers=JSON) as answer:
        assert answer.status == 200
        found: dict[str, Any] = orjson.loads(await answer.read())["response"]
        return found


@pytest.mark.parametrize(
    ("sent", "more", "said"),
    [
        ("POST /", {"json": {}}, (404, "pods are injected at /inject")),
        ("GET /inject", {}, (405, "wanted: POST")),
        ("PUT /inject", {"json": {}}, (405, "wanted: POST")),
        ("POST /inject", {"data": "{}"}, (415, "the body is text/plain, wanted application/json")),
        ("POST /inject", {"json": {}}, (400, "no AdmissionReview of admission.k8s.io/v1")),
        ("POST /inject", {"data": b"{", "headers": JSON}, (400, "is not JSON")),
        ("POST /inject", {"data": io.BytesIO(b" " * (5 << 20)), "headers": JSON}, (413, "at most 4194304 bytes")),
    ],
)
async def test_what_is_no_review_is_told_so(
    served: Served, client: aiohttp.ClientSession, sent: str, more: Any, said: tuple[int, str]
) -> None:
    """Another method, path, kind of body or size: a status that no API server takes for an answer, and words."""
    async with client.request(*sent.split(), **more) as answer:
        assert (answer.status, said[1] in await answer.text()) == (said[0], True)
    assert served.outcomes("invalid") == 1


async def test_F3_a_body_without_a_length_is_bounded_too(served: Served, client: aiohttp.ClientSession) -> None:
    """Five mebibytes in chunks are not read to their end."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * (64 << 10)

    async with client.post("/inject", data=chunks(), headers=JSON) as answer:
        assert answer.status == 413


class Drops:
    """Bodies that begin and do not end before all of them may.

    Attributes:
        ended: set when they may.
        begun: how many are under way.
    """

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self.begun = 0

    async def _body(self) -> AsyncIterator[bytes]:
        yield b"{"
        self.begun += 1
        await self.ended.wait()

    async def status(self, client: aiohttp.ClientSession) -> int:
        """How one that is sent is answered; 0: it is hung up on."""
        try:
            async with client.post("/inject", data=self._body(), headers=JSON) as answer:
                return answer.status
        except aiohttp.ClientError:
            return 0


@pytest.mark.parametrize("served", [False], indirect=True)
@pytest.mark.usefixtures("served")
async def test_F3_who_sends_too_slowly_is_not_waited_for(client: aiohttp.ClientSession) -> None:
    """Bodies that never end: no answer that lets anything through."""
    drops = Drops()
    try:
        found = await asyncio.gather(*(drops.status(client) for _ in range(AT_ONCE)))
    finally:
        drops.ended.set()
    assert set(found) <= {503, 0}


async def test_F3_who_sends_slowly_is_in_nobodys_way(served: Served, client: aiohttp.ClientSession) -> None:
    """While as many bodies without an end are under way as may be at once, others are answered."""
    drops = Drops()
    slow = [asyncio.create_task(drops.status(client)) for _ in range(AT_ONCE)]
    try:
        await until(lambda: drops.begun == AT_ONCE)
        small = await asked(client, a_review(served, a_pod("support")))
        assert small["allowed"] is True
        assert not any(each.done() for each in slow)
    finally:
        drops.ended.set()
        found = await asyncio.gather(*slow)
    assert set(found) == {400}


@pytest.mark.parametrize(
    "pod",
    [
        {"metadata": {"name": "support"}, "spec": {"containers": "agent"}},
        {"metadata": {"name": "support", "labels": ["app"]}, "spec": {"containers": []}},
        {"metadata": {"name": "support"}, "spec": []},
        {"metadata": 1, "spec": {}},
    ],
)
async def test_I2_what_nobody_thought_of_is_refused(served: Served, client: aiohttp.ClientSession, pod: Any) -> None:
    """I2: pods of shapes that no API server sends end in a refusal or in no answer, never in leave to be made."""
    async with client.post("/inject", json=a_review(served, pod)) as answer:
        body = await answer.read()
        if answer.status == 200:
            assert orjson.loads(body)["response"]["allowed"] is False
        else:
            assert answer.status in (400, 500)


async def test_a_large_pod_is_answered(served: Served, client: aiohttp.ClientSession) -> None:
    """Of more than a mebibyte, as an API server may send: patched like any other."""
    pod = a_pod("support")
    pod["metadata"]["annotations"] = {f"note-{number}": "x" * 1000 for number in range(1200)}
    found = await asked(client, a_review(served, pod))
    assert (found["allowed"], found["patchType"]) == (True, "JSONPatch")


async def test_a_namespace_that_nobody_knows_lets_no_pod_out(served: Served, client: aiohttp.ClientSession) -> None:
    """B2: in a namespace that was not heard of yet nobody opts out, and a pod that does not want to is injected."""
    pod = a_pod("support")
    assert (await asked(client, a_review(served, pod, namespace="unheard")))["allowed"] is True
    pod["metadata"]["labels"]["hitl.dev/inject"] = "false"
    found = await asked(client, a_review(served, pod, namespace="unheard"))
    assert found["allowed"] is False
    assert "not known yet whether its namespace allows" in found["status"]["message"]


async def test_a_new_certificate_is_served_while_connections_stand(
    served: Served, client: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Files exchanged in place: who comes now sees the new one, who was connected is answered as before, and whoever
    comes at that very moment gets the one or the other.
    """
    review = a_review(served, a_pod("support"))
    trusting = ssl.create_default_context(cadata=served.authority.pem.decode())
    port = served.admission.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    assert await _by_hand(reader, writer, review) == 200
    before = _shown(writer)

    async def changed() -> bool:
        _, other = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        shown = _shown(other)
        other.close()
        await other.wait_closed()
        return shown != before

    for name in ("second", "third", "fourth", "fifth"):  # a handshake in between that fails is seen by one in a dozen
        served.authority.server(name).write(tmp_path, "webhook")
        await until(changed)
        _, newest = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
        before = _shown(newest)
        newest.close()
        await newest.wait_closed()
    assert await _by_hand(reader, writer, review) == 200
    assert (await asked(client, review))["allowed"] is True
    writer.close()
    await writer.wait_closed()


def _shown(writer: asyncio.StreamWriter) -> bytes:
    found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return found


async def _by_hand(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, review: dict[str, Any]) -> int:
    """Status of one question on this very connection."""
    body = orjson.dumps(review)
    head = f"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(EVER):
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
    return int(answer.split(b" ")[1])


async def test_F3_a_crowd_of_connections_is_bounded(served: Served) -> None:
    """Of a neighbour's 560 those past the 512th are hung up on, and a pod is still answered after them."""
    trusting = ssl.create_default_context(cadata=served.authority.pem.decode())
    port, opened = served.admission.port, []
    for _ in range(560):
        try:
            opened.append(await asyncio.open_connection("127.0.0.1", port, ssl=trusting))
        except OSError:
            continue
    try:
        gone = [reader for reader, _ in opened[512:]]
        async with asyncio.timeout(EVER):
            for reader in gone:
                assert await _ended(reader)
    finally:
        for _, writer in opened:
            writer.transport.abort()

    async def answers() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            status = await _by_hand(reader, writer, a_review(served, a_pod("support")))
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            return False
        return status == 200

    await until(answers)


async def _ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except OSError:
        return True


async def test_it_is_not_ready_before_it_knows_namespaces(served: Served, admin: KubeAPI) -> None:
    """H1: until the cache is whole it does not listen, says why it is not ready, and what asks it is refused."""
    admission = Admission(Webhook("127.0.0.1", 0, Installation("sidecar:1")), NamespaceCache(admin), served.certificate)
    running = asyncio.create_task(admission.run())
    await asyncio.sleep(0)
    assert admission.unready() == "namespaces have not all been seen yet"
    assert admission.port == 0
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert served.admission.unready() == ""
