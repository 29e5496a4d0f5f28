"""Who allowed what under which policy text: the decisions and releases of an archive, each with where it stands."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import orjson

from hitl.audit.archive import policy_names
from hitl.audit.chain import AuditRecord, RecordKind
from hitl.audit.checkpoint import IsGood
from hitl.audit.layout import REQUESTS
from hitl.audit.records import read_records
from hitl.audit.runs import read_checkpoints

_CLOCKS: Final = timedelta(minutes=2)
"""By which a sidecar's clock may be behind the API server's.

Compared with a difference: a sidecar may write any time, and a sum could leave the calendar.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One decision or release.

    Attributes:
        time: of the record.
        agent: namespace, workload and pod, as the hub knew it; the record's own word where no checkpoint names it.
        decision: Approved, Denied, Expired, Cancelled or Released.
        people: who decided, comma-separated; empty where nobody did.
        proof: what they showed.
        reason: stable reason code of the outcome.
        rule: of the verdict that the call was held for.
        revision: of the config under which it was evaluated.
        policy: path of its policy text in the archive; empty where that is not there.
        record: path and line of the record.
        requests: paths of the request as it ended, oldest version first, that a checkpoint vouches for.
        decisions: people's entries in the newest of them, as the API server stored them.
    """

    time: datetime
    namespace: str
    agent: str
    tool: str
    decision: str
    people: str
    proof: str
    reason: str
    rule: str
    handle: str
    digest: str
    revision: str
    policy: str
    record: str
    requests: tuple[str, ...] = ()
    decisions: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class _Ended:
    """One version of an ended request."""

    path: str
    uid: str
    version: int
    created: datetime
    workload: str
    decisions: tuple[Mapping[str, Any], ...]


def rows_of(root: Path, is_good: IsGood, *, since: datetime | None, until: datetime | None) -> list[Row]:
    """The rows of an archive, oldest first. `since` is in, `until` is not. If it is not whole, some may lack."""
    vouched = read_checkpoints(root, is_good)
    records = read_records(root)
    texts = policy_names(root, records.compilers)
    ended = _ended(root, vouched.files)
    rows: list[Row] = []
    for pod in records.pods:
        rules: dict[str, str] = {}
        for _, lines in records.in_order(pod):
            for line in lines:
                record = AuditRecord.parse(line.text)
                if record.kind is RecordKind.VERDICT and record.handle:
                    rules[record.handle] = record.rule
                if record.kind not in (RecordKind.DECISION, RecordKind.RELEASE):
                    continue
                if (since is not None and record.time < since) or (until is not None and record.time >= until):
                    continue
                agent = vouched.whose.get(pod) or record.agent_id
                found = _answering(ended.get(record.handle, []), record.time, agent)
                rows.append(
                    Row(
                        time=record.time,
                        namespace=agent.partition("/")[0],
                        agent=agent,
                        tool=record.tool,
                        decision=record.decision,
                        people=record.reviewer,
                        proof=record.proof,
                        reason=record.reason,
                        rule=record.rule or rules.get(record.handle, ""),
                        handle=record.handle,
                        digest=record.digest,
                        revision=record.revision,
                        policy=texts.get(record.revision, ""),
                        record=line.place,
                        requests=tuple(each.path for each in found),
                        decisions=found[-1].decisions if found else (),
                    )
                )
    return sorted(rows, key=lambda row: (row.time, row.record))


def _answering(known: list[_Ended], at: datetime, agent: str) -> list[_Ended]:
    """The versions of the request that a record is about: of this agent's workload, made before it, the newest such
    request, for a name may come again after clean-up. Whatever a sidecar writes, another workload's is never its own.
    """
    own = [each for each in known if agent.startswith(f"{each.workload}/") and each.created - at <= _CLOCKS]
    newest = max(own, key=lambda each: each.created, default=None)
    return [each for each in own if newest is not None and each.uid == newest.uid]


def _ended(root: Path, files: Mapping[str, str]) -> dict[str, list[_Ended]]:
    """Ended requests that are as a checkpoint vouches for, by handle, oldest version first."""
    found: dict[str, list[_Ended]] = {}
    for path, content in _vouched(root, files):
        metadata, spec, status = content["metadata"], content.get("spec") or {}, content.get("status") or {}
        ended = _Ended(
            path,
            metadata["uid"],
            int(metadata["resourceVersion"]),
            datetime.fromisoformat(metadata["creationTimestamp"]),
            f"{metadata['namespace']}/{(spec.get('agent') or {}).get('workload', '')}",
            tuple(status.get("decisions") or ()),
        )
        found.setdefault(f"{metadata['namespace']}/{metadata['name']}", []).append(ended)
    for each in found.values():
        each.sort(key=lambda ended: ended.version)
    return found


def _vouched(root: Path, files: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for path, digest in files.items():
        if not path.startswith(f"{REQUESTS}/") or ".." in Path(path).parts or not (root / path).is_file():
            continue
        content = (root / path).read_bytes()
        if sha256(content).hexdigest() == digest:
            yield path, orjson.loads(content)
