"""Certificates from mounted files, as cert-manager brings them: for the hub, for the webhook, for who trusts them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from control_plane.certificates import Authority
from hitl.errors import Unavailable
from hitl_operator.cluster.tls import ServingCertificate

NAME = "hitl-operator.hitl-system.svc"
EVER = 60.0


class Mounted:
    """The three files, and what is made of them."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.ca = folder / "ca.crt"
        self._folder = folder
        self.write(authority)
        self.read = ServingCertificate(folder / "tls.crt", folder / "tls.key", self.ca)

    def write(self, authority: Authority, *, roots: bytes = b"") -> None:
        authority.server("hub", names=(NAME,)).write(self._folder, "tls")
        self.ca.write_bytes(roots or authority.pem)


@pytest.fixture
async def mounted(tmp_path: Path) -> AsyncIterator[Mounted]:
    """Followed while they change."""
    mounted = Mounted(tmp_path, Authority("first"))
    task = asyncio.create_task(mounted.read.run(lambda: False, lambda: False))
    yield mounted
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(EVER):
        while not look():  # noqa: ASYNC110 - files have no events
            await asyncio.sleep(0.01)


async def test_renewed_files_are_shown_and_told_without_a_restart(mounted: Mounted) -> None:
    """The same server, and the same context, has the next certificate; what went before it stays admitted once."""
    context = mounted.read.presented.context
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    before, following = mounted.read.bundle, Authority("second")
    async with server:
        port = server.sockets[0].getsockname()[1]
        await connected(port, before)
        mounted.write(following, roots=before + "# the next one: für März\r\n".encode() + following.pem)
        await until(lambda: mounted.read.bundle != before)
        await connected_at_last(port, following.pem)
        with pytest.raises(ssl.SSLCertVerificationError):
            await connected(port, before)
    assert mounted.read.admitted == (before + following.pem, before)
    assert mounted.read.injected == (before + following.pem).decode()
    assert mounted.read.ends.keys() == {"serving", "ca"}
    assert all(ends > datetime.now(UTC) for ends in mounted.read.ends.values())


async def connected(port: int, roots: bytes) -> None:
    context = ssl.create_default_context(cadata=roots.decode())
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    writer.close()
    with suppress(OSError):  # a warning of another test otherwise
        await writer.wait_closed()


async def connected_at_last(port: int, roots: bytes) -> None:
    """Returns once the server is believed: the pair may be taken up a look after the CA that is told."""
    async with asyncio.timeout(EVER):
        while True:
            try:
                return await connected(port, roots)
            except ssl.SSLCertVerificationError:
                await asyncio.sleep(0.01)


async def test_a_ca_that_is_spoilt_changes_nothing_and_is_said(
    mounted: Mounted, caplog: pytest.LogCaptureFixture
) -> None:
    """Sidecars and the API server are told what they were told before, until the file is whole again."""
    before = mounted.read.bundle
    mounted.ca.write_text("half")
    await until(lambda: "--ca" in mounted.read.remark)
    assert mounted.read.bundle == before
    assert mounted.read.wrong == ""
    assert "certificate-unusable" in caplog.text
    mounted.ca.write_bytes(before)
    await until(lambda: not mounted.read.remark)


def test_what_is_no_ca_is_refused_at_the_start(tmp_path: Path) -> None:
    """A serving certificate in the place of its authority's, and a file of megabytes."""
    authority = Authority("first")
    mounted = Mounted(tmp_path, authority)
    for content, words in ((authority.server("x").certificate, "no CA's"), (b"x" * (1 << 20), "larger than")):
        mounted.ca.write_bytes(content)
        with pytest.raises(Unavailable, match=words):
            ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key", mounted.ca)
