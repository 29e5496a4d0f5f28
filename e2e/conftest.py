"""What every journey has: a cluster, the chart of this checkout installed as its README says, and a gated namespace."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.agents import Agent, agent_in
from e2e.cluster import CHART, NAMESPACE, ROOT, Cluster, cluster, logs

SHOP = "shop"
POLICY: dict[str, Any] = {
    "apiVersion": "hitl.dev/v1alpha1",
    "kind": "AgentPolicy",
    "metadata": {"name": "support", "namespace": SHOP},
    "spec": {
        "podSelector": {"matchLabels": {"app": "support"}},
        "rules": [
            {"action": "Allow", "tools": ["get_*"]},
            {"action": "Deny", "tools": ["delete_*"]},
            {"action": "Confirm", "tools": ["stripe/create_refund"], "reviewers": ["support"]},
            {"action": "MultiFactor", "tools": ["stripe/payout"], "reviewers": ["on-call"]},
        ],
    },
}


def values_of(on: Cluster) -> dict[str, Any]:
    """What an installation of these journeys sets."""
    return {
        "image": {"repository": f"{on.prefix}hitl-operator", "tag": on.tag},
        "sidecar": {"image": {"repository": f"{on.prefix}hitl-sidecar", "tag": on.tag}},
        "people": [
            {"role": "reviewer", "groups": ["support"], "namespaces": [SHOP]},
            {"role": "senior-reviewer", "groups": ["on-call"], "namespaces": [SHOP]},
            {"role": "on-call", "groups": ["on-call"], "namespaces": [SHOP]},
        ],
    }


@pytest.fixture(scope="session")
def bare() -> Iterator[Cluster]:
    """A cluster with nothing of ours on it."""
    if not os.environ.get("KUBECONFIG"):
        subprocess.run([sys.executable, "-m", "images", "--archive"], cwd=ROOT, check=True)
    folder = Path(tempfile.mkdtemp(prefix="hitl-e2e-"))
    with cluster(folder, os.environ) as on:
        yield on
    shutil.rmtree(folder)  # not after a failure to end it: then its logs are wanted


@pytest.fixture(scope="session")
def installed(bare: Cluster) -> Cluster:
    """The same with the chart, its operator ready, and the namespace whose reviewers it binds."""
    labels = {"hitl.dev/injection": "enabled", "pod-security.kubernetes.io/enforce": "restricted"}
    bare.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": labels}})
    install(bare)
    return bare


def install(on: Cluster) -> None:
    """As a platform engineer does it; returns when the operator is ready."""
    done = on.helm(
        "install", "hitl", str(CHART), "-n", NAMESPACE, "--create-namespace", "--wait", "--timeout=4m",
        values=values_of(on),
    )  # fmt: skip
    assert done.code == 0, f"{done.err}\n{logs(on, [NAMESPACE])}"


@pytest.fixture(scope="session")
def shop(installed: Cluster) -> Cluster:
    """The same with a policy in that namespace, and somebody who may edit there."""
    installed.apply(POLICY)
    installed.done("wait", "--for=condition=Accepted", "agentpolicy/support", "-n", SHOP, "--timeout=120s")
    installed.done("create", "rolebinding", "eve-edits", "--clusterrole=edit", "--user=eve", "-n", SHOP)
    return installed


@pytest.fixture(scope="session")
def agent(shop: Cluster) -> Agent:
    """The agent of deploy/support, whose pod is up."""
    return agent_in(shop, SHOP, "support")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failed journey shows what pods, Events and logs have to say."""
    outcome: Any = yield
    report = outcome.get_result()
    given: dict[str, Any] = getattr(item, "funcargs", {})
    on = next((given[name] for name in ("shop", "installed", "bare") if name in given), None)
    if report.failed and isinstance(on, Cluster):
        report.sections.append(("the cluster", logs(on, [NAMESPACE, SHOP])))
