"""The operator's own certificates, in a Secret that all replicas share (DESIGN 11 Certificates).

Any replica may make it at the first start, and whoever creates it first wins; from then on the leader alone changes it,
by compare-and-set, and each replica goes by what stands there. A private key is in that Secret and in memory alone.

What somebody spoils is never replaced by a new authority, which no running sidecar would believe: replicas that read it
before go on with what they read, and those that start wait and say what to do. One that was deleted is put back by
whoever remembers it. Only where no replica does, and none leads, is another made.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import grpc

from hitl.errors import ApiError, HitlError, InvalidInput
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl_operator.cluster.presented import Presented
from hitl_operator.cluster.rotation import NAME, Certificates, due, fresh, from_secret, to_secret
from hitl_operator.cluster.trouble import Trouble
from hitl_operator.logs import Log

_LOOK_EVERY: Final = 2.0  # seconds; a renewal is not urgent, what was deleted should be back before anybody starts
# What own clock and the API server's may differ by before nothing is issued: certificates are dated back by a day, and
# an authority that is made by a clock of next year is believed by nobody.
_CLOCKS: Final = timedelta(minutes=10)
# Seconds for which a replica that starts without a Secret leaves it to whoever holds the Lease to put it back: more
# than a Lease lasts after its holder died.
_LEAVES: Final = 30.0

_log = Log(__name__)


class OwnCertificates:
    """As `tls.Certification`.

    Args:
        api: as the operator.
        namespace: the operator's.
        names: under which the operator is reached.
        clock: aware UTC times.
        lease: name of the Lease, whose holder remembers what was in the Secret.
        every: seconds between two looks at the Secret.
    """

    def __init__(
        self,
        api: KubeAPI,
        namespace: str,
        names: Sequence[str],
        *,
        clock: Callable[[], datetime],
        lease: str,
        every: float = _LOOK_EVERY,
    ) -> None:
        self.presented = Presented()
        self.wrong = "the operator's certificates have not been read yet"
        self.remark = ""
        self.held: Certificates | None = None
        self.trouble = Trouble(api, "certificates-not-followed", meaning="those that were read before stay in use")
        self._api = api
        self._names = tuple(names)
        self._clock = clock
        self._every = every
        self._collection = path_of("v1", "secrets", namespace)
        self._path = path_of("v1", "secrets", namespace, NAME)
        self._lease = path_of("coordination.k8s.io/v1", "leases", namespace, lease)
        self._place = f"Secret {namespace}/{NAME}"
        self._said = ""
        self._missing_since: float | None = None

    @property
    def bundle(self) -> bytes:
        """As `Certification`."""
        return self.held.bundle if self.held else b""

    @property
    def injected(self) -> str:
        """As `Certification`."""
        return self.held.injected.decode() if self.held else ""

    @property
    def admitted(self) -> tuple[bytes, bytes]:
        """As `Certification`."""
        return self.held.admitted if self.held else (b"", b"")

    @property
    def ends(self) -> dict[str, datetime]:
        """As `Certification`."""
        return {"serving": self.held.serving.ends, "ca": self.held.authority_ends} if self.held else {}

    def credentials(self) -> grpc.ServerCredentials:
        """As `Certification`."""
        return self.presented.credentials()

    async def run(self, leads: Callable[[], bool], published: Callable[[], bool]) -> None:
        """As `Certification`."""
        while True:
            try:
                changed = await self.look(leads(), published())
                self.trouble.over()
            except HitlError as error:
                changed = False
                self.trouble.tell(error)
                if self.held is None:
                    self.wrong = f"the operator's certificates cannot be read: {self.trouble.why}"
            await asyncio.sleep(0 if changed else self._every)

    async def look(self, leads: bool, published: bool) -> bool:
        """Go by what stands in the Secret now, and take the next step where this replica leads; whether one was taken.

        Raises:
            ApiError, StoreUnavailable: it cannot be read or written now.
        """
        secret = await self._secret()
        if secret is None:
            return await self._missing()
        self._missing_since = None
        try:
            self._take(from_secret(secret))
        except InvalidInput as error:
            self._broken(error)
            return False
        assert self.held is not None, "it was just taken"
        if not leads or (step := due(self.held, self._names, self._clock(), published=published)) is None:
            return False
        if not self._trusts_its_clock():
            return False
        return await self._write(step[0], step[1], secret["metadata"]["resourceVersion"])

    def _take(self, found: Certificates) -> None:
        self.presented.show(found.serving)
        before, self.held = self.held, found
        self.remark = self._said = ""
        if before is not None and not _known(before) & _known(found):
            _log.error(
                "certificates-replaced",
                secret=self._place,
                meaning="pods that were injected before do not believe this operator: they have to be made anew",
            )
        elif before != found:
            _log.info("certificates", serving_until=found.serving.ends, authority_until=found.authority_ends)
        has_ended = self._clock() >= found.serving.ends
        self.wrong = "what is served has ended; whoever holds the Lease renews it" if has_ended else ""

    def _broken(self, error: InvalidInput) -> None:
        mend = "delete it: a replica that read it before puts back what it has"
        if self.held is None:
            mend = (
                "restore it from a backup; if there is none, delete it, restart the operator and then all gated pods, "
                "which believe no other authority"
            )
        words = f"{self._place}: {error}; {mend}"
        if self.held is None:
            self.wrong = words
        else:
            self.remark = words
        if words != self._said:
            self._said = words
            _log.error("certificates-unusable", problem=words)

    async def _missing(self) -> bool:
        """Put it back, or make the first one."""
        if self.held is not None:
            return await self._write(self.held, "it was deleted, and is put back")
        if await self._is_left_to_another():
            self.wrong = f"{self._place}: is not there; whoever holds the Lease may put it back"
            return False
        if not self._trusts_its_clock():
            return False
        return await self._write(fresh(self._names, self._clock()), "an authority is made; back the Secret up")

    async def _is_left_to_another(self) -> bool:
        """Whether somebody leads who may remember it: for a while."""
        now = asyncio.get_running_loop().time()
        self._missing_since = now if self._missing_since is None else self._missing_since
        if now - self._missing_since >= _LEAVES:
            return False
        try:
            lease = await self._api.get(self._lease)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return bool((lease.get("spec") or {}).get("holderIdentity"))

    async def _write(self, wanted: Certificates, what: str, version: str = "") -> bool:
        """Whether it stands there now; False: another replica was faster, or it is not what it was."""
        secret = to_secret(wanted)
        try:
            if version:
                secret["metadata"]["resourceVersion"] = version
                await self._api.replace(self._path, secret)
            else:
                await self._api.create(self._collection, secret)
        except ApiError as error:
            # A 404 to a new one says that its namespace is not there.
            if error.status == 409 or (error.status == 404 and version):
                return False
            raise
        _log.warning("certificates-changed", secret=self._place, step=what)
        self._take(wanted)  # whatever happens to it from here on, it is remembered
        return True

    def _trusts_its_clock(self) -> bool:
        """Whether it and the API server agree on what time it is: what a wrong clock issues is believed by nobody."""
        told, own = self._api.server_time(), self._clock()
        if told is not None and abs(told - own) <= _CLOCKS:
            return True
        words = f"nothing is issued: it is {own:%Y-%m-%d %H:%M} here and {told or 'an unknown time'} for the API server"
        if self.held is None:
            self.wrong = words
        else:
            self.remark = words
        if words != self._said:
            self._said = words
            _log.error("clock-not-trusted", problem=words, meaning="set the clock of this node, or of the API server's")
        return False

    async def _secret(self) -> dict[str, Any] | None:
        try:
            return await self._api.get(self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None


def _known(held: Certificates) -> set[bytes]:
    """The authorities of which a sidecar that was told of them believes one at least."""
    return {held.authority.certificate, held.previous, *([held.next.certificate] if held.next else [])} - {b""}
