"""What a sidecar believes of the CA bundles that its hub sends (DESIGN 11 Certificates, SECURITY B1)."""

import asyncio
import logging
import ssl
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.certificates import Authority
from hitl.errors import InvalidInput
from hitl_sidecar.ca_bundle import LARGEST, ca_certificates, pem_of
from hitl_sidecar.hub_bundle import HubBundle
from hitl_sidecar.hub_channel import CA_PEM, HubTrust, places_of
from hitl_sidecar.options import parse

NAME = "hitl-operator.hitl-system.svc"
EVER = 60.0


async def until(look: Callable[[], bool]) -> None:
    """Returns once it is so; files and logs have no events to wait for."""
    async with asyncio.timeout(EVER):
        while not look():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)


async def has(kept: Path, wanted: bytes) -> None:
    await until(lambda: kept.exists() and kept.read_bytes() == wanted)


async def said(log: pytest.LogCaptureFixture, words: str) -> None:
    await until(lambda: words in log.text)


@asynccontextmanager
async def a_hub(folder: Path, authority: Authority) -> AsyncIterator[int]:
    """The port of a TLS server with a certificate of this authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server("hub", names=(NAME,)).write(folder, "hub"))
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@asynccontextmanager
async def running(bundle: HubBundle) -> AsyncIterator[HubBundle]:
    task = asyncio.create_task(bundle.run())
    yield bundle
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def trust(folder: Path, ca: bytes) -> HubTrust:
    return HubTrust(ca, folder / "token", NAME, folder / "hub-ca.pem")


async def test_a_bundle_that_adds_is_kept_for_this_account_alone(tmp_path: Path) -> None:
    """No connection is needed to see that nothing is taken away; what is believed from then on is both."""
    old, new = Authority("old"), Authority("new")
    believed = trust(tmp_path, old.pem)
    kept = tmp_path / "hub-ca.pem"
    async with running(HubBundle(believed, [])) as bundle:
        bundle.offer((old.pem + new.pem).decode())
        await has(kept, old.pem + new.pem)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not kept.with_name("hub-ca.pem.new").exists()
    assert ca_certificates(believed.read_ca()) == ca_certificates(old.pem + new.pem)


async def test_a_bundle_that_drops_the_old_authority_is_kept_once_the_hub_was_seen_with_the_new_one(
    tmp_path: Path,
) -> None:
    """The hub is asked with it first; what the pod was injected with counts beside it all the same."""
    injected, old, new = Authority("injected"), Authority("old"), Authority("new")
    kept = tmp_path / "hub-ca.pem"
    kept.write_bytes(old.pem + new.pem)
    async with a_hub(tmp_path, new) as port:
        believed = trust(tmp_path, injected.pem)
        async with running(HubBundle(believed, [("127.0.0.1", port)], spread=0)) as bundle:
            bundle.offer(new.pem.decode())
            await has(kept, new.pem)
    assert ca_certificates(believed.read_ca()) == ca_certificates(injected.pem + new.pem)


async def test_a_bundle_that_would_leave_the_hub_unbelieved_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hub is still under the authority that it drops: it is not kept, said once, and the next good one is."""
    injected, old, new = Authority("injected"), Authority("old"), Authority("new")
    kept = tmp_path / "hub-ca.pem"
    kept.write_bytes(old.pem)
    async with a_hub(tmp_path, old) as port:
        believed = trust(tmp_path, injected.pem)
        async with running(HubBundle(believed, [("127.0.0.1", port)], spread=0, again=0.01)) as bundle:
            bundle.offer(new.pem.decode())
            await said(caplog, "would not be believed")
            assert kept.read_bytes() == old.pem
            bundle.offer((old.pem + new.pem).decode())
            await has(kept, old.pem + new.pem)
    assert len([line for line in caplog.messages if "would not be believed" in line]) == 1


