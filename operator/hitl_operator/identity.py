"""Who is behind a connection: the hub's answer, never a message's (SECURITY B1, B4)."""

import asyncio
import re
from collections.abc import Iterable
from typing import Protocol, TypeAlias

from hitl.errors import Forbidden, InvalidInput
from hitl.policy.calls import Agent
from hitl.wire.identity import AGENT_METADATA, Identity, agent_from_metadata

_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,252}")
_LABEL_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_MOST_LABELS = 64
_LARGEST = 16384  # bytes of metadata

Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]


class Authenticator(Protocol):
    """Tells who calls. Every method of the hub asks it first."""

    async def authenticate(self, metadata: Metadata) -> Identity:
        """The pod behind a connection and where it lives.

        Forbidden where what was shown does not prove it; Unavailable where that cannot be told now.
        """
        ...

    async def ended(self, identity: Identity, metadata: Metadata) -> str:
        """Waits until `identity`, established by `metadata`, no longer stands as it is, and says why.

        A stream ends then: whoever is still entitled comes back and is looked at anew. May wait for ever.
        """
        ...


def requester_of(agent: Agent) -> str:
    """The agent's user name as Kubernetes spells it; it can never decide (I4)."""
    return f"system:serviceaccount:{agent.namespace}:{agent.service_account}"


def is_system_name(name: str) -> bool:
    """Whether a user name belongs to a ServiceAccount or to the cluster itself, none of which are people (I4)."""
    return name.casefold().startswith("system:")


class HomeAuthenticator:
    """Standalone: the socket lets only this account in, and each sidecar says which agent it serves.

    That is cooperative: nothing proves what it says (SECURITY G5). Namespace and uids are the home's, whatever is said.
    """

    def __init__(self, *, namespace: str, namespace_uid: str, cluster_uid: str) -> None:
        self._namespace = namespace
        self._namespace_uid = namespace_uid
        self._cluster_uid = cluster_uid

    async def authenticate(self, metadata: Metadata) -> Identity:
        """As `Authenticator`; what the sidecar says of itself is the JSON in metadata ``hitl-agent-bin``."""
        sent = [value for key, value in metadata if key == AGENT_METADATA]
        if len(sent) != 1 or not isinstance(sent[0], bytes) or len(sent[0]) > _LARGEST:
            raise Forbidden(f"the connection must say once which agent it serves, in metadata {AGENT_METADATA} as JSON")
        try:
            agent = agent_from_metadata(sent[0])
        except InvalidInput as error:
            raise Forbidden(str(error)) from error
        _check(agent)
        if agent.namespace != self._namespace:
            raise Forbidden(
                f"this home serves namespace {self._namespace!r}, not {agent.namespace!r}; start the sidecar with "
                f"--namespace {self._namespace}, or the hub with --namespace {agent.namespace}"
            )
        return Identity(agent, self._namespace_uid, self._cluster_uid)

    async def ended(self, identity: Identity, metadata: Metadata) -> str:  # noqa: ARG002 - nothing here can end
        """As `Authenticator`; who could open the socket stays whom it says it is."""
        await asyncio.get_running_loop().create_future()
        return ""


def _check(agent: Agent) -> None:
    """Names as Kubernetes would have them: they go into keys, digests, labels and log lines."""
    texts = {
        "namespace": agent.namespace,
        "serviceAccount": agent.service_account,
        "workload": agent.workload,
        "podName": agent.pod_name,
        "podUID": agent.pod_uid,
    }
    for key, text in texts.items():
        if not _TEXT.fullmatch(text):
            raise Forbidden(f"metadata {AGENT_METADATA}: {key} must be 1-253 of A-Z a-z 0-9 . _ : / -")
    if len(agent.labels) > _MOST_LABELS:
        raise Forbidden(f"metadata {AGENT_METADATA}: {len(agent.labels)} labels; at most {_MOST_LABELS}")
    for key, value in agent.labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise Forbidden(f"metadata {AGENT_METADATA}: {key[:64]!r} is not a Kubernetes label with its value")
