"""Rules, and who decides: what is accepted, and what is refused with the next step."""

from typing import Any

import pytest
from written import a_policy, a_rule, problems_of, rule_problems

from hitl.policy.actions import Action
from hitl.policy.spec import Effect, Level, Limit
from hitl.policy.verdicts import EscalationStep, OnTimeout, Requirement, SecondFactor


def test_the_policy_of_the_design_is_read() -> None:
    """The first policy of DESIGN 6, as it stands there."""
    policy = a_policy(
        {
            "podSelector": {"matchLabels": {"app": "support"}},
            "rules": [
                {"action": "Allow", "tools": ["get_*", "list_*", "search_*"]},
                {"action": "Deny", "tools": ["delete_*"]},
                {
                    "action": "Notify",
                    "tools": ["stripe/create_refund"],
                    "args": {"amount": {"min": 1, "max": 5000}, "currency": {"in": ["eur"]}},
                    "limit": {"sum": "amount", "max": 100000, "per": "24h", "then": "Confirm"},
                },
                {
                    "action": "Confirm",
                    "tools": ["stripe/create_refund"],
                    "args": {"amount": {"min": 1, "max": 20000}},
                    "reviewers": ["support-leads"],
                    "because": "Refunds over 50 EUR: policy 4.2",
                },
                {
                    "action": "MultiFactor",
                    "tools": ["stripe/create_refund"],
                    "reviewers": ["support-managers", "finance"],
                    "timeout": "24h",
                },
                {"action": "Confirm", "tools": ["email/send"], "summary": "mail {args.to}: {args.subject}"},
            ],
            "approval": {
                "reviewers": ["support"],
                "escalate": [{"after": "5m", "to": ["oncall"]}],
            },
        }
    )
    assert [rule.action for rule in policy.rules] == [
        Action.ALLOW, Action.DENY, Action.NOTIFY, Action.CONFIRM, Action.MULTI_FACTOR, Action.CONFIRM,
    ]  # fmt: skip
    assert [rule.name for rule in policy.rules] == [f"rule-{n}" for n in range(1, 7)]
    assert policy.rules[2].limit == Limit(maximum=100000, per=86400, sum_of="amount", then=Action.CONFIRM)
    assert policy.rules[2].args.named == {"amount", "currency"}
    assert policy.rules[3].requirements == (Requirement("support-leads", any_of=("support-leads",)),)
    assert [each.name for each in policy.rules[4].requirements or ()] == ["support-managers", "finance"]
    assert policy.rules[4].timeout == 86400
    assert policy.approval.requirements == (Requirement("support", any_of=("support",)),)
    assert policy.approval.escalation == (EscalationStep(300, ("oncall",)),)


def test_every_field_of_a_rule_is_read() -> None:
    """One value of each key reaches its field."""
    rule = a_rule(
        name="refunds",
        action="Score",
        tools=["stripe/*"],
        args={"amount": {"min": 1}},
        ensure={"currency": {"in": ["eur"]}},
        closed="Arguments",
        cel="args.amount > 5",
        requirements=[{"name": "leads", "approvals": 2, "anyOf": ["a", "b"], "secondFactor": "Hardware"}],
        timeout="1500ms",
        limit={"calls": 3, "per": "1m", "by": "session"},
        level="high",
        effects=["Financial", "Irreversible"],
        because="policy 4.2",
        link="https://wiki.example.com/4.2",
        summary="refund {args.amount}",
        final=True,
    )
    assert (rule.name, rule.action, rule.index, rule.closed, rule.final) == ("refunds", None, 0, True, True)
    assert rule.ensure is not None
    assert rule.ensure.named == {"currency"}
    assert rule.cel is not None
    assert rule.requirements == (Requirement("leads", 2, ("a", "b"), SecondFactor.HARDWARE),)
    assert rule.timeout == 2, "milliseconds are rounded up"
    assert rule.limit == Limit(maximum=3, per=60, by="session", then=Action.DENY)
    assert (rule.level, rule.effects) == (Level.HIGH, (Effect.FINANCIAL, Effect.IRREVERSIBLE))
    assert (rule.because, rule.link) == ("policy 4.2", "https://wiki.example.com/4.2")
    assert rule.summary is not None


