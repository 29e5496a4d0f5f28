"""What the chart gives Prometheus and Grafana: nothing unasked, and then what finds the pods and can be loaded."""

import json
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, Helm, Rendered
from charts.schemas.kept import FOREIGN
from cluster.gated_pods import until
from control_plane.installing import applied
from control_plane.running import ControlPlane
from hitl.kube.marks import GATED
from hitl_operator.injection.installation import METRICS_PORT, Installation
from hitl_operator.injection.sidecar import sidecar

ALL: dict[str, Any] = {
    "labels": {"release": "prometheus"},
    "interval": "15s",
    "serviceMonitor": {"enabled": True},
    "podMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
}
MONITORS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")


@pytest.fixture
def watched(helm: Helm) -> Rendered:
    """The chart with all of it."""
    return helm.template({"monitoring": ALL})


def test_nothing_of_it_is_there_unasked(default: Rendered) -> None:
    """Most clusters have no such CRDs, and an install must not fail for them."""
    assert default.of(*MONITORS) == []
    assert not any("dashboard" in each["metadata"]["name"] for each in default.of("ConfigMap"))


@pytest.mark.parametrize("one", ["serviceMonitor", "podMonitor", "prometheusRule", "dashboard"])
def test_each_is_switched_on_by_itself(helm4: Helm, default: Rendered, one: str) -> None:
    """One value brings one object more."""
    more = helm4.template({"monitoring": {one: {"enabled": True}}})
    assert len(more.objects) == len(default.objects) + 1


def test_rules_are_those_of_the_file(watched: Rendered) -> None:
    """Templates of alerts, which look like Helm's own, come through as they are."""
    (rule,) = watched.of("PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "rules" / "hitl.yaml").read_text())
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_alerts_link_to_where_ones_people_read(helm4: Helm) -> None:
    """With `runbooks` each alert has a whole address."""
    values = {"enabled": True, "runbooks": "https://wiki.example/hitl"}
    (rule,) = helm4.template({"monitoring": {"prometheusRule": values}}).of("PrometheusRule")
    alerts = [each for group in rule["spec"]["groups"] for each in group["rules"] if "alert" in each]
    assert {each["annotations"]["runbook_url"].partition("#")[0] for each in alerts} == {"https://wiki.example/hitl"}


def test_the_dashboard_is_loaded_as_it_lies_there(watched: Rendered) -> None:
    """One JSON document under a key that ends as the loader wants it, with its label."""
    config = watched.one("ConfigMap", "hitl-dashboard")
    assert json.loads(config["data"]["hitl.json"]) == json.loads((CHART / "dashboards" / "hitl.json").read_text())
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_dashboards_panels_do_not_overlap() -> None:
    """Each has a place of its own, a number of its own, and something to show."""
    panels = json.loads((CHART / "dashboards" / "hitl.json").read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["type"] == "row" or panel["targets"] for panel in panels)


def test_the_operator_is_found(watched: Rendered) -> None:
    """The ServiceMonitor selects the Service, names a port of it, and gives the job that rules ask for."""
    (monitor,) = watched.of("ServiceMonitor")
    service = watched.one("Service", "hitl-operator")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["interval"] == "15s"
    assert {"targetLabel": "job", "replacement": "hitl-operator"} in endpoint["relabelings"]


def test_sidecars_are_found_in_every_namespace(watched: Rendered) -> None:
    """The PodMonitor selects what injection marks, and names the port of the injected container."""
    (monitor,) = watched.of("PodMonitor")
    spec = monitor["spec"]
    injected = sidecar(Installation("hitl-sidecar:1"), ca="", resources={}, always_pull=False)
    (endpoint,) = spec["podMetricsEndpoints"]
    assert spec["namespaceSelector"] == {"any": True}
    assert spec["selector"]["matchLabels"] == {GATED: "true"}
    assert {"name": endpoint["port"], "containerPort": METRICS_PORT, "protocol": "TCP"} in injected["ports"]
    assert {each.get("regex") for each in endpoint["relabelings"]} >= {injected["name"]}
    assert {"targetLabel": "job", "replacement": "hitl-sidecar"} in endpoint["relabelings"]


async def test_an_api_server_with_the_crds_takes_them(control_plane: ControlPlane, namespace: str, helm4: Helm) -> None:
    """The CRDs' own rules are more than schemas; a real API server checks those, too, and refuses unknown fields."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted(FOREIGN.glob("monitoring*.yaml"))]
    applied(control_plane, *crds)
    objects = helm4.template({"monitoring": ALL}, namespace).of(*MONITORS)
    assert len(objects) == len(MONITORS)
    text = "\n---\n".join(map(json.dumps, objects))
    said = []

    async def taken() -> bool:
        # Refused only until the API server serves the kinds that it was just given.
        tried = control_plane.kubectl(
            "apply", "--server-side", "--validate=strict", "--namespace", namespace, "-f", "-", stdin=text
        )
        said.append(tried.stderr)
        assert tried.returncode == 0 or "no matches for kind" in tried.stderr or "not find" in tried.stderr, said[-1]
        return tried.returncode == 0

    assert await until(taken), said
