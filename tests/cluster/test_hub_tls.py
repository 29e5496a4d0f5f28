"""Between sidecar and hub: TLS and a token on every call, or nothing at all (SECURITY B1, F3)."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from cluster.gated_pods import EVER, Pods, until
from cluster.hubs_over_tls import NAME, Line, TlsHub
from control_plane.certificates import Authority
from hitl.errors import InvalidInput, Unavailable
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.v1 import hub_pb2, hub_pb2_grpc
from hitl_operator.cluster.tls import STRANGERS, ServingCertificate
from hitl_sidecar.hub_channel import HubTrust, open_channel, target_of


@pytest.fixture
async def hub(tmp_path: Path, admin: KubeAPI) -> AsyncIterator[TlsHub]:
    """A hub that serves."""
    hub = await TlsHub(tmp_path, admin).start()
    yield hub
    await hub.stop()


@pytest.fixture
async def pod(pods: Pods, hub: TlsHub) -> dict[str, Any]:
    """A gated pod that the hub knows."""
    pod = await pods.create()
    await until(lambda: hub.pods.get(pods.namespace, pod["metadata"]["name"]))
    await until(lambda: hub.namespaces.get(pods.namespace))
    return pod


@pytest.fixture
async def token(pods: Pods, pod: dict[str, Any]) -> str:
    """The token of that pod."""
    return await pods.token(pod)


@pytest.fixture
async def line(hub: TlsHub, token: str, tmp_path: Path) -> AsyncIterator[Line]:
    """The sidecar of that pod, connected."""
    line = Line(tmp_path, token, hub.ca, hub.address)
    yield line
    await line.close()


async def refusal(line: Line) -> grpc.StatusCode:
    """The status of a call that must not succeed."""
    with pytest.raises(aio.AioRpcError) as error:
        await line.config()
    return error.value.code()


async def test_B1_a_pods_token_over_tls_is_answered_with_its_identity(line: Line, pods: Pods) -> None:
    """B1: the sidecar says nothing of itself; the hub tells it who it is."""
    config = await line.config()
    assert config.identity.namespace == pods.namespace
    assert config.identity.workload == "deploy/support"


async def test_a_hub_under_another_authority_is_not_believed(hub: TlsHub, token: str, tmp_path: Path) -> None:
    """A certificate for the right name, signed by somebody else, gets neither token nor call."""
    foreign = tmp_path / "foreign.crt"
    foreign.write_bytes(Authority("somebody-else").pem)
    line = Line(tmp_path, token, foreign, hub.address)
    assert await refusal(line) is grpc.StatusCode.UNAVAILABLE
    await line.close()
    assert hub.reviews.asked == 0


async def test_a_hub_of_another_name_is_not_believed(hub: TlsHub, token: str, tmp_path: Path) -> None:
    """A certificate of the right authority for another service gets neither token nor call."""
    line = Line(tmp_path, token, hub.ca, hub.address, name="other.hitl-system.svc")
    assert await refusal(line) is grpc.StatusCode.UNAVAILABLE
    await line.close()
    assert hub.reviews.asked == 0


async def test_the_hub_speaks_no_plaintext(hub: TlsHub) -> None:
    """A client without TLS is hung up on."""
    async with aio.insecure_channel(hub.address) as channel:
        with pytest.raises(aio.AioRpcError) as error:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=EVER)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_token_never_leaves_without_tls(token: str, tmp_path: Path) -> None:
    """Neither the options nor the channel offer a way: without a CA there is no network, and gRPC refuses as well."""
    trust = HubTrust(tmp_path / "ca", tmp_path / "token")
    with pytest.raises(InvalidInput, match="over TLS only"):
        target_of("127.0.0.1:1", None)
    with pytest.raises(InvalidInput, match="over TLS only"):
        open_channel("dns:///127.0.0.1:1", None)
    with pytest.raises(InvalidInput, match="is a socket"):
        target_of("unix:/tmp/x", trust)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--hub", "127.0.0.1:1"], "over TLS only"),
        (["--hub", "127.0.0.1:1", "--hub-ca", "/ca"], "go together"),
        (["--hub", "unix:/tmp/x", "--hub-ca", "/ca", "--hub-token", "/token"], "leave --hub-ca"),
        (["--hub", "unix:/tmp/x", "--hub-name", "x"], "go together"),
        (["--hub", "hub", "--hub-ca", "/ca", "--hub-token", "/token"], "HOST:PORT"),
        (["--hub", "127.0.0.1:1,127.0.0.1:2", "--hub-ca", "/ca", "--hub-token", "/token"], "--hub-name"),
        (["--hub", "a:1,b:2", "--hub-ca", "/ca", "--hub-token", "/t", "--hub-name", "n"], "must be IP addresses"),
        (["--hub", "127.0.0.1:1,[::1]:2", "--hub-ca", "/ca", "--hub-token", "/t", "--hub-name", "n"], "mixes"),
    ],
)
def test_a_sidecar_that_could_not_be_safe_does_not_start(options: list[str], words: str, tmp_path: Path) -> None:
    """Exit code 2, and words that name the option."""
    command = [sys.executable, "-m", "hitl_sidecar", "--socket", "/tmp/s", "--state", str(tmp_path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=EVER, check=False)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


async def test_the_token_is_read_anew_for_every_call(
    line: Line, pods: Pods, pod: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The kubelet puts a new one into the file; a file without one is no answer, and the next one works again."""
    await line.config()
    line.token.unlink()
    with pytest.raises(Unavailable):
        await line.hub.consume(hub_pb2.ConsumeRequest(handle="shop/x"))
    assert f"--hub-token {line.token}: cannot be read" in caplog.text
    line.token.write_text(f"{await pods.token(pod)}\n")
    await line.config()


