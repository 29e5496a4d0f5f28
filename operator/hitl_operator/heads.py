"""Where the audit chain of every sidecar stood when it was last heard of (SECURITY H2).

Heads are appended to a file of their own, so that a sidecar's log that lost its tail, or was written anew, can be told
from one that simply ended. Batched: thousands of holds in a second are one line for each sidecar.
"""

import os
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log

_LARGEST_FILE = 16 << 20  # bytes; then the file starts anew, with the newest head of every epoch known
_MOST_EPOCHS = 10_000
_LONGEST = 128

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class _Head:
    sequence: int
    head: str
    workload: str
    pod: str
    time: datetime


class AuditHeads:
    """The newest head of each sidecar epoch, kept in `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._newest: OrderedDict[str, _Head] = OrderedDict()
        self._unwritten: set[str] = set()
        self._read()

    def note(self, identity: Identity, head: hub_pb2.AuditHead, now: datetime) -> None:
        """A sidecar says where its chain stands. One that went back is kept as it was, and reported."""
        if not head.epoch or len(head.epoch) > _LONGEST or len(head.head) > _LONGEST:
            return
        known = self._newest.get(head.epoch)
        if known is not None and head.sequence <= known.sequence:
            if head.sequence < known.sequence or head.head != known.head:
                _log.error(
                    "audit-chain-went-back",
                    epoch=head.epoch,
                    pod=identity.agent.pod_name,
                    known=known.sequence,
                    said=head.sequence,
                )
            return
        self._newest[head.epoch] = _Head(
            head.sequence, head.head, identity.agent.workload, identity.agent.pod_name, now
        )
        self._newest.move_to_end(head.epoch)
        self._unwritten.add(head.epoch)
        while len(self._newest) > _MOST_EPOCHS:
            self._unwritten.discard(self._newest.popitem(last=False)[0])

    def flush(self) -> None:
        """Append what is new. OSError where the disk says no; the next flush tries again."""
        if not self._unwritten:
            return
        starts_anew = self._path.exists() and self._path.stat().st_size > _LARGEST_FILE
        epochs = sorted(self._newest if starts_anew else self._unwritten)
        lines = b"".join(self._line(epoch) for epoch in epochs)
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_TRUNC if starts_anew else os.O_APPEND)
        descriptor = os.open(self._path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(lines)
            file.flush()
            os.fdatasync(file.fileno())
        self._unwritten.clear()

    def _read(self) -> None:
        """What was known before this process began; a line that a crash cut off is passed over."""
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                record = orjson.loads(line)
                self._newest[record["epoch"]] = _Head(
                    record["sequence"],
                    record["head"],
                    record["workload"],
                    record["pod"],
                    datetime.fromisoformat(record["time"]),
                )
            except (ValueError, KeyError, TypeError):
                _log.warning("audit-heads-line-unreadable", file=self._path)

    def _line(self, epoch: str) -> bytes:
        head = self._newest[epoch]
        record = {
            "time": head.time.isoformat(),
            "epoch": epoch,
            "sequence": head.sequence,
            "head": head.head,
            "workload": head.workload,
            "pod": head.pod,
        }
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
