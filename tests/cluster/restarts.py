"""A restart of the shared API server that leaves it as the next test expects it."""

import time

from control_plane.installing import ACTING, until_policies_act
from control_plane.running import ControlPlane


def restarted(plane: ControlPlane) -> None:
    """Kill and start it; returns when our resources are served and the admission policies act again."""
    plane.restart_apiserver()
    until = time.monotonic() + ACTING
    while (done := plane.kubectl("get", "approvalrequests,agentpolicies", "-A")).returncode != 0:
        assert time.monotonic() < until, done.stderr
    until_policies_act(plane)
