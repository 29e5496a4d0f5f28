"""Fixtures of the cluster tier beside the control planes themselves."""

import pytest

from cluster.voting import Court, a_court
from control_plane.running import ControlPlane


@pytest.fixture(scope="session")
def court(control_plane: ControlPlane) -> Court:
    """A namespace with reviewers, an editor, an agent and an administrator; tests make requests of their own in it."""
    return a_court(control_plane)
