"""The score: every term of DESIGN 7.5, its reference cases, its floors, and factors that add up."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.actions import Action
from hitl.policy.capabilities import Observed, observe
from hitl.policy.levels import Inferred
from hitl.policy.scoring import Scored, score_call, tier_of
from hitl.policy.spec import Level, Scoring, ToolDeclaration, ToolDefinition

SCORING = Scoring()
LOW, MEDIUM, HIGH, CRITICAL = Level


def declared(level: Level | None, **capabilities: Any) -> ToolDeclaration:
    """What a ToolServer declares about a tool."""
    return ToolDeclaration("tool", level, **capabilities)


def scored(declaration: ToolDeclaration | None = None, *, name: str = "server/tool", **more: Any) -> Scored:
    """The score of a call of a tool so declared."""
    rule_level, definition = more.pop("rule_level", None), more.pop("definition", None)
    arguments = more.pop("arguments", {})
    return score_call(more.pop("scoring", SCORING), name, declaration, rule_level, definition, arguments, **more)


@pytest.mark.parametrize(
    ("declaration", "score", "tier"),
    [
        (declared(LOW), 10, Action.ALLOW),
        (declared(LOW, reads=("/etc/app/config.yaml",)), 26, Action.NOTIFY),
        (declared(MEDIUM, network=("packages.example.com",)), 30, Action.NOTIFY),
        (declared(MEDIUM, network=("db.prod.internal",)), 30, Action.NOTIFY),
        (declared(HIGH, network=("db.prod.internal",), writes=("/migrations/",)), 70, Action.CONFIRM),
        (declared(HIGH, network=("api.stripe.com",), environment=("STRIPE_KEY",)), 80, Action.MULTI_FACTOR),
        (declared(HIGH, network=("deploy.internal",), environment=("DEPLOY_TOKEN",)), 80, Action.MULTI_FACTOR),
    ],
    ids=["formatter", "reads a config", "dependency checker", "query", "migration", "payment API", "deploy"],
)
def test_the_reference_cases_land_where_the_design_says(declaration: ToolDeclaration, score: int, tier: Action) -> None:
    """DESIGN 7.5: score and tier of every reference case."""
    result = scored(declaration)
    assert (result.score, tier_of(SCORING, result.score)) == (score, tier)
    assert max(tier_of(SCORING, result.score), result.floor) is tier


def test_the_migration_is_explained_as_people_see_it() -> None:
    """UX 3: the points and words of the example, in their order."""
    result = scored(declared(HIGH, network=("db.prod.internal",), writes=("/migrations/",)))
    assert [(factor.points, factor.reason) for factor in result.factors] == [
        (60, "level high"),
        (10, "network, filesystem"),
        (10, "writes files"),
        (-10, "both lists are exact"),
    ]


@pytest.mark.parametrize(
    ("capabilities", "points"),
    [
        ({"network": ("a.b",)}, 5 - 5),
        ({"network": ("a", "b", "c", "d", "e")}, 5 - 5),
        ({"network": ("a", "b", "c", "d", "e", "f")}, 5),
        ({"network": ("*.a.b",)}, 5 + 10),
        ({"network": ("a.b", "*.a.b", "c?.d")}, 5 + 10),
        ({"network": ("*",)}, 5 + 20),
        ({"network": ("a.b", "*")}, 5 + 20),
        ({"network": ("0.0.0.0/0",)}, 5 + 20),
        ({"reads": ("/etc/app.yaml",)}, 5 - 5),
        ({"reads": ("/a", "/b", "/c"), "writes": ("/d", "/e")}, 5 + 10 - 5),
        ({"reads": ("/a", "/b", "/c"), "writes": ("/d", "/e", "/f")}, 5 + 10),
        ({"reads": ("/",)}, 5 + 20),
        ({"reads": ("/*",)}, 5 + 20),
        ({"reads": ("/data/*.csv",)}, 5 + 10),
        ({"reads": ("/a",), "writes": ("/out/*",)}, 5 + 10 + 10),
        ({"environment": ("API_KEY",)}, 5 + 15),
        ({"environment": ("API_*",)}, 5 + 15 + 10),
        ({"process": True}, 5 + 15),
        ({"network": ("a",), "reads": ("/a",), "environment": ("A",), "process": True}, 20 + 15 + 15 - 10),
        ({"network": ("*",), "reads": ("/",)}, 10 + 40),
    ],
)
def test_every_term_counts_as_the_design_says(capabilities: dict[str, Any], points: int) -> None:
    """DESIGN 7.5: categories, wildcards, environment, process, write and the exact discount, one by one."""
    assert scored(declared(MEDIUM, **capabilities)).score == 30 + points


def test_a_short_list_of_credentials_is_still_credentials() -> None:
    """DESIGN 7.5: the exact discount is for network and filesystem alone."""
    assert "exact" not in {factor.name for factor in scored(declared(LOW, environment=("A",))).factors}


@pytest.mark.parametrize(("level", "score"), [(LOW, 10), (MEDIUM, 30), (HIGH, 60), (CRITICAL, 90)])
def test_the_level_weighs_as_the_design_says(level: Level, score: int) -> None:
    """DESIGN 7.5: low 10, medium 30, high 60, critical 90."""
    assert scored(declared(level)).score == score


@pytest.mark.parametrize(
    ("score", "tier"),
    [
        (0, Action.ALLOW),
        (25, Action.ALLOW),
        (26, Action.NOTIFY),
        (50, Action.NOTIFY),
        (51, Action.CONFIRM),
        (75, Action.CONFIRM),
        (76, Action.MULTI_FACTOR),
        (100, Action.MULTI_FACTOR),
    ],
)
def test_a_score_at_a_threshold_is_in_that_tier(score: int, tier: Action) -> None:
    """DESIGN 7.5: 0-25 Allow, 26-50 Notify, 51-75 Confirm, 76-100 MultiFactor."""
    assert tier_of(SCORING, score) is tier


def test_floors_are_tiers_whatever_weights_and_thresholds_say() -> None:
    """DESIGN 18: an author's thresholds take neither a capability below Notify nor critical below MultiFactor."""
    lax = Scoring(levels=dict.fromkeys(Level, 0), notify=90, confirm=95, multi_factor=100)
    capable, critical = scored(declared(LOW, process=True), scoring=lax), scored(declared(CRITICAL), scoring=lax)
    assert (capable.score, capable.floor) == (26, Action.NOTIFY)
    assert (critical.score, critical.floor) == (76, Action.MULTI_FACTOR)
    assert scored(declared(LOW), scoring=lax).floor is Action.ALLOW


