"""`make check` finds what is wrong with the chart: a seeded defect of each kind, by the check that is there for it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts import lint
from charts.exclusions import EXCLUSIONS
from charts.rendered import RenderingFailed, read
from charts.schemas.__main__ import documents, written
from charts.schemas.kept import FOREIGN, KUBERNETES, OLDEST, lay_out
from control_plane.running import ControlPlane
from control_plane.versions import pinned
from go_programs.modules import pin_of
from go_programs.modules import read as read_go_mod

ROOT = Path(__file__).parents[2]
VERSION = pinned().kubernetes
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: small, namespace: hitl-system, labels: {app: small}}
spec:
  replicas: 2
  selector: {matchLabels: {app: small}}
  template:
    metadata: {labels: {app: small}}
    spec:
      containers:
      - name: small
        image: small:1
        resources: {requests: {cpu: 1, memory: 1Gi}, limits: {memory: 1Gi}}
        securityContext: {readOnlyRootFilesystem: true}
"""


def a_chart(folder: Path, *templates: str, chart: str = "") -> Path:
    """A chart with these templates."""
    (folder / "templates").mkdir(parents=True)
    (folder / "Chart.yaml").write_text(chart or "apiVersion: v2\nname: small\nversion: 1.0.0\nappVersion: '1'\n")
    (folder / "values.yaml").write_text("")
    for number, text in enumerate(templates):
        (folder / "templates" / f"{number}.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> str:
    return lay_out(tmp_path_factory.mktemp("schemas"))


def conforming(chart: Path, schemas: str, helm: str = "helm3") -> tuple[list[str], list[dict[str, Any]]]:
    """What kubeconform found, and the objects."""
    objects: list[dict[str, Any]] = []
    return list(lint.conforming(helm, chart, schemas, VERSION, objects)), objects


@pytest.mark.parametrize("helm", lint.HELMS)
@pytest.mark.parametrize(
    ("chart", "templates", "said"),
    [
        ("apiVersion: v2\nname: small\n", (), "version is required"),
        ("", ("a: {{ .Values.x.y }}\n",), "nil pointer"),
        ("", ("kind: ConfigMap\napiVersion: v1\nmetadata: {name: A_B}\n",), "A_B"),
    ],
    ids=["no version", "a value that is not there", "an impossible name"],
)
def test_helm_lint_finds_what_it_is_there_for(
    tmp_path: Path, helm: str, chart: str, templates: tuple[str, ...], said: str
) -> None:
    """What either Helm complains of is a finding, in its words."""
    (finding,) = lint.linted(helm, a_chart(tmp_path / "small", *templates, chart=chart), VERSION)
    assert said in finding


@pytest.mark.parametrize("helm", lint.HELMS)
def test_a_valid_object_is_no_finding(tmp_path: Path, schemas: str, helm: str) -> None:
    """What both Helms render of a sound chart conforms, and is handed on to kube-score."""
    found, objects = conforming(a_chart(tmp_path / "small", DEPLOYMENT), schemas, helm)
    assert (found, [each["kind"] for each in objects]) == ([], ["Deployment"])


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("replicass: 2", "replicas: 2", "additional properties 'replicass' not allowed"),
        ("replicas: two", "replicas: 2", "got string, want integer"),
        ("imagee: small:1", "image: small:1", "additional properties 'imagee' not allowed"),
        ("replicas: 2\n  replicas: 3", "replicas: 2", "'replicas' stands twice"),
        ("kind: Deploiment", "kind: Deployment", "could not find schema for Deploiment"),
        ("apiVersion: apps/v1beta1", "apiVersion: apps/v1", "could not find schema for Deployment"),
    ],
    ids=["a key", "a type", "a key far down", "a key twice", "a kind", "a version that is gone"],
)
def test_what_the_api_server_would_drop_or_refuse_is_found(
    tmp_path: Path, schemas: str, wrong: str, right: str, said: str
) -> None:
    """A misspelled key, a wrong type, an unknown kind: found without an API server, which would drop some silently."""
    assert right in DEPLOYMENT
    (finding,), _ = conforming(a_chart(tmp_path / "small", DEPLOYMENT.replace(right, wrong)), schemas)
    assert said in finding


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("monitoring.coreos.com/v1, PrometheusRule", {"groups": [{"name": "g", "rule": []}]}, "'rule' not allowed"),
        ("monitoring.coreos.com/v1, PodMonitor", {"selector": {}, "podMetricsEndpoint": []}, "'podMetricsEndpoint'"),
        ("cert-manager.io/v1, Certificate", {"secretName": "s"}, "missing property 'issuerRef'"),
        ("hitl.dev/v1alpha1, AgentPolicy", {"selectorr": {}}, "selectorr"),
    ],
)
def test_kinds_of_others_and_ours_are_checked_by_their_crds(
    tmp_path: Path, schemas: str, kind: str, spec: dict[str, Any], said: str
) -> None:
    """Objects of CRDs are as strictly read as those of Kubernetes."""
    version, name = kind.split(", ")
    text = yaml.safe_dump({"apiVersion": version, "kind": name, "metadata": {"name": "x"}, "spec": spec})
    found, _ = conforming(a_chart(tmp_path / "small", text), schemas)
    assert any(said in finding for finding in found), found


