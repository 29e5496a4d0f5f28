"""PolicyOverrides written by kubectl, as people do."""

import json
from typing import Any

from control_plane.running import ControlPlane

ADMIN = "admin"


def a_freeze(namespace: str, name: str = "stop", *, by: str = "", **spec: Any) -> dict[str, Any]:
    """A PolicyOverride of type Freeze."""
    return {
        "apiVersion": "hitl.dev/v1alpha1",
        "kind": "PolicyOverride",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"type": "Freeze", "by": by or ADMIN, "reason": "INC-88", **spec},
    }


def freeze(plane: ControlPlane, namespace: str, name: str, **spec: Any) -> None:
    """Press it, as the administrator."""
    done = plane.kubectl("create", "-f", "-", stdin=json.dumps(a_freeze(namespace, name, **spec)), timeout=90)
    assert done.returncode == 0, done.stderr


def thaw(plane: ControlPlane, namespace: str, name: str) -> None:
    """Delete it, as the administrator."""
    done = plane.kubectl("-n", namespace, "delete", "pov", name, "--wait=true", timeout=90)
    assert done.returncode == 0, done.stderr
