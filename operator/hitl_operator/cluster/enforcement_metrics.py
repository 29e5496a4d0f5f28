"""What an alert rests on: whether votes count, and what in the API server is not as shipped (SECURITY C4)."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class EnforcementMetrics:
    """Metrics of one replica's check.

    Args:
        registry: where they are shown; None: nowhere.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.standing = Gauge("hitl_enforcement_standing", "1 while votes count.", registry=registry)
        self.gaps = Counter("hitl_enforcement_gaps_total", "Gaps that this replica found.", registry=registry)
        self.quarantined = Gauge(
            "hitl_requests_quarantined",
            "Open requests that cannot be believed and could not be ended; nothing in them counts.",
            registry=registry,
        )
        self.as_shipped = Gauge(
            "hitl_guard_as_shipped",
            "1 for an admission policy, binding or CRD as shipped.",
            ["guard"],
            registry=registry,
        )

    def show(self, problems: Mapping[str, str], guards: Iterable[str]) -> None:
        """What is as shipped and what is not."""
        for guard in guards:
            self.as_shipped.labels(guard).set(0 if guard in problems else 1)
