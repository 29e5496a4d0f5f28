"""The words for what was decided and why: one text for reviewer, agent, audit and `explain`.

Everything here that came from a call has been redacted and escaped before; names and reasons of rules are their
author's own words.
"""

from collections.abc import Sequence
from typing import Final

from hitl.errors import HitlError
from hitl.policy.actions import Action
from hitl.policy.adjustments import Adjusted
from hitl.policy.durations import format_duration
from hitl.policy.escaping import escape_line
from hitl.policy.settings import Settings
from hitl.policy.spec import Scoring, Undeclared
from hitl.policy.verdicts import ApprovalTerms, Requirement, SecondFactor
from hitl.policy.voices import Candidate, Voice

ADVICE_DENIED: Final = "Do not retry."
ADVICE_FAILED: Final = "Do not retry; tell the people who run this agent, the policy needs mending."
ADVICE_LATER: Final = "Try again later, or with less."
ADVICE_CHANGE: Final = "Change the call so that it fits, then try again."
ADVICE_SHORTER: Final = "Hand large or secret content over by reference, then try again."
ADVICE_FLOOD: Final = "Wait a minute, then go on more slowly."
ADVICE_PATH: Final = "Do not retry; use another path."

_LONGEST_REASON = 400
# How many people at most fill a requirement, and one more where a second person stands in for a second factor.
_COUNTS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven")


def rule_of(candidate: Candidate) -> str:
    return f'rule "{candidate.rule.name}" of {candidate.voice.title}'


def decided(candidate: Candidate, action: Action) -> str:
    because = candidate.rule.because.rstrip(" .")
    return f"{rule_of(candidate)} says {action.word}{f': {because}' if because else ''}"


def undeclared(voice: Voice, action: Action) -> str:
    return f"no rule of {voice.title} matches this call, and it says {action.word} of what it does not declare"


def scored(voice: Voice, candidate: Candidate | None, score: int, tier: Action, adjusted: Adjusted) -> str:
    low, high = bounds(voice.policy.scoring, tier)
    shown = f"score {score} is {tier.word} ({low}-{high})"
    if adjusted.action is not tier:
        moved = (
            adjusted.factors[-1].reason
            if adjusted.factors
            else f"no less than {adjusted.action.word} for what it touches"
        )
        shown = f"{shown}; {moved}"
    if candidate is not None:
        return f"{shown}; {rule_of(candidate)} asks for the score"
    if voice.policy.undeclared is Undeclared.SCORE and voice.policy.rules:
        return f"{shown}; no rule of {voice.title} matches this call"
    return f"{shown}; {voice.title} goes by the score"


def bounds(scoring: Scoring, tier: Action) -> tuple[int, int]:
    """Lowest and highest score of a tier."""
    starts = {
        Action.ALLOW: 0,
        Action.NOTIFY: scoring.notify,
        Action.CONFIRM: scoring.confirm,
        Action.MULTI_FACTOR: scoring.multi_factor,
    }
    following = Action(tier + 1)
    return starts[tier], max(starts[tier], starts[following] - 1) if following in starts else 100


def violated(candidate: Candidate, miss: str) -> str:
    return f"{rule_of(candidate)} ensures otherwise: {miss}"


def not_named(candidate: Candidate, arguments: Sequence[str]) -> str:
    names = ", ".join(f'"{name[:60]}"' for name in arguments[:5])
    return f"{rule_of(candidate)} is closed and names no argument {names}"


def exceeded(candidate: Candidate, usage: str) -> str:
    return f"limit of {rule_of(candidate)}: {usage}"


def flood(settings: Settings, name: str, of_tool: int, of_pod: int) -> str:
    if of_tool >= settings.flood_per_tool:
        return (
            f"{of_tool} calls of {name} in this session within a minute, at most {settings.flood_per_tool} are let in"
        )
    return f"{of_pod} calls of this pod within a minute, at most {settings.flood_per_pod} are let in"


def touches(voice: Voice, path: str, where: str) -> str:
    whose = "protected everywhere" if voice.is_built_in else f"protected by {voice.title}"
    return f"{where} leads to {path}, which is {whose}"


def failed(voice: Voice, candidate: Candidate | None, error: Exception) -> str:
    """Names policy, rule and (where the error carries it) the expression (SECURITY A1)."""
    where = rule_of(candidate) if candidate is not None else voice.title
    return f"{where} could not be evaluated: {because_of(error)}"


def because_of(error: Exception) -> str:
    """What an exception says, on one line. Our own are written for people and repeat no argument (I10); of all others
    only the kind is told.
    """
    if isinstance(error, HitlError):
        return escape_line(str(error), limit=_LONGEST_REASON)
    return f"unexpected {type(error).__name__}"


