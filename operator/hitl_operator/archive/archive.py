"""The archive's face for the hub: everything that is awaited here is on the disk and signed afterwards (SECURITY H2).

One thread writes, many pieces with one sync. While the disk refuses nothing is lost: sidecars keep their lines, ended
requests stay in the cluster, and the gate goes on. Stopping every agent because a shared volume is full would hand that
button to whoever can fill it, and the evidence would be no better for it.
"""

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge

from hitl.audit.checkpoint import ChainHead, CheckpointRun, KeptFile
from hitl.audit.layout import CHECKPOINTS, SEGMENTS, key_file, policy_file, request_file
from hitl.audit.signing import AuditKey
from hitl.errors import Unavailable
from hitl_operator.archive.disk import Rolling, make_folder, write_once
from hitl_operator.archive.expiry import expire
from hitl_operator.archive.pending import Entries, Pending
from hitl_operator.archive.runs import ends_of_other_runs
from hitl_operator.archive.segments import Piece
from hitl_operator.heads import SaidHead
from hitl_operator.logs import Log

DAYS: Final = 400
"""For which everything is kept, unless told otherwise."""
_SEGMENT: Final = 64 << 20  # bytes of one file
_TICK: Final = 1.0  # seconds between two looks at what sidecars said
_IDLE: Final = 600.0  # seconds after which a checkpoint is signed though nothing happened
_EXPIRY: Final = 6 * 3600.0  # seconds between two looks for what is too old
_AGAIN: Final = 1.0  # seconds after a refusal of the disk in which it is not tried again
_MOST_POLICIES: Final = 500  # texts that wait for the disk; each may have a megabyte
_MOST_KNOWN_POLICIES: Final = (
    2000  # digests of texts that stand there; one that is forgotten is compared on the disk again
)
_HANGS: Final = 30.0  # seconds; a disk that writes does so within milliseconds
_AT_ONCE: Final = 8 << 20  # bytes that are written together

