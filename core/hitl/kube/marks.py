"""What one program marks objects with and another knows them by."""

from typing import Final

INJECTION: Final = "hitl.dev/injection"
"""Label of a namespace whose pods are gated, where it is ``enabled``."""

GATED: Final = "hitl.dev/gated"
"""Label of every injected pod, ``true``; by it alone the hub finds its pods."""

REPLICA: Final = "hitl.dev/replica"
"""Label of the ConfigMaps in which replicas of the operator report, each in its own."""

REPORT: Final = "report"
"""Of such a ConfigMap: what the replica tells of itself, over and over."""

ENDED: Final = "ended"
"""Likewise: there where the process has said that it ends."""

SILENT_AFTER: Final = 45.0
"""Seconds without a word after which a replica and its sidecars no longer count."""
