"""What policies say that is valid and hardly meant: rules never reached, matchers that are got around, empty reviews.

Only what can be proven from the policies is reported; everything here is about what an author wrote, never about calls.
"""

from collections.abc import Callable, Iterator, Sequence

from hitl.errors import Problem
from hitl.policy.actions import Action
from hitl.policy.argument_tests import Test
from hitl.policy.capabilities import kind_of
from hitl.policy.globs import Glob
from hitl.policy.parsing_reader import child_path, nearest
from hitl.policy.problem_codes import CODES
from hitl.policy.rule_order import covering
from hitl.policy.spec import Autonomy, Mode, Policy, Rule, ToolServer, Undeclared
from hitl.policy.values import steps_of
from hitl.policy.verdicts import OnTimeout

__all__ = ["CODES", "lint"]

Note = Callable[[str, str, str], None]

# These look at the spelling of a text; equals and in ask for the whole of it and cannot be talked around.
_BY_SPELLING = frozenset({"matches", "notMatches", "startsWith", "endsWith", "notIn"})
_ADVICE = {
    "sql": ("HITL201", "SQL also lets 'select 1; drop table x' through; {meanwhile}, until sqlOnly arrives"),
    "command": ("HITL202", "a command is got around by quotes, 'a; b' and $(…); {meanwhile}, until runsOnly arrives"),
    "files": ("HITL203", "a path lets '/workspace/../etc/passwd' through; write within: [DIRECTORY]"),
    "network": ("HITL204", "a URL lets 'https://good.com@evil.com' through; write hosts: [HOST]"),
}
_MEANWHILE = "list what is allowed whole with in, or let a person decide"
_SQL_NAMES = frozenset({"query", "statement", "stmt", "sql"})
_SQL_WORDS = ("select", "insert", "update", "delete", "drop")
_HARMLESS = ("get_*", "list_*", "read_*", "search_*", "find_*", "show_*", "describe_*", "count_*", "view_*")
_EVERYTHING = Glob.parse("*")


def lint(resources: Sequence[Policy | ToolServer]) -> list[Problem]:
    """Everything that is worth a second look; `Problem.document` is the index of the resource."""
    servers = {each.name: each for each in resources if isinstance(each, ToolServer)}
    found: list[Problem] = []
    for index, policy in enumerate(resources):
        if not isinstance(policy, Policy):
            continue

        def note(path: str, message: str, code: str, index: int = index) -> None:
            severity = "error" if code.startswith("HITL1") else "warning"
            found.append(Problem(path, message, code, index, severity))

        _unreachable(policy, note)
        for rule in policy.rules:
            _evadable(rule, note)
            _without_effect(rule, note)
            _unknown_tools(rule, servers, note)
        _reviews(policy, note)
        _timing(policy, note)
        _silent(policy, note)
    return found


def _path(rule: Rule) -> str:
    return f"spec.rules[{rule.index}]"


def _unreachable(policy: Policy, note: Note) -> None:
    for rule, first in covering(policy.rules):
        why = "denies first" if first.action is Action.DENY and rule.action is not Action.DENY else "is first"
        note(_path(rule), f'rule "{rule.name}" never matches: "{first.name}" (rules[{first.index}]) {why}', "HITL104")


def _evadable(rule: Rule, note: Note) -> None:
    for key, matchers in (("args", rule.args), ("ensure", rule.ensure)):
        for asked in matchers.arguments if matchers else ():
            last = steps_of(asked.pointer)[-1]
            tests = list(_flat(asked.tests))
            names = {test.name for test in tests}
            path = child_path(f"{_path(rule)}.{key}", asked.pointer if asked.pointer.count("/") > 1 else last)
            advice = _ADVICE.get(_kind(last, tests))
            spelling = sorted(names & _BY_SPELLING)
            if advice and spelling:
                note(path, f"{spelling[0]} on {advice[1].format(meanwhile=_MEANWHILE)}", advice[0])
            if "." in last.strip("."):
                nested = "/" + last.replace(".", "/")
                note(
                    path, f"{last!r} is one argument of that name; for what is inside another write {nested}", "HITL205"
                )
            if key == "args" and rule.action is Action.DENY and "within" in names:
                note(
                    path,
                    "a Deny rule with within does not see a relative path or another spelling of home; "
                    "list the directory under spec.protectedPaths",
                    "HITL206",
                )


def _kind(argument: str, tests: Sequence[Test]) -> str:
    """What an argument is by its name; one named query is SQL if its matchers talk SQL."""
    spoken = " ".join(str(test.operand) for test in tests if test.name in _BY_SPELLING).casefold()
    if argument.casefold() in _SQL_NAMES and any(word in spoken for word in _SQL_WORDS):
        return "sql"
    return kind_of(argument)


def _flat(tests: Sequence[Test]) -> Iterator[Test]:
    for test in tests:
        yield test
        yield from _flat(test.items)


