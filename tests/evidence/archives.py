"""Archives, what is put into them, and hubs with sidecars that fill them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hitl.audit import Chain, Head, RecordKind
from hitl.audit.archive import ArchiveReport, verify_archive
from hitl.audit.checkpoint import Checkpoint, parse_checkpoint
from hitl.audit.signing import AuditKey, PublicKeys
from hitl.policy.calls import Agent
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.archive.archive import Archive
from hitl_operator.archive.segments import piece_of
from hitl_operator.heads import SaidHead

KEY = AuditKey(bytes(range(32)))
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def who(pod_uid: str = "uid-1", name: str = "support-1", workload: str = "deploy/support") -> Identity:
    agent = Agent("shop", workload=workload, pod_name=name, pod_uid=pod_uid)
    return Identity(agent, "ns-uid", "cluster-uid")


class Log:
    """One sidecar's log in memory: epochs, each a list of lines."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self._previous: Head | None = None

    def epoch(self, name: str, calls: int = 3, *, stop: bool = True, **fields: Any) -> list[bytes]:
        """One process: start, calls, stop; its lines."""
        verdicts = [(RecordKind.VERDICT, {"tool": f"shop/t{n}", "decision": "Allow", **fields}) for n in range(calls)]
        return self.of(name, *verdicts, *([(RecordKind.STOP, {})] if stop else []))

    def of(self, name: str, *records: tuple[RecordKind, dict[str, Any]]) -> list[bytes]:
        """One process that wrote these behind its start."""
        chain = Chain(name, self._previous)
        previous = {"epoch": self._previous.epoch, "seq": self._previous.sequence} if self._previous else None
        made = [_grow(chain, RecordKind.START, previous=previous)]
        made += [_grow(chain, kind, **fields) for kind, fields in records]
        self._previous = chain.head
        self.lines += made
        return made

    @property
    def head(self) -> Head:
        assert self._previous is not None
        return self._previous


def _grow(chain: Chain, kind: RecordKind, **fields: Any) -> bytes:
    line = chain.peek(kind, NOON, fields)
    chain.accept(line)
    return line


def checkpoints(folder: Path) -> list[Checkpoint]:
    """All of them, in the order of their files."""
    files = sorted(folder.glob("checkpoints/*/*.jsonl"))
    return [parse_checkpoint(line) for file in files for line in file.read_bytes().splitlines()]


def an_archive(folder: Path, run: str = "hub-1", **changes: Any) -> Archive:
    return Archive(folder, **{"run": run, "key": KEY, "clock": lambda: NOON, **changes})


async def shipped(archive: Archive, lines: list[bytes], identity: Identity | None = None) -> None:
    await archive.ship(piece_of(identity or who(), b"".join(lines)))


def said(head: Head, identity: Identity | None = None, at: datetime = NOON) -> SaidHead:
    agent = (identity or who()).agent
    return SaidHead(agent.pod_uid, head.epoch, head.sequence, head.hash, f"shop/{agent.workload}/{agent.pod_name}", at)


def as_proto(head: Head) -> hub_pb2.AuditHead:
    return hub_pb2.AuditHead(epoch=head.epoch, sequence=head.sequence, head=head.hash)


def a_checked(folder: Path) -> ArchiveReport:
    """What an auditor finds who holds the public key."""
    return verify_archive(folder, PublicKeys([KEY.pem]).is_good)
