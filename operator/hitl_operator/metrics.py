"""The hub's share of the metrics of DESIGN 13: base units, bounded labels, never a user, a request or an argument."""

from collections import Counter as Counted
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from hitl.kube.policy_conditions import Accepted
from hitl.tracing import Traces, trace_id_of
from hitl_operator.freezing import Frozen

# Half a second up to a day: people answer within minutes, timeouts go up to days.
_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
_TIERS = ("confirm", "multi-factor")
_OUTCOMES = ("consumed", "denied", "expired", "cancelled")


class HubMetrics:
    """What one hub process counts, in a registry of its own.

    Args:
        traces: where the spans of approvals go; None: nobody collects them.
    """

    def __init__(self, traces: Traces | None = None) -> None:
        self.traces = traces
        self.registry = CollectorRegistry()
        self.holds = self._counter("holds_total", "Requests that ended.", "tier", "outcome")
        self.hold_duration = self._histogram("hold_duration_seconds", "From opening to the end.", "tier", "outcome")
        self.in_progress = self._gauge("holds_in_progress", "Requests that wait, or are approved and not run.", "tier")
        self.refused_opens = self._counter("holds_refused_total", "Holds that were not opened.", "reason")
        self.review_latency = self._histogram("review_latency_seconds", "From opening to a person's decision.", "tier")
        self.decisions = self._counter("decisions_total", "People's decisions that count.", "decision", "tier")
        self.breakglass = self._counter(
            "breakglass_total",
            "Overrides that count: one person's word in the place of all whom a request asks.",
            "tier",
        )
        self.rejected = self._counter(
            "decisions_rejected_total", "Decisions that do not count: forged, replayed, stale, not allowed.", "reason"
        )
        self.voided = self._counter(
            "requests_voided_total", "Requests ended because what was written in them cannot be believed."
        )
        self.escalations = self._counter("hold_escalations_total", "Escalation steps and second rounds that began.")
        self.digest_mismatches = self._counter(
            "digest_mismatches_total", "Releases refused because the call was not the one approved."
        )
        self.sidecars = self._gauge(
            "sidecars", "Connected sidecars, by whether they run the config in force.", "current"
        )
        self.oldest_pending = self._gauge("oldest_pending_seconds", "Age of the oldest request that waits; 0: none.")
        self.config_age = self._gauge("config_age_seconds", "Since the config in force was read.")
        self.config_invalid = self._gauge("config_invalid", "1 while what is written does not compile.")
        self.policies = self._gauge("policies", "Policies and tool servers, by the reason of Accepted.", "reason")
        self.policies_strict = self._gauge(
            "policies_strict", "Those that stayed invalid too long, so that what ran unasked asks a person."
        )
        self.freezes = self._gauge("freezes", "Freezes in force, of one namespace or of the whole cluster.", "scope")
        self.unmanned = self._gauge("policy_unmanned", "1 for a policy that names a group nobody is in.", "policy")
        self.refused_callers = self._counter(
            "callers_refused_total", "Calls of sidecars that were refused before anything was read.", "reason"
        )
        self.defects = self._counter("defects_total", "Exceptions that nobody had thought of, by the work.", "where")
        self.activity = self._counter("activity_records_total", "Calls that ran or were refused unasked.", "action")
        for tier in _TIERS:
            self.in_progress.labels(tier)
            self.breakglass.labels(tier)  # there from the start: the first one is an increase, too
            for outcome in _OUTCOMES:
                self.holds.labels(tier, outcome)

    @staticmethod
    def observe(histogram: Histogram, seconds: float, traceparent: str) -> None:
        """One value, with the trace that it belongs to as its exemplar; scraped as OpenMetrics it is shown."""
        trace = trace_id_of(traceparent)
        histogram.observe(max(0.0, seconds), {"trace_id": trace} if trace else None)

    def count_policies(self, reasons: Iterable[str], *, strict: int) -> None:
        """What became of each policy and tool server, and how many of them hold up what ran unasked."""
        counts = Counted(reasons)
        for reason in Accepted:
            self.policies.labels(reason.value).set(counts[reason.value])
        self.policies_strict.set(strict)
        self.config_invalid.set(1 if counts.total() > counts[Accepted.VALID.value] else 0)

    def count_freezes(self, frozen: Iterable[Frozen]) -> None:
        """What is frozen now, in one namespace or in all of them."""
        counts = Counted("namespace" if each.namespace else "cluster" for each in frozen)
        for scope in ("namespace", "cluster"):
            self.freezes.labels(scope).set(counts[scope])

    def serve(self, port: int) -> int:
        """Serve ``/metrics`` on loopback; returns the port, a free one for 0."""
        server, _ = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return int(server.server_port)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"hitl_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"hitl_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"hitl_{name}", text, labels, buckets=_BUCKETS, registry=self.registry)