def test_a_limit_is_counted_by_an_argument_too() -> None:
    """By name or pointer; a name that is also a word of ours is written as a pointer."""
    assert a_rule(limit={"calls": 1, "per": "1m", "by": "customer"}).limit == Limit(
        1, 60, by="argument", by_argument="customer"
    )
    assert a_rule(limit={"calls": 1, "per": "1m", "by": "/pod"}).limit == Limit(
        1, 60, by="argument", by_argument="/pod"
    )


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"acton": "Deny"}, "acton", "did you mean action?"),
        ({"match": {}}, "match", "write tools"),
        ({"reason": "x"}, "reason", "write because"),
        ({"action": "confirm"}, "action", "did you mean Confirm?"),
        ({"action": "Multi-Factor"}, "action", "did you mean MultiFactor?"),
        ({"action": "Block"}, "action", "write one of Allow, Notify"),
        ({"tools": []}, "tools", "empty list"),
        ({"tools": "x"}, "tools", 'write ["x"]'),
        ({"tools": ["a/**"]}, "tools[0]", "** is not a glob here"),
        ({"tools": [7]}, "tools[0]", "put it in quotes"),
        ({"tools": [f"t{n}" for n in range(65)]}, "tools", "at most 64"),
        ({"name": "a b"}, "name", "a rule's name"),
        ({"name": "x" * 64}, "name", "at most 63"),
        ({"args": {"currency": "eur"}}, "args.currency", 'write currency: {equals: "eur"}'),
        ({"args": {"currency": ["eur"]}}, "args.currency", 'write currency: {in: ["eur"]}'),
        ({"args": {"amount": {}}}, "args.amount", "asks nothing"),
        ({"args": {}}, "args", "asks nothing"),
        ({"args": {"amount": {"mn": 1}}}, "args.amount.mn", "did you mean min?"),
        ({"args": {"amount": {"min": "1"}}}, "args.amount.min", "wants a number, this is a string"),
        ({"args": {"amount": {"min": True}}}, "args.amount.min", "wants a number, this is a boolean"),
        ({"args": {"amount": {"min": 5, "max": 1}}}, "args.amount.min", "no number fits"),
        ({"args": {"amount": {"in": []}}}, "args.amount.in", "empty list"),
        ({"args": {"amount": {"in": 5}}}, "args.amount.in", "wants a list"),
        ({"args": {"a": {"matches": "("}}}, "args.a.matches", "not an RE2 pattern"),
        ({"args": {"a": {"matches": "x{17}"}}}, "args.a.matches", "at most 16"),
        ({"args": {"a": {"matches": "\\pL{1,16}"}}}, "args.a.matches", "at most 3000"),
        ({"args": {"a": {"matches": 5}}}, "args.a.matches", "put it in quotes"),
        ({"args": {"a": {"maxLength": -1}}}, "args.a.maxLength", "from 0"),
        ({"args": {"a": {"present": "yes"}}}, "args.a.present", "true or false"),
        ({"args": {"a": {"present": False, "min": 1}}}, "args.a.present", "no value to match"),
        ({"args": {"a": {"within": "/x/*"}}}, "args.a.within", "wildcard"),
        ({"args": {"a": {"within": ["/x", "$Y"]}}}, "args.a.within[1]", "variable"),
        ({"args": {"a": {"hosts": ["*"]}}}, "args.a.hosts[0]", "only stand first"),
        ({"args": {"a": {"each": {"present": True}}}}, "args.a.each.present", "leave it out"),
        (
            {"args": {"a": {"each": {"each": {"each": {"each": {"min": 1}}}}}}},
            "args.a.each.each.each.each",
            "deeper than 3",
        ),
        ({"args": {"/a/": {"min": 1}}}, 'args["/a/"]', "no JSON pointer"),
        ({"args": {"/a~2": {"min": 1}}}, 'args["/a~2"]', "no JSON pointer"),
        ({"args": {"a": {"min": 1}, "/a": {"max": 2}}}, 'args["/a"]', "stands there twice"),
        ({"args": {f"a{n}": {"min": 1} for n in range(33)}}, "args", "at most 32"),
        (
            {"args": {"cmd": {"runs": ["ls"]}}},
            "args.cmd.runs",
            "arrives in a later version; until then let a person decide",
        ),
        ({"args": {"cmd": {"runsOnly": ["ls"]}}}, "args.cmd.runsOnly", "arrives in a later version"),
        ({"args": {"q": {"sqlOnly": ["select"]}}}, "args.q.sqlOnly", "until then list the whole statements with in"),
        ({"args": {"q": {"sqlAny": ["select"]}}}, "args.q.sqlAny", "arrives in a later version"),
        ({"args": {"q": {"sqlTables": ["t"]}}}, "args.q.sqlTables", "arrives in a later version"),
        ({"ensure": {"a": {"mn": 1}}}, "ensure.a.mn", "did you mean min?"),
        ({"closed": True}, "closed", "write one of Arguments"),
        ({"cel": "args.x"}, "cel", "may be of any type"),
        ({"cel": "1 +"}, "cel", "no CEL condition"),
        ({"summary": "{to}"}, "summary", "write {args.to}"),
        ({"timeout": 15}, "timeout", "wants a duration"),
        ({"timeout": "8d"}, "timeout", "from 1s to 7d"),
        ({"timeout": "0s"}, "timeout", "from 1s to 7d"),
        ({"reviewers": ["a", "a"]}, "reviewers[1]", "stands there twice"),
        ({"reviewers": []}, "reviewers", "empty list"),
        ({"reviewers": "a"}, "reviewers", 'write ["a"]'),
        ({"reviewers": ["a"], "requirements": [{"name": "b"}]}, "requirements", "excludes reviewers"),
        ({"requirements": [{"name": "a"}, {"name": "a"}]}, "requirements", "two are named 'a'"),
        ({"requirements": [{"approvals": 2}]}, "requirements[0]", "needs name"),
        ({"requirements": [{"name": "a", "approvals": 11}]}, "requirements[0].approvals", "from 1 to 10"),
        ({"requirements": [{"name": "a", "groups": ["x"]}]}, "requirements[0].groups", "write anyOf"),
        (
            {"requirements": [{"name": "a", "secondFactor": "TOTP"}]},
            "requirements[0].secondFactor",
            "None, Any, Hardware",
        ),
        ({"limit": {"per": "1m"}}, "limit", "either calls: N, or sum"),
        ({"limit": {"calls": 1, "sum": "a", "max": 1, "per": "1m"}}, "limit", "either calls: N, or sum"),
        ({"limit": {"calls": 1}}, "limit", "needs per"),
        ({"limit": {"sum": "amount", "per": "1m"}}, "limit", "needs max"),
        ({"limit": {"sum": "amount", "max": 0, "per": "1m"}}, "limit.max", "over 0"),
        ({"limit": {"calls": 1, "max": 5, "per": "1m"}}, "limit.max", "belongs to sum"),
        ({"limit": {"calls": 0, "per": "1m"}}, "limit.calls", "from 1"),
        (
            {"limit": {"calls": 1, "per": "1m", "by": "workload"}},
            "limit.by",
            "counted by the hub, which arrives in a later",
        ),
        ({"limit": {"calls": 1, "per": "1m", "by": "onBehalfOf"}}, "limit.by", "counted by the hub"),
        ({"limit": {"calls": 1, "per": "1m", "by": "Session"}}, "limit.by", "did you mean session?"),
        ({"limit": {"calls": 1, "per": "1m", "then": "Allow"}}, "limit.then", "not stricter than Confirm"),
        ({"limit": {"calls": 1, "per": "1m", "then": "Confirm"}}, "limit.then", "not stricter than Confirm"),
        ({"action": "Deny", "limit": {"calls": 1, "per": "1m"}}, "limit", "no meaning under Deny"),
        ({"level": "High"}, "level", "did you mean high?"),
        ({"effects": ["Financial", "Financial"]}, "effects[1]", "stands there twice"),
        ({"effects": ["financial"]}, "effects[0]", "did you mean Financial?"),
        ({"because": "x" * 513}, "because", "at most 512"),
        ({"link": "javascript:alert(1)"}, "link", "https://"),
        ({"final": "yes"}, "final", "true or false"),
    ],
)
def test_C5_a_mistake_in_a_rule_is_refused_at_its_place(fields: dict[str, Any], path: str, said: str) -> None:
    """C5: each with the path inside the rule and the next step."""
    problems = rule_problems(**fields)
    assert path in problems, problems
    assert said in problems[path]


