"""How to show a tool to an agent: the best that any arguments could get, and whether there is any use in showing it.

A bound, never a promise: whatever depends on arguments is taken to go the agent's way. A hidden tool is still refused
if it is called.
"""

from hitl.policy.actions import Action
from hitl.policy.adjustments import adjust
from hitl.policy.calls import Agent
from hitl.policy.plans import ToolPlan, plan_of
from hitl.policy.scoring import score_call, tier_of
from hitl.policy.spec import Autonomy, Config, Level, Policy, ToolDefinition, Undeclared
from hitl.policy.voices import Voice


def best_case(config: Config, name: str, definition: ToolDefinition | None, agent: Agent) -> Action:
    """The least strict action that a call of this tool could get under the config.

    Args:
        config: as compiled.
        name: lookup name ``server/tool``.
        definition: what the tool says of itself.
        agent: whose labels choose the policies.
    """
    plan = plan_of(config, agent.labels)
    tool = plan.tool(name, definition)
    namespaced = [_best(voice, tool) for voice in plan.namespaced]
    baseline = [_best(voice, tool) for voice in plan.baseline]
    speaks = [action for action, may_abstain in namespaced if not may_abstain]
    # Where every policy may abstain, the mildest of them, or the built-in one, may be the only one to speak.
    least = max(speaks) if speaks else min([_best(plan.built_in, tool)[0], *(action for action, _ in namespaced)])
    return max([least, *(action for action, may_abstain in baseline if not may_abstain)])


def _best(voice: Voice, tool: ToolPlan) -> tuple[Action, bool]:
    """The least strict action of one policy, and whether it may have nothing to say instead."""
    found: list[Action] = []
    # Deny rules come first, wherever they stand (DESIGN 7.4).
    for rule in sorted(voice.policy.rules, key=lambda rule: rule.action is not Action.DENY):
        if not any(glob.matches(tool.name) for glob in rule.tools):
            continue
        found.append(_scored(voice.policy, tool, rule.level) if rule.action is None else rule.action)
        if not rule.args.named and rule.cel is None:
            return _bound(voice, min(found)), False
    match voice.policy.undeclared:
        case None:
            return _bound(voice, min(found, default=Action.DENY)), True
        case Undeclared.SCORE:
            found.append(_scored(voice.policy, tool, None))
        case Action() as action:
            found.append(action)
    return _bound(voice, min(found)), False


def _bound(voice: Voice, action: Action) -> Action:
    if voice.relaxes == "Monitor" or (voice.relaxes == "AuditOnly" and action is not Action.DENY):
        return Action.ALLOW
    return max(action, Action.SUGGEST) if voice.policy.autonomy is Autonomy.SUGGEST_ONLY else action


def _scored(policy: Policy, tool: ToolPlan, level: Level | None) -> Action:
    """What the score says of a call without arguments: they only ever add to it."""
    trusted = tool.server is not None and tool.server.trusted
    scored = score_call(policy.scoring, tool.name, tool.declaration, level, tool.definition, {}, trusted=trusted)
    tier = tier_of(policy.scoring, scored.score)
    return adjust(policy, tool, tier, scored.floor, read_only=scored.read_only).action
