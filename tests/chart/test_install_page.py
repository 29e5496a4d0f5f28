"""What docs/install.md shows is accepted by whom it is for."""

import re
from typing import Any

import yaml
from cel_expr_python import cel

from chart.rendering import Helm
from charts.generate import CHART, values_source
from docs.blocks import ROOT, blocks

PAGE = "docs/install.md"


def documents(word: str) -> list[Any]:
    """The YAML blocks of the page in which a word stands."""
    return [yaml.safe_load(each.text) for each in blocks(PAGE) if each.language == "yaml" and word in each.text]


def test_the_values_of_the_page_are_values_of_the_chart(helm4: Helm) -> None:
    """What it shows as values.yaml is rendered, and every value that its table names is one with a default."""
    (values,) = documents("sidecar: {image")
    bindings = helm4.template(values).of("RoleBinding", "ClusterRoleBinding")
    assert {"hitl-reviewer", "hitl-senior-reviewer"} < {each["roleRef"]["name"] for each in bindings}
    text = (ROOT / PAGE).read_text()
    named = re.findall(r"(?m)^\| `([\w.]+)` \|", text)
    assert len(named) > 5
    for path in named:
        schema: Any = values_source()
        for key in path.split("."):
            schema = schema["properties"][key]
    for flag in re.findall(r"--set '?([\w.]+)=", text):
        assert flag in (CHART / "README.md").read_text(), flag


def test_gitops_takes_the_chart_that_is_there() -> None:
    """Argo CD and Flux are pointed to the folder of the chart, and install into the default namespace."""
    (application,) = documents("kind: Application")
    (release,) = documents("kind: HelmRelease")
    assert ROOT / application["spec"]["source"]["path"] == CHART
    assert ROOT / release["spec"]["chart"]["spec"]["chart"] == CHART
    assert application["spec"]["destination"]["namespace"] == release["metadata"]["namespace"] == "hitl-system"


def test_flux_sees_whether_a_policy_is_accepted() -> None:
    """Current for the accepted generation, failed for a refused one, neither for what nobody looked at yet."""
    (document,) = documents("healthCheckExprs")
    (check,) = document["healthCheckExprs"]

    def holds(which: str, status: str, generation: int) -> bool:
        environment = cel.NewEnv(variables={"status": cel.Type.DYN, "metadata": cel.Type.DYN})
        condition = {"type": "Accepted", "status": status, "observedGeneration": generation}
        others = [{"type": "Programmed", "status": "False", "observedGeneration": 2}]
        variables = {"status": {"conditions": [*others, condition]}, "metadata": {"generation": 2}}
        result = environment.compile(check[which]).eval(environment.Activation(variables))
        assert result.type() == cel.Type.BOOL
        return result.value() is True

    assert [holds("current", "True", 2), holds("failed", "True", 2)] == [True, False]
    assert [holds("current", "False", 2), holds("failed", "False", 2)] == [False, True]
    assert [holds("current", "True", 1), holds("failed", "False", 1)] == [False, False]
