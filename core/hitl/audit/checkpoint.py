"""Checkpoints: signed lines in which the hub says what its archive had, each bound to the one before (SECURITY H2).

A line is JSON; its signature is Ed25519 over the line without the signature, as `Checkpoint.signed` spells it. Every
process of the hub writes one *run*: a chain of its own, counting from 1. A run names the ends of the other runs that it
saw, so a run that vanished, or lost its end, is missed by the next one.

No cryptography here: whoever writes hands in `sign`, whoever reads a check of the signature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

import orjson

from hitl.audit.chain import NO_HASH, moment_of
from hitl.errors import InvalidInput

Sign = Callable[[bytes], str]
"""A signature over these bytes, base64."""
IsGood = Callable[[str, bytes, str], bool]
"""Whether a signature is good: the key's fingerprint, the signed bytes, the signature in base64."""

_SIGNATURE: Final = b',"signature":"'


@dataclass(frozen=True, slots=True)
class ChainHead:
    """Where a sidecar's chain stood.

    Attributes:
        pod: UID of the pod, as its connection proved it.
        sequence, hash: of the record.
        stored: whether the archive had it on its disk; else the sidecar only said so.
        whose: namespace, workload and pod; empty where the hub knew it no more.
    """

    pod: str
    epoch: str
    sequence: int
    hash: str
    stored: bool
    whose: str = ""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of the archive that is whole, by its path in it and its SHA-256, hex."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The newest checkpoint of another run that was seen."""

    run: str
    sequence: int
    hash: str


@dataclass(frozen=True, slots=True)
class Expired:
    """What was deleted because it was too old, so that nobody misses it.

    Attributes:
        folder: path in the archive.
        chains: the last record of each chain that stood there.
        runs: likewise of checkpoints.
    """

    folder: str
    chains: tuple[ChainHead, ...] = ()
    runs: tuple[RunEnd, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One signed line.

    Attributes:
        run: the process that wrote it. key: fingerprint of the public key.
        prev: hash of the run's line before; `NO_HASH` in its first.
    """

    run: str
    sequence: int
    prev: str
    time: datetime
    key: str
    heads: tuple[ChainHead, ...] = ()
    files: tuple[KeptFile, ...] = ()
    saw: tuple[RunEnd, ...] = ()
    expired: tuple[Expired, ...] = ()
    signature: str = field(default="", compare=False)

    def line(self, sign: Sign) -> bytes:
        """The line, newline included."""
        signed = orjson.dumps(self._document(), option=orjson.OPT_UTC_Z)
        return signed[:-1] + _SIGNATURE + sign(signed).encode() + b'"}\n'

    def _document(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "seq": self.sequence,
            "prev": self.prev,
            "time": self.time,
            "key": self.key,
            "heads": self.heads,
            "files": self.files,
            "saw": self.saw,
            "expired": self.expired,
        }


def signed_part(line: bytes) -> tuple[bytes, str]:
    """What a line's signature is over, and the signature. `line` without its newline; InvalidInput: it has none."""
    body, mark, rest = line.rpartition(_SIGNATURE)
    if not mark or not rest.endswith(b'"}'):
        raise InvalidInput("not a checkpoint: it has no signature")
    try:
        return body + b"}", rest[:-2].decode("ascii")
    except UnicodeDecodeError as error:
        raise InvalidInput("not a checkpoint: its signature is no text") from error


def parse_checkpoint(line: bytes) -> Checkpoint:
    """The checkpoint of a line without its newline, whoever signed it. InvalidInput says what is wrong with it."""
    signed, signature = signed_part(line)
    try:
        found = orjson.loads(signed)
        return Checkpoint(
            run=str(found["run"]),
            sequence=int(found["seq"]),
            prev=str(found["prev"]),
            time=moment_of(found["time"]),
            key=str(found["key"]),
            heads=tuple(ChainHead(**each) for each in found["heads"]),
            files=tuple(KeptFile(**each) for each in found["files"]),
            saw=tuple(RunEnd(**each) for each in found["saw"]),
            expired=tuple(_expired(each) for each in found["expired"]),
            signature=signature,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"not a checkpoint ({type(error).__name__}: {error})") from error


def _expired(found: Mapping[str, Any]) -> Expired:
    return Expired(
        found["folder"],
        tuple(ChainHead(**each) for each in found["chains"]),
        tuple(RunEnd(**each) for each in found["runs"]),
    )


class CheckpointRun:
    """The end of one run: `next` gives a checkpoint and its line, `accept` moves on once that is on the disk."""

    def __init__(self, run: str, key: str, sign: Sign) -> None:
        self._run, self._key, self._sign = run, key, sign
        self._sequence, self._hash = 0, NO_HASH

    @property
    def end(self) -> RunEnd:
        """Its newest checkpoint; sequence 0 while there is none."""
        return RunEnd(self._run, self._sequence, self._hash)

    def peek(
        self,
        time: datetime,
        *,
        heads: tuple[ChainHead, ...] = (),
        files: tuple[KeptFile, ...] = (),
        saw: tuple[RunEnd, ...] = (),
        expired: tuple[Expired, ...] = (),
    ) -> bytes:
        """The next line. The run stays: a line that cannot be written never was."""
        next_one = Checkpoint(self._run, self._sequence + 1, self._hash, time, self._key, heads, files, saw, expired)
        return next_one.line(self._sign)

    def accept(self, line: bytes) -> None:
        """Move behind a line that `peek` gave and that is written now."""
        self._sequence += 1
        self._hash = sha256(line[:-1]).hexdigest()