def suggest_only(voice: Voice) -> str:
    return f"{voice.title} has autonomy SuggestOnly: the agent proposes, a person acts"


def only_recorded(voice: Voice, would: Action, explanation: str) -> str:
    return f"{voice.title} is {voice.relaxes} and only records; it would be {would.word}: {explanation}"


def sentence(text: str) -> str:
    """A line as a sentence: capital first, one full stop."""
    text = text.rstrip(" .")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def who(requirements: Sequence[Requirement]) -> str:
    """Whom a held call waits for: ``1 of group support-leads``, joined by ``and``."""
    return " and ".join(_who(requirement) for requirement in requirements)


def _who(requirement: Requirement) -> str:
    groups = requirement.any_of
    match len(groups):
        case 0:
            people = "a reviewer" if requirement.approvals == 1 else f"{requirement.approvals} reviewers"
        case 1:
            people = f"{requirement.approvals} of group {groups[0]}"
        case _:
            people = f"{requirement.approvals} of groups {', '.join(groups)}"
    match requirement.second_factor:
        case SecondFactor.NONE:
            return people
        case SecondFactor.HARDWARE:
            people = f"{people} with a hardware security key"
        case _:
            people = f"{people} with a second factor"
    return f"{people} (or {requirement.approvals + 1} people)" if requirement.or_second_person else people


def people(requirement: Requirement, count: int, *, with_factor: bool = True) -> str:
    """Who still has to agree: ``one of support``, ``two reviewers``, ``a reviewer with a second factor``.

    Args:
        requirement: whose places these are.
        count: places left.
        with_factor: whoever fills them must show the requirement's second factor.
    """
    if requirement.second_factor is SecondFactor.NONE or not with_factor:
        return _people(requirement, count)
    key = "a hardware security key" if requirement.second_factor is SecondFactor.HARDWARE else "a second factor"
    shown = f"{_people(requirement, count)} with {key}"
    return f"{shown}, or {_people(requirement, count + 1)}" if requirement.or_second_person else shown


def _people(requirement: Requirement, count: int) -> str:
    groups = " or ".join(requirement.any_of)
    if groups:
        return f"{_COUNTS[count]} of {groups}"
    return "a reviewer" if count == 1 else f"{_COUNTS[count]} reviewers"


def authors_words(because: str, explanation: str) -> str:
    """An author's `because` without a full stop, where his rule alone decided: `explanation` ends with it then."""
    words = because.rstrip(" .")
    return words if words and explanation.endswith(f": {words}") else ""


def waiting(whom: str, *, because: str = "", where: str = "") -> str:
    """What an agent hears of a held call, from the gate and in `explain` alike.

    Args:
        whom: who still has to agree.
        because: the author's words for it, if any.
        where: the request and when it ends; only known once it is made.
    """
    why = f": {' '.join(because.split())}" if because else ""
    held = f" ({where})" if where else ""
    return f"Waiting for {whom}{why}{held}. Do other work, then make the same call again; it will not run twice."


def course(terms: ApprovalTerms) -> str:
    """What happens from here on: who, how long, then whom else, and how it ends if nobody answers."""
    steps = "".join(f"; after {format_duration(step.after)} also {', '.join(step.to)}" for step in terms.escalation)
    return f"{who(terms.requirements)} within {format_duration(terms.timeout)}{steps}; else expired"


def agent_hears(
    action: Action, explanation: str, *, because: str, advice: str, terms: ApprovalTerms | None, clarify: bool
) -> str:
    """One to three sentences for the model: what happens, and what to do next.

    Args:
        action: what the call gets.
        explanation: why, for people.
        because: see `authors_words`.
        advice: under Deny.
        terms: of a held call.
        clarify: the answer is CLARIFY instead.
    """
    why = sentence(because or explanation)
    if clarify:
        return (
            f"Not run: {explanation}. Ask the user what exactly is wanted, then make the call again; the same call "
            "with a higher number is not believed."
        )
    match action:
        case Action.ALLOW:
            return f"Allowed: {explanation}."
        case Action.NOTIFY:
            return f"Allowed, and people are told: {explanation}."
        case Action.CONFIRM | Action.MULTI_FACTOR if terms is not None:
            whom = " and ".join(people(each, each.approvals) for each in terms.requirements)
            return waiting(whom, because=because)
        case Action.SUGGEST:
            return f"A person does this instead of you: {why} Propose it and go on with other work."
        case _:
            return f"Refused: {explanation}. {advice or ADVICE_DENIED}"
