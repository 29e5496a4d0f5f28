"""One audit record as a line, and the chain that binds the lines.

A record's hash is SHA-256 over its line without the newline. The next line carries it as `prev`, so a log can be cut
only at its end, and only until the next head is known elsewhere (the hub keeps heads). An *epoch* is one process:
its sequence counts from 1, and its first record, kind `start`, carries the head of the epoch before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

import orjson

from hitl.errors import InvalidInput

NO_HASH = "0" * 64
"""`prev` of the first record of all."""


class RecordKind(StrEnum):
    """What a record witnesses."""

    START = "start"
    """A process began; `previous` is the head it found."""
    CONFIG = "config"
    """A config came into force."""
    VERDICT = "verdict"
    """A call was evaluated, or could not be."""
    DECISION = "decision"
    """A held call was decided, expired or was withdrawn."""
    RELEASE = "release"
    """An approved call was released, once."""
    REPORT = "report"
    """The caller said how the execution ended."""
    GAP = "gap"
    """The log could not be written for a while; calls were refused meanwhile."""
    STOP = "stop"
    """The process ended in order."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain stands: the newest record of an epoch and its hash, hex."""

    epoch: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class HumanDecision:
    """What people said, and how long the call waited for it. `override`: one approved against the policy's terms."""

    approved: bool
    response_time_ms: int
    override: bool = False


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record as read. Strings from agents are redacted and escaped as reviewers saw them.

    Attributes:
        time: in UTC, whatever zone the line gives; any in the calendar, for a sidecar may write what it likes.
        agent_id: ``namespace/workload/pod``.
        user: on whose behalf the agent says it acts; empty if it did not say.
        arguments: redacted; None where the record is about no call.
        decision: of a verdict its action's word or Clarify, Invalid, Unavailable; of a decision Approved, Denied,
            Expired, Cancelled; of a release Released; of a report Succeeded, Failed, NotStarted.
        reason: stable reason code; `message`: the sentence that reviewer and agent read.
        rule: what decided, e.g. ``AgentPolicy/shop/support#refunds``.
        would_have: under Monitor or AuditOnly, what Enforce would have done.
        handle: ``namespace/name`` of the request, where there is one.
        digest: of a held call, hex.
        proof: what the reviewer showed, e.g. ``ed25519:…``; empty where the API server vouches.
        waits: ``{"held_ms": …}`` of what waited.
        details: every further field, as written.
    """

    epoch: str
    sequence: int
    prev: str
    time: datetime
    kind: RecordKind
    agent_id: str = ""
    user: str = ""
    session: str = ""
    call_id: str = ""
    tool: str = ""
    arguments: Any = None
    summary: str = ""
    decision: str = ""
    reason: str = ""
    message: str = ""
    rule: str = ""
    score: int | None = None
    would_have: str = ""
    human_decision: HumanDecision | None = None
    reviewer: str = ""
    proof: str = ""
    handle: str = ""
    digest: str = ""
    revision: str = ""
    waits: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: bytes) -> "AuditRecord":
        """The record of a line (with or without its newline). InvalidInput says what is wrong with it."""
        try:
            fields = orjson.loads(line)
            known = {name: fields.pop(name) for name in _PLAIN if name in fields}
            human = fields.pop("human_decision", None)
            _check_texts(known)
            return cls(
                sequence=_count(fields.pop("seq")),
                time=moment_of(fields.pop("time")),
                kind=RecordKind(fields.pop("kind")),
                human_decision=HumanDecision(**human) if human is not None else None,
                details=fields,
                **known,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"not an audit record ({type(error).__name__}: {error})") from error


_HEADER = {"sequence", "time", "kind", "human_decision", "details"}
_PLAIN = tuple(name for name in AuditRecord.__slots__ if name not in _HEADER)


_TEXTS = tuple(name for name in _PLAIN if name not in ("arguments", "score", "waits"))


def _check_texts(fields: Mapping[str, Any]) -> None:
    if wrong := [name for name in _TEXTS if not isinstance(fields.get(name, ""), str)]:
        raise ValueError(f"{', '.join(wrong)} wants a text")


def moment_of(value: str) -> datetime:
    """The time of a line, in UTC. ValueError: it is none, has no zone, or no calendar has it in UTC."""
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError(f"time {value!r} wants a zone")
    try:
        return found.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"time {value!r} is outside the years 1 to 9999 in UTC") from error


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"seq {value!r} wants a number from 1")
    return value


def hash_of(line: bytes) -> str:
    """The hash that the next record carries. `line` without its newline."""
    return sha256(line).hexdigest()


class Chain:
    """The end of one epoch's chain: `peek` the next line, write it, `accept` it. One writer, one thread."""

    __slots__ = ("_hash", "epoch", "sequence")

    def __init__(self, epoch: str, previous: Head | None = None) -> None:
        """`previous`: the head of the epoch before, None for the first epoch of all."""
        self.epoch = epoch
        self.sequence = 0
        self._hash = previous.hash if previous else NO_HASH

    @property
    def head(self) -> Head:
        """The newest link; sequence 0 while nothing was linked."""
        return Head(self.epoch, self.sequence, self._hash)

    def peek(self, kind: RecordKind, time: datetime, fields: Mapping[str, Any]) -> bytes:
        """The next line, newline included. The chain stays: a line that cannot be written never was."""
        return orjson.dumps(
            {"epoch": self.epoch, "seq": self.sequence + 1, "prev": self._hash, "time": time, "kind": kind, **fields},
            option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z,
        )

    def accept(self, line: bytes) -> None:
        """Move the chain behind a line that `peek` gave and that is written now."""
        self.sequence += 1
        self._hash = hash_of(line[:-1])
