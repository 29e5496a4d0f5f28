"""Why a call got its verdict, step by step, for people (UX 6) and for programs.

There is one logic: the call is evaluated by `evaluate`, which writes its trace; this module only asks what a rule made
unnecessary (the score) and lays it out.
"""

from dataclasses import dataclass, replace
from typing import Any

from hitl.policy import wording
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.evaluation import evaluate
from hitl.policy.explanation_steps import fix_for, score_otherwise, steps_of
from hitl.policy.history import History
from hitl.policy.layout import Step, laid_out
from hitl.policy.spec import Config, ToolDefinition
from hitl.policy.tracing import Trace
from hitl.policy.verdicts import Requirement, Verdict


@dataclass(frozen=True, slots=True)
class Explanation:
    """A verdict with everything that led to it. Every text is redacted and escaped.

    Attributes:
        name: the tool's lookup name.
        verdict: as `evaluate` gives it, with `score_otherwise` filled in.
        steps: the eight steps, in order.
        then: what happens now, for held calls.
        fix: under Deny, what would let the call through.
    """

    name: str
    verdict: Verdict
    steps: tuple[Step, ...]
    then: str = ""
    fix: str = ""

    def text(self, width: int = 100) -> str:
        """For a terminal of so many columns, at least 60; ends without a newline."""
        verdict = self.verdict
        closing = [("then", self.then)] if self.then else []
        closing.append(("agent hears", f'"{verdict.message}"'))
        return laid_out(self._headline(), self.steps, closing, self.fix, max(60, width))

    def to_json(self) -> dict[str, Any]:
        """For programs; additions are compatible, nothing is renamed."""
        verdict = self.verdict
        return {
            "action": verdict.action.word,
            "score": verdict.score,
            "tier": verdict.action.tier,
            "rule": verdict.rule or None,
            "factors": [
                {"name": factor.name, "points": factor.points, "reason": factor.reason} for factor in verdict.factors
            ],
            "reason": verdict.explanation,
            "reasonCode": verdict.reason_code,
            "reasons": [str(reason) for reason in verdict.reasons],
            "clarify": verdict.clarify,
            "message": verdict.message,
            "tool": self.name,
            "summary": verdict.summary or None,
            "because": verdict.because or None,
            "link": verdict.link or None,
            "effects": list(verdict.effects),
            "policies": [str(policy) for policy in verdict.policies],
            "requirements": [_requirement(each) for each in verdict.terms.requirements] if verdict.terms else [],
            "then": self.then or None,
            "fix": self.fix or None,
            "wouldHave": verdict.would_have.word if verdict.would_have is not None else None,
            "recordedAs": verdict.recorded_as or None,
            "scoreOtherwise": verdict.score_otherwise,
            "redactions": list(verdict.redactions),
            "revision": verdict.revision,
            "steps": [step.to_json() for step in self.steps],
        }

    def _headline(self) -> str:
        verdict = self.verdict
        said = "Clarify" if verdict.clarify else verdict.action.word
        if verdict.recorded_as and verdict.would_have is not None and verdict.would_have > verdict.action:
            said = f"{said} ({verdict.recorded_as}; it would be {verdict.would_have.word})"
        return f"{said}   {self.name}"


def explain(
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
) -> Explanation:
    """The verdict of `evaluate` for the same arguments, and why."""
    trace = Trace()
    verdict = evaluate(
        config,
        call,
        history,
        now,
        agent=agent,
        on_behalf_of=on_behalf_of,
        tainted=tainted,
        definition=definition,
        sameness=sameness,
        trace=trace,
    )
    otherwise = score_otherwise(trace)
    if otherwise is not None:
        verdict = replace(verdict, score_otherwise=otherwise.score)
    return Explanation(
        name=call.name,
        verdict=verdict,
        steps=steps_of(trace, verdict),
        then=wording.course(verdict.terms) if verdict.terms is not None and not verdict.clarify else "",
        fix=fix_for(trace, verdict),
    )


def _requirement(requirement: Requirement) -> dict[str, Any]:
    return {
        "name": requirement.name,
        "approvals": requirement.approvals,
        "anyOf": list(requirement.any_of),
        "secondFactor": str(requirement.second_factor),
        "orSecondPerson": requirement.or_second_person,
        "origin": requirement.origin or None,
    }
