"""Who a sidecar is: what it says of itself in standalone mode, and what the hub answers.

On a cluster the token says who a sidecar is. Standalone has no token: the sidecar sends what it was started with as
JSON in the metadata key `AGENT_METADATA`, and the hub believes it: both belong to one account (DESIGN 18).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hitl.errors import InvalidInput
from hitl.policy.calls import Agent
from hitl.v1 import hub_pb2

AGENT_METADATA = "hitl-agent-bin"
_TEXTS = {
    "namespace": "namespace",
    "serviceAccount": "service_account",
    "workload": "workload",
    "podName": "pod_name",
    "podUID": "pod_uid",
}


@dataclass(frozen=True, slots=True)
class Identity:
    """What the hub established: the agent, and the two uids that go into every digest.

    Attributes:
        stamped: the labels that the pod had when it was injected; None where nobody stamped it. Policies that select
            these apply beside those that select `agent.labels`, so that relabelling adds policies and removes none
            (SECURITY B2).
        requester_uid: of the agent's ServiceAccount, as the token review gives it; empty where there is none.
    """

    agent: Agent
    namespace_uid: str
    cluster_uid: str
    stamped: Mapping[str, str] | None = None
    requester_uid: str = ""


def agent_to_metadata(agent: Agent) -> bytes:
    """The value of `AGENT_METADATA`."""
    document: dict[str, Any] = {key: getattr(agent, name) for key, name in _TEXTS.items()}
    document["labels"] = dict(agent.labels)
    return orjson.dumps(document)


def agent_from_metadata(value: bytes) -> Agent:
    """InvalidInput, naming what was found, for anything that `agent_to_metadata` would not have written."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(
            f"metadata {AGENT_METADATA} is not JSON ({error}); a sidecar of this release sends it"
        ) from None
    if not isinstance(document, dict) or not document.keys() <= {*_TEXTS, "labels"}:
        raise InvalidInput(f"metadata {AGENT_METADATA} wants an object with {', '.join(_TEXTS)} and labels")
    texts = {name: document.get(key, "") for key, name in _TEXTS.items()}
    labels = document.get("labels", {})
    if not isinstance(labels, dict):
        raise InvalidInput(f"metadata {AGENT_METADATA}: labels wants an object of texts, found {type(labels).__name__}")
    for key, text in [*texts.items(), *labels.items()]:
        if not isinstance(text, str):
            raise InvalidInput(f"metadata {AGENT_METADATA}: {key} wants a text, found {type(text).__name__}")
    if not texts["namespace"]:
        raise InvalidInput(f"metadata {AGENT_METADATA}: namespace is empty; start the sidecar with --namespace NAME")
    return Agent(labels=labels, **texts)


def identity_to_proto(identity: Identity) -> hub_pb2.AgentIdentity:
    agent = identity.agent
    return hub_pb2.AgentIdentity(
        namespace=agent.namespace,
        namespace_uid=identity.namespace_uid,
        cluster_uid=identity.cluster_uid,
        service_account=agent.service_account,
        workload=agent.workload,
        pod_name=agent.pod_name,
        pod_uid=agent.pod_uid,
        labels=dict(agent.labels),
    )


def identity_from_proto(message: hub_pb2.AgentIdentity) -> Identity:
    """InvalidInput where namespace or one of the uids is missing: a digest without them would fit elsewhere."""
    for name in ("namespace", "namespace_uid", "cluster_uid"):
        if not getattr(message, name):
            raise InvalidInput(f"the hub's identity has no {name}; upgrade the hub or look at its log")
    agent = Agent(
        namespace=message.namespace,
        service_account=message.service_account,
        workload=message.workload,
        pod_name=message.pod_name,
        pod_uid=message.pod_uid,
        labels=dict(message.labels),
    )
    return Identity(agent, message.namespace_uid, message.cluster_uid)
