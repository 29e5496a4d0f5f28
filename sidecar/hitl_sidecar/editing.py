"""A reviewer's change to a held call, applied to the raw call that only the sidecar has (SECURITY D3)."""

from typing import Any

import orjson

from hitl.approvals.edits import apply_patch
from hitl.approvals.requests import RequestSpec
from hitl.errors import InvalidInput
from hitl.policy.strict_json import pointer, render_json
from hitl.v1 import hub_pb2
from hitl_sidecar.asked import Edited, call_of, fingerprint, request_of


def patch_of(state: hub_pb2.HoldResponse) -> dict[str, Any]:
    """The JSON Merge Patch that came with a state. InvalidInput where it is no JSON object."""
    try:
        patch = orjson.loads(state.arguments_patch_json)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the edit of {state.editor} is not JSON ({error})") from None
    if not isinstance(patch, dict):
        raise InvalidInput(f"the edit of {state.editor} is no JSON object")
    return patch


def edit(raw: bytes, edited: Edited | None, state: hub_pb2.HoldResponse, terms: RequestSpec) -> Edited:
    """The reviewer's version of a call, as it came or as it was edited before.

    Only what was shown whole and unredacted may differ, else InvalidInput.
    """
    call = call_of(request_of(raw).call, edited)
    patch = patch_of(state)
    hidden = [pointer(name) for name in patch if pointer(name) not in terms.patchable]
    if hidden:
        raise InvalidInput(f"the edit of {state.editor} touches {', '.join(hidden)}, which was not shown to him whole")
    original = edited.original if edited else fingerprint(call)
    return Edited(render_json(apply_patch(call.arguments, patch)), (state.editor,), original)
