"""Rules, alerts' cases and dashboard name only metrics and labels that a running program exports."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from charts.lint import CHART
from cluster.gated_pods import until
from cluster.operators import NAME, Operator
from control_plane.certificates import Authority
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.approvals.requests import DecisionKind
from hitl.kube.policy_conditions import Accepted
from hitl.kube.unprotected import Why
from hitl_operator.cluster.admission import OUTCOMES
from hitl_operator.cluster.enforcement_metrics import EnforcementMetrics
from hitl_operator.metrics import HubMetrics
from hitl_sidecar.metrics import GateMetrics, Readings

RULES = yaml.safe_load((CHART / "rules" / "hitl.yaml").read_text())
DASHBOARD = json.loads((CHART / "dashboards" / "hitl.json").read_text())
CASES = yaml.load((Path(__file__).parent / "alerts.yaml").read_text(), yaml.BaseLoader)
# What Prometheus adds to whatever it reads from a pod.
OF_TARGETS = {"job", "instance", "namespace", "pod", "container", "endpoint", "service"}
# What the expressions are made of, beside metrics.
WORDS = {"by", "and", "or", "unless", "offset", "without", "on", "ignoring"}

Metrics = Mapping[str, set[str]]


def series_of(families: Iterator[Any]) -> dict[str, set[str]]:
    """Each series' name and the labels that it was seen with."""
    found: dict[str, set[str]] = {}
    for family in families:
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        for end in ends:
            found.setdefault(family.name + end, set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def declared(registry: CollectorRegistry) -> dict[str, set[str]]:
    """The labels that collectors of prometheus_client declare, also of series that nobody has counted in yet."""
    return {
        name: {*collector._labelnames, *(["le"] if name.endswith("_bucket") else [])}
        for collector, names in registry._collector_to_names.items()
        for name in names
    }


@pytest.fixture(scope="module")
def sidecar() -> Metrics:
    """What a sidecar exports once it has answered."""
    metrics = GateMetrics()
    metrics.checks[("Allow", "allowed", "support")] += 1
    metrics.started["Check"] += 1
    metrics.handled[("Check", "OK")] += 1
    metrics.readings = Readings(config_age=lambda: 1.0, audit_error=lambda: "", waiting=lambda _: 0)
    return series_of(text_string_to_metric_families(metrics.render().decode()))


@pytest.fixture
async def operator(tmp_path: Path, control_plane: ControlPlane) -> Metrics:
    """What a running operator exports, webhook included; labels from its registries where nothing was counted."""
    authority = Authority("hub-ca")
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.pem)
    replica = Operator(
        "metrics", tmp_path, control_plane, *authority.server("hub", names=(NAME,)).write(tmp_path, "hub")
    )
    injection = ("--admission", "127.0.0.1:0", "--sidecar-image", "hitl-sidecar:1", "--ca", str(ca))
    await replica.start(*injection, "--archive", str(tmp_path / "archive"))
    try:

        async def text() -> str:
            read = (await replica.get("/metrics"))[1]
            # The last to come: when it serves, and when it has led for a moment.
            last = ("hitl_certificate_expiry_timestamp_seconds{", "hitl_unprotected_pods{")
            return read if all(each in read for each in last) else ""

        found = series_of(text_string_to_metric_families(await until(text)))
    finally:
        await replica.end()
    registry = HubMetrics().registry
    EnforcementMetrics(registry)
    for name, labels in declared(registry).items():
        if name in found:
            found[name] |= labels
    return found


@dataclass(frozen=True)
class Selector:
    """One series that an expression asks for, with its matchers."""

    name: str
    labels: dict[str, str]

    @property
    def job(self) -> str:
        return self.labels.get("job", "")


