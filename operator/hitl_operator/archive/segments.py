"""Lines of audit logs as they stand in segments (`hitl.audit.layout`). Pure."""

import re
from dataclasses import dataclass
from typing import Final

from hitl.audit.chain import AuditRecord, hash_of
from hitl.audit.checkpoint import ChainHead
from hitl.errors import InvalidInput
from hitl.wire.identity import Identity
from hitl_operator.archive.epochs import LONGEST_EPOCH

LARGEST: Final = 1 << 20  # bytes of one request; a sidecar sends a quarter of that, or one record that is longer
_POD = re.compile(r"[A-Za-z0-9._:-]{1,253}")


@dataclass(frozen=True, slots=True)
class Piece:
    """What one sidecar hands over.

    Attributes:
        text: as it will stand in a segment.
        head: its last record; None where that is no record, which `audit verify` will say.
    """

    text: bytes
    head: ChainHead | None


def piece_of(identity: Identity, lines: bytes) -> Piece:
    """InvalidInput: there are no whole lines, or too many at once.

    What they say is not looked into: a line that somebody changed is evidence, too, and those behind it more so.
    """
    if not lines.endswith(b"\n"):
        raise InvalidInput("lines: wants whole lines, each with its newline, and at least one")
    if len(lines) > LARGEST:
        raise InvalidInput(f"lines: {len(lines)} bytes, at most {LARGEST} are taken at once; send them in several")
    agent = identity.agent
    if not _POD.fullmatch(agent.pod_uid):
        raise InvalidInput("the pod behind this connection has no uid, so nobody could tell whose records these are")
    each = lines[:-1].split(b"\n")
    mark = agent.pod_uid.encode() + b"\t"
    text = b"".join(mark + line + b"\n" for line in each)
    try:
        record = AuditRecord.parse(each[-1])
    except InvalidInput:
        return Piece(text, None)
    if len(record.epoch) > LONGEST_EPOCH:
        return Piece(text, None)
    whose = f"{agent.namespace}/{agent.workload}/{agent.pod_name}"
    head = ChainHead(agent.pod_uid, record.epoch, record.sequence, hash_of(each[-1]), stored=True, whose=whose)
    return Piece(text, head)
