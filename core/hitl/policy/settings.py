"""Settings of the operator, not of a policy: they travel with the config so that every sidecar obeys the same ones."""

from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import InvalidSettings
from hitl.policy.parsing_reader import Problems, Reader

# Bytes; what an ApprovalRequest may carry of a call's arguments (DESIGN 18).
_LARGEST_PREVIEW: Final = 16384


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers an operator may change with ``--settings``; times in seconds.

    Attributes:
        max_staleness: how long a sidecar goes on with its last good config while the hub is away.
        release_window: how long an approval waits for its call before it ends (SECURITY D2).
        invalid_grace: how long the last good generation of a now invalid policy still allows (SECURITY C6).
        max_pending_per_workload, max_pending_per_namespace: open requests (SECURITY B5).
        flood_per_tool: calls a minute of one tool and session; flood_per_pod: of the whole pod.
        preview_bytes: how large `argumentsPreview` may be, at most 16 KiB.
        evaluation_deadline: how long the large scans of one call may take before it is denied (SECURITY A5).
    """

    max_staleness: int = 900
    release_window: int = 300
    invalid_grace: int = 900
    max_pending_per_workload: int = 20
    max_pending_per_namespace: int = 200
    flood_per_tool: int = 60
    flood_per_pod: int = 600
    preview_bytes: int = 16384
    evaluation_deadline: int = 2


def parse_settings(mapping: Any) -> Settings:
    """Settings as an operator writes them; every key may be left out.

    Raises:
        InvalidSettings: with every problem: an unknown key, a value of another kind or out of range.
    """
    problems = Problems()
    reader = Reader({} if mapping is None else mapping, "", problems)
    default = Settings()
    pending, flood = (reader.child(key) or Reader({}, key, problems) for key in ("maxPending", "flood"))
    settings = Settings(
        max_staleness=reader.seconds("maxStaleness", default=default.max_staleness, low=1, high=7 * 86400),
        release_window=reader.seconds("releaseWindow", default=default.release_window, low=1, high=86400),
        invalid_grace=reader.seconds("invalidGrace", default=default.invalid_grace, low=1, high=7 * 86400),
        max_pending_per_workload=_count(pending, "workload", default.max_pending_per_workload),
        max_pending_per_namespace=_count(pending, "namespace", default.max_pending_per_namespace),
        flood_per_tool=_count(flood, "tool", default.flood_per_tool),
        flood_per_pod=_count(flood, "pod", default.flood_per_pod),
        preview_bytes=reader.whole("previewSize", default=default.preview_bytes, low=256, high=_LARGEST_PREVIEW),
        evaluation_deadline=reader.seconds("evaluationDeadline", default=default.evaluation_deadline, low=1, high=30),
    )
    for each in (pending, flood, reader):
        each.done()
    if problems.found:
        raise InvalidSettings("; ".join(str(problem) for problem in problems.found))
    return settings


def settings_document(settings: Settings) -> dict[str, Any]:
    """The form that `parse_settings` reads, with every key; part of the config document."""
    return {
        "maxStaleness": f"{settings.max_staleness}s",
        "releaseWindow": f"{settings.release_window}s",
        "invalidGrace": f"{settings.invalid_grace}s",
        "maxPending": {
            "workload": settings.max_pending_per_workload,
            "namespace": settings.max_pending_per_namespace,
        },
        "flood": {"tool": settings.flood_per_tool, "pod": settings.flood_per_pod},
        "previewSize": settings.preview_bytes,
        "evaluationDeadline": f"{settings.evaluation_deadline}s",
    }


def _count(reader: Reader, key: str, default: int) -> int:
    return reader.whole(key, default=default, low=1, high=1_000_000)
