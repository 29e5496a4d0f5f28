"""What the gate counts (DESIGN 13): base units, bounded labels, never a user, a request or an argument.

Children are looked up once and kept: a label look-up costs more than the increment. gRPC methods are counted under the
names that go-grpc-prometheus made common.
"""

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

SERVICE = "hitl.v1.GateService"
# 0.1 ms to 1 s: an answer that nobody had to wait for.
_CHECK_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
# Half a second up to a day: people answer within minutes, timeouts go up to days.
_HOLD_BUCKETS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)


class GateMetrics:
    """The metrics of one sidecar process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._checks = self._counter("hitl_checks_total", "Calls answered.", "action", "outcome", "policy")
        self._check_children: dict[tuple[str, str, str], Counter] = {}
        self.check_duration = Histogram(
            "hitl_check_duration_seconds",
            "From a call's arrival to an answer that nobody had to wait for.",
            buckets=_CHECK_BUCKETS,
            registry=self.registry,
        )
        self.holds = self._counter("hitl_holds_total", "Held calls that ended here.", "tier", "outcome")
        self.hold_duration = Histogram(
            "hitl_hold_duration_seconds",
            "From opening or attaching to the end.",
            ("tier", "outcome"),
            buckets=_HOLD_BUCKETS,
            registry=self.registry,
        )
        self.low_confidence = self._counter("hitl_low_confidence_total", "Calls answered CLARIFY.")
        self.digest_mismatches = self._counter(
            "hitl_digest_mismatches_total", "Releases given up because the call was not the one approved."
        )
        self._started = self._counter("grpc_server_started_total", "RPCs started.", "grpc_service", "grpc_method")
        self._handled = self._counter(
            "grpc_server_handled_total", "RPCs completed.", "grpc_service", "grpc_method", "grpc_code"
        )
        self._method_children: dict[str, Counter] = {}
        self._code_children: dict[tuple[str, str], Counter] = {}

    def count_check(self, action: str, outcome: str, policy: str) -> None:
        """One answer; `policy` is what decided, or empty. Policies come from the config, so there are few."""
        key = (action, outcome, policy)
        child = self._check_children.get(key)
        if child is None:
            child = self._check_children[key] = self._checks.labels(*key)
        child.inc()

    def count_hold(self, tier: str, outcome: str, seconds: float) -> None:
        """A held call ended, so many seconds after it was opened or attached here."""
        self.holds.labels(tier, outcome).inc()
        self.hold_duration.labels(tier, outcome).observe(seconds)

    def count_started(self, method: str) -> None:
        child = self._method_children.get(method)
        if child is None:
            child = self._method_children[method] = self._started.labels(SERVICE, method)
        child.inc()

    def count_handled(self, method: str, code: str) -> None:
        """`code`: gRPC's own word, e.g. ``OK``."""
        key = (method, code)
        child = self._code_children.get(key)
        if child is None:
            child = self._code_children[key] = self._handled.labels(SERVICE, method, code)
        child.inc()

    def watch(
        self, *, config_age: Callable[[], float], audit_error: Callable[[], str], waiting: Callable[[str], int]
    ) -> None:
        """Read at scrape time: how old the config is, whether the audit log can be written, how many wait by tier."""
        in_progress = self._gauge("hitl_holds_in_progress", "Held calls that a caller waits for.", "tier")
        for tier in ("confirm", "multi-factor"):
            in_progress.labels(tier).set_function(partial(waiting, tier))
        self._gauge("hitl_config_age_seconds", "Since the hub last said that the config is current.").set_function(
            config_age
        )
        self._gauge(
            "hitl_audit_writable", "0 while the audit log cannot be written and calls are refused."
        ).set_function(lambda: 0.0 if audit_error() else 1.0)

    def serve(self, port: int) -> int:
        """Serve ``/metrics`` on loopback; returns the port, a free one for 0."""
        server, _ = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        return int(server.server_port)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
