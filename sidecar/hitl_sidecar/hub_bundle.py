"""The CA bundle that the hub sends while its authority rolls over (DESIGN 11 Certificates), kept beside the audit log.

What the sidecar was started with always counts too, and each bundle takes the place of the one before. So whoever sends
a bundle can never make the true hub unbelieved, and what he added is gone with the first bundle of the true hub.
"""

import asyncio
import logging
import os
import random
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from hitl.errors import HitlError, InvalidInput
from hitl_sidecar.ca_bundle import ca_certificates, pem_of
from hitl_sidecar.hub_channel import HubTrust

log = logging.getLogger(__name__)

# Seconds over which the sidecars of a cluster spread the connection by which each tries a bundle that takes something
# away: they all hear of it in the same second, and a replica of the hub takes 8 000 connections.
_SPREAD: Final = 60.0
_WITHIN: Final = 10.0  # seconds for that connection
_AGAIN: Final = 30.0  # seconds until a bundle that could not be tried or kept is tried again


class HubBundle:
    """Takes what the hub sends, or not. It counts from the next connection on (`Hub.renew_trust`).

    Args:
        trust: whose `kept` is written.
        places: where the hub is.
        spread, again: seconds.
    """

    def __init__(
        self, trust: HubTrust, places: Sequence[tuple[str, int]], *, spread: float = _SPREAD, again: float = _AGAIN
    ) -> None:
        self._trust = trust
        self._places = places
        self._spread, self._again = spread, again
        self._offered = b""
        self._news = asyncio.Event()
        self._told = ""
        if trust.kept is not None and trust.kept.exists() and not trust.read_kept():
            log.warning("%s: is no CA bundle; only what this sidecar was started with is believed", trust.kept)

    def offer(self, pem: str) -> None:
        """What came over the Sync stream; it takes the place of what was offered before."""
        offered = pem.encode()
        if offered != self._offered:
            self._offered = offered
            self._news.set()

    async def run(self) -> None:
        """Try and keep what is offered, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while not await self._took(self._offered):
                if await self._until_news(self._again):
                    self._news.clear()

    async def _took(self, offered: bytes) -> bool:
        """Whether a bundle was kept, or changes nothing; False: it is to be tried again."""
        try:
            started_with = ca_certificates(self._trust.started_with())
            kept, received = self._trust.read_kept(), ca_certificates(offered)
            if received == kept:
                return True
            if dropped := (kept | started_with) - (received | started_with):
                if await self._until_news(random.uniform(0, self._spread)):  # noqa: S311 - spreads connections
                    return True  # what is offered now is looked at instead
                await self._prove(pem_of(received | started_with), len(dropped))
            await asyncio.to_thread(self._keep, offered)
        except (HitlError, OSError) as error:
            self._tell(f"a CA bundle of the hub is not taken: {error}")
            return False
        self._told = ""
        log.info("the hub's certificate may lead to %d CA certificates now", len(received | started_with))
        return True

    async def _prove(self, pem: bytes, dropped: int) -> None:
        """InvalidInput where the hub would not be believed any more; OSError where it cannot be told."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=pem.decode())
        context.set_alpn_protocols(["h2"])
        trouble: Exception = ConnectionError("the hub has no address")
        for host, port in self._places:
            try:
                async with asyncio.timeout(_WITHIN):
                    _, writer = await asyncio.open_connection(
                        host, port, ssl=context, server_hostname=self._trust.name or host
                    )
            except ssl.SSLCertVerificationError as error:
                raise InvalidInput(
                    f"without the {dropped} certificates that it lacks the hub at {host}:{port} would not be believed "
                    f"({error.verify_message})"
                ) from error
            except (OSError, TimeoutError) as error:
                trouble = error
                continue
            writer.close()
            return
        raise ConnectionError(f"the hub cannot be tried with it ({trouble or 'no answer in time'})")

    def _keep(self, offered: bytes) -> None:
        """Written beside and moved into place, so that a process that dies here leaves one of both whole."""
        assert self._trust.kept is not None, "the sidecar keeps its bundle in its state folder"
        fresh = Path(f"{self._trust.kept}.new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(offered)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._trust.kept)

    async def _until_news(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            log.error("%s", trouble)