async def test_F3_the_same_refusal_is_logged_once_a_minute_with_how_often_it_came(
    hub: TlsHub, caplog: pytest.LogCaptureFixture
) -> None:
    """F3: a sidecar that tries again each second does not fill the log; another reason is another line."""
    trusting = grpc.ssl_channel_credentials(hub.ca.read_bytes())
    async with aio.secure_channel(hub.address, trusting, options=[("grpc.ssl_target_name_override", NAME)]) as channel:
        stub: Any = hub_pb2_grpc.HubServiceStub(channel)

        async def knock(*metadata: tuple[str, str]) -> None:
            with pytest.raises(aio.AioRpcError):
                await stub.Cancel(hub_pb2.HubServiceCancelRequest(), metadata=metadata, timeout=EVER)

        def said() -> list[str]:
            return [each.getMessage() for each in caplog.records if "not-authenticated" in each.getMessage()]

        for _ in range(3):
            await knock()
        assert len(said()) == 1
        await knock(("authorization", "Bearer x"))
        assert len(said()) == 2
        hub.idle += 61
        await knock()
        assert said()[2].endswith("unsaid=2")
    assert hub.refused("unknown") == 5


async def test_F3_a_stranger_is_refused_before_his_message_is_read(hub: TlsHub) -> None:
    """F3: no token, or none of ours: every method answers at once, health too, however much is sent along."""
    trusting = grpc.ssl_channel_credentials(hub.ca.read_bytes())
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.max_send_message_length", -1)]
    async with aio.secure_channel(hub.address, trusting, options=options) as channel:
        stub: Any = hub_pb2_grpc.HubServiceStub(channel)
        huge = hub_pb2.ConsumeRequest(handle="x" * (12 << 20))
        for metadata in ((), (("authorization", "Bearer x"),)):
            for call in (
                stub.Consume(huge, metadata=metadata, timeout=EVER),
                stub.Cancel(hub_pb2.HubServiceCancelRequest(), metadata=metadata, timeout=EVER),
                health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), metadata=metadata, timeout=EVER
                ),
            ):
                with pytest.raises(aio.AioRpcError) as error:
                    await call
                assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED
            stream = stub.Sync(metadata=metadata)
            with pytest.raises(aio.AioRpcError):
                await stream.read()
    assert hub.refused("unknown") == 8
    assert hub.reviews.asked == 0


