"""Both Helms that the chart is for."""

from pathlib import Path

import pytest

from chart.rendering import Helm, Rendered
from charts.tools import provide


@pytest.fixture(scope="session")
def helm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Helm notes; never that of whoever runs the tests."""
    return tmp_path_factory.mktemp("helm")


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request: pytest.FixtureRequest, helm_home: Path) -> Helm:
    """One after the other."""
    return Helm(provide(request.param), helm_home)


@pytest.fixture(scope="session")
def helm4(helm_home: Path) -> Helm:
    """The newer one, where one is enough."""
    return Helm(provide("helm4"), helm_home)


@pytest.fixture(scope="session")
def default(helm4: Helm) -> Rendered:
    """The chart with its own values."""
    return helm4.template()
