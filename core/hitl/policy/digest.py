"""Keyed digests of a call: the one that decisions are bound to, and the one that recognises a repetition.

Both are HMAC-SHA-256 over canonical JSON (RFC 8785) under the namespace's key: a plain hash of a call with a four-digit
PIN can be reversed by trying all of them (SECURITY D1). The key never appears beside a digest.
"""

import hmac
from typing import Any, Final

import rfc8785

from hitl.errors import InvalidCall, Unavailable
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall

# Part of what is hashed: a digest of one version or purpose never equals one of another.
DIGEST_VERSION: Final = "hitl.dev/digest/v1"
SAMENESS_VERSION: Final = "hitl.dev/sameness/v1"
KEY_BYTES: Final = 32


def digest_of(
    key: bytes,
    *,
    cluster_uid: str,
    namespace_uid: str,
    agent: Agent,
    on_behalf_of: OnBehalfOf | None,
    call: ToolCall,
    endpoint: str = "",
    tool_definition_digest: str = "",
) -> str:
    """What a decision is bound to and what is computed again at release (SECURITY D1, I7), as 64 hex digits.

    Everything that would make it another call is inside: where, who, for whom, in which conversation, which tool at
    which endpoint with which definition, which arguments. Server and tool enter as they are forwarded, with their
    capitals. The call_id is not inside, so that a retry under a new id is the same call.

    Args:
        key: the namespace's key, 32 bytes.
        cluster_uid: UID of the cluster (standalone: of the home directory).
        namespace_uid: UID of the agent's namespace.
        agent: who calls; workload and ServiceAccount count, the pod does not.
        on_behalf_of: the user it acts for, or None.
        call: the parsed call.
        endpoint: where the tool server is reached, empty where the gate does not know.
        tool_definition_digest: digest of the pinned definition, empty where none is pinned.

    Raises:
        InvalidCall: an argument has no canonical form.
        Unavailable: NO_KEY, the key is not 32 bytes.
    """
    user = {"username": on_behalf_of.username, "verified": on_behalf_of.verified} if on_behalf_of else None
    return _hmac(
        key,
        {
            "version": DIGEST_VERSION,
            "clusterUID": cluster_uid,
            "namespaceUID": namespace_uid,
            "workload": agent.workload,
            "serviceAccount": agent.service_account,
            "onBehalfOf": user,
            "session": call.session_id,
            "server": call.server,
            "endpoint": endpoint,
            "tool": call.tool,
            "toolDefinitionDigest": tool_definition_digest,
            "arguments": dict(call.arguments),
        },
    )


def sameness_of(key: bytes, *, namespace_uid: str, agent: Agent, call: ToolCall) -> str:
    """What cooldown, novelty and "the earlier request" recognise a call by (SECURITY B4), as 64 hex digits.

    Neither session nor call_id are inside, and the tool enters by its lookup name: a new conversation, a new id or
    other capitals do not make a denied call a new one.

    Raises:
        InvalidCall: an argument has no canonical form.
        Unavailable: NO_KEY, the key is not 32 bytes.
    """
    return _hmac(
        key,
        {
            "version": SAMENESS_VERSION,
            "namespaceUID": namespace_uid,
            "workload": agent.workload,
            "name": call.name,
            "arguments": dict(call.arguments),
        },
    )


def _hmac(key: bytes, document: dict[str, Any]) -> str:
    if len(key) != KEY_BYTES:
        raise Unavailable("NO_KEY", f"the namespace key has {len(key)} bytes, not {KEY_BYTES}; wait for a config")
    try:
        canonical = rfc8785.dumps(document)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise InvalidCall(f"the call has no canonical form: {error}; send such values as strings") from error
    return hmac.digest(key, canonical, "sha256").hex()
