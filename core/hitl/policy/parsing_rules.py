"""`rules[]`: from what an author wrote to compiled rules."""

import re
from typing import Final

from hitl.policy.actions import Action
from hitl.policy.expressions import MAX_SOURCE, Expression
from hitl.policy.globs import MAX_LENGTH, Glob
from hitl.policy.matchers import ArgumentMatchers
from hitl.policy.parsing_matchers import MAX_NAME, read_matchers
from hitl.policy.parsing_people import HINTS as PEOPLE
from hitl.policy.parsing_people import read_requirements
from hitl.policy.parsing_reader import CONTRADICTION, TWICE, UNKNOWN_WORD, Reader, nearest
from hitl.policy.patterns import PatternBook
from hitl.policy.spec import Effect, Level, Limit, Rule
from hitl.policy.templates import MAX_SUMMARY, Template

BAD_GLOB: Final = "HITL106"
BAD_CEL: Final = "HITL108"
BAD_TEMPLATE: Final = "HITL113"

MAX_RULES: Final = 128
MAX_GLOBS: Final = 64
SHORTEST_TIMEOUT: Final = 1
LONGEST_TIMEOUT: Final = 7 * 86400

ACTIONS: Final = {action.word: action for action in Action}
LEVELS: Final = {level.word: level for level in Level}
EFFECTS: Final = {effect.value: effect for effect in Effect}

_SCORE = "Score"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII)
_LINK = re.compile(r"https?://[^\s<>\"]+")
_LONGEST_WINDOW = 31 * 86400
_MAX_SUM = 2**53 - 1
_COUNTED_BY_HUB = ("workload", "onBehalfOf")
HINTS: Final = {
    "arguments": "unknown key; the matchers of a rule stand under args",
    "match": "unknown key; write tools for the tools and args for their arguments",
    "reason": "unknown key; write because",
    "escalate": "unknown key; escalation is set for the whole policy: spec.approval.escalate",
    "channels": PEOPLE["channels"],
    "score": "unknown key; write action: Score, and weights under spec.scoring",
}


def read_globs(reader: Reader, key: str) -> tuple[Glob, ...]:
    """A list of globs over tools; empty if the key is absent."""
    found: list[Glob] = []
    for path, item in reader.items(key, most=MAX_GLOBS):
        text = reader.text_of(item, path, limit=MAX_LENGTH)
        glob = reader.attempt(path, Glob.parse, text, BAD_GLOB) if text else None
        if glob is not None:
            found.append(glob)
    return tuple(found)


def read_rules(spec: Reader) -> tuple[Rule, ...]:
    """All rules of a policy, each with a name of its own."""
    book = PatternBook()
    rules = [_read_rule(reader, index, book) for index, reader in enumerate(spec.children("rules", most=MAX_RULES))]
    book.seal()
    _check_names(rules, spec)
    return tuple(rules)


def _check_names(rules: list[Rule], spec: Reader) -> None:
    first: dict[str, int] = {}
    for rule in rules:
        earlier = first.setdefault(rule.name.casefold(), rule.index)
        if earlier != rule.index:
            spec.problems.add(
                f"{spec.at('rules')}[{rule.index}].name",
                f"{rule.name!r} also names rules[{earlier}]; a name stands for one rule in verdicts and audit: "
                "give one of them another",
                TWICE,
            )


def _read_rule(reader: Reader, index: int, book: PatternBook) -> Rule:
    reader.require("action", "tools")
    action = reader.word("action", ACTIONS | {_SCORE: None}, Action.DENY)
    name = reader.text("name", limit=63, form=_NAME, wants="a rule's name: letters, digits, '.', '_' and '-'")
    tools = read_globs(reader, "tools")
    args = read_matchers(reader, "args", book) or ArgumentMatchers()
    ensure = read_matchers(reader, "ensure", book)
    closed = reader.word("closed", {"Arguments": True}, default=False)
    rule = Rule(
        name=name or f"rule-{index + 1}",
        index=index,
        action=action,
        tools=tools,
        args=args,
        ensure=ensure,
        closed=closed,
        cel=reader.compiled("cel", Expression, BAD_CEL, limit=MAX_SOURCE),
        requirements=read_requirements(reader),
        timeout=reader.seconds("timeout", default=None, low=SHORTEST_TIMEOUT, high=LONGEST_TIMEOUT),
        limit=_read_limit(reader, action),
        level=reader.word("level", LEVELS, None),
        effects=reader.words("effects", EFFECTS),
        because=reader.text("because", limit=512),
        link=reader.text("link", limit=512, form=_LINK, wants="a link; write https://…"),
        summary=reader.compiled("summary", Template, BAD_TEMPLATE, limit=MAX_SUMMARY),
        final=reader.flag("final"),
    )
    reader.done(HINTS)
    return rule


def _read_limit(parent: Reader, action: Action | None) -> Limit | None:
    reader = parent.child("limit")
    if reader is None:
        return None
    reader.require("per")
    if ("calls" in reader) == ("sum" in reader):
        reader.problem("", "needs either calls: N, or sum: ARGUMENT with max: N", CONTRADICTION)
    maximum: float | None = reader.whole("calls", default=None, low=1, high=1_000_000)
    sum_of = reader.text("sum", limit=MAX_NAME)
    if sum_of:
        maximum = _read_maximum(reader)
    elif reader.asks("max"):
        reader.problem("max", "belongs to sum; for calls write calls: N", CONTRADICTION)
    per = reader.seconds("per", default=60, low=1, high=_LONGEST_WINDOW)
    by, by_argument = _read_by(reader)
    then = reader.word("then", ACTIONS, Action.DENY)
    least = Action.ALLOW if action is None else action
    if action is Action.DENY:
        parent.problem("limit", "has no meaning under Deny: nothing is counted; leave it out", CONTRADICTION)
    elif then <= least:
        reader.problem(
            "then",
            f"{then.word} is not stricter than {least.word}; past a limit a call must not get easier",
            CONTRADICTION,
        )
    reader.done()
    return Limit(maximum=maximum or 0, per=per, sum_of=sum_of or None, by=by, by_argument=by_argument, then=then)


def _read_maximum(reader: Reader) -> float | None:
    reader.require("max")
    value = reader.value("max")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_SUM:
        reader.problem("max", f"wants a number over 0, this is {value!r}")
        return None
    return value


def _read_by(reader: Reader) -> tuple[str, str]:
    by = reader.text("by", limit=MAX_NAME, default="pod")
    if by in _COUNTED_BY_HUB:
        reader.problem(
            "by",
            f"{by} is counted by the hub, which arrives in a later version; until then: pod, session or an argument",
            UNKNOWN_WORD,
        )
        return "pod", ""
    if by in ("pod", "session"):
        return by, ""
    near = nearest(by, ("session", "workload", "onBehalfOf"))
    if near and near.casefold() == by.casefold():
        reader.problem(
            "by", f"{by} is not known here; did you mean {near}? An argument of that name is /{by}", UNKNOWN_WORD
        )
    return "argument", by
