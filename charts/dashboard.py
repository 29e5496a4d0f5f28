"""The Grafana dashboard, as data: what is on it from top to bottom. `make generate` writes it into the chart."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

HUB: Final = 'job="hitl-operator"'
GATE: Final = 'job="hitl-sidecar", namespace=~"$namespace"'
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_CHECK: Final = "hitl_check_duration_seconds"
_WIDTH: Final = 24  # of Grafana's grid


def _quantile(share: float, metric: str, selected: str, kept: str) -> str:
    return f"histogram_quantile({share}, sum by ({kept}) (rate({metric}_bucket{{{selected}}}[1h])))"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        series: expression and legend of each.
        unit: as Grafana names it.
        words: what to think of it.
        kind: timeseries or stat.
        width: of 24.
        thresholds: from which value on which colour, the lowest from nothing on.
    """

    title: str
    series: Sequence[tuple[str, str]]
    unit: str = "short"
    words: str = ""
    kind: str = "timeseries"
    width: int = 8
    thresholds: Sequence[tuple[float | None, str]] = field(default=((None, "green"),))


ROWS: Final[Sequence[tuple[str, Sequence[Panel]]]] = (
    (
        "Now",
        (
            Panel(
                "Votes count",
                [(f"min(hitl_enforcement_standing{{{HUB}}})", "")],
                words="1 while the API server provably keeps forged votes out.",
                kind="stat",
                width=4,
                thresholds=((None, "red"), (1, "green")),
            ),
            Panel(
                "Replicas that answer",
                [(f"sum(up{{{HUB}}})", "")],
                kind="stat",
                width=4,
                thresholds=((None, "red"), (1, "yellow"), (2, "green")),
            ),
            Panel(
                "Waiting for people",
                [(f"sum(max by (tier) (hitl_holds_in_progress{{{HUB}}}))", "")],
                kind="stat",
                width=4,
            ),
            Panel(
                "Oldest request",
                [(f"max(hitl_oldest_pending_seconds{{{HUB}}})", "")],
                unit="s",
                kind="stat",
                width=4,
                thresholds=((None, "green"), (300, "yellow"), (1800, "red")),
            ),
            Panel(
                "Frozen",
                [(f"max by (scope) (hitl_freezes{{{HUB}}})", "{{scope}}")],
                kind="stat",
                width=4,
                thresholds=((None, "green"), (1, "red")),
            ),
            Panel(
                "Until certificates end",
                [
                    (
                        f"min by (certificate) (hitl_certificate_expiry_timestamp_seconds{{{HUB}}}) - time()",
                        "{{certificate}}",
                    )
                ],
                unit="s",
                kind="stat",
                width=4,
                thresholds=((None, "red"), (86400, "yellow"), (604800, "green")),
            ),
        ),
    ),
    (
        "Calls",
        (
            Panel(
                "Calls by action",
                [(f"sum by (action) (rate(hitl_checks_total{{{GATE}}}[$__rate_interval]))", "{{action}}")],
                unit="reqps",
            ),
            Panel(
                "Calls by outcome",
                [(f"sum by (outcome) (rate(hitl_checks_total{{{GATE}}}[$__rate_interval]))", "{{outcome}}")],
                unit="reqps",
            ),
            Panel(
                "Time to an answer that nobody waited for",
                [(_quantile(0.5, _CHECK, GATE, "le"), "half"), (_quantile(0.99, _CHECK, GATE, "le"), "99 %")],
                unit="s",
            ),
            Panel(
                "Policies that decided most",
                [(f"topk(10, sum by (policy) (rate(hitl_checks_total{{{GATE}}}[1h])))", "{{policy}}")],
                unit="reqps",
            ),
            Panel(
                "Calls that had to be said again (CLARIFY)",
                [(f"sum(rate(hitl_low_confidence_total{{{GATE}}}[$__rate_interval]))", "")],
                unit="reqps",
            ),
            Panel(
                "Not the call that was approved",
                [
                    (
                        'sum by (job) (increase(hitl_digest_mismatches_total{job=~"hitl-.+"}[1h]))',
                        "{{job}}",
                    )
                ],
                words="Anything but 0 is worth a question to whoever runs the agent.",
            ),
        ),
    ),
    (
        "People",
        (
            Panel(
                "Share of calls that wait for a person",
                [("hitl:escalation:ratio_rate1d", "")],
                unit="percentunit",
                words="10 to 15 % is a good place to be.",
                kind="stat",
                width=6,
                thresholds=((None, "green"), (0.15, "yellow"), (0.3, "red")),
            ),
            Panel(
                "Approved of what was decided",
                [("hitl:approval:ratio_rate1d", "")],
                unit="percentunit",
                words="Over 95 %: the policy asks for what is always allowed.",
                kind="stat",
                width=6,
                thresholds=((None, "green"), (0.95, "yellow")),
            ),
            Panel(
                "Confirm done with within 5 min",
                [("hitl:confirm_within_5m:ratio_rate1h", "")],
                unit="percentunit",
                words="The objective is 95 %.",
                kind="stat",
                width=6,
                thresholds=((None, "red"), (0.95, "green")),
            ),
            Panel(
                "Trust",
                [("hitl:trust:score", "")],
                words="100 times what runs unasked, times what people do not refuse.",
                kind="stat",
                width=6,
            ),
            Panel(
                "Decisions",
                [(f"sum by (decision) (increase(hitl_decisions_total{{{HUB}}}[1h]))", "{{decision}}")],
            ),
            Panel(
                "How holds ended",
                [(f"sum by (outcome) (increase(hitl_holds_total{{{HUB}}}[1h]))", "{{outcome}}")],
            ),
            Panel(
                "Holds in progress",
                [
                    (f"max by (tier) (hitl_holds_in_progress{{{HUB}}})", "{{tier}}"),
                    (f"sum by (tier) (hitl_sidecar_holds{{{GATE}}})", "{{tier}}, with a caller waiting"),
                ],
            ),
            Panel(
                "From opening to the end",
                [
                    ("hitl:resolution_seconds:p50_rate1h", "{{tier}}, half"),
                    ("hitl:resolution_seconds:p95_rate1h", "{{tier}}, 95 %"),
                ],
                unit="s",
            ),
            Panel(
                "From opening to a decision",
                [(_quantile(0.95, "hitl_review_latency_seconds", HUB, "le, tier"), "{{tier}}, 95 %")],
                unit="s",
            ),
            Panel(
                "Escalations and overrides",
                [
                    (f"sum(increase(hitl_hold_escalations_total{{{HUB}}}[1h]))", "escalations"),
                    (f"sum(increase(hitl_breakglass_total{{{HUB}}}[1h]))", "overrides"),
                ],
            ),
        ),
    ),
    (
        "Config and control plane",
        (
            Panel(
                "Sidecars",
                [(f"sum by (current) (hitl_sidecars{{{HUB}}})", "current: {{current}}")],
                words="Not current: the config in force was refused, or no answer came yet.",
            ),
            Panel(
                "Age of the config",
                [
                    (f"max(hitl_config_age_seconds{{{HUB}}})", "operator"),
                    (f"max(hitl_config_age_seconds{{{GATE}}})", "oldest sidecar"),
                ],
                unit="s",
            ),
            Panel(
                "Policies and tool servers",
                [(f"max by (reason) (hitl_policies{{{HUB}}})", "{{reason}}")],
            ),
            Panel(
                "Guards that are not as shipped",
                [(f"min by (guard) (hitl_guard_as_shipped{{{HUB}}}) == 0", "{{guard}}")],
            ),
            Panel(
                "New pods of gated namespaces",
                [(f"sum by (outcome) (increase(hitl_injections_total{{{HUB}}}[1h]))", "{{outcome}}")],
            ),
            Panel(
                "Pods of gated namespaces without a gate",
                [(f"max by (why) (hitl_unprotected_pods{{{HUB}}})", "{{why}}")],
            ),
            Panel(
                "Holds that were refused",
                [(f"sum by (reason) (increase(hitl_holds_refused_total{{{HUB}}}[1h]))", "{{reason}}")],
            ),
            Panel(
                "What did not count",
                [
                    (f"sum by (reason) (increase(hitl_decisions_rejected_total{{{HUB}}}[1h]))", "vote: {{reason}}"),
                    (f"sum by (reason) (increase(hitl_callers_refused_total{{{HUB}}}[1h]))", "caller: {{reason}}"),
                ],
            ),
            Panel(
                "Answers of sidecars by gRPC code",
                [
                    (
                        f"sum by (grpc_code) (rate(grpc_server_handled_total{{{GATE}}}[$__rate_interval]))",
                        "{{grpc_code}}",
                    )
                ],
                unit="reqps",
            ),
            Panel(
                "Defects",
                [(f"sum by (where) (increase(hitl_defects_total{{{HUB}}}[1h]))", "{{where}}")],
                words="Exceptions that nobody had thought of; the operator's log has them.",
            ),
        ),
    ),
)


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "hitl",
        "title": "hitl",
        "description": "What agents ask, what people answer, and whether the gate stands.",
        "tags": ["hitl"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                {
                    "name": "namespace",
                    "label": "Namespace of agents",
                    "type": "query",
                    "datasource": _SOURCE,
                    "query": 'label_values(hitl_config_age_seconds{job="hitl-sidecar"}, namespace)',
                    "refresh": 2,
                    "includeAll": True,
                    "multi": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


def dashboard_text() -> str:
    """As it lies in the chart."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def _panels() -> Iterator[dict[str, Any]]:
    number, x, y = 1, 0, 0
    for title, panels in ROWS:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _grid(0, y, 24, 1),
        }
        number, x, y, tall = number + 1, 0, y + 1, 0
        for panel in panels:
            height = 4 if panel.kind == "stat" else 8
            if x + panel.width > _WIDTH:
                x, y = 0, y + tall
            yield {"id": number, "gridPos": _grid(x, y, panel.width, height)} | _shown(panel)
            number, x, tall = number + 1, x + panel.width, height
        x, y = 0, y + tall


def _shown(panel: Panel) -> dict[str, Any]:
    steps = [{"value": value, "color": colour} for value, colour in panel.thresholds]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.words,
        "datasource": _SOURCE,
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}}
        if panel.kind == "stat"
        else {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend or "__auto",
                "datasource": _SOURCE,
            }
            for index, (expression, legend) in enumerate(panel.series)
        ],
    }


def _grid(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}
