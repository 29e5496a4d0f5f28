"""What the gate counts (DESIGN 13): base units, bounded labels, never a user, a request or an argument.

How held calls end is counted by the hub alone, which sees every end, so that sums over both count each of them once.

Counted in plain numbers, because it happens with every call; prometheus_client turns them into text when somebody
scrapes, and is imported then (30 ms and 4 MiB that neither the start nor an idle sidecar needs). gRPC methods go by the
names that go-grpc-prometheus made common.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

SERVICE: Final = "hitl.v1.GateService"
TIERS: Final = ("confirm", "multi-factor")
# 0.1 ms to 1 s: an answer that nobody had to wait for.
_CHECK_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)

Labels = tuple[str, ...]


class Histogram:
    """Counts of one series by upper bound, the last one without a bound, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus wants them."""
        found, below = [], 0
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self.counts, strict=True):
            below += count
            found.append((bound, float(below)))
        return found


@dataclass(frozen=True, slots=True)
class Readings:
    """What is read when somebody scrapes.

    Attributes:
        config_age: seconds since the hub last said that the config is current.
        audit_error: why the audit log cannot be written, or empty.
        waiting: tier -> how many held calls a caller waits for.
    """

    config_age: Callable[[], float]
    audit_error: Callable[[], str]
    waiting: Callable[[str], int]


class GateMetrics:
    """The numbers of one sidecar process."""

    def __init__(self) -> None:
        self.checks: defaultdict[Labels, int] = defaultdict(int)
        self.check_duration = Histogram(_CHECK_BUCKETS)
        self.low_confidence = 0
        self.digest_mismatches = 0
        self.started: defaultdict[str, int] = defaultdict(int)
        self.handled: defaultdict[Labels, int] = defaultdict(int)
        self.readings: Readings | None = None

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - see above

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Any]:
        """As prometheus_client asks a collector."""
        from prometheus_client.core import (  # noqa: PLC0415 - see above
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        checks = CounterMetricFamily("hitl_checks", "Calls answered.", labels=("action", "outcome", "policy"))
        for labels, count in self.checks.items():
            checks.add_metric(labels, count)
        yield checks
        duration = HistogramMetricFamily(
            "hitl_check_duration_seconds", "From a call's arrival to an answer that nobody had to wait for."
        )
        duration.add_metric((), self.check_duration.buckets(), self.check_duration.total)
        yield duration
        yield CounterMetricFamily("hitl_low_confidence", "Calls answered CLARIFY.", value=self.low_confidence)
        yield CounterMetricFamily(
            "hitl_digest_mismatches",
            "Releases given up because the call was not the one approved.",
            value=self.digest_mismatches,
        )
        method = ("grpc_service", "grpc_method")
        started = CounterMetricFamily("grpc_server_started", "RPCs started.", labels=method)
        for name, count in self.started.items():
            started.add_metric((SERVICE, name), count)
        yield started
        handled = CounterMetricFamily("grpc_server_handled", "RPCs completed.", labels=(*method, "grpc_code"))
        for labels, count in self.handled.items():
            handled.add_metric((SERVICE, *labels), count)
        yield handled
        if self.readings is None:
            return
        waiting = GaugeMetricFamily("hitl_sidecar_holds", "Held calls that a caller waits for here.", labels=("tier",))
        for tier in TIERS:
            waiting.add_metric((tier,), self.readings.waiting(tier))
        yield waiting
        yield GaugeMetricFamily(
            "hitl_config_age_seconds",
            "Since the hub last said that the config is current.",
            value=self.readings.config_age(),
        )
        yield GaugeMetricFamily(
            "hitl_audit_writable",
            "0 while the audit log cannot be written and every call is refused.",
            value=0.0 if self.readings.audit_error() else 1.0,
        )
