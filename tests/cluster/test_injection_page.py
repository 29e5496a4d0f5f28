"""What docs/injection.md shows is what the webhook answers, and its tables leave nothing out."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from cluster.webhooks import Served, a_pod, registered, serving, until_asked
from control_plane.running import ControlPlane
from docs.blocks import ROOT, blocks
from hitl_operator.cluster.admission import OUTCOMES
from hitl_operator.injection.installation import METRICS_PORT
from hitl_operator.injection.resources import ANNOTATIONS, resources_of
from hitl_operator.injection.sidecar import VOLUMES, environment

PAGE = "docs/injection.md"
TEXT = (ROOT / PAGE).read_text()

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
async def served(guarded_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Served]:
    """A gated namespace whose pods the API server asks our webhook about."""
    async with serving(guarded_plane, tmp_path) as served, registered(served, "hitl-injection", served.admission.port):
        await until_asked(served)
        yield served


async def test_a_refusal_reads_as_shown(served: Served, tmp_path: Path) -> None:
    """The pod of the page, created with kubectl, is refused with the line that stands below the command."""
    (manifest,) = (each.text for each in blocks(PAGE) if each.language == "yaml")
    ((command, said),) = next(each for each in blocks(PAGE) if each.language == "console").commands()
    (tmp_path / "pod.yaml").write_text(manifest)
    code, _, error = await served.kubectl(*command.split()[1:-1], str(tmp_path / "pod.yaml"))
    assert code == 1
    assert error.strip().replace(f"{tmp_path}/", "") == said


async def test_the_pod_of_the_page_is_gated_without_its_mistakes(served: Served) -> None:
    """So what is refused is what the page says, and nothing else of it."""
    (manifest,) = (each.text for each in blocks(PAGE) if each.language == "yaml")
    pod = yaml.safe_load(manifest)
    del pod["metadata"]["annotations"], pod["spec"]["shareProcessNamespace"]
    made = await served.made({**a_pod("support"), **pod}, dry_run=True)
    assert made["metadata"]["labels"] == {"hitl.dev/gated": "true"}


def test_the_tables_name_everything() -> None:
    """Every volume, variable, annotation with its default, outcome, and the port."""
    defaults, _ = resources_of({})
    for key in ANNOTATIONS:
        kind, which = re.fullmatch(r"hitl\.dev/sidecar-(\w+)-(\w+)", key).groups()  # type: ignore[union-attr]  # it is
        assert f"| `{key}` | `{defaults[f'{which}s'][kind]}` |" in TEXT
    for name in (*VOLUMES, *(each["name"] for each in environment())):
        assert f"`{name}`" in TEXT
    assert f"port {METRICS_PORT}" in TEXT
    for outcome in OUTCOMES:
        assert re.search(rf"\b{outcome}\b", TEXT.partition("hitl_injections_total")[2])