def test_a_rules_level_comes_before_the_tool_servers_and_that_before_inference() -> None:
    """DESIGN 7.5: rule, then ToolServer, then inference; the reason says which."""
    name = "server/delete_database"
    by_rule = scored(declared(MEDIUM), name=name, rule_level=LOW)
    by_server = scored(declared(MEDIUM), name=name)
    by_name = scored(None, name=name)
    assert [each.level for each in (by_rule, by_server, by_name)] == [LOW, MEDIUM, CRITICAL]
    assert by_rule.factors[0].reason == "level low, set by the rule"
    assert by_server.factors[0].reason == "level medium"
    assert by_name.factors[0].reason == f"level critical: {by_name.inferred_reason}"
    assert (by_rule.inferred_reason, by_server.inferred_reason) == ("", "")
    assert "database" in by_name.inferred_reason


def test_A6_a_tools_own_claim_raises_and_never_lowers_unless_trusted() -> None:
    """A6, DESIGN 7.5: a harmless description lowers only for a trusted server; a destructive hint raises for both."""
    harmless = ToolDefinition("run_query", "Run a read-only SQL query", ("sql",))
    for trusted, level in ((False, HIGH), (True, MEDIUM)):
        assert scored(None, name="s/run_query", definition=harmless, trusted=trusted).level is level
    hinted = ToolDefinition("add_label", "", (), {"destructiveHint": True})
    assert scored(None, name="s/add_label").level is MEDIUM
    assert scored(None, name="s/add_label", definition=hinted, trusted=True).level is HIGH
    soothing = ToolDefinition("delete_user", "", (), {"readOnlyHint": True, "destructiveHint": False})
    assert scored(None, name="s/delete_user", definition=soothing, trusted=True).level is CRITICAL


def test_A6_a_declared_level_is_not_moved_by_what_the_tool_says() -> None:
    """A6: a ToolServer's author has the last word about a level; definitions are pinned elsewhere."""
    loud = ToolDefinition("tool", "Deletes everything", ("command",), {"destructiveHint": True})
    assert scored(declared(LOW), definition=loud).level is LOW


