"""Where a control plane saw audit chains stand: what proves that the end of a log is the end (SECURITY H2)."""

import json
from dataclasses import dataclass
from pathlib import Path

from hitl.audit import Head
from hitl.errors import HitlError


@dataclass(frozen=True, slots=True)
class Anchor:
    """The newest head of one sidecar process that the control plane heard of; `whose`: its workload and pod."""

    head: Head
    whose: str


def read_anchors(file: Path) -> list[Anchor]:
    """The newest head of every epoch in a control plane's ``audit-heads.jsonl``.

    Raises:
        HitlError: naming the line that is no head; a torn last line is passed over.
    """
    newest: dict[str, Anchor] = {}
    for number, text in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            continue
        try:
            record = json.loads(text)
            head = Head(str(record["epoch"]), int(record["sequence"]), str(record["head"]))
            whose = "/".join(filter(None, (str(record.get("workload", "")), str(record.get("pod", "")))))
        except (ValueError, KeyError, TypeError) as error:
            raise HitlError(f"{file}:{number}: not the head of an audit chain ({error}); restore the file") from error
        known = newest.get(head.epoch)
        if known is None or head.sequence >= known.head.sequence:
            newest[head.epoch] = Anchor(head, whose or "a sidecar")
    return list(newest.values())