T = TypeVar("T")
_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that has ended, as the API server has it: UID, version, the time of its end, and all of it."""

    uid: str
    version: str
    at: datetime
    document: Mapping[str, Any]


class Archive:
    """One process's share of an archive. `run` it, `close` it.

    Args:
        folder: of the archive; other replicas may write there, too.
        run: of this process; no other ever has the same.
        key: signs.
        clock: aware UTC times.
        days: for which everything but policy text is kept.
        patience: seconds after which a disk that neither writes nor refuses counts as refusing.

    Attributes:
        trouble: why nothing can be written; empty while it can.
    """

    def __init__(
        self,
        folder: Path,
        *,
        run: str,
        key: AuditKey,
        clock: Callable[[], datetime],
        days: int = DAYS,
        registry: CollectorRegistry | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = _HANGS,
    ) -> None:
        self.trouble = ""
        self._root = folder
        self._key = key
        self._clock = clock
        self._days = days
        self._monotonic = monotonic
        self._patience = patience
        self._is_open = False
        self._draft = f"{run}.draft"
        self._run = CheckpointRun(run, key.fingerprint, key.sign)
        self._segments = Rolling(folder, SEGMENTS, run, _SEGMENT)
        self._checkpoints = Rolling(folder, CHECKPOINTS, run, _SEGMENT)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self._pending = Pending()
        self._waiting: list[tuple[Piece, asyncio.Future[None]]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._policies: OrderedDict[str, asyncio.Task[None] | None] = OrderedDict()
        self._unwritten_policies: dict[str, bytes] = {}
        self._refused_at = -_AGAIN
        self._stuck: asyncio.Future[Any] | None = None
        self._signed_at = self._expired_at = monotonic() - _EXPIRY
        self._writable = Gauge(
            "hitl_archive_writable", "0 while the archive of evidence cannot be written.", registry=registry
        )
        self._writable.set(1)
        self._failures = Counter(
            "hitl_archive_write_failures_total", "Attempts that the archive's disk refused.", registry=registry
        )
        self._bytes = Counter(
            "hitl_archive_audit_bytes_total", "Of sidecars' audit logs that were archived.", registry=registry
        )
        self._signed = Gauge(
            "hitl_archive_last_checkpoint_timestamp_seconds", "When the newest was signed.", registry=registry
        )

    async def open(self) -> None:
        """Publish the key in the archive and begin a run of checkpoints; what writes first does that, too.

        Raises:
            Unavailable: ARCHIVE_UNWRITABLE.
        """
        await self._do(lambda: None)

    async def run(self) -> None:
        """Sign what sidecars say, retry what failed, delete what is too old; until cancelled."""
        while True:
            with contextlib.suppress(Unavailable):  # said in the log, in `trouble` and in the metric
                await self.tick()
            await asyncio.sleep(_TICK)

    async def tick(self) -> None:
        """What `run` does every second. Unavailable: ARCHIVE_UNWRITABLE."""
        for digest, document in list(self._unwritten_policies.items()):
            await self._do(partial(self._write_policy, digest, document))
            self._unwritten_policies.pop(digest, None)
        now = self._monotonic()
        if self._pending or now - self._signed_at >= _IDLE:
            taken = self._pending.take()
            try:
                await self._do(lambda: self._sign(taken or [Entries()]))
            except Unavailable:
                self._pending.give_back(taken)
                raise
        if now - self._expired_at >= _EXPIRY:
            await self._do(self._expire)
            self._expired_at = now

    async def close(self) -> None:
        """Sign what there is, and let go."""
        try:
            await self.tick()
        except Unavailable as error:
            _log.error("archive-ends-unsigned", problem=error)
        if self._stuck is None or self._stuck.done():
            self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def said(self, said: SaidHead) -> None:
        """A sidecar said where a chain of it stands; the next checkpoint has it."""
        self._pending.said(
            ChainHead(said.pod_uid, said.epoch, said.sequence, said.head, stored=False, whose=said.whose)
        )

    async def ship(self, piece: Piece) -> None:
        """Lines of an audit log are on the disk and signed. Unavailable: ARCHIVE_UNWRITABLE."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((piece, mine))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        await mine

    async def keep_policy(self, document: bytes) -> None:
        """The policy text of a revision is on the disk, or will be as soon as that can be written: never an error, for
        a policy is served whether or not the archive can be written.
        """
        digest = hashlib.sha256(document).hexdigest()
        if digest not in self._policies:
            if len(self._unwritten_policies) >= _MOST_POLICIES:
                lost = next(iter(self._unwritten_policies))
                del self._unwritten_policies[lost]
                self._policies.pop(lost, None)  # it is archived after all if it is served again
                _log.error(
                    "policy-text-not-archived", sha256=lost, meaning="the archive cannot be written for too long"
                )
            self._unwritten_policies[digest] = document
            self._policies[digest] = asyncio.create_task(self._keep_policy(digest, document))
        self._policies.move_to_end(digest)
        if (task := self._policies[digest]) is not None:
            await asyncio.shield(task)

    async def keep_requests(self, requests: Sequence[EndedRequest]) -> None:
        """They are on the disk and signed. Unavailable: ARCHIVE_UNWRITABLE, and none of them counts as kept."""
        if requests:
            await self._do(lambda: self._keep_requests(requests))

    async def _keep_policy(self, digest: str, document: bytes) -> None:
        try:
            await self._do(lambda: self._write_policy(digest, document))
            self._unwritten_policies.pop(digest, None)
        except Unavailable:
            pass  # `tick` tries again
        finally:
            self._policies[digest] = None
            self._forget_policies()

    def _forget_policies(self) -> None:
        """Every update of a policy makes a text of its own: those that were asked for longest ago."""
        done = [digest for digest, task in self._policies.items() if task is None]
        for digest in done[: max(0, len(self._policies) - _MOST_KNOWN_POLICIES)]:
            del self._policies[digest]

    async def _flush(self) -> None:
        try:
            while self._waiting:
                size, taken = 0, 0
                while taken < len(self._waiting) and size < _AT_ONCE:
                    size += len(self._waiting[taken][0].text)
                    taken += 1
                group, self._waiting = self._waiting[:taken], self._waiting[taken:]
                try:
                    await self._do(partial(self._write_pieces, [piece for piece, _ in group]))
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it is
                    for mine in _waiting(group):
                        mine.set_exception(error)
                else:
                    self._bytes.inc(size)
                    for mine in _waiting(group):
                        mine.set_result(None)
        finally:
            self._flushing = None

    # In the thread.

    def _open(self) -> None:
        make_folder(self._root, self._root.parent)
        write_once(self._root, key_file(self._key.fingerprint), self._key.pem, self._draft)
        saw = ends_of_other_runs(self._root, self._run.end.run)
        self._append(self._run.peek(self._clock(), saw=tuple(saw)))
        self._is_open = True
        _log.info("archive-open", folder=self._root, key=self._key.fingerprint, days=self._days)

    def _write_pieces(self, pieces: Sequence[Piece]) -> None:
        self._segments.append(self._clock().date(), b"".join(piece.text for piece in pieces))
        heads = [piece.head for piece in pieces if piece.head is not None]
        self._sign([Entries(heads=tuple(heads))])

    def _write_policy(self, digest: str, document: bytes) -> None:
        path = policy_file(digest)
        write_once(self._root, path, document, self._draft)
        self._sign([Entries(files=(KeptFile(path, digest),))])

    def _keep_requests(self, requests: Sequence[EndedRequest]) -> None:
        files = []
        for each in requests:
            content = orjson.dumps(each.document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS)
            path = request_file(each.at.date(), each.uid, each.version)
            write_once(self._root, path, content, self._draft)
            files.append(KeptFile(path, hashlib.sha256(content).hexdigest()))
        self._sign([Entries(files=tuple(files))])

    def _expire(self) -> None:
        expire(self._root, self._clock().date(), self._days, lambda found: self._sign([Entries(expired=(found,))]))

    def _sign(self, entries: Sequence[Entries]) -> None:
        for each in entries:
            self._append(self._run.peek(self._clock(), heads=each.heads, files=each.files, expired=each.expired))

    def _append(self, line: bytes) -> None:
        self._checkpoints.append(self._clock().date(), line)
        self._run.accept(line)
        self._signed_at = self._monotonic()
        self._signed.set(self._clock().timestamp())

    def _close(self) -> None:
        self._segments.close()
        self._checkpoints.close()

    def _opened(self, work: Callable[[], T]) -> T:
        if not self._is_open:
            self._open()
        return work()

    async def _do(self, work: Callable[[], T]) -> T:
        """In the thread, one after the other."""
        if self.trouble and self._monotonic() - self._refused_at < _AGAIN:
            raise _unwritable(self.trouble)  # a disk that is full is not tried for every sidecar
        if self._stuck is not None and not self._stuck.done():
            raise _unwritable(self.trouble)
        working = asyncio.get_running_loop().run_in_executor(self._thread, self._opened, work)
        finished, _ = await asyncio.wait((working,), timeout=self._patience)
        try:
            if not finished:
                self._stuck = working
                working.add_done_callback(_forget)
            done = working.result()
        except (OSError, asyncio.InvalidStateError) as error:
            self._refused_at = self._monotonic()
            self._failures.inc()
            why = self._words(error)
            if not self.trouble:
                _log.error(
                    "archive-unwritable",
                    problem=why,
                    meaning="sidecars keep their audit logs, ended requests stay in the cluster; the gate goes on",
                )
            self.trouble = why
            self._writable.set(0)
            raise _unwritable(why) from error
        if self.trouble:
            self.trouble = ""
            self._writable.set(1)
            _log.info("archive-writable-again", folder=self._root)
        return done

    def _words(self, error: Exception) -> str:
        if isinstance(error, OSError):
            return f"{error.filename or self._root}: {error.strerror or error}"
        return f"{self._root}: the disk has not answered for {self._patience:.0f} s"


def _unwritable(why: str) -> Unavailable:
    return Unavailable("ARCHIVE_UNWRITABLE", f"the archive cannot be written ({why}); free space there or mend it")


def _forget(late: "asyncio.Future[Any]") -> None:
    """What came of it after all: nobody waits for it any more, and what was written is written again."""
    late.exception()


def _waiting(group: "Sequence[tuple[Piece, asyncio.Future[None]]]") -> "list[asyncio.Future[None]]":
    """Of those who handed something over the ones that have not gone."""
    return [mine for _, mine in group if not mine.done()]
