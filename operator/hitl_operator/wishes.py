"""What a sidecar asks to be held, checked before it is stored: sizes, escaping, and whose it is (SECURITY G1, B4).

The sidecar redacts and escapes; the hub does not trust it to have done so, and never takes its word for who it is.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from hitl.approvals.requests import RequestSpec
from hitl.errors import InvalidInput
from hitl.kube.requests import spec_from_json
from hitl.policy.escaping import plain
from hitl.wire.identity import Identity
from hitl_operator.identity import requester_of

_LARGEST_SPEC = 128 << 10  # bytes; a preview of 16 KiB, its JSON escapes and everything around it fit
# Bytes of the same as an API server stores it, which writes <, > and & with six each, and keeps requirements twice: in
# the status, too. The fields' own bounds would let 38 million characters in; etcd takes 1.5 MiB for all of a request.
# The rest is for what people say of it: 32 decisions of up to 20 KB (reason, groups, edit) and 64 notes of up to 8 KB.
_LARGEST_STORED = 256 << 10
_LONGEST_TEXT = 4096  # characters of any text without a bound of its own
_MOST_ITEMS = 64  # of any list
# Characters; the preview's bound is in bytes and stands in the settings.
_LONGEST: Mapping[str | None, int] = {
    "summary": 160,
    "sessionID": 256,
    "key": 256,
    "callID": 256,
    "argumentsPreview": 16 << 10,
    "explanation": 16 << 10,
    "context": 16 << 10,
    "checkpoint": 1024,
    "server": 128,
    "tool": 128,
    "traceparent": 128,
    "username": 512,
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""Names that requests have."""


def read_wish(spec_json: bytes, identity: Identity, *, preview_bytes: int) -> RequestSpec:
    """The spec that a sidecar wants held, with the identity that the hub established in place of what it says.

    Raises:
        InvalidInput: it is too large, not escaped, or no spec; with the field's path.
    """
    if len(spec_json) > _LARGEST_SPEC:
        raise InvalidInput(f"spec: has {len(spec_json)} bytes, at most {_LARGEST_SPEC} are stored; shorten the preview")
    spec = spec_from_json(spec_json)
    document = orjson.loads(spec_json)
    _check_texts(document)
    if (size := _stored(document)) > _LARGEST_STORED:
        raise InvalidInput(f"spec: takes {size} bytes, at most {_LARGEST_STORED} are stored; shorten the preview")
    if len(spec.call.arguments_preview.encode()) > preview_bytes:
        raise InvalidInput(f"spec.call.argumentsPreview: larger than the {preview_bytes} bytes of the settings")
    for name, value in (("digest", spec.digest), ("sameness", spec.sameness)):
        if not _DIGEST.fullmatch(value):
            raise InvalidInput(f"spec.{name}: must be 64 hex digits")
    if spec.key != (spec.call.call_id or spec.digest):
        raise InvalidInput("spec.key: must be the call_id, or the digest where there is none")
    if spec.earlier and not NAME.fullmatch(spec.earlier):
        raise InvalidInput("spec.earlier: is not the name of a request")
    agent = identity.agent
    return replace(
        spec,
        requester=requester_of(agent),
        requester_uid=identity.requester_uid,
        agent_pod=agent.pod_name,
        agent_pod_uid=agent.pod_uid,
        service_account=agent.service_account,
        workload=agent.workload,
        # Only a token that the hub itself reviewed makes a user verified (SECURITY B3), and it reviews none here.
        on_behalf_of_verified=False,
    )


def _stored(document: dict[str, Any]) -> int:
    """Bytes that a spec takes in the storage of an API server."""
    text = orjson.dumps([document, document.get("requirements")])
    return len(text) + 5 * sum(text.count(sign) for sign in (b"<", b">", b"&"))


def _check_texts(document: dict[str, Any]) -> None:
    """Every text in the document is short and shows all of itself; every list is short.

    On the way of every hold, so it walks without recursion, and makes paths only once something is to be refused.
    """
    waiting: list[Any] = [document]
    texts: list[str] = []
    is_fit = True
    while waiting:
        value = waiting.pop()
        is_fit = is_fit and len(value) <= _MOST_ITEMS
        for key, item in value.items() if isinstance(value, dict) else ((None, item) for item in value):
            if isinstance(item, str):
                texts.append(item)
                is_fit = is_fit and len(item) <= _LONGEST.get(key, _LONGEST_TEXT)
            elif isinstance(item, dict | list):
                waiting.append(item)
    # One look at all of them: a text begins after a space, where a combining mark shows as plainly as at a beginning.
    if not is_fit or not plain(" ".join(texts)):
        raise InvalidInput(_refusal(document))


def _refusal(value: Any, path: str = "spec", key: str = "") -> str:
    """What is wrong first in a document in which something is; empty where nothing is."""
    if isinstance(value, str):
        longest = _LONGEST.get(key, _LONGEST_TEXT)
        if len(value) > longest:
            return f"{path}: has {len(value)} characters, at most {longest} are stored; cut it"
        return "" if plain(value) else f"{path}: holds characters that nobody can see; escape it before it is stored"
    if not isinstance(value, dict | list):
        return ""
    if len(value) > _MOST_ITEMS:
        return f"{path}: has {len(value)} entries, at most {_MOST_ITEMS} are stored"
    if isinstance(value, dict):
        return next(filter(None, (_refusal(item, f"{path}.{name}", name) for name, item in value.items())), "")
    return next(filter(None, (_refusal(item, f"{path}[{at}]") for at, item in enumerate(value))), "")
