"""Where a control plane saw audit chains stand: what proves that the end of a log is the end (SECURITY H2)."""

import json
from dataclasses import dataclass
from pathlib import Path

from hitl.audit import Head
from hitl.errors import HitlError


@dataclass(frozen=True, slots=True)
class Anchor:
    """The newest head of one sidecar process that the control plane heard of.

    Attributes:
        whose: its agent and pod, for people.
        pod_uid: empty where a control plane of an earlier release wrote it.
    """

    head: Head
    whose: str
    pod_uid: str


def read_anchors(file: Path) -> list[Anchor]:
    """The newest head of every pod and epoch in a control plane's ``audit-heads.jsonl``.

    Raises:
        HitlError: naming the line that is no head; a torn last line is passed over.
    """
    newest: dict[tuple[str, str], Anchor] = {}
    for number, text in enumerate(file.read_bytes().splitlines(keepends=True), 1):
        if not text.endswith(b"\n"):
            continue
        try:
            record = json.loads(text)
            head = Head(str(record["epoch"]), int(record["sequence"]), str(record["head"]))
            pod_uid, whose = str(record.get("podUID", "")), str(record.get("whose", "")) or "a sidecar"
        except (ValueError, KeyError, TypeError) as error:
            raise HitlError(f"{file}:{number}: not the head of an audit chain ({error}); restore the file") from error
        known = newest.get((pod_uid, head.epoch))
        if known is None or head.sequence >= known.head.sequence:
            newest[pod_uid, head.epoch] = Anchor(head, whose, pod_uid)
    return list(newest.values())
