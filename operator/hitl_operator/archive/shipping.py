"""Takes audit logs from sidecars: one call at a time of each pod, and a flood of one waits for itself (SECURITY B5)."""

import asyncio
from typing import Final

from hitl.errors import Refused, Unavailable
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.archive.archive import Archive
from hitl_operator.archive.epochs import A_DAY, MOST_AT_ONCE, Epochs, named_in
from hitl_operator.archive.segments import Piece, piece_of
from hitl_operator.pacing import Buckets
from hitl_operator.turns import Turns

# Bytes of one pod: at once, and each second. A record has about one thousand, so this is some four thousand calls in
# each second, day and night; who makes more is archived later.
_BURST, _PER_SECOND = 32 << 20, 4 << 20
_CALL: Final = 8192  # what a call costs beside its bytes: a checkpoint names it, and a sync may be its own
_PARSE: Final = 1024  # what a line costs that had to be parsed; of an honest sidecar hardly any has to
_AT_ONCE: Final = 64  # pods whose lines wait for the disk together; the others' wait in turns


class Shipping:
    """Serves `HubService.Ship`."""

    def __init__(self, archive: Archive | None) -> None:
        """None: there is none, and sidecars are told so."""
        self._archive = archive
        self._busy: set[str] = set()
        self._paces: Buckets[str] = Buckets(_BURST, _PER_SECOND)
        self._epochs = Epochs()
        self._turns = Turns(_AT_ONCE)

    async def ship(self, identity: Identity, request: hub_pb2.ShipRequest) -> hub_pb2.ShipResponse:
        """What was handed over is on the disk and signed.

        Raises:
            Refused: another call of the same pod is under way, or it made too many epochs lately; nothing was stored.
            InvalidInput: these are no lines.
            Unavailable: the disk refuses; the sidecar keeps its lines and comes again.
        """
        if self._archive is None or not request.lines:
            return hub_pb2.ShipResponse(archived=self._archive is not None)
        agent = identity.agent
        piece = piece_of(identity, request.lines)
        if agent.pod_uid in self._busy:
            raise Refused("this pod hands lines over already; one call at a time")
        self._busy.add(agent.pod_uid)
        try:
            if seconds := self._paces.owe(agent.pod_uid, len(request.lines) + _CALL):
                await asyncio.sleep(seconds)  # before it is written: who hangs up meanwhile has written nothing
            async with self._turns.turn(agent.namespace, agent.pod_uid):
                await self._store(self._archive, agent.pod_uid, piece, request.lines)
        finally:
            self._busy.discard(agent.pod_uid)
        return hub_pb2.ShipResponse(archived=True)

    async def _store(self, archive: Archive, pod: str, piece: Piece, lines: bytes) -> None:
        named = await asyncio.to_thread(named_in, lines)
        self._paces.owe(pod, named.parsed * _PARSE)  # its next call waits for that
        taken = self._epochs.take(pod, named.epochs)
        if taken is None:
            raise Refused(
                f"this pod began too many epochs lately (at most {MOST_AT_ONCE} at once, then {A_DAY} a day): its "
                "lines stay with it, and are taken later; see why its sidecar starts so often"
            )
        try:
            await archive.ship(piece)
        except Unavailable:
            self._epochs.give_back(pod, taken)
            raise
        self._epochs.know(pod, named.epochs)
