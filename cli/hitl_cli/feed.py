"""Audit records of a home as they come: what is there, and with `follow` what is written next."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hitl.audit import AuditRecord, RecordKind
from hitl.errors import InvalidInput
from hitl_cli.home import Home
from hitl_cli.told import Told

# How often a followed log is looked at; people do not notice half a second.
_LOOK_SECONDS = 0.5


@dataclass(slots=True)
class Feed:
    """Reads every audit log of a home, each line once. Lines that are no record are counted, not guessed at."""

    home: Home
    unreadable: int = 0
    _offsets: dict[Path, int] = field(default_factory=dict)

    def fresh(self) -> list[AuditRecord]:
        """Records written since the last look, oldest first."""
        records: list[AuditRecord] = []
        for log in self.home.audit_logs():
            records.extend(self._fresh_of(log))
        return sorted(records, key=lambda record: record.time)

    def follow(self) -> Iterator[AuditRecord]:
        """Every record that is written from now on, until the caller stops."""
        while True:
            yield from self.fresh()
            time.sleep(_LOOK_SECONDS)

    def _fresh_of(self, log: Path) -> Iterator[AuditRecord]:
        with log.open("rb") as file:
            file.seek(self._offsets.get(log, 0))
            for text in file:
                if not text.endswith(b"\n"):
                    return  # being written: the next look sees it whole
                self._offsets[log] = self._offsets.get(log, 0) + len(text)
                try:
                    yield AuditRecord.parse(text)
                except InvalidInput:
                    self.unreadable += 1


# What one person let run against its policy, as the operator's Events call it.
BREAK_GLASS: Final = "BreakGlass"
# What people were not asked about and may want to know. Allow is the quiet rest; held calls are in `list`.
_TOLD = frozenset({"Notify", "Deny", "Clarify", "Invalid", "Unavailable"})


class HomeActivity:
    """The verdicts in the audit logs of a home; see `hitl_cli.told.Activity`."""

    def __init__(self, home: Home, namespace: str | None, verify: str) -> None:
        home.need_database()
        self._feed = Feed(home)
        self._namespace = namespace
        self._verify = verify

    def fresh(self, *, every: bool) -> list[Told]:
        return [told_of(record) for record in self._feed.fresh() if self._is_wanted(record, every=every)]

    def follow(self, *, every: bool) -> Iterator[Told]:
        return (told_of(record) for record in self._feed.follow() if self._is_wanted(record, every=every))

    def heading(self, *, every: bool) -> list[str]:  # noqa: ARG002 - the audit logs have everything
        return []

    @property
    def more(self) -> str:
        return "Allowed calls too: --all"

    def caveats(self) -> list[str]:
        unreadable = self._feed.unreadable
        return [f"warning: {unreadable} lines are no records. Next: {self._verify}"] if unreadable else []

    def _is_wanted(self, record: AuditRecord, *, every: bool) -> bool:
        if self._namespace is not None and not record.agent_id.startswith(f"{self._namespace}/"):
            return False
        return is_override(record) or (is_verdict(record) and (every or record.decision in _TOLD))


def told_of(record: AuditRecord) -> Told:
    """A verdict as a line of the feed."""
    document = {
        "time": record.time.isoformat(),
        "decision": record.decision,
        "agent": record.agent_id,
        "tool": record.tool,
        "rule": record.rule or None,
        "score": record.score,
        "reason": record.reason,
        "summary": record.summary,
    }
    what = record.summary or record.tool
    if is_override(record):
        said = f"by {record.reviewer}: {what}{_reasons(record)}"
        overridden = {**document, "decision": BREAK_GLASS, "reviewer": record.reviewer, "summary": said}
        return Told(record.time, BREAK_GLASS, agent_of(record), "break-glass", said, overridden)
    return Told(record.time, record.decision, agent_of(record), why_of(record), what, document)


def agent_of(record: AuditRecord) -> str:
    """The workload's own name out of ``namespace/workload/pod``; a workload may be ``deploy/support``."""
    parts = record.agent_id.split("/")
    return parts[-2] if len(parts) > 2 else record.agent_id or "-"


def why_of(record: AuditRecord) -> str:
    """WHY as in the list: the rule or score that decided; where neither did, the reason code in lower case."""
    if record.reason not in ("", "RULE", "SCORE"):
        return record.reason.lower().replace("_", " ")  # limit, cooldown …: the rule named beside it decided nothing
    if record.rule:
        return f"rule {record.rule.rpartition('#')[2]}"
    if record.score is not None:
        return f"score {record.score}"
    return record.reason.lower().replace("_", " ") or "-"


def is_override(record: AuditRecord) -> bool:
    """Whether the record says that somebody let a held call run against its policy."""
    return record.kind is RecordKind.DECISION and record.human_decision is not None and record.human_decision.override


def _reasons(record: AuditRecord) -> str:
    reviews = record.details.get("reviews", ())
    said = [str(each.get("reason", "")) for each in reviews if isinstance(each, dict) and each.get("override")]
    return f' ("{"; ".join(said)}")' if any(said) else ""


def is_verdict(record: AuditRecord) -> bool:
    """Whether the record says what was decided about a call, once per call."""
    return record.kind is RecordKind.VERDICT