async def test_a_bundle_that_cannot_be_tried_waits_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that is away says nothing against a bundle, and nothing for it."""
    injected, old, new = Authority("injected"), Authority("old"), Authority("new")
    kept = tmp_path / "hub-ca.pem"
    kept.write_bytes(old.pem)
    places = [("127.0.0.1", 1)]
    async with running(HubBundle(trust(tmp_path, injected.pem), places, spread=0, again=0.01)) as bundle:
        bundle.offer(new.pem.decode())
        await said(caplog, "cannot be tried")
        assert kept.read_bytes() == old.pem
        async with a_hub(tmp_path, new) as port:
            places[0] = ("127.0.0.1", port)
            await has(kept, new.pem)


@pytest.mark.parametrize(
    "offered",
    ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é", "x" * (LARGEST + 1),
     Authority("a").pem.decode() + Authority("x").server("leaf").certificate.decode()],
    ids=["empty", "no PEM", "no certificate", "no ASCII", "too large", "one that is no CA's"],
)  # fmt: skip
async def test_what_is_no_bundle_is_refused(tmp_path: Path, offered: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is kept, and what is believed stays as it was."""
    caplog.set_level(logging.INFO)
    injected = Authority("injected")
    believed = trust(tmp_path, injected.pem)
    async with running(HubBundle(believed, [], again=0.01)) as bundle:
        bundle.offer(offered or "first")
        await said(caplog, "is not taken")
        bundle.offer(offered)
        with pytest.raises(InvalidInput):
            ca_certificates(offered.encode())
    assert believed.read_ca() == injected.pem
    assert not (tmp_path / "hub-ca.pem").exists()


async def test_what_the_true_hub_sends_takes_the_place_of_what_another_added(tmp_path: Path) -> None:
    """B1: whoever was the hub for a while with a stolen serving key leaves no authority of his own behind."""
    true, foreign = Authority("true"), Authority("foreign")
    believed = trust(tmp_path, true.pem)
    kept = tmp_path / "hub-ca.pem"
    async with a_hub(tmp_path, true) as port:
        async with running(HubBundle(believed, [("127.0.0.1", port)], spread=0)) as bundle:
            bundle.offer((true.pem + foreign.pem).decode())
            await has(kept, true.pem + foreign.pem)
        async with running(HubBundle(believed, [("127.0.0.1", port)], spread=0)) as bundle:
            bundle.offer(true.pem.decode())
            await has(kept, true.pem)
    assert ca_certificates(believed.read_ca()) == ca_certificates(true.pem)


def test_a_kept_file_that_was_spoilt_takes_nothing_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sidecar that starts on it says so and goes by what it was started with."""
    injected = Authority("injected")
    (tmp_path / "hub-ca.pem").write_bytes(b"\x00 half a file")
    believed = trust(tmp_path, injected.pem)
    HubBundle(believed, [])
    assert believed.read_ca() == injected.pem
    assert "is no CA bundle" in caplog.text


def test_the_hub_s_places_are_those_of_its_address() -> None:
    """As gRPC has them, in its three forms; a socket has none."""
    assert places_of("unix:/run/x") == []
    assert places_of("dns:///hub.svc:8443") == [("hub.svc", 8443)]
    assert places_of("dns:///[::1]:8443") == [("::1", 8443)]
    assert places_of("ipv4:10.0.0.1:1,10.0.0.2:2") == [("10.0.0.1", 1), ("10.0.0.2", 2)]


def test_injection_gives_the_ca_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The PEM itself counts where there is no --hub-ca; what is none ends the program with its name."""
    pem = Authority("injected").pem
    command = ["--socket", "s", "--hub", "hub.svc:8443", "--hub-token", "t", "--state", str(tmp_path)]
    monkeypatch.setenv(CA_PEM, pem.decode())
    found = parse(command).trust
    assert found is not None
    assert found.read_ca() == pem
    assert found.kept == tmp_path / "hub-ca.pem"
    given = parse([*command, "--hub-ca", str(tmp_path / "ca.crt")]).trust
    assert given is not None
    assert given.ca == tmp_path / "ca.crt"
    monkeypatch.setenv(CA_PEM, "nonsense")
    with pytest.raises(SystemExit) as ended:
        parse(command)
    assert ended.value.code == 2
    assert CA_PEM in capsys.readouterr().err


def test_certificates_are_written_in_one_order() -> None:
    """The same ones are the same text, however they came."""
    one, other = Authority("a").pem, Authority("b").pem
    assert pem_of(ca_certificates(one + other)) == pem_of(ca_certificates(other + one))