async def test_F3_a_pod_keeps_no_connection_open_by_watching_health(hub: TlsHub, token: str) -> None:
    """F3: nobody needs it, and each watch would keep one of the hub's connections open for ever; Check works."""
    trusting = grpc.ssl_channel_credentials(hub.ca.read_bytes())
    options = [("grpc.ssl_target_name_override", NAME)]
    metadata = (("authorization", f"Bearer {token}"),)
    async with aio.secure_channel(hub.address, trusting, options=options) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=EVER)
        with pytest.raises(aio.AioRpcError) as error:
            await stub.Watch(health_pb2.HealthCheckRequest(), metadata=metadata, timeout=EVER).read()
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_F3_connections_that_nobody_uses_end_and_are_bounded(tmp_path: Path, admin: KubeAPI) -> None:
    """F3: a connection without a call is closed, and past the bound no further one is taken."""
    few = [
        each
        for each in STRANGERS
        if each[0] not in ("grpc.max_connection_idle_ms", "grpc.max_allowed_incoming_connections")
    ]
    # Long enough for six handshakes at once on a busy machine: the first must not be closed before the last one asks.
    few += [("grpc.max_connection_idle_ms", 5000), ("grpc.max_allowed_incoming_connections", 5)]
    hub = await TlsHub(tmp_path, admin, strangers=few).start()
    try:
        pem = hub.ca.read_bytes()
        opened = await asyncio.gather(*(asyncio.to_thread(_tls, hub.port, pem) for _ in range(5)))
        with pytest.raises(OSError):
            await asyncio.to_thread(_answered, await asyncio.to_thread(_tls, hub.port, pem))
        assert all(await asyncio.gather(*(asyncio.to_thread(_until_closed, each) for each in opened)))
        await asyncio.to_thread(_answered, await asyncio.to_thread(_tls, hub.port, pem))
    finally:
        await hub.stop()


async def test_F3_a_call_that_was_refused_keeps_no_connection_open(tmp_path: Path, admin: KubeAPI) -> None:
    """F3: though the stranger never ends it, sends half of another one, and answers nothing that the hub says."""
    options = [each for each in STRANGERS if each[0] != "grpc.max_connection_idle_ms"]
    hub = await TlsHub(tmp_path, admin, strangers=[*options, ("grpc.max_connection_idle_ms", 1000)]).start()
    try:
        pem = hub.ca.read_bytes()
        call, half_a_call = _call(1, ends_headers=True), _call(3, ends_headers=False)
        for sent in (call, call + half_a_call, half_a_call):
            connection = await asyncio.to_thread(_tls, hub.port, pem)
            assert await asyncio.to_thread(_until_closed, connection, sent)
        assert hub.refused("unknown") >= 2
    finally:
        await hub.stop()


def _call(stream: int, *, ends_headers: bool) -> bytes:
    """The start of a Sync stream without a token: a HEADERS frame of HTTP/2 that says that more of the body comes."""
    path, kind = b"/hitl.v1.HubService/Sync", b"application/grpc"
    fields = b"\x83\x87"  # :method POST, :scheme https
    fields += b"\x04" + bytes([len(path)]) + path
    for name, value in ((b":authority", NAME.encode()), (b"content-type", kind), (b"te", b"trailers")):
        fields += b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
    head = len(fields).to_bytes(3) + b"\x01" + (b"\x04" if ends_headers else b"\x00") + stream.to_bytes(4)
    return head + fields


def _tls(port: int, ca: bytes) -> Any:
    context = ssl.create_default_context(cadata=ca.decode())
    context.set_alpn_protocols(["h2"])
    raw = socket.create_connection(("127.0.0.1", port), timeout=EVER)
    return context.wrap_socket(raw, server_hostname=NAME)


def _answered(connection: Any) -> bytes:
    """The server's first frame; OSError where it hangs up instead."""
    with connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000"))
        found: bytes = connection.recv(9)
        if not found:
            raise ConnectionResetError
        return found


def _until_closed(connection: Any, sent: bytes = b"") -> bool:
    with connection, suppress(ConnectionError, ssl.SSLEOFError):
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000") + sent)
        while connection.recv(4096):
            pass
    return True


async def test_B1_a_deleted_pods_streams_end(line: Line, pods: Pods, pod: dict[str, Any]) -> None:
    """B1: on the wire, without a call of the sidecar; what it tries next is refused."""
    await line.config()
    await pods.kill(pod["metadata"]["name"])
    while (message := await line.message()) is not aio.EOF:
        assert message.WhichOneof("message") == "heartbeat"
    assert await refusal(line) is grpc.StatusCode.UNAUTHENTICATED


async def test_B2_a_relabelled_pod_gets_its_new_config(line: Line, pods: Pods, pod: dict[str, Any]) -> None:
    """B2: its stream ends, and the next one has the identity with the new labels."""
    assert (await line.config()).identity.labels["app"] == "support"
    path = path_of("v1", "pods", pods.namespace, pod["metadata"]["name"])
    await pods.admin.merge_patch(path, {"metadata": {"labels": {"app": "other"}}})
    while await line.message() is not aio.EOF:
        pass
    assert (await line.config()).identity.labels["app"] == "other"


