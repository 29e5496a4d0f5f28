"""Summary templates."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.policy.templates import MAX_SUMMARY, Template


@pytest.mark.parametrize(
    ("text", "arguments", "rendered"),
    [
        ("mail {args.to}: {args.subject}", {"to": "ana", "subject": "Hi"}, "mail ana: Hi"),
        ("refund {args.amount}", {"amount": 15000}, "refund 15000"),
        ("{args.a.b} {args/a/b} {args.l.0}", {"a": {"b": True}, "l": [1.5]}, "true true 1.5"),
        ("{args/a~1b}", {"a/b": "x"}, "x"),
        ("{args.o}", {"o": {"k": [1, None]}}, '{"k":[1,null]}'),
        ("{args.n}", {"n": None}, "null"),
        ("to {args.to}", {}, "to ?"),
        ("{args.a.b.c}", {"a": {"b": "x"}}, "?"),
        ("{args.l.7}", {"l": [1]}, "?"),
        ("{{args.a}} is {args.a}", {"a": 1}, "{args.a} is 1"),
        ("{args.to}", {"to": "[REDACTED:email]"}, "[REDACTED:email]"),
        ("{args.to}", {"to": "{args.secret}", "secret": "x"}, "{args.secret}"),
    ],
)
def test_a_template_shows_arguments(text: str, arguments: dict[str, Any], rendered: str) -> None:
    """By name or pointer, a question mark for what is missing, braces doubled; values are never templates."""
    assert Template(text).render(arguments) == rendered


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{to}", r"write \{args.to\}"),
        ("{arg.to}", r"write \{args.to\}"),
        ("{args}", "no placeholder"),
        ("{args.to!r}", "no placeholder"),
        ("{args.to:>10}", "no placeholder"),
        ("{args[to]}", "no placeholder"),
        ("{args..to}", "no placeholder"),
        ("{args.__class__.x y}", "no placeholder"),
        ("{}", "no placeholder"),
        ("a } b", r"write \}\}"),
        ("a { b", r"write \{\{"),
        ("", "empty"),
        ("x" * 161, "at most 160"),
    ],
)
def test_an_unknown_placeholder_is_refused_when_parsed(text: str, said: str) -> None:
    """No formatting language, only arguments."""
    with pytest.raises(ValueError, match=said):
        Template(text)


@given(st.text(max_size=400), st.text(max_size=400))
def test_a_summary_is_never_longer_than_a_line(one: str, other: str) -> None:
    """At most 160 characters, cut with an ellipsis."""
    rendered = Template("{args.a} and {args.b}").render({"a": one, "b": other})
    assert len(rendered) <= MAX_SUMMARY
    assert rendered == f"{one} and {other}" or rendered.endswith("…") or max(len(one), len(other)) > MAX_SUMMARY


def test_a_template_knows_what_it_shows() -> None:
    """The top-level names, for redaction and linting."""
    assert Template("{args.to.name} {args/cc/0}").arguments == {"to", "cc"}
