"""Where the audit chain of every sidecar stood when it was last heard of (SECURITY H2).

Heads are appended to a file of their own, so that a sidecar's log that lost its tail, or was written anew, can be told
from one that simply ended. Batched: thousands of holds in a second are one line for each sidecar.

A chain is a pod's UID, as the connection proved it, and an epoch, which the sidecar made up: what one pod says of an
epoch never touches what is known of another pod's (SECURITY B4).
"""

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson

from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.logs import Log
from hitl_operator.pacing import Buckets

_LARGEST_FILE: Final = 16 << 20  # bytes; then the file starts anew, with the newest head of every chain known
_MOST_PODS: Final = 10_000
_MOST_EPOCHS: Final = 16
"""Of one pod: the newest. An epoch is a process, and a container that crashes is started again every five minutes."""
_NEW_EPOCHS, _NEW_EPOCHS_PER_SECOND = 16, 0.1  # of one pod: at once, and in the long run
_LONGEST: Final = 128

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class SaidHead:
    """What a sidecar said of one of its epochs.

    Attributes:
        head: hash of the record of this sequence, hex.
        whose: namespace, workload and pod, for people.
    """

    pod_uid: str
    epoch: str
    sequence: int
    head: str
    whose: str
    time: datetime


class AuditHeads:
    """The newest head of each chain, kept in `path`.

    Attributes:
        on_said: told of every head that is news, and of every one that contradicts what was said before.
    """

    def __init__(self, path: Path) -> None:
        self.on_said: Callable[[SaidHead], None] | None = None
        self._path = path
        self._newest: OrderedDict[str, OrderedDict[str, SaidHead]] = OrderedDict()
        self._unwritten: set[tuple[str, str]] = set()
        self._new_epochs: Buckets[str] = Buckets(_NEW_EPOCHS, _NEW_EPOCHS_PER_SECOND)
        self._read()

    def newest(self, pod_uid: str, epoch: str) -> SaidHead | None:
        """What was said last of this chain; None where nothing is known."""
        epochs = self._newest.get(pod_uid)
        return epochs.get(epoch) if epochs is not None else None

    def note(self, identity: Identity, head: hub_pb2.AuditHead, now: datetime) -> None:
        """A sidecar says where its chain stands. One that went back is kept as it was, and reported."""
        if not head.epoch or len(head.epoch) > _LONGEST or len(head.head) > _LONGEST:
            return
        agent = identity.agent
        whose = f"{agent.namespace}/{agent.workload}/{agent.pod_name}"
        said = SaidHead(agent.pod_uid, head.epoch, head.sequence, head.head, whose, now)
        known = self.newest(agent.pod_uid, head.epoch)
        if known is None:
            if not self._new_epochs.take(agent.pod_uid):
                return  # a pod that makes up epochs fills nothing; its own chain is then known by less
        elif said.sequence <= known.sequence:
            if said.sequence < known.sequence or said.head != known.head:
                _log.error(
                    "audit-chain-went-back",
                    epoch=said.epoch,
                    pod=agent.pod_name,
                    known=known.sequence,
                    said=said.sequence,
                )
                if said.sequence == known.sequence and self.on_said is not None:
                    self.on_said(said)
            return
        self._keep(said)
        self._unwritten.add((said.pod_uid, said.epoch))
        if self.on_said is not None:
            self.on_said(said)

    def flush(self) -> None:
        """Append what is new. OSError where the disk says no; the next flush tries again."""
        if not self._unwritten:
            return
        if self._path.exists() and self._path.stat().st_size > _LARGEST_FILE:
            self._start_anew()
        else:
            kept = [self.newest(pod, epoch) for pod, epoch in sorted(self._unwritten)]
            _write(self._path, b"".join(_line(said) for said in kept if said is not None), os.O_APPEND)
        self._unwritten.clear()

    def _start_anew(self) -> None:
        """Whole or not at all: a crash must not lose what was known."""
        draft = self._path.with_name(f".{self._path.name}.new")
        lines = b"".join(_line(said) for epochs in self._newest.values() for said in epochs.values())
        _write(draft, lines, os.O_TRUNC)
        draft.replace(self._path)

    def _keep(self, said: SaidHead) -> None:
        epochs = self._newest.setdefault(said.pod_uid, OrderedDict())
        epochs[said.epoch] = said
        epochs.move_to_end(said.epoch)
        self._newest.move_to_end(said.pod_uid)
        if len(epochs) > _MOST_EPOCHS:
            epochs.popitem(last=False)
        if len(self._newest) > _MOST_PODS:
            self._newest.popitem(last=False)

    def _read(self) -> None:
        """What was known before this process began; a line that a crash cut off is passed over."""
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                record = orjson.loads(line)
                self._keep(
                    SaidHead(
                        record["podUID"],
                        record["epoch"],
                        record["sequence"],
                        record["head"],
                        record["whose"],
                        datetime.fromisoformat(record["time"]),
                    )
                )
            except (ValueError, KeyError, TypeError):
                _log.warning("audit-heads-line-unreadable", file=self._path)


def _write(path: Path, lines: bytes, how: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(lines)
        file.flush()
        os.fdatasync(file.fileno())


def _line(said: SaidHead) -> bytes:
    record = {
        "time": said.time.isoformat(),
        "podUID": said.pod_uid,
        "epoch": said.epoch,
        "sequence": said.sequence,
        "head": said.head,
        "whose": said.whose,
    }
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
