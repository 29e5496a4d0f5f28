"""What the policies would say of a changed call, before a reviewer spends their vote on it.

Only for words: release asks the policies again, with all they depend on. What cannot be told here is left to that.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import HitlError
from hitl.policy.actions import Action
from hitl.policy.explanation import explain
from hitl.policy.verdicts import Verdict
from hitl_cli.described import DescribedCall, stored_call
from hitl_cli.difference import patched
from hitl_cli.policies import InForce, PolicyFiles, compiled_for
from hitl_cli.replay import SAMENESS, ledger_of
from hitl_cli.session import Session


def refusal_of_edit(session: Session, request: ApprovalRequest, patch: Mapping[str, Any]) -> str:
    """Why the policies that hold the request refuse it once it is changed; empty where they do not, or none can tell.

    A call that they refuse unchanged as well says nothing of the change: it is judged from what is shown of it.
    """
    spec = request.spec
    preview = json.dumps(patched(request, patch)[1], ensure_ascii=False)
    changed = replace(request, spec=replace(spec, call=replace(spec.call, arguments_preview=preview)))
    try:
        as_asked, as_changed = stored_call(request), stored_call(changed)
        inside = asyncio.run(session.place.in_force(as_asked.agent, labels_known=False))
        held = replace(inside, files=_named(inside.files, request), labels_known=False)
        held.files.need_valid()
        before, after = _judged(session, held, as_asked), _judged(session, held, as_changed)
    except HitlError:
        return ""
    return after.explanation if after.action is Action.DENY and before.action is not Action.DENY else ""


def _named(files: PolicyFiles, request: ApprovalRequest) -> PolicyFiles:
    """Of the policies those that the request names: they select its agent, whatever its labels are."""
    names = {(each.kind, each.namespace, each.name) for each in request.spec.policies}
    kept = [
        (manifest, resource)
        for manifest, resource in zip(files.manifests, files.resources, strict=True)
        if manifest.kind == "ToolServer"
        or (manifest.kind, str(manifest.metadata.get("namespace") or ""), manifest.metadata["name"]) in names
    ]
    return replace(files, manifests=[each for each, _ in kept], resources=[each for _, each in kept])


def _judged(session: Session, inside: InForce, described: DescribedCall) -> Verdict:
    config, acting = compiled_for(inside.files, inside.agent, labels_known=inside.labels_known)
    now = session.now().timestamp()
    ledger = ledger_of(described, config, acting, now)
    return explain(
        config, described.call, ledger, now, agent=acting, on_behalf_of=described.on_behalf_of, sameness=SAMENESS
    ).verdict
