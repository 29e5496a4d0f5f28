"""What one program marks objects with and another knows them by."""

from typing import Final

INJECTION: Final = "hitl.dev/injection"
"""Label of a namespace whose pods are gated, where it is ``enabled``."""

GATED: Final = "hitl.dev/gated"
"""Label of every injected pod, ``true``; by it alone the hub finds its pods."""

INJECT: Final = "hitl.dev/inject"
"""Label of a pod that is to stay ungated, where it is ``false`` and its namespace allows that (SECURITY B2)."""

OPT_OUT: Final = "hitl.dev/opt-out"
"""Label of a namespace in which pods may opt out, where it is ``allowed``."""

STAMPED: Final = "hitl.dev/labels"
"""Annotation of an injected pod: its labels at injection, as a JSON object (SECURITY B2)."""

CONTAINERS: Final = "hitl.dev/containers"
"""Annotation of a pod: which of its containers get the gate, with commas between them; without it all do."""

SIDECAR: Final = "hitl-sidecar"
"""Name of the container that holds the token."""

SIDECAR_USER: Final = 64918
"""User and group under which the sidecar runs; no other container of its pod may."""

OWN_NAMES: Final = "hitl-"
"""With this begin the names of containers and volumes that injection makes anew, whoever wrote them."""

AUDIENCE: Final = "hitl.dev/hub"
"""What a token for the hub must have been made for; who may make one is an admission policy's say (SECURITY B1)."""

REPLICA: Final = "hitl.dev/replica"
"""Label of the ConfigMaps in which replicas of the operator report, each in its own."""

REPORT: Final = "report"
"""Of such a ConfigMap: what the replica tells of itself, over and over."""

ENDED: Final = "ended"
"""Likewise: there where the process has said that it ends."""

SILENT_AFTER: Final = 45.0
"""Seconds without a word after which a replica and its sidecars no longer count."""
