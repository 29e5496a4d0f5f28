"""What can be worked out before a call arrives: which policies speak to these pods, which rules name this tool.

Derived from a config and thrown away with it; holds no state of calls. Everything here is bounded, because the names
of tools are the agent's to choose.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from hitl.policy.builtin import BUILT_IN
from hitl.policy.guarding import Guard
from hitl.policy.levels import Inferred
from hitl.policy.redaction import Redactor, compile_redaction
from hitl.policy.selectors import selects
from hitl.policy.spec import Config, ToolDeclaration, ToolDefinition, ToolServer
from hitl.policy.verdicts import Verdict
from hitl.policy.voices import Candidate, Judgement, Voice, candidates_of

_MAX_NAMES = 4_096
# A sidecar needs one, and the one before while calls are still being judged; the rest is memory.
_MAX_PLANS = 8


@dataclass(frozen=True, slots=True, eq=False)
class ToolPlan:
    """Everything about one tool that does not depend on the arguments.

    Attributes:
        name: the lookup name.
        definition: what the tool says of itself; the plan is for exactly this one.
        namespaced, baseline: the rules that name the tool, by voice, in the order of the plan's voices.
        constants: judgements that depend on nothing but the rule; at most one per rule.
        scores: judgements by score, by everything that they depend on.
        levels: inferred levels, by the names of the arguments.
        verdicts: verdicts that follow from constant judgements alone.
    """

    name: str
    server: ToolServer | None
    declaration: ToolDeclaration | None
    definition: ToolDefinition | None
    namespaced: tuple[tuple[Voice, tuple[Candidate, ...]], ...]
    baseline: tuple[tuple[Voice, tuple[Candidate, ...]], ...]
    constants: dict[Candidate, Judgement] = field(default_factory=dict)
    scores: dict[tuple[Hashable, ...], Judgement] = field(default_factory=dict)
    levels: dict[tuple[str, ...], Inferred] = field(default_factory=dict)
    verdicts: dict[tuple[Judgement, ...], Verdict] = field(default_factory=dict)


class Plan:
    """A config as one set of pod labels meets it.

    Attributes:
        namespaced, baseline: the voices whose policies select these labels, in the config's order.
        only_watched: there are policies of the namespace, and all of them are Monitor.
        built_in: speaks when no policy does that binds. It only watches where the pods are `only_watched`: who starts
            with Monitor is promised that nothing is held.
        watched: arguments whose new values are novel to one of them.
        voices: all of them, in the order in which they speak.
        guard: the protected paths of all of them.
    """

    def __init__(self, config: Config, labels: Mapping[str, str]) -> None:
        self.config = config
        self.namespaced, self.baseline = (
            tuple(Voice.of(policy) for policy in policies if selects(policy.pod_selector, labels))
            for policies in (config.policies, config.baseline)
        )
        self.only_watched = bool(self.namespaced) and all(voice.relaxes == "Monitor" for voice in self.namespaced)
        self.built_in = replace(Voice.of(BUILT_IN), relaxes="Monitor" if self.only_watched else "")
        self.voices = (*self.namespaced, self.built_in, *self.baseline)
        self.guard = Guard(self.voices)
        self.watched = tuple(sorted({where for voice in self.voices for where in voice.policy.raisers.watched}))
        self._tools: dict[str, ToolPlan] = {}

    @cached_property
    def redactor(self) -> Redactor:
        """Hides what any of the policies wants hidden."""
        return compile_redaction(tuple(redaction for voice in self.voices for redaction in voice.hides))

    def tool(self, name: str, definition: ToolDefinition | None) -> ToolPlan:
        """The plan for a tool, worked out at its first call."""
        plan = self._tools.get(name)
        if plan is None or plan.definition is not definition:
            while len(self._tools) >= _MAX_NAMES:
                del self._tools[next(iter(self._tools))]
            plan = self._tools[name] = self._work_out(name, definition)
        return plan

    def _work_out(self, name: str, definition: ToolDefinition | None) -> ToolPlan:
        server_name, _, tool = name.partition("/")
        server = self.config.tool_servers.get(server_name)
        return ToolPlan(
            name=name,
            server=server,
            declaration=server.tools.get(tool) if server else None,
            definition=definition,
            namespaced=tuple((voice, tuple(candidates_of(voice, name))) for voice in self.namespaced),
            baseline=tuple((voice, tuple(candidates_of(voice, name))) for voice in self.baseline),
        )


# Keyed by identity, and holding what the key names: an id is not given again while its object lives. The calls of one
# sidecar share one Agent, and a config lives until the next one, so this almost always hits.
_plans: dict[tuple[int, int], tuple[Config, Mapping[str, str], Plan]] = {}


def plan_of(config: Config, labels: Mapping[str, str]) -> Plan:
    """The plan for a config and the labels of a pod. Neither may be changed afterwards."""
    key = (id(config), id(labels))
    found = _plans.get(key)
    if found is not None:
        return found[2]
    plan = Plan(config, labels)
    while len(_plans) >= _MAX_PLANS:
        del _plans[next(iter(_plans))]
    _plans[key] = (config, labels, plan)
    return plan
