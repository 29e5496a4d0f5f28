"""`python -m charts.lint [CHART]`: everything that can be said of the chart without a cluster; exit code 1 on findings.

For the default values and each file of variants/: `helm lint --strict` and rendering by Helm 3 and Helm 4, kubeconform
against schemas/, and kube-score. A line for each check that is content, and what the others found.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from charts.exclusions import EXCLUSIONS, Exclusion
from charts.rendered import NAMESPACE, RenderingFailed, rendered, run
from charts.schemas.kept import OLDEST, lay_out
from charts.tools import ProvisionFailed
from control_plane.versions import pinned

HOME = Path(__file__).parent
CHART = HOME / "hitl"
HELMS = ("helm3", "helm4")
UNSCORED = frozenset({"least"})
"""Variants with less than we recommend, one replica say, which is what kube-score would find."""
CONTENT = 10  # kube-score's grade; 7 is almost, 5 a warning, 1 critical

Found = Iterator[str]


def main(arguments: Sequence[str]) -> int:
    """0: nothing found; 1: findings, or the tools could not be had; 2: no such chart."""
    chart = Path(arguments[0]) if arguments else CHART
    if not (chart / "Chart.yaml").is_file():
        print(f"chart: {chart} has no Chart.yaml; wanted the folder of a chart", file=sys.stderr)
        return 2
    try:
        with tempfile.TemporaryDirectory() as old, tempfile.TemporaryDirectory() as new:
            schemas = {oldest(chart): lay_out(Path(old), OLDEST), pinned().kubernetes: lay_out(Path(new))}
            troubles = [finding for check in checks(chart, schemas) for finding in _told(*check)]
    except ProvisionFailed as failure:
        print(f"chart: {failure}", file=sys.stderr)
        return 1
    return 1 if troubles else 0


def _told(title: str, findings: Found) -> list[str]:
    """Print how a check went."""
    found = list(findings)
    print(f"{'FAIL' if found else 'ok  '} {title}", flush=True)
    for finding in found:
        print("     " + finding.replace("\n", "\n     "))
    return found


def checks(chart: Path, schemas: Mapping[str, str]) -> Iterator[tuple[str, Found]]:
    """Title and findings of each check, in order; `schemas`: version of Kubernetes -> where its schemas lie."""
    unused = set(EXCLUSIONS)
    for values in (None, *sorted((HOME / "variants").glob("*.yaml"))):
        name = values.stem if values else "default values"
        args = [f"--values={values}"] if values else []
        for helm in HELMS:
            for version in schemas:
                yield f"{helm} lint --strict, {name}, Kubernetes {version}", linted(helm, chart, version, *args)
        objects: list[dict[str, Any]] = []
        for helm in HELMS:
            for version in schemas:
                title = f"{helm} template, kubeconform, {name}, Kubernetes {version}"
                yield title, conforming(helm, chart, schemas[version], version, objects, *args)
        if name not in UNSCORED:
            yield f"kube-score, {name}", scored(objects, pinned().kubernetes, unused)
    yield (
        "charts/exclusions.py",
        (f"nothing is found of {each.check} ({each.about}) any more: remove it" for each in unused),
    )


def oldest(chart: Path) -> str:
    """The oldest Kubernetes that the chart takes, as Chart.yaml says; without a word of it, the pinned one."""
    wanted = str(yaml.safe_load((chart / "Chart.yaml").read_text()).get("kubeVersion", ""))
    found = re.search(r">=\s*(\d+\.\d+\.\d+)", wanted)
    return found[1] if found else pinned().kubernetes


def linted(helm: str, chart: Path, kubernetes: str, *args: str) -> Found:
    """What `helm lint --strict` complains of."""
    version = f"--kube-version={kubernetes}"
    answer = run(helm, "lint", "--strict", str(chart), f"--namespace={NAMESPACE}", version, *args)
    if answer.code != 0:
        yield (answer.text + answer.troubles).strip()


def conforming(
    helm: str, chart: Path, schemas: str, kubernetes: str, objects: list[dict[str, Any]], *args: str
) -> Found:
    """What cannot be rendered or is no valid object; the objects are left in `objects`."""
    try:
        objects[:] = rendered(helm, chart, kubernetes, *args)
    except RenderingFailed as failure:
        yield str(failure)
        return
    given = "\n---\n".join(map(json.dumps, objects))
    answer = run("kubeconform", "-strict", "-output=json", f"-schema-location={schemas}", "-", given=given)
    if not answer.text:
        yield f"kubeconform ended with {answer.code}: {answer.troubles.strip()}"
        return
    for each in json.loads(answer.text).get("resources", ()):
        yield f"{each['kind']} {each['name']}: {each['msg']}"


def scored(objects: Sequence[dict[str, Any]], kubernetes: str, unused: set[Exclusion]) -> Found:
    """What kube-score finds and no exclusion explains; those that explain something are taken out of `unused`."""
    if not objects:
        return  # why is said where they were rendered
    version = f"v{kubernetes.rpartition('.')[0]}"
    given = "\n---\n".join(map(json.dumps, objects))
    answer = run("kube-score", "score", f"--kubernetes-version={version}", "--output-format=json", "-", given=given)
    if not answer.text.startswith("["):
        yield f"kube-score ended with {answer.code}: {(answer.text + answer.troubles).strip()}"
        return
    for scored_object in json.loads(answer.text):
        about = f"{scored_object['type_meta']['kind']} {scored_object['object_meta']['name']}"
        for check in scored_object["checks"] or ():
            if check["skipped"] or check["grade"] >= CONTENT:
                continue
            for comment in check["comments"] or ({"path": "", "summary": check["check"]["comment"]},):
                reasons = {each for each in EXCLUSIONS if _excludes(each, check["check"]["id"], about, comment)}
                unused -= reasons
                if not reasons:
                    where = f" ({comment['path']})" if comment["path"] else ""
                    yield f"{about}{where}: {comment['summary']} [{check['check']['id']}]"


def _excludes(each: Exclusion, check: str, about: str, comment: dict[str, str]) -> bool:
    return each.check == check and each.about in ("", about) and each.summary == comment["summary"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
