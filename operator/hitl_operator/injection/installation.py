"""What is the same in every injected pod of an installation; chart and admission policies go by the same values."""

import re
from dataclasses import dataclass
from typing import Final

from hitl.errors import InvalidInput
from hitl.kube.shipped import DEFAULT

RUN: Final = "/run/hitl"
"""Folder of the gate's socket, in every container that gets the gate."""
SOCKET: Final = f"{RUN}/gate.sock"
STATE: Final = "/var/lib/hitl"
"""Folder of audit log and ledger, in the sidecar alone."""
TOKENS: Final = "/var/run/secrets/hitl.dev/hub"
"""Folder of the token for the hub, in the sidecar alone."""
HUB_PORT: Final = 8443
METRICS_PORT: Final = 9471
"""Of every gated pod: /metrics for Prometheus, /readyz for the kubelet. No exporter in wide use has this number."""
SERVICE: Final = "hitl-operator"

_IMAGE: Final = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]{0,511}")
_DNS_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Installation:
    """How one installation's sidecars differ from another's.

    Attributes:
        image: what is injected.
        namespace: of the operator.
        service: through which sidecars reach the operator.
    """

    image: str
    namespace: str = DEFAULT.namespace
    service: str = SERVICE

    def __post_init__(self) -> None:
        """InvalidInput: these values are put into every pod, so what cannot be meant is refused at the start."""
        if not _IMAGE.fullmatch(self.image):
            raise InvalidInput(
                f"--sidecar-image: {self.image!r} is no image; wanted e.g. registry.example.com/hitl-sidecar:1.0"
            )
        for flag, value in (("--namespace", self.namespace), ("--service", self.service)):
            if not _DNS_LABEL.fullmatch(value):
                raise InvalidInput(f"{flag}: {value!r} is no name of Kubernetes; wanted e.g. hitl-operator")


def args(*, namespace: str = DEFAULT.namespace, service: str = SERVICE) -> tuple[str, ...]:
    """The sidecar's whole command line; the SidecarStandard has the same, and no other is admitted (SECURITY E1).

    Args:
        namespace: of the operator.
        service: through which sidecars reach it.
    """
    return (
        f"--socket={SOCKET}",
        "--socket-mode=0666",
        f"--state={STATE}",
        f"--hub={service}.{namespace}.svc:{HUB_PORT}",
        f"--hub-token={TOKENS}/token",
        f"--metrics-port={METRICS_PORT}",
        "--metrics-host=*",
        "--pod-name=$(HITL_POD_NAME)",
    )