async def test_a_renewed_certificate_is_shown_to_the_next_connection(
    hub: TlsHub, token: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Same authority, new key: who is connected stays, who comes sees the new one; half a pair changes nothing."""
    pair = hub.authority.server("hub", names=("renewed.svc",))
    hub.certificate.write_bytes(pair.certificate)
    line = Line(tmp_path, token, hub.ca, hub.address)
    await line.config()
    await line.close()
    assert "is not the key of" in caplog.text
    hub.key.write_bytes(pair.key)
    line = Line(tmp_path, token, hub.ca, hub.address, name="renewed.svc")
    await line.config()
    await line.close()


async def test_a_renewed_authority_is_believed_once_its_file_says_so(
    hub: TlsHub, line: Line, token: str, tmp_path: Path
) -> None:
    """A sidecar that no longer believes its hub looks at the CA's file again, without a restart."""
    await line.config()
    other = Authority("next-ca")
    pair = other.server("hub", names=(NAME,))
    hub.certificate.write_bytes(pair.certificate)
    hub.key.write_bytes(pair.key)
    fresh = Line(tmp_path, token, hub.ca, hub.address, name=NAME)
    assert await refusal(fresh) is grpc.StatusCode.UNAVAILABLE
    await fresh.hub.renew_trust()
    assert await refusal(fresh) is grpc.StatusCode.UNAVAILABLE
    hub.ca.write_bytes(hub.authority.pem + other.pem)
    await fresh.hub.renew_trust()
    await fresh.config()
    await fresh.close()


async def test_when_one_address_is_gone_the_next_is_used(
    tmp_path: Path, admin: KubeAPI, hub: TlsHub, token: str, pod: dict[str, Any]
) -> None:
    """Several addresses are one hub: the stream ends with the one that is used, the next call goes to the other."""
    (tmp_path / "second").mkdir()
    second = TlsHub(tmp_path / "second", admin)
    second.certificate.write_bytes(hub.certificate.read_bytes())
    second.key.write_bytes(hub.key.read_bytes())
    await second.start()
    await until(lambda: second.pods.get(pod["metadata"]["namespace"], pod["metadata"]["name"]))
    line = Line(tmp_path, token, hub.ca, second.address, hub.address)
    await line.config()
    # gRPC prefers the first, and tries the next one beside it where a handshake takes longer than 250 ms.
    used, other = (second, hub) if len(second.hub.sidecars) else (hub, second)
    assert (len(used.hub.sidecars), len(other.hub.sidecars)) == (1, 0)
    await used.stop()
    assert await line.message() is aio.EOF
    await line.config()
    assert len(other.hub.sidecars) == 1
    await line.close()
    await second.stop()


def test_a_certificate_that_cannot_serve_is_named(tmp_path: Path) -> None:
    """Which file, and what is wrong with it."""
    one, other = Authority("x").server("a"), Authority("x").server("b")
    certificate, key = one.write(tmp_path, "one")
    key.write_bytes(other.key)
    with pytest.raises(Unavailable, match=r"one\.key: is not the key of"):
        ServingCertificate(certificate, key)
    key.write_text("nothing")
    with pytest.raises(Unavailable, match="must be PEM"):
        ServingCertificate(certificate, key)
    key.unlink()
    with pytest.raises(Unavailable, match="cannot be read"):
        ServingCertificate(certificate, key)


async def test_a_sidecar_process_serves_over_tls(hub: TlsHub, token: str, tmp_path: Path) -> None:
    """The whole program with its options: ready once the hub has given it its config."""
    (tmp_path / "token").write_text(token)
    gate = Path(f"/tmp/hitl-{os.getpid()}-{hub.port}.sock")
    command = ["--socket", str(gate), "--state", str(tmp_path / "state"), "--hub", hub.address]
    command += ["--hub-ca", str(hub.ca), "--hub-token", str(tmp_path / "token"), "--hub-name", NAME]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "hitl_sidecar", *command)
    try:
        await until(lambda: len(hub.hub.sidecars))
        async with aio.insecure_channel(f"unix:{gate}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)

            async def status() -> bool:
                answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=EVER, wait_for_ready=True)
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

            await until(status)
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), EVER)
