"""What arguments betray about what a call touches."""

from typing import Any

import pytest

from hitl.policy.capabilities import UNREADABLE_HOST, capabilities_of, is_exact, kind_of, observe, wildcard
from hitl.policy.spec import Level, ToolDeclaration


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("url", "network"),
        ("webhook_url", "network"),
        ("targetHost", "network"),
        ("path", "files"),
        ("file_path", "files"),
        ("outputDir", "files"),
        ("command", "command"),
        ("shellCommand", "command"),
        ("sql", "sql"),
        ("sql_query", "sql"),
        ("api_key", "environment"),
        ("env", "environment"),
        ("environment_variables", "environment"),
        ("page_token", ""),
        ("environment", ""),
        ("file_id", ""),
        ("query", ""),
        ("", ""),
    ],
)
def test_an_arguments_name_says_what_it_carries(name: str, kind: str) -> None:
    """The last word counts: a file_id is no file, a page_token no credential."""
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("arguments", "hosts", "kinds"),
    [
        ({"q": "hello"}, (), ""),
        ({"q": "https://evil.example.com/x?y"}, ("evil.example.com",), "network url"),
        ({"q": "see https://a.example.com and http://b.example.com:8080/."}, ("a.example.com", "b.example.com"), ""),
        ({"host": "db.internal"}, ("db.internal",), "network url"),
        ({"host": "Evil.com/path"}, ("evil.com",), "network url"),
        ({"url": "https://good\\@evil.com"}, (UNREADABLE_HOST,), "network url"),
        ({"q": "(see https://a.example.com)."}, ("a.example.com",), ""),
        ({"q": "file:///etc/passwd"}, (), "network url"),
        ({"urls": ["https://a.b/1", "https://a.b/2"]}, ("a.b",), "network url"),
        ({"deep": {"list": [{"url": "https://a.b"}]}}, ("a.b",), "network url"),
        ({"x": "/etc/passwd"}, (), "files"),
        ({"x": "/etc"}, (), "files"),
        ({"x": "~/.ssh/id"}, (), "files"),
        ({"x": "../up"}, (), "files"),
        ({"x": "C:\\Windows\\x"}, (), "files"),
        ({"path": "relative.txt"}, (), "files"),
        ({"path": ""}, (), ""),
        ({"path": None}, (), ""),
        ({"command": ["ls", "-l"]}, (), "command"),
        ({"command": "curl https://a.b/x"}, ("a.b",), "command"),
        ({"q": "SELECT * FROM users"}, (), "sql"),
        ({"q": "-- hi\n delete from users"}, (), "sql"),
        ({"q": "(select 1 from x)"}, (), "sql"),
        ({"q": "with x as (select 1) select * from x"}, (), "sql"),
        ({"q": "drop table users"}, (), "sql"),
        ({"q": "update the docs, please"}, (), ""),
        ({"q": "select a good restaurant"}, (), ""),
        ({"q": "create a plan for the table tennis club"}, (), ""),
        ({"token": "x"}, (), "environment"),
    ],
)
def test_names_and_values_show_what_a_call_touches(
    arguments: dict[str, Any], hosts: tuple[str, ...], kinds: str
) -> None:
    """URLs, hosts, paths, commands, SQL and credentials are seen by name or by value, at any depth; prose is not."""
    seen = observe(arguments)
    found = {
        "network": seen.has_network,
        "url": seen.has_url,
        "files": seen.has_files,
        "command": seen.has_command,
        "sql": seen.has_sql,
        "environment": bool(seen.environment),
    }
    assert seen.hosts == hosts
    assert {kind for kind, present in found.items() if present} == set(kinds.split())


def test_A5_looking_is_bounded() -> None:
    """A5: of a long string only the first 16 KiB are looked at."""
    assert observe({"x": "y" * 16_384 + " https://late.example.com"}).hosts == ()
    assert observe({"x": "y" * 16_000 + " https://early.example.com"}).hosts == ("early.example.com",)


@pytest.mark.parametrize(
    ("entries", "openness", "exact"),
    [
        (("a.b",), 0, True),
        (("/data/",), 0, True),
        ((), 0, False),
        (("a",) * 6, 0, False),
        (("*.a.b",), 1, False),
        (("/x/?",), 1, False),
        (("*",), 2, False),
        (("a.b", " / "), 2, False),
        (("::/0",), 2, False),
    ],
)
def test_a_declared_list_is_exact_partial_or_open(entries: tuple[str, ...], openness: int, exact: bool) -> None:
    """Everything is 2, a wildcard inside is 1; exact means no wildcard and at most five entries."""
    assert wildcard(entries) == openness
    assert is_exact(entries) is exact


def test_a_declaration_stands_alone_and_an_empty_one_does_not() -> None:
    """An author who declares a level or a capability has spoken; a bare name leaves it to the arguments."""
    seen = observe({"url": "https://a.b"})
    assert capabilities_of(ToolDeclaration("t", Level.LOW), seen, changes=True).categories == ()
    assert capabilities_of(ToolDeclaration("t", process=True), seen, changes=True).categories == ("process",)
    assert capabilities_of(ToolDeclaration("t"), seen, changes=True).network == ("a.b",)
    assert capabilities_of(None, seen, changes=True).network == ("a.b",)