def test_an_undeclared_tool_is_never_laxer_than_the_same_tool_declared() -> None:
    """DESIGN 18: arguments add capabilities and their floor, never the exact discount."""
    result = scored(
        None,
        name="server/format_text",
        arguments={"url": "https://a.example.com/x", "path": "/etc/hosts", "command": "ls", "api_key": "x"},
    )
    assert result.capabilities.categories == ("network", "filesystem", "environment", "process")
    assert [factor.name for factor in result.factors] == ["level", "categories", "environment", "process"]
    assert result.score == 10 + 20 + 15 + 15
    assert scored(None, name="server/format_text", arguments={"file": "a.txt"}).score == 26
    assert result.hosts == ("a.example.com",)


def test_an_undeclared_write_writes_the_files_it_is_given() -> None:
    """DESIGN 18: a path given to a tool that changes things is a written file, to a reader a read one."""
    assert scored(None, name="s/write_file", arguments={"path": "/a"}).capabilities.writes == ("/a",)
    assert scored(None, name="s/read_file", arguments={"path": "/a"}).capabilities.reads == ("/a",)


@pytest.mark.parametrize(("points", "added"), [(-5, 0), (0, 0), (7, 7), (10, 10), (50, 10)])
def test_A6_history_raises_by_at_most_ten_and_never_lowers(points: int, added: int) -> None:
    """A6: history only raises, by at most ten."""
    result = scored(declared(MEDIUM), history_points=points)
    assert result.score == 30 + added
    assert sum(factor.points for factor in result.factors if factor.name == "history") == added


LISTS = st.lists(st.sampled_from(["a.b", "*", "/", "/x", "*.c", "/x/*", "k"]), max_size=7).map(tuple)


DECLARATIONS = st.builds(
    ToolDeclaration,
    st.just("tool"),
    st.sampled_from(Level),
    network=LISTS,
    reads=LISTS,
    writes=LISTS,
    environment=LISTS,
    process=st.booleans(),
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["url", "path", "command", "token", "q"]), st.sampled_from(["/x", "https://a.b", "x"])
)


@given(st.none() | DECLARATIONS, st.none() | st.sampled_from(Level), ARGUMENTS, st.integers(0, 10))
def test_factors_always_add_up_to_the_score(
    declaration: ToolDeclaration | None, level: Level | None, arguments: dict[str, str], history: int
) -> None:
    """Whatever is clamped or floored: the points of the factors are the score, and it stays in 0..100."""
    result = scored(declaration, rule_level=level, arguments=arguments, history_points=history)
    assert sum(factor.points for factor in result.factors) == result.score
    assert 0 <= result.score <= 100
    assert all(factor.reason for factor in result.factors)
    assert len({factor.name for factor in result.factors}) == len(result.factors)


@given(st.sampled_from(Level), LISTS, LISTS, st.booleans(), st.integers(0, 10))
def test_touching_more_never_scores_less(
    level: Level, network: tuple[str, ...], reads: tuple[str, ...], process: bool, history: int
) -> None:
    """More history, a process, credentials or a wildcard never make a call less sensitive."""
    base = scored(declared(level, network=network, reads=reads, process=process))
    for more in (
        scored(declared(level, network=network, reads=reads, process=process), history_points=history),
        scored(declared(level, network=network, reads=reads, process=True)),
        scored(declared(level, network=network, reads=reads, process=process, environment=("K",))),
        scored(declared(level, network=(*network, "*"), reads=reads, process=process)),
    ):
        assert more.score >= base.score
        assert more.floor >= base.floor


def test_what_was_worked_out_before_is_not_worked_out_again() -> None:
    """A caller may hand over its own inference and observation."""
    result = scored(
        None,
        name="s/whatever",
        inferred=Inferred(LOW, "known"),
        observed=Observed(hosts=("x.y",), has_network=True),
        arguments={"command": "ls"},
    )
    assert (result.level, result.inferred_reason, result.capabilities.process) == (LOW, "known", False)
    assert result.hosts == ("x.y",)


def test_I14_scoring_is_deterministic() -> None:
    """I14: the same call gives the same factors, word for word."""
    arguments = {"urls": ["https://b.c/1", "https://a.b/2"], "path": "/x", "sql": "select 1"}
    assert scored(None, arguments=arguments) == scored(None, arguments=dict(arguments), observed=observe(arguments))
