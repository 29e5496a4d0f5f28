"""Fixtures of the command line's tests."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.homes import AHome
from hitl_cli import deciding, notes
from hitl_cli.processes import Programs


@pytest.fixture
def home() -> Iterator[AHome]:
    """A fresh home. Below /tmp: a Unix socket's path must stay short."""
    path = Path(tempfile.mkdtemp(prefix="hitl-cli-", dir="/tmp"))
    yield AHome(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a control plane runs, decisions made in this process are followed until it has looked at them.

    Where others want the machine, too, that may take it longer than the two seconds after which people are told to
    look again later; what they are told then is tried where none runs.
    """
    if {"decided_home", "dev"} & set(request.fixturenames):
        monkeypatch.setattr(deciding, "PATIENCE", 60.0)
        monkeypatch.setattr(deciding, "_PATIENCE_EDITED", 60.0)
        monkeypatch.setattr(notes, "PATIENCE", 60.0)


@pytest.fixture(scope="module")
def decided_home() -> Iterator[AHome]:
    """A home whose control plane runs: votes are verified and counted by the real one, for a whole file of tests.

    ana and cleo lead support, bo is a manager; tests take request names that nobody else uses.
    """
    path = Path(tempfile.mkdtemp(prefix="hitl-cli-", dir="/tmp"))
    home = AHome(path).people(ana=("support-leads",), cleo=("support-leads",), bo=("managers",))
    (path / "policies").mkdir()
    (path / "policies" / "support.yaml").write_text(POLICY)
    with Programs() as programs:
        hub = programs.start("hub", "hitl_operator.standalone", ["--home", str(path), "-f", str(path / "policies")])
        hub.wait_until_serving(path / "hub.sock")
        yield home
    shutil.rmtree(path, ignore_errors=True)


POLICY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: support}
spec:
  rules:
  - {name: refunds, action: Confirm, tools: [stripe/create_refund], reviewers: [support-leads]}
"""
