"""From call to verdict (DESIGN 7): pure, and the same for the same config, call, history and time (I14).

A freeze binds before any policy, also before one that only watches, and so does flood control. Then every policy that
selects the pod judges the call alone, with the protected paths first; the strictest that binds wins, and everybody who
holds the call adds his conditions. Whatever cannot be evaluated is a Deny of the policy that could not, and what fails
outside any policy is a Deny of the whole (I2): there is no way from an exception to Allow.
"""

from hitl.errors import HitlError
from hitl.policy import wording
from hitl.policy.actions import Action
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.capabilities import observe
from hitl.policy.combining import combine, refused
from hitl.policy.freezes import frozen_advice, frozen_words
from hitl.policy.history import History
from hitl.policy.judging import judge
from hitl.policy.ledger import Sightings
from hitl.policy.plans import Plan, plan_of
from hitl.policy.redaction import Redactor
from hitl.policy.situations import Situation, hosts_of, watched_values
from hitl.policy.spec import Config, ToolDefinition
from hitl.policy.tracing import Trace
from hitl.policy.verdicts import Factor, Reason, Verdict
from hitl.policy.voices import Judgement, Voice


def evaluate(
    config: Config,
    call: ToolCall,
    history: History,
    now: float,
    *,
    agent: Agent,
    on_behalf_of: OnBehalfOf | None = None,
    tainted: bool = False,
    definition: ToolDefinition | None = None,
    sameness: str = "",
    trace: Trace | None = None,
) -> Verdict:
    """What the policies of a config say about one call. Never raises: what cannot be judged is refused.

    Args:
        config: as compiled; must not be changed afterwards.
        call: as parsed.
        history: this workload's past; only read.
        now: seconds since the epoch.
        agent: who calls; its labels choose the policies.
        on_behalf_of: the user it acts for, if the sidecar knows.
        tainted: the pod has read untrusted content in this sidecar's lifetime.
        definition: what the tool says of itself, if it was declared; pass the same object for every call.
        sameness: recognises the same call in another session (see `digest.sameness_of`); empty: not recognised.
        trace: filled with what `explain` shows beyond the verdict.
    """
    try:
        plan = plan_of(config, agent.labels)
        tool = plan.tool(call.name, definition)
        situation = Situation(
            plan,
            tool,
            call,
            history,
            now=now,
            agent=agent,
            on_behalf_of=on_behalf_of,
            tainted=tainted,
            sameness=sameness,
        )
        if trace is not None:
            trace.situation = situation
        freeze = next((each for each in config.freezes if each.covers(call.name)), None)
        if freeze is not None:
            words = frozen_words(freeze)
            if trace is not None:
                trace.freeze = words
            return refused(situation, "FROZEN", words, frozen_advice(freeze))
        of_tool, of_pod = history.recent_calls(call.name, call.session_id, now)
        if trace is not None:
            trace.flood = (of_tool, of_pod)
        settings = config.settings
        if of_tool >= settings.flood_per_tool or of_pod >= settings.flood_per_pod:
            return refused(
                situation, "FLOOD", wording.flood(settings, call.name, of_tool, of_pod), wording.ADVICE_FLOOD
            )
        return combine(tuple(_spoken(plan, situation, trace)), situation, trace)
    except Exception as error:  # noqa: BLE001 - nothing that fails may let a call through (I2)
        return _failed(config, call, error)


def _spoken(plan: Plan, situation: Situation, trace: Trace | None) -> list[Judgement]:
    """The judgement of every policy that speaks, in order. The built-in one speaks when no other does that binds."""
    guarded = _guarded(plan, situation, trace)
    spoken: list[Judgement] = []
    replaced = False
    for voice, rules in situation.tool.namespaced:
        judgement = guarded.get(voice) or judge(voice, rules, situation, trace)
        if judgement is not None:
            spoken.append(judgement)
            # A policy that only watches changes nothing where others bind: it does not take the built-in one's place.
            replaced = replaced or plan.only_watched or voice.relaxes != "Monitor"
    if plan.built_in in guarded:
        spoken.append(guarded[plan.built_in])
    elif not replaced and (judgement := judge(plan.built_in, (), situation, trace)) is not None:
        spoken.append(judgement)
    for voice, rules in situation.tool.baseline:
        judgement = guarded.get(voice) or judge(voice, rules, situation, trace)
        if judgement is not None:
            spoken.append(judgement)
    return spoken


def _guarded(plan: Plan, situation: Situation, trace: Trace | None) -> dict[Voice, Judgement]:
    """Who refuses because the call may touch a protected path."""
    try:
        hits = plan.guard.hits(situation.call, situation.tool.declaration)
    except HitlError as error:
        text = f"its arguments could not be searched for protected paths: {wording.because_of(error)}"
        return {plan.built_in: _refusal(plan.built_in, "EVALUATION_FAILED", text, wording.ADVICE_SHORTER)}
    if not hits:
        return {}
    judgements: dict[Voice, Judgement] = {}
    for voice, (path, where) in hits.items():
        text = situation.clean(wording.touches(voice, path, where))
        if trace is not None:
            trace.path_hits.append(text)
        judgements[voice] = _refusal(voice, "PROTECTED_PATH", text, wording.ADVICE_PATH)
    return judgements


def _refusal(voice: Voice, code: str, text: str, advice: str) -> Judgement:
    return Judgement(
        voice=voice,
        action=Action.DENY,
        reason_code=code,
        explanation=text,
        factors=(Factor("protected path", 0, text),),
        reasons=(Reason.POLICY_BOUNDARY,),
        advice=advice,
    )


def _failed(config: Config, call: ToolCall, error: Exception) -> Verdict:
    text = f"the call could not be evaluated: {wording.because_of(error)}"
    return Verdict(
        action=Action.DENY,
        reason_code="EVALUATION_FAILED",
        message=f"Refused: {text}. {wording.ADVICE_FAILED}",
        explanation=text,
        reasons=(Reason.POLICY_BOUNDARY,),
        summary=call.name,
        revision=config.revision,
    )


def sightings(config: Config, call: ToolCall, *, agent: Agent, definition: ToolDefinition | None = None) -> Sightings:
    """What the ledger is to remember of a call once it ran: values of watched arguments, and hosts.

    Raises:
        InvalidCall: a watched value has no JSON form.
    """
    plan = plan_of(config, agent.labels)
    declaration = plan.tool(call.name, definition).declaration
    return Sightings(watched_values(call, plan.watched), hosts_of(observe(call.arguments), declaration))


def redactor_of(config: Config, agent: Agent) -> Redactor:
    """What hides secrets for these pods: every policy's redaction together."""
    return plan_of(config, agent.labels).redactor
