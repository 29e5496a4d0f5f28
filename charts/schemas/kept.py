"""The schemas that lie in the checkout, laid out as kubeconform looks for them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charts.schemas.strict import of_crd, of_kubernetes

HOME = Path(__file__).parent
KUBERNETES = HOME / "kubernetes.json"
OLDEST = HOME / "kubernetes-oldest.json"
FOREIGN = HOME / "foreign"
OURS = HOME.parents[1] / "crds"
LOCATION = "{{.Group}}_{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"


def lay_out(folder: Path, kubernetes: Path = KUBERNETES) -> str:
    """Write one file for each kind and version into `folder`; what kubeconform takes as its only --schema-location.

    Args:
        folder: an empty one.
        kubernetes: KUBERNETES, or OLDEST.
    """
    for name, schema in _schemas(kubernetes):
        (folder / name).write_text(json.dumps(schema))
    return f"{folder}/{LOCATION}"


def _schemas(kubernetes: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from of_kubernetes(json.loads(kubernetes.read_text()))
    for crd in (*sorted(FOREIGN.glob("*.yaml")), *sorted(OURS.glob("*.yaml"))):
        yield from of_crd(crd.read_text())