def _without_effect(rule: Rule, note: Note) -> None:
    if rule.action is not Action.DENY:
        return
    useless = {
        "reviewers": rule.requirements is not None,
        "timeout": rule.timeout is not None,
        "ensure": rule.ensure is not None,
        "closed": rule.closed,
        "level": rule.level is not None,
        "final": rule.final,
    }
    for key, given in useless.items():
        if given:
            note(f"{_path(rule)}.{key}", f"has no effect under Deny: nothing is asked or run; remove {key}", "HITL306")


def _unknown_tools(rule: Rule, servers: dict[str, ToolServer], note: Note) -> None:
    for at, glob in enumerate(rule.tools):
        server = servers.get(glob.server)
        if server is None or not server.tools or any(glob.covers(_exactly(server, tool)) for tool in server.tools):
            continue
        near = nearest(glob.tool, server.tools)
        hint = f"did you mean {server.name}/{near}?" if near else f"it declares {', '.join(sorted(server.tools)[:5])}"
        note(f"{_path(rule)}.tools[{at}]", f"ToolServer {server.name} declares no such tool; {hint}", "HITL307")


def _exactly(server: ToolServer, tool: str) -> Glob:
    return Glob.parse(f"{server.name}/{tool}")


def _reviews(policy: Policy, note: Note) -> None:
    if policy.mode is Mode.MONITOR or policy.is_cluster:
        return
    asks = any(_asks(rule) for rule in policy.rules) or policy.undeclared is Undeclared.SCORE
    asks = asks or (isinstance(policy.undeclared, Action) and policy.undeclared.holds)
    lets_run = any(rule.action in (Action.ALLOW, Action.NOTIFY, None) for rule in policy.rules)
    last_word = policy.undeclared if policy.undeclared is not None else _catch_all(policy)
    if policy.autonomy is Autonomy.AUDIT_ONLY:
        note("spec.autonomy", "AuditOnly runs everything but Deny: nothing here ever asks a person", "HITL301")
    elif not asks and last_word in (Action.ALLOW, Action.NOTIFY):
        note("spec.rules", "nothing here ever asks a person: always-approve", "HITL301")
    elif not lets_run and isinstance(last_word, Action) and last_word.holds:
        note("spec.rules", "every call that is not denied waits for a person: always-confirm", "HITL302")
    for rule in policy.rules:
        harmless = [glob.text for glob in rule.tools if _reads(glob)]
        if rule.action is not None and rule.action.holds and harmless and not rule.args.arguments and rule.cel is None:
            listed = ", ".join(harmless)
            note(_path(rule), f"asks a person about every read ({listed}): people will click, not read", "HITL303")
    _own_approver(policy, note)
    if policy.approval.denial_cooldown == 0:
        note("spec.approval.denialCooldown", "0s lets an agent ask again at once, until somebody tires", "HITL305")


def _asks(rule: Rule) -> bool:
    return rule.action is None or rule.action.holds or (rule.limit is not None and rule.limit.then.holds)


def _catch_all(policy: Policy) -> Action | None:
    """What the first rule does that matches every tool with any arguments; None if there is none, or it scores."""
    for rule in policy.rules:
        if not rule.args.arguments and rule.cel is None and any(glob.covers(_EVERYTHING) for glob in rule.tools):
            return rule.action
    return None


def _reads(glob: Glob) -> bool:
    return any(glob.tool.startswith(pattern[:-1]) and glob.tool.endswith("*") for pattern in _HARMLESS)


def _own_approver(policy: Policy, note: Note) -> None:
    if policy.approval.on_behalf_of_may_approve and not policy.approval.requirements:
        note(
            "spec.approval.onBehalfOf",
            "whoever the agent acts for may approve, and no reviewers are named: he decides alone; name reviewers",
            "HITL303",
        )


def _timing(policy: Policy, note: Note) -> None:
    approval = policy.approval
    rounds = 1 if approval.on_timeout is OnTimeout.ABORT else 2
    longest = max((approval.timeout, *(rule.timeout for rule in policy.rules if rule.timeout is not None))) * rounds
    for at, step in enumerate(approval.escalation):
        if step.after >= longest:
            note(f"spec.approval.escalate[{at}].after", "is never reached: the request has expired by then", "HITL304")
    if approval.remind is not None and approval.remind >= longest:
        note("spec.approval.remind", "is never reached: the request has expired by then", "HITL304")


def _silent(policy: Policy, note: Note) -> None:
    if not policy.is_cluster and not policy.rules and policy.undeclared is None:
        note("spec", "says nothing about any call; add rules, or undeclared: Score", "HITL309")
    if not policy.is_cluster:
        return
    rest = [rule for rule in policy.rules if rule.action is not Action.DENY]
    if rest and rest[-1].action is Action.ALLOW and policy.undeclared is None:
        note(
            _path(rest[-1]),
            "Allow in a ClusterAgentPolicy only exempts calls from the rules after it, and none comes after",
            "HITL308",
        )
