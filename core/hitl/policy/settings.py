"""Settings of the operator, not of a policy: they travel with the config so that every sidecar obeys the same ones."""

from dataclasses import dataclass


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
