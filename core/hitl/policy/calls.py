"""A tool call as the gate sees it, and who makes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What an agent wants to do, parsed once. Everything here is the agent's claim; identity is in `Agent`.

    Attributes:
        server: server name as it is forwarded: NFKC, trimmed, capitals kept; ``local`` where the agent named none.
        tool: tool name, likewise.
        name: lookup name ``server/tool``: NFKC, lower-case, trimmed. Rules and limits see only this.
        arguments: the parsed object. Never change it; an edit is a new call.
        arguments_json: the re-serialised object. These bytes are judged, digested and run; never the ones received.
        call_id: stable across retries of one intention, unique in the session; empty if the agent gives none.
        session_id: conversation; empty: the whole pod is one session.
        agent_path: sub-agents, outermost first.
        justification: why, in the agent's words.
        confidence_percent: 0–100, or None where the agent did not say.
        claimed_user: whom the agent says it acts for.
        checkpoint: opaque, at most 1 KiB, echoed with every answer.
        alternatives: what else it could do.
        external_impact: the agent says the effect leaves the cluster; can only raise.
        context: more for reviewers, a JSON object.
    """

    server: str
    tool: str
    name: str
    arguments: Mapping[str, Any]
    arguments_json: bytes
    call_id: str = ""
    session_id: str = ""
    agent_path: tuple[str, ...] = ()
    justification: str = ""
    confidence_percent: int | None = None
    claimed_user: str = ""
    checkpoint: str = ""
    alternatives: tuple[str, ...] = ()
    external_impact: bool = False
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Agent:
    """Who makes the call, as the hub established it (standalone: as the sidecar was started).

    Attributes:
        namespace: the agent's namespace.
        service_account: its ServiceAccount.
        workload: owner of the pod in kubectl's form, e.g. ``deploy/support``.
        pod_name: name of the pod (standalone: of the sidecar's instance).
        pod_uid: uid of the pod.
        labels: the pod's labels, stamped at injection.
    """

    namespace: str
    service_account: str = "default"
    workload: str = ""
    pod_name: str = ""
    pod_uid: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OnBehalfOf:
    """The user the agent acts for.

    Attributes:
        username: case kept for display; compared case-folded.
        verified: the hub reviewed a token of that user. A claimed one satisfies nothing and still blocks that user
            from approving (SECURITY B3).
    """

    username: str
    verified: bool = False