def test_C5_a_rule_without_an_action_is_refused() -> None:
    """C5: `action` is required and has no default; so is `tools`."""
    problems = problems_of({"rules": [{"acton": "Deny"}]})
    assert problems["spec.rules[0].acton"] == "unknown key; did you mean action?"
    assert problems["spec.rules[0]"].startswith("needs")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), (None, "rule-1"), ("rule-2", None)])
def test_two_rules_with_one_name_are_refused(names: tuple[str | None, str | None]) -> None:
    """A name stands for one rule in verdicts and audit, also the one that an unnamed rule gets."""
    rules = [{"action": "Deny", "tools": ["x"], **({"name": name} if name else {})} for name in names]
    assert "give one of them another" in problems_of({"rules": rules})["spec.rules[1].name"]


def multi_factor(**fields: Any) -> tuple[tuple[Requirement, ...], SecondFactor]:
    approval = a_policy({"approval": {"reviewers": ["support"], "multiFactor": fields}}).approval
    return approval.multi_factor_requirements, approval.second_factor


def test_several_people_are_each_others_second_person() -> None:
    """With two groups and no word about factors, one person of each suffices."""
    two = (Requirement("a", any_of=("a",)), Requirement("b", any_of=("b",)))
    assert multi_factor(reviewers=["a", "b"]) == (two, SecondFactor.NONE)
    assert multi_factor(reviewers=["a", "b"], satisfiedBy=["SecondPerson"]) == (two, SecondFactor.NONE)


