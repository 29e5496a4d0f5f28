"""Which scored calls autonomy ReadOnly lets run, exactly as DESIGN 18 says."""

from typing import Any

import pytest

from hitl.policy.capabilities import observe
from hitl.policy.read_only import is_read_only
from hitl.policy.spec import Level, ToolDeclaration


@pytest.mark.parametrize(
    ("declaration", "wanted"),
    [
        (ToolDeclaration("t", Level.LOW), True),
        (ToolDeclaration("t", Level.MEDIUM, network=("*",), reads=("/",)), True),
        (ToolDeclaration("t", Level.HIGH), False),
        (ToolDeclaration("t", Level.CRITICAL), False),
        (ToolDeclaration("t", Level.LOW, writes=("/tmp/x",)), False),
        (ToolDeclaration("t", Level.LOW, process=True), False),
        (ToolDeclaration("t", Level.LOW, environment=("K",)), False),
        (ToolDeclaration("t"), False),
        (None, False),
    ],
)
def test_a_declared_tool_goes_by_level_and_capabilities(declaration: ToolDeclaration | None, wanted: bool) -> None:
    """Declared low or medium without write, process or environment; the name does not count, whatever it says."""
    assert is_read_only("s/purge_everything", declaration, None, observe({"url": "https://a.b"})) is wanted


@pytest.mark.parametrize(
    ("tool", "wanted"),
    [
        ("get_user", True),
        ("getUser".lower(), False),
        ("list-users", True),
        ("read_file", True),
        ("search", True),
        ("find.all", True),
        ("show_me", True),
        ("describe_table", True),
        ("count_rows", True),
        ("view_page", True),
        ("stat_file", True),
        ("diff_branches", True),
        ("get_and_delete", False),
        ("list_and_purge_queue", False),
        ("get_or_create", False),
        ("find_and_replace", False),
        ("read_then_remove", False),
        ("get_deleted_items", True),
        ("fetch_user", False),
        ("query_users", False),
        ("slack_get_messages", False),
        ("create_get", False),
        ("getaway", False),
        ("list", True),
        ("", False),
    ],
)
def test_an_undeclared_tool_goes_by_its_first_word(tool: str, wanted: bool) -> None:
    """Only the eleven words, only in first place, and no destructive word after them."""
    assert is_read_only(f"s/{tool}", None, None, observe({"id": 7})) is wanted


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"id": 7, "path": "/etc/x"}, True),
        ({"url": "x"}, False),
        ({"q": "https://a.b/c"}, False),
        ({"q": "see https://a.b/c there"}, True),
        ({"command": "ls"}, False),
        ({"sql": "select 1"}, False),
        ({"q": "delete from users"}, False),
        ({"deep": [{"cmd": "ls"}]}, False),
    ],
)
def test_a_url_a_command_or_sql_is_never_read_only(arguments: dict[str, Any], wanted: bool) -> None:
    """By name or by value, at any depth."""
    assert is_read_only("s/get_page", None, None, observe(arguments)) is wanted


@pytest.mark.parametrize("level", [Level.HIGH, Level.CRITICAL])
def test_a_rules_level_can_only_take_it_away(level: Level) -> None:
    """A rule that calls the tool high makes it no read; one that calls it low makes nothing a read."""
    assert not is_read_only("s/get_user", None, level, observe({}))
    assert not is_read_only("s/get_user", ToolDeclaration("t", Level.LOW), level, observe({}))
    assert not is_read_only("s/delete_user", None, Level.LOW, observe({}))
