"""Which API servers `kubectl hitl doctor` is content with."""

import pytest

from hitl_cli.on_cluster.doctor import version_finding
from hitl_cli.on_cluster.findings import Health


@pytest.mark.parametrize(
    ("major", "minor", "health"),
    [
        ("1", "29", Health.PROBLEM),
        ("1", "30", Health.PROBLEM),
        ("1", "30+", Health.PROBLEM),
        ("1", "31", Health.OK),
        ("1", "36+", Health.OK),
        ("2", "0", Health.OK),
        ("", "", Health.PROBLEM),
    ],
)
def test_a_server_that_cannot_select_by_fields_is_told_apart(major: str, minor: str, health: Health) -> None:
    """Kubernetes 1.30 has selectable fields as an alpha feature that is off: no vote would count there."""
    found = version_finding("https://here", {"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0"})
    assert found.health is health
    assert f"https://here, Kubernetes v{major}.{minor}.0" in found.text
    if health is Health.PROBLEM:
        assert "needs Kubernetes 1.31 or newer: an older one cannot select requests" in found.steps[0]
