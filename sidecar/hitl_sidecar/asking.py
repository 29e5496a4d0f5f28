"""What people are asked: the spec of an approval request, made from a call and the verdict that holds it.

Everything in it that came from the agent is redacted first and escaped then (I10, G1); the raw call stays here.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from hitl.approvals.requests import CallShown, Kind, RequestSpec, Touches
from hitl.errors import Unavailable
from hitl.policy.actions import Action
from hitl.policy.calls import OnBehalfOf, ToolCall
from hitl.policy.capabilities import capabilities_of, observe
from hitl.policy.digest import digest_of, sameness_of
from hitl.policy.escaping import as_plain, escape, plain
from hitl.policy.levels import infer_level
from hitl.policy.redaction import Redactor
from hitl.policy.spec import ToolDeclaration, ToolDefinition
from hitl.policy.verdicts import Verdict
from hitl_sidecar.programmed import InForce

_MAX_SUMMARY: Final = 160
_MAX_CONTEXT: Final = 4096
_MAX_TEXT: Final = 4000
# Of what it touches: a person reads a short list, and the hub stores no longer ones.
_MAX_ENTRIES: Final = 20
_MAX_ENTRY: Final = 200


def on_behalf_of(call: ToolCall) -> OnBehalfOf | None:
    """Whom the agent says it acts for. Claimed, never verified: it can only ever exclude a reviewer (SECURITY B3)."""
    return OnBehalfOf(call.claimed_user) if call.claimed_user else None


def declaration_of(in_force: InForce, call: ToolCall) -> ToolDeclaration | None:
    """What the ToolServer's author declared about the tool, if anything."""
    server, _, tool = call.name.partition("/")
    found = in_force.config.tool_servers.get(server)
    return found.tools.get(tool) if found else None


def digest(in_force: InForce, call: ToolCall, key_id: str) -> str:
    """The keyed digest of exactly this call (SECURITY D1), under the key that the hold was opened with.

    Raises:
        InvalidCall: an argument has no canonical form.
        Unavailable: NO_KEY, that key is not live any more.
    """
    key = in_force.keys.get(key_id)
    if key is None:
        raise Unavailable("NO_KEY", "the key that this call was held under has ended; make the call again")
    identity = in_force.identity
    server = in_force.config.tool_servers.get(call.name.partition("/")[0])
    declaration = declaration_of(in_force, call)
    return digest_of(
        key,
        cluster_uid=identity.cluster_uid,
        namespace_uid=identity.namespace_uid,
        agent=identity.agent,
        on_behalf_of=on_behalf_of(call),
        call=call,
        endpoint=server.endpoint if server else "",
        tool_definition_digest=declaration.definition_digest if declaration else "",
    )


def sameness(in_force: InForce, call: ToolCall) -> str:
    """What recognises the same call in another session or under another call_id (SECURITY B4)."""
    identity = in_force.identity
    return sameness_of(in_force.key, namespace_uid=identity.namespace_uid, agent=identity.agent, call=call)


def spec_of(
    in_force: InForce,
    call: ToolCall,
    verdict: Verdict,
    *,
    call_digest: str,
    definition: ToolDefinition | None = None,
    excluded: tuple[str, ...] = (),
    traceparent: str = "",
) -> RequestSpec:
    """What is put before people.

    Args:
        in_force: the config that held the call.
        call: raw.
        verdict: with terms, because it holds.
        call_digest: of exactly this call.
        definition: what the tool says of itself, if it was declared.
        excluded: who may not approve it: the editors of a call that this one takes the place of (SECURITY D3).
        traceparent: of the span under which people are asked (W3C Trace Context); empty where untraced.
    """
    terms = verdict.terms
    if terms is None:
        raise ValueError(f"a verdict {verdict.action.word} holds nothing")
    agent = in_force.identity.agent
    redactor = in_force.redactor
    declaration = declaration_of(in_force, call)
    preview = redactor.preview(
        call.arguments,
        in_force.config.settings.preview_bytes,
        verdict.shown,
        declared=verdict.shown,
        rendered=call.arguments_json,
    )
    return RequestSpec(
        kind=Kind.SUGGESTION if verdict.action is Action.SUGGEST else Kind.TOOL_CALL,
        summary=as_plain(verdict.summary or call.name)[:_MAX_SUMMARY],
        requester=f"system:serviceaccount:{agent.namespace}:{agent.service_account}",
        agent_pod=agent.pod_name,
        agent_pod_uid=agent.pod_uid,
        service_account=agent.service_account,
        workload=agent.workload,
        session_id=call.session_id,
        call=CallShown(
            server=call.server,
            tool=call.tool,
            arguments_preview=preview.text,
            call_id=call.call_id,
            tool_definition_digest=declaration.definition_digest if declaration else "",
        ),
        digest=call_digest,
        key=call.call_id or call_digest,
        sameness=sameness(in_force, call),
        tier=verdict.action.kebab,
        requirements=terms.requirements,
        timeout=terms.timeout,
        on_timeout=terms.on_timeout,
        denials_to_end=terms.denials_to_end,
        denial_cooldown=terms.denial_cooldown,
        escalation=terms.escalation,
        remind=terms.remind,
        reason_required=terms.reason_required,
        on_behalf_of=call.claimed_user,
        on_behalf_of_may_approve=terms.on_behalf_of_may_approve,
        touches=_touches(call.name, declaration, definition, preview.arguments),
        effects=verdict.effects,
        undo=declaration.undo if declaration else "",
        group_key=_group_key(agent.workload, call.name, verdict.rule),
        score=verdict.score,
        factors=verdict.factors,
        reasons=verdict.reasons,
        rule=verdict.rule,
        explanation=verdict.explanation or verdict.message,
        because=verdict.because,
        justification=_shown(redactor, call.justification),
        alternatives=tuple(_shown(redactor, text) for text in call.alternatives),
        context=_context(redactor, call),
        policies=verdict.policies,
        revision=verdict.revision,
        checkpoint=call.checkpoint,
        traceparent=traceparent,
        excluded=excluded,
        # A name that can only be shown escaped is none that a reviewer could write into an edit.
        patchable=tuple(filter(plain, preview.patchable)),
    )


def _shown(redactor: Redactor, text: str) -> str:
    return escape(redactor.redact_text(text)[0], limit=_MAX_TEXT) if text else ""


def _context(redactor: Redactor, call: ToolCall) -> str:
    return redactor.preview(call.context, _MAX_CONTEXT).text if call.context else ""


def _touches(
    name: str, declaration: ToolDeclaration | None, definition: ToolDefinition | None, redacted: Mapping[str, Any]
) -> Touches:
    changes = not infer_level(name, definition, redacted).reads
    found = capabilities_of(declaration, observe(redacted), changes=changes)
    return Touches(*map(_listed, (found.network, found.reads, found.writes, found.environment)))


def _listed(entries: tuple[str, ...]) -> tuple[str, ...]:
    shown = tuple(as_plain(entry)[:_MAX_ENTRY] for entry in entries[:_MAX_ENTRIES])
    return (*shown, f"… {len(entries) - _MAX_ENTRIES} more") if len(entries) > _MAX_ENTRIES else shown


def _group_key(workload: str, name: str, rule: str) -> str:
    """Calls of one agent with one tool under one rule show as one row; none of the three is secret."""
    return sha256(f"{workload}\0{name}\0{rule}".encode()).hexdigest()[:16]
