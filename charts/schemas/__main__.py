"""`python -m charts.schemas`: write kubernetes.json from a running API server, and the rest from pinned Go modules.

Needed after another Kubernetes version is pinned, or another of foreign/go.mod, or when the chart renders a new kind.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charts.schemas.kept import FOREIGN, KUBERNETES, OLDEST
from charts.schemas.strict import definitions, without_words
from control_plane.running import ControlPlane, ControlPlaneFailed
from go_programs.go import Go
from go_programs.modules import go_of, pin_of, read
from go_programs.provide import cache_of

SOURCES = {
    "github.com/prometheus-operator/prometheus-operator": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/cert-manager/cert-manager": (
        "deploy/crds/cert-manager.io_certificates.yaml",
        "deploy/crds/cert-manager.io_issuers.yaml",
    ),
}
DOWNLOAD = 600.0  # seconds for one module


def main() -> int:
    """Write all of it."""
    KUBERNETES.write_text(kubernetes())
    OLDEST.write_text(oldest())
    for name, text in foreign():
        (FOREIGN / name).write_text(text)
    return 0


def kubernetes() -> str:
    """The text of kubernetes.json, from an API server that is started for it."""
    with tempfile.TemporaryDirectory() as folder, ControlPlane.start(Path(folder)) as plane:
        return written(documents(plane))


def written(found: Iterator[dict[str, Any]]) -> str:
    """As it is kept: one line for each definition, so that a change of version can be read."""
    lines = (f"{json.dumps(name)}: {json.dumps(schema)}" for name, schema in definitions(found).items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def documents(plane: ControlPlane) -> Iterator[dict[str, Any]]:
    """The API server's OpenAPI v3 documents, one for each API group and version."""
    for path in _got(plane, "/openapi/v3")["paths"].values():
        yield _got(plane, path["serverRelativeURL"])


def _got(plane: ControlPlane, path: str) -> dict[str, Any]:
    asked = plane.kubectl("get", "--raw", path)
    if asked.returncode != 0:
        raise ControlPlaneFailed(f"GET {path}: {asked.stderr.strip()}")
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


def oldest() -> str:
    """The text of kubernetes-oldest.json, from the documents that its makers keep beside their code."""
    _, folder = _module("k8s.io/kubernetes")
    return written(json.loads(path.read_text()) for path in sorted((folder / "api/openapi-spec/v3").glob("*.json")))


def foreign() -> Iterator[tuple[str, str]]:
    """Name and text of each CRD of others."""
    for module, paths in SOURCES.items():
        version, folder = _module(module)
        for path in paths:
            head = f"# From {module} v{version} (Apache-2.0), without descriptions; made by python -m charts.schemas.\n"
            yield Path(path).name, head + without_words((folder / path).read_text())


def _module(module: str) -> tuple[str, Path]:
    """Version and folder of a module that foreign/go.mod pins, verified by go.sum."""
    go_mod = read(FOREIGN)
    go = Go(cache_of(os.environ), go_of(go_mod), lambda line: print(line, file=sys.stderr))
    found = json.loads(go.run("mod", "download", "-json", module, folder=FOREIGN, seconds=DOWNLOAD))
    return pin_of(module, go_mod), Path(found["Dir"])


if __name__ == "__main__":
    sys.exit(main())
