"""The audit log's form: JSON lines, each bound to the one before by its hash (SECURITY H2). No clock, no writing here.

`chain`: how records are linked and parsed · `verify`: what is wrong with a log · `files`: where a log's lines stand.
The sidecar writes with `Chain`; `hitl audit verify`, `history` and `activity` read with `read` and `verify`.
"""

from hitl.audit.chain import AuditRecord, Chain, Head, HumanDecision, RecordKind
from hitl.audit.files import read, segments
from hitl.audit.verify import ChainProblem, ProblemKind, Report, verify

__all__ = [
    "AuditRecord",
    "Chain",
    "ChainProblem",
    "Head",
    "HumanDecision",
    "ProblemKind",
    "RecordKind",
    "Report",
    "read",
    "segments",
    "verify",
]