def selectors(expression: str) -> tuple[list[Selector], set[str]]:
    """What an expression selects, and the labels that it groups by."""
    text = re.sub(r"\$__\w+|\[[^]]*\]", "", expression)
    grouped = {label.strip() for each in re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", text) for label in each.split(",")}
    text = re.sub(r"\b(?:by|on)\s*\([^)]*\)", "", text)
    found = [
        Selector(name, dict(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"', matchers)))
        for name, matchers in re.findall(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}", text)
    ]
    bare = re.sub(r"[a-zA-Z_:][\w:]*\s*\{[^}]*\}", "", text)
    names = re.findall(r"(?<![\w.])([a-zA-Z_:][\w:]*)(?!\s*\(|[\w:])", bare)
    return [
        *found,
        *(Selector(name, {}) for name in names if name not in WORDS and not re.fullmatch(r"\d*m", name)),
    ], grouped


def expressions() -> Iterator[tuple[str, str]]:
    """Where each expression stands, and its text."""
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield f"panel {panel['title']}", target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield f"variable {variable['name']}", re.sub(r"label_values\((.*), \w+\)", r"\1", variable["query"])
    for alert, case in CASES.items():
        for kind in ("fires", "silent"):
            for series in case[kind]["series"]:
                yield f"case {alert}", series


RECORDED = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
OF_OTHERS: Metrics = {
    "up": set(),
    "apiserver_admission_webhook_rejection_count": {"name", "type", "operation", "error_type", "rejection_code"},
}


def troubles(exported: Mapping[str, Metrics]) -> Iterator[str]:
    """What is asked for and exported by nobody; `exported`: job -> its metrics."""
    for where, expression in expressions():
        chosen, grouped = selectors(expression)
        assert chosen, f"{where}: {expression} selects nothing"
        known = set(OF_TARGETS)
        for selector in chosen:
            jobs = [job for job in exported if re.fullmatch(selector.job.replace(".+", ".*"), job)]
            if selector.name in RECORDED:
                known |= {"tier"}
                continue
            if selector.name in OF_OTHERS:
                known |= (labels := OF_OTHERS[selector.name])
            elif not jobs or not all(selector.name in exported[job] for job in jobs):
                yield f"{where}: {selector.name} is exported by no {selector.job or 'job, and none is asked for'}"
                continue
            else:
                known |= (labels := set.union(*(exported[job][selector.name] for job in jobs)))
            if unknown := selector.labels.keys() - labels - OF_TARGETS:
                yield f"{where}: {selector.name} has no label {', '.join(sorted(unknown))}"
        if unknown := grouped - known:
            yield f"{where}: nothing has the label {', '.join(sorted(unknown))}"


def test_every_metric_and_label_is_one_that_a_program_exports(sidecar: Metrics, operator: Metrics) -> None:
    """Rules, cases and dashboard against what operator and sidecar show to Prometheus."""
    assert list(troubles({"hitl-operator": operator, "hitl-sidecar": sidecar})) == []


def test_what_nobody_exports_is_found(sidecar: Metrics) -> None:
    """Without the operator's metrics nearly every rule is in trouble, so the comparison does compare."""
    found = "\n".join(troubles({"hitl-operator": {"hitl_leader": set()}, "hitl-sidecar": sidecar}))
    assert "HitlVotesNotCounted: hitl_enforcement_standing is exported by no hitl-operator" in found
    assert "HitlNoLeader" not in found
    assert "HitlSidecarConfigOld" not in found


@pytest.mark.parametrize(
    ("expression", "names", "grouped"),
    [
        (
            'sum by (le, tier) (rate(a_bucket{job="x", le=~"3(\\\\.0)?"}[1h])) / (b > 0)',
            ["a_bucket", "b"],
            {"le", "tier"},
        ),
        ("min(up) - time() < 7 * 86400", ["up"], set()),
        ("a:b:c < 0.95 and c unless c offset 10m", ["a:b:c", "c", "c"], set()),
        ("topk(10, sum by (policy) (rate(c_total{}[$__rate_interval])))", ["c_total"], {"policy"}),
    ],
)
def test_expressions_are_taken_apart(expression: str, names: list[str], grouped: set[str]) -> None:
    """Names with and without braces, functions and words of the language left out."""
    chosen, labels = selectors(expression)
    assert (sorted(each.name for each in chosen), labels) == (sorted(names), grouped)


def test_values_of_labels_are_words_of_the_programs() -> None:
    """Reasons, outcomes and tiers that expressions pick are spelt as the programs spell them."""
    words = {
        "outcome": {*OUTCOMES, "consumed", "denied", "expired", "cancelled"},
        "why": set(Why),
        "reason": {*Accepted, "unknown", "unavailable"},
        "decision": {each.lower() for each in DecisionKind},
        "tier": {"confirm", "multi-factor"},
        "current": {"true", "false"},
    }
    for where, expression in expressions():
        if where.startswith("case"):
            continue
        for selector in selectors(expression)[0]:
            for label in words.keys() & selector.labels.keys():
                assert set(selector.labels[label].split("|")) <= words[label], where


def test_the_pod_monitor_keeps_exactly_what_a_sidecar_exports(sidecar: Metrics) -> None:
    """An agent in the same pod cannot bring other names in, and none of the sidecar's is lost."""
    template = (CHART / "templates" / "monitoring" / "sidecars.yaml").read_text()
    kept = re.compile(template.split("regex: ")[-1].split("\n")[0])
    assert {name for name in sidecar if not kept.fullmatch(name)} == {
        name for name in sidecar if name.endswith("_created")
    }
    assert not any(kept.fullmatch(name) for name in ("hitl_enforcement_standing", "hitl_leader", "up"))


async def test_the_api_server_counts_a_webhook_that_it_cannot_reach(
    control_plane: ControlPlane, namespace: str
) -> None:
    """What HitlWebhookDown asks for is there, with these labels, once a call failed."""
    name = f"metrics-{namespace}"
    webhook = {
        "name": "inject.hitl.dev",
        "clientConfig": {"url": "https://127.0.0.1:1/inject"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": 1,
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    applied(control_plane, {**kind, "metadata": {"name": name}, "webhooks": [webhook]})
    try:

        async def labels() -> set[str]:
            # Refused only once the API server has heard of the webhook.
            control_plane.kubectl("create", "configmap", "x", "-n", namespace, "--dry-run=server")
            text = control_plane.kubectl("get", "--raw", "/metrics").stdout
            series = re.findall(r"^apiserver_admission_webhook_rejection_count\{(.*?)\} ", text, re.MULTILINE)
            found = [dict(re.findall(r'(\w+)="(.*?)"', each)) for each in series]
            wanted = {"name": "inject.hitl.dev", "error_type": "calling_webhook_error"}
            return next((set(each) for each in found if wanted.items() <= each.items()), set())

        assert await until(labels) == OF_OTHERS["apiserver_admission_webhook_rejection_count"]
    finally:
        control_plane.kubectl("delete", "mutatingwebhookconfiguration", name)