def test_one_person_needs_a_factor_or_somebody_beside_him() -> None:
    """With one group the default is any factor or a second person; each way can be asked for alone."""
    assert multi_factor(reviewers=["a"])[0] == (
        Requirement("a", any_of=("a",), second_factor=SecondFactor.ANY, or_second_person=True),
    )
    assert multi_factor(reviewers=["a"], satisfiedBy=["SecondFactor"])[0] == (
        Requirement("a", any_of=("a",), second_factor=SecondFactor.ANY),
    )
    assert multi_factor(reviewers=["a"], satisfiedBy=["SecondPerson"])[0] == (Requirement("a", 2, ("a",)),)
    assert multi_factor(reviewers=["a"], secondFactor="None")[0] == (Requirement("a", 2, ("a",)),)


def test_a_factor_that_is_asked_for_is_asked_of_everybody() -> None:
    """Also of several people, and of a rule's own reviewers."""
    assert multi_factor(reviewers=["a", "b"], secondFactor="Hardware", satisfiedBy=["SecondFactor"]) == (
        tuple(Requirement(g, any_of=(g,), second_factor=SecondFactor.HARDWARE) for g in ("a", "b")),
        SecondFactor.HARDWARE,
    )


def test_multi_factor_without_groups_takes_the_policys_reviewers() -> None:
    """Who confirms also decides the stricter tier, with a factor or a second person."""
    assert multi_factor(secondFactor="Any")[0] == (
        Requirement("support", any_of=("support",), second_factor=SecondFactor.ANY, or_second_person=True),
    )


