"""What the chart lets a sidecar be started with is what injection starts it with (SECURITY E1)."""

import pytest

from chart.rendering import Helm
from hitl_operator.injection.installation import args


@pytest.mark.parametrize("namespace", ["hitl-system", "guard"])
def test_E1_the_args_of_the_chart_are_those_of_injection(helm4: Helm, namespace: str) -> None:
    """ConfigMap hitl-pods lists them in their order, or no pod of a gated namespace could be made."""
    found = next(
        each
        for each in helm4.template({}, namespace).objects
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "hitl-pods"
    )
    assert tuple(found["data"]["args"].splitlines()) == args(namespace=namespace)
