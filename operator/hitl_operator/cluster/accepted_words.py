"""What the condition Accepted says to people: per rule what it matches (SECURITY C5), or every problem and what is in
force instead.

An author who wrote a matcher that went missing on the way sees here that the rule matches more than was meant.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from hitl.errors import Problem
from hitl.policy.actions import Action
from hitl.policy.spec import Policy, Rule, ToolServer
from hitl.policy.values import steps_of

_MOST_RULES: Final = 40
_MOST_GLOBS: Final = 4
_MOST_PROBLEMS: Final = 10
_LONGEST: Final = 4000  # characters of a message; the API server allows 32 768, people read less


def valid(parsed: Policy | ToolServer) -> str:
    """What an accepted resource says, in its own order."""
    if isinstance(parsed, ToolServer):
        count = len(parsed.tools)
        trust = ", trusted" if parsed.trusted else ""
        return f"{count} tool{'' if count == 1 else 's'} declared{trust}"
    count = len(parsed.rules)
    head = f"{count} rule{'' if count == 1 else 's'}"
    if parsed.undeclared is not None:
        said = parsed.undeclared.word if isinstance(parsed.undeclared, Action) else parsed.undeclared.value
        head += f", {said} for what none matches"
    shown = [_rule(number, rule) for number, rule in enumerate(parsed.rules[:_MOST_RULES], 1)]
    if count > _MOST_RULES:
        shown.append(f"and {count - _MOST_RULES} more")
    return _cut(f"{head}: {'; '.join(shown)}" if shown else head)


def invalid(problems: Sequence[Problem]) -> str:
    """Every problem with its path; each message names what to write."""
    shown = [str(problem) for problem in problems[:_MOST_PROBLEMS]]
    if len(problems) > _MOST_PROBLEMS:
        shown.append(f"and {len(problems) - _MOST_PROBLEMS} more; kubectl hitl check -f FILE prints all of them")
    return _cut("; ".join(shown))


def asking(at: datetime | None, *, begun: bool) -> str:
    """That what runs unasked asks people from some time on, which has `begun` or not (SECURITY C6); None: at once."""
    if at is None:
        return "every call that ran unasked asks a person"
    when = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    if begun:
        return f"since {when} every call that ran unasked asks a person"
    return f"from {when} on every call that runs unasked will ask a person"


def standing(generation: int | None, written: int, *, asking: str, dropped: Iterable[str], is_strict: bool) -> str:
    """What is in force of a resource that is not accepted as it is written.

    Args:
        generation: the one in force; None if none ever was.
        written: the one that is written.
        asking: see above.
        dropped: paths in it that a baseline forbids.
        is_strict: whether it is asked already.
    """
    left_out = ", ".join(dropped)
    without = f" without {left_out}" if left_out else ""
    if generation is None:
        return f"No generation was ever accepted, so none of its rules apply; for the pods that it selects, {asking}"
    if generation == written:
        return f"It is in force{without}; {asking}" if is_strict else f"It is in force{without}"
    return f"Generation {generation} stays in force{without}; {asking}"


def _rule(number: int, rule: Rule) -> str:
    name = "" if rule.name == f"rule-{number}" else f" {rule.name}"
    action = rule.action.word if rule.action is not None else "Score"
    globs = [glob.text for glob in rule.tools[:_MOST_GLOBS]]
    if len(rule.tools) > _MOST_GLOBS:
        globs.append(f"+{len(rule.tools) - _MOST_GLOBS}")
    conditions = [_argument(each.pointer) for each in rule.args.arguments]
    if rule.cel is not None:
        conditions.append("cel")
    matched = f" by {', '.join(conditions)}" if conditions else ""
    ensured = [_argument(each.pointer) for each in rule.ensure.arguments] if rule.ensure is not None else []
    ensure = f", ensures {', '.join(ensured)}" if ensured else ""
    limit = ", limited" if rule.limit is not None else ""
    return f"[{number}]{name} {action} {' '.join(globs)}{matched}{ensure}{limit}"


def _argument(pointer: str) -> str:
    steps = steps_of(pointer)
    return steps[0] if len(steps) == 1 else pointer


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