def test_every_field_of_approval_is_read() -> None:
    """One value of each key reaches its field."""
    approval = a_policy(
        {
            "approval": {
                "timeout": "1h",
                "onTimeout": "Escalate",
                "holdBudget": "30s",
                "requirements": [{"name": "leads", "approvals": 2}],
                "escalate": [{"after": "5m", "to": ["oncall"]}, {"after": "10m", "to": ["boss"]}],
                "remind": "10m",
                "onBehalfOf": "Confirm",
                "denialsToEnd": 2,
                "denialCooldown": "1m",
                "reasonRequired": ["Denied"],
            }
        }
    ).approval
    assert (approval.timeout, approval.on_timeout, approval.hold_budget) == (3600, OnTimeout.ESCALATE, 30)
    assert approval.requirements == (Requirement("leads", 2),)
    assert [step.after for step in approval.escalation] == [300, 600]
    assert (approval.remind, approval.on_behalf_of_may_approve) == (600, True)
    assert (approval.denials_to_end, approval.denial_cooldown) == (2, 60)
    assert approval.reason_required == ("Denied",)


@pytest.mark.parametrize(
    ("approval", "path", "said"),
    [
        ({"timeout": "8d"}, "timeout", "from 1s to 7d"),
        ({"onTimeout": "Proceed"}, "onTimeout", "write one of Abort, Escalate, Retry"),
        ({"onTimeout": "Escalate"}, "onTimeout", "escalate: [{after: 5m, to: [oncall]}]"),
        ({"escalation": []}, "escalation", "write escalate"),
        ({"escalate": [{"after": "5m"}]}, "escalate[0]", "needs to"),
        (
            {"escalate": [{"after": "5m", "to": ["a"]}, {"after": "5m", "to": ["b"]}]},
            "escalate[1].after",
            "order the steps",
        ),
        (
            {"multiFactor": {"secondFactor": "None", "satisfiedBy": ["SecondFactor"]}},
            "multiFactor.secondFactor",
            "cannot be",
        ),
        (
            {"multiFactor": {"secondFactor": "Any", "satisfiedBy": ["SecondPerson"]}},
            "multiFactor.satisfiedBy",
            "leaves SecondFactor",
        ),
        ({"multiFactor": {"satisfiedBy": ["Somebody"]}}, "multiFactor.satisfiedBy[0]", "SecondFactor, SecondPerson"),
        ({"multiFactor": {"requirements": []}}, "multiFactor.requirements", "one person from each"),
        ({"onBehalfOf": True}, "onBehalfOf", "write one of Forbidden, Confirm"),
        ({"denialsToEnd": 0}, "denialsToEnd", "from 1 to 10"),
        ({"reasonRequired": ["Always"]}, "reasonRequired[0]", "write one of Denied, MultiFactor"),
        ({"channels": ["ops"]}, "channels", "arrives in a later version; until then remove it"),
        ({"reviewers": [" a"]}, "reviewers[0]", "remove the spaces"),
    ],
)
def test_C5_a_mistake_in_approval_is_refused_at_its_place(approval: dict[str, Any], path: str, said: str) -> None:
    """C5: each with its path and the next step."""
    problems = problems_of({"approval": approval})
    assert f"spec.approval.{path}" in problems, problems
    assert said in problems[f"spec.approval.{path}"]


def nested(levels: int, inner: Any = 1) -> Any:
    for _ in range(levels):
        inner = [inner]
    return inner


@pytest.mark.parametrize("levels", [33, 300, 900, 100_000])
@pytest.mark.parametrize("matcher", ["equals", "in", "notIn"])
def test_A3_what_no_call_could_hold_is_refused_however_deep_it_is(matcher: str, levels: int) -> None:
    """A3: JSON of the author's own goes as deep as that of calls, 32 levels; beyond, nothing else is looked at."""
    operand = nested(levels) if matcher == "equals" else [7, nested(levels)]
    (message,) = rule_problems(args={"x": {matcher: operand}}).values()
    assert message.startswith("is nested deeper than")


def test_A3_what_a_call_can_hold_can_be_compared() -> None:
    """32 levels are read, also inside the levels that a policy has of its own."""
    inner = {"each": {"each": {"each": {"in": [nested(32)]}}}}
    assert rule_problems(args={"x": {"equals": nested(32)}, "y": inner}) == {}