def test_a_field_that_the_oldest_version_does_not_know_is_found(tmp_path: Path, schemas: str) -> None:
    """Resources of a whole pod came with 1.32: sound for the pinned version, dropped without a word by the oldest."""
    text = DEPLOYMENT.replace("      containers:", "      resources: {limits: {memory: 1Gi}}\n      containers:")
    chart, older = a_chart(tmp_path / "small", text), tmp_path / "older"
    older.mkdir()
    assert conforming(chart, schemas)[0] == []
    (finding,), _ = conforming(chart, lay_out(older, OLDEST))
    assert "'resources' not allowed" in finding


def test_the_oldest_version_is_the_one_that_the_chart_names() -> None:
    """Chart.yaml and the schemas that stand for its kubeVersion agree."""
    minor = pin_of("k8s.io/kubernetes", read_go_mod(FOREIGN)).rpartition(".")[0]
    assert lint.oldest(lint.CHART) == f"{minor}.0"


def test_kube_score_finds_what_no_exclusion_explains(tmp_path: Path, schemas: str) -> None:
    """A writable root is found; the missing CPU limit is explained, and by that its exclusion is used."""
    text = DEPLOYMENT.replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    _, objects = conforming(a_chart(tmp_path / "small", text), schemas)
    unused = set(EXCLUSIONS)
    found = list(lint.scored(objects, VERSION, unused))
    assert any("readonlyrootfilesystem" in finding for finding in found), found
    assert not any("CPU limit" in finding for finding in found)
    assert "container-resources" not in {each.check for each in unused}
    assert "deployment-has-host-podantiaffinity" in {each.check for each in unused}


def test_one_command_ends_with_1_and_names_the_defect(tmp_path: Path) -> None:
    """`python -m charts.lint` on our chart with one misspelled key: exit code 1, by the check that sees it."""
    chart = tmp_path / "hitl"
    shutil.copytree(lint.CHART, chart)
    seeded = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: seeded}\ndta: {a: b}\n"
    (chart / "templates" / "seeded.yaml").write_text(seeded)
    tried = subprocess.run(
        [sys.executable, "-m", "charts.lint", str(chart)],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert tried.returncode == 1, tried.stdout + tried.stderr
    failed = [line for line in tried.stdout.splitlines() if line.startswith("FAIL")]
    assert failed
    assert all("kubeconform" in line for line in failed), tried.stdout
    assert "ConfigMap seeded: " in tried.stdout
    assert "'dta' not allowed" in tried.stdout


def test_a_folder_that_is_no_chart_is_refused(tmp_path: Path) -> None:
    """Exit code 2, for nothing was looked at."""
    assert lint.main([str(tmp_path)]) == 2


def test_every_exclusion_has_its_reason() -> None:
    """No check is switched off without a word why."""
    assert all(len(each.reason.split()) >= 8 for each in EXCLUSIONS)


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\nkind: x\napiVersion: v1", "- 1", "a: 1", "{"], ids=["key twice", "list", "no kind", "no YAML"]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    """Rendered text is read as strictly as YAML can be."""
    with pytest.raises(RenderingFailed):
        list(read(text))


def test_the_kept_schemas_are_those_of_the_pinned_api_server(control_plane: ControlPlane) -> None:
    """kubernetes.json has not drifted; `python -m charts.schemas` writes it again."""
    assert written(documents(control_plane)) == KUBERNETES.read_text()
