"""Everything about one call that policies may look at, worked out only when one of them does."""

from collections.abc import Iterable, Iterator
from typing import Final

from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.capabilities import Observed, observe
from hitl.policy.escaping import escape_line
from hitl.policy.expressions import Variables
from hitl.policy.history import History
from hitl.policy.levels import Inferred, infer_level
from hitl.policy.limits import argument_at, as_key
from hitl.policy.matchers import Miss
from hitl.policy.plans import Plan, ToolPlan
from hitl.policy.redaction import Preview, Redactor, compile_redaction
from hitl.policy.scoring import MAX_HISTORY
from hitl.policy.spec import ToolDeclaration
from hitl.policy.templates import MAX_SUMMARY, Template
from hitl.policy.values import string_form
from hitl.policy.voices import Candidate, Voice

# Stating no confidence, after the same call was answered CLARIFY, counts as stating more than was stated then.
_NO_CONFIDENCE: Final = 101
_POINTS_A_DENIAL: Final = 5
_MAX_LEVELS: Final = 64
_LONGEST_TEXT: Final = 600


class Situation:
    """One call as it arrives, with who makes it, for whom, and what came before."""

    __slots__ = (
        "_hosts",
        "_observed",
        "_preview",
        "_says_nothing",
        "_variables",
        "agent",
        "call",
        "history",
        "now",
        "on_behalf_of",
        "plan",
        "sameness",
        "tainted",
        "tool",
    )

    def __init__(
        self,
        plan: Plan,
        tool: ToolPlan,
        call: ToolCall,
        history: History,
        *,
        now: float,
        agent: Agent,
        on_behalf_of: OnBehalfOf | None,
        tainted: bool,
        sameness: str,
    ) -> None:
        self.plan = plan
        self.tool = tool
        self.call = call
        self.history = history
        self.now = now
        self.agent = agent
        self.on_behalf_of = on_behalf_of
        self.tainted = tainted
        self.sameness = sameness
        self._says_nothing: bool | None = None
        self._variables: Variables | None = None
        self._preview: Preview | None = None
        self._observed: Observed | None = None
        self._hosts: tuple[str, ...] | None = None

    @property
    def variables(self) -> Variables:
        """What a CEL condition sees (DESIGN 18)."""
        if self._variables is None:
            self._variables = Variables(self.call, self.agent, self.on_behalf_of, tainted=self.tainted, now=self.now)
        return self._variables

    @property
    def raised_confidence(self) -> bool:
        """Whether this very call was answered CLARIFY a moment ago, with less confidence than it states now. To state
        none now is no way around the question: it counts as more.
        """
        confidence = self.call.confidence_percent
        return bool(self.sameness) and self.history.raised_confidence(
            self.sameness, _NO_CONFIDENCE if confidence is None else confidence, self.now
        )

    @property
    def says_nothing(self) -> bool:
        """Whether the call states no confidence that a raiser could act on."""
        if self._says_nothing is None:
            self._says_nothing = self.call.confidence_percent is None and not self.raised_confidence
        return self._says_nothing

    @property
    def preview(self) -> Preview:
        """The arguments as anybody but the tool may see them. Nothing is kept in the clear because a rule looked at it:
        another policy's rule must not make a call look less hidden than it is (I15).
        """
        if self._preview is None:
            self._preview = self._previewed(self.plan.redactor)
        return self._preview

    def previews(self, voices: Iterable[Voice], shown: tuple[str, ...]) -> Iterator[Preview]:
        """What reviewers see, with the values that rules went by in the clear; and what they would see by each of these
        policies alone. What one policy hides may make room for what another finds too much, so each is asked by itself
        (I15).
        """
        asked = {self.plan.redactor}
        yield self.preview
        if shown and self.preview.findings:
            yield self._previewed(self.plan.redactor, shown)
        for redactor in (compile_redaction(voice.hides) for voice in voices):
            if redactor not in asked:
                asked.add(redactor)
                yield self._previewed(redactor)

    def _previewed(self, redactor: Redactor, shown: tuple[str, ...] = ()) -> Preview:
        # No argument's name counts as declared: definitions come by way of the agent and nothing pins their names, and
        # what one policy names must not make another's find less hidden (G2, I15).
        return redactor.preview(
            self.call.arguments, self.plan.config.settings.preview_bytes, shown, rendered=self.call.arguments_json
        )

    @property
    def observed(self) -> Observed:
        """What the arguments look like: hosts, paths, commands, statements."""
        if self._observed is None:
            self._observed = observe(self.call.arguments)
        return self._observed

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that the arguments name or the tool is declared to reach."""
        if self._hosts is None:
            self._hosts = hosts_of(self.observed, self.tool.declaration)
        return self._hosts

    @property
    def inferred(self) -> Inferred:
        """The level that the tool's name, words and arguments' names suggest."""
        names = tuple(self.call.arguments)
        known = self.tool.levels
        inferred = known.get(names)
        if inferred is None:
            if len(known) >= _MAX_LEVELS:
                known.clear()
            trusted = self.tool.server is not None and self.tool.server.trusted
            inferred = known[names] = infer_level(
                self.call.name, self.tool.definition, self.call.arguments, trusted=trusted
            )
        return inferred

    @property
    def history_points(self) -> int:
        """What recent denials add to a score; history never takes away (SECURITY A6)."""
        denied, _ = self.history.recent_denials(self.now)
        return min(MAX_HISTORY, _POINTS_A_DENIAL * denied)

    # Text that may leave the pod: redacted (I10), then escaped once (G1).

    def clean(self, text: str) -> str:
        """A line that repeats words of the call, fit for people and records."""
        return _line(self.plan.redactor.redact_text(text)[0], _LONGEST_TEXT)

    def shown(self, miss: Miss) -> str:
        """``/amount is 15000, wants <= 5000``, with the value only if it may be seen."""
        return self.clean(miss.over(self.preview.arguments))

    def fit(self, candidate: Candidate) -> str:
        """What made a rule match, in the words of `shown`."""
        findings = candidate.rule.args.findings(self.call.arguments) if candidate.holds is not None else []
        said = [self.shown(finding.miss) for finding in findings]
        if candidate.rule.cel is not None:
            said.append(f"cel is true: {candidate.rule.cel.source}")
        return "; ".join(said) or "any arguments"

    def summary(self, template: Template | None) -> str:
        """What would happen, in one line: the author's words, or the call's name and its arguments."""
        arguments = self.preview.arguments
        if template is not None:
            text = template.render(arguments)
        else:
            said = (f"{name}={string_form(value)[:MAX_SUMMARY]}" for name, value in arguments.items())
            text = " ".join((self.call.name, *said))
        return _line(text, MAX_SUMMARY)


def watched_values(call: ToolCall, watched: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """(argument, value) of those watched arguments that the call has."""
    found = ((where, *argument_at(call.arguments, where)) for where in watched)
    return tuple((where, as_key(value)) for where, there, value in found if there)


def hosts_of(observed: Observed, declaration: ToolDeclaration | None) -> tuple[str, ...]:
    """Every host that the arguments name or the tool is declared to reach."""
    declared = declaration.network if declaration is not None else ()
    return tuple(sorted({*observed.hosts, *declared}))


def _line(text: str, most: int) -> str:
    """Escaped, on one line, at most so long."""
    if len(text) > most:
        text = f"{text[: most - 1]}…"
    line = escape_line(text)
    return line if len(line) <= most else escape_line(text, limit=most)
