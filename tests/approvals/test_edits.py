"""Edits: what a patch may touch, what it gives, and whom it binds (SECURITY D3)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals.asked import a_request, a_spec, voted
from hitl.approvals.edits import apply_patch, check_patch, editors, one_approval_suffices, tally
from hitl.approvals.requests import ApprovalRequest, CallShown
from hitl.approvals.requirements import requirements_of
from hitl.errors import InvalidDecision
from hitl.policy.verdicts import Requirement, SecondFactor


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, {"a": {"b": None}}, {"a": {}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_patch_gives_what_rfc_7396_says(
    target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    """Each object case of RFC 7396, appendix A, comes out as printed there."""
    assert apply_patch(target, patch) == result


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab/~", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("ab/~", max_size=2), values, max_size=3)


@given(target=objects, patch=objects)
def test_a_patch_applied_twice_changes_nothing_more(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """A merge patch states an end: applying it again gives the same, and what it was given stays untouched."""
    before = json.dumps([target, patch])
    once = apply_patch(target, patch)
    assert apply_patch(once, patch) == once
    assert json.dumps([target, patch]) == before


def test_D3_a_patch_may_touch_what_was_shown_whole_and_unredacted() -> None:
    """D3: shown arguments may change, also deep inside; all others are refused by name, with what may be edited."""
    check_patch(a_spec(), {"amount": 12000})
    check_patch(a_spec(), {"customer": {"id": "C-1", "note": "x"}})
    check_patch(a_spec(), {"amount": None})
    for patch in ({"currency": "usd"}, {"new": 1}, {"amount": 1, "password": "x"}):
        with pytest.raises(InvalidDecision, match=r"not shown whole and unredacted; .* here: /amount, /customer"):
            check_patch(a_spec(), patch)
    with pytest.raises(InvalidDecision, match="here: none"):
        check_patch(a_spec(patchable=()), {"amount": 1})


def test_D3_names_are_compared_as_json_pointers() -> None:
    """D3: an argument whose name holds a slash or a tilde is found by its escaped pointer, and imitates no other."""
    spec = a_spec(patchable=("/a~1b",), call=CallShown("s", "t", '{"a/b":1,"a":{"b":1}}'))
    check_patch(spec, {"a/b": 2})
    with pytest.raises(InvalidDecision):
        check_patch(spec, {"a": {"b": 2}})


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({}, "is empty"),
        ([1], "is empty"),
        ({"amount": "x" * 4096}, "at most 4096"),
        ({"amount": float("nan")}, "exact JSON"),
        ({"amount": 2**60}, "exact JSON"),
        ({"amount": "\ud800"}, "exact JSON"),
        ({"amount": 15000}, "changes nothing"),
        ({"amount": 15000, "customer": {"id": "C-20817"}}, "changes nothing"),
    ],
    ids=["empty", "a list", "too long", "NaN", "a long integer", "half a character", "the same", "the same twice"],
)
def test_D3_a_patch_that_is_none_is_refused(patch: Any, words: str) -> None:
    """D3: an edit that is empty, too long, not exact or without effect is refused with the reason."""
    with pytest.raises(InvalidDecision, match=words):
        check_patch(a_spec(), patch)


def test_D3_the_limits_of_a_patch_are_inclusive() -> None:
    """D3: 4096 bytes of canonical JSON and 32 levels are taken, one more of either is not."""
    overhead = len('{"amount":""}')
    check_patch(a_spec(), {"amount": "x" * (4096 - overhead)})
    with pytest.raises(InvalidDecision, match="4097 bytes"):
        check_patch(a_spec(), {"amount": "x" * (4097 - overhead)})
    deep: Any = 1
    for _ in range(30):
        deep = [deep]
    check_patch(a_spec(), {"amount": deep})
    with pytest.raises(InvalidDecision, match="deeper than 32"):
        check_patch(a_spec(), {"amount": [[deep]]})


def test_D3_a_patch_nested_beyond_reason_is_refused() -> None:
    """D3: forty levels deep is an attack, not an edit."""
    patch: dict[str, Any] = {}
    for _ in range(40):
        patch = {"a": patch}
    with pytest.raises(InvalidDecision, match="deeper than 32"):
        check_patch(a_spec(), {"amount": patch})


def test_D3_arguments_that_were_cut_cannot_be_edited() -> None:
    """D3: where the preview is not the whole arguments nobody can know what an edit gives."""
    spec = a_spec(call=CallShown("s", "t", '{"amount":15000,"body":"… 412 more'))
    with pytest.raises(InvalidDecision, match="not shown whole"):
        check_patch(spec, {"amount": 1})


PLAIN, EDIT = None, {"amount": 12000}
ONE, TWO = (Requirement("r"),), (Requirement("r", 2),)
FACTOR = (Requirement("r", second_factor=SecondFactor.ANY, or_second_person=True),)
LEAD = (Requirement("r", any_of=("leads",)),)


def asked_of(
    requirements: tuple[Requirement, ...], *votes: tuple[str, float, dict[str, int] | None, tuple[str, ...], str]
) -> ApprovalRequest:
    request = a_request(requirements=requirements)
    for reviewer, when, patch, groups, factor in votes:
        request = voted(request, reviewer, when=when, arguments_patch=patch, groups=groups, factor=factor)
    return request


@pytest.mark.parametrize(
    ("story", "requirements", "votes", "wanted"),
    [
        ("one plain approval", ONE, [("ana", 1, PLAIN, (), "")], ("met", "", "")),
        ("one edit where one suffices", ONE, [("ana", 1, EDIT, (), "")], ("met", "ana", "")),
        (
            "an edit after the plain approval",
            ONE,
            [("ana", 1, PLAIN, (), ""), ("bo", 2, EDIT, (), "")],
            ("met", "", ""),
        ),
        (
            "a plain approval after the edit",
            ONE,
            [("ana", 1, EDIT, (), ""), ("bo", 2, PLAIN, (), "")],
            ("met", "ana", ""),
        ),
        ("both in one moment: as asked", ONE, [("ana", 1, EDIT, (), ""), ("bo", 1, PLAIN, (), "")], ("met", "", "")),
        ("two edits: the first", ONE, [("bo", 1, EDIT, (), ""), ("ana", 2, EDIT, (), "")], ("met", "bo", "")),
        ("two are needed, one edits", TWO, [("ana", 1, EDIT, (), "")], ("open", "", "ana")),
        (
            "two are needed and there before an edit",
            TWO,
            [(n, i, PLAIN, (), "") for i, n in enumerate("xy")],
            ("met", "", ""),
        ),
        ("an edit with the second factor", FACTOR, [("ana", 1, EDIT, (), "totp")], ("met", "ana", "")),
        ("an edit without it", FACTOR, [("ana", 1, EDIT, (), "")], ("open", "", "ana")),
        ("an edit by somebody who holds no place", LEAD, [("ana", 1, EDIT, ("interns",), "")], ("open", "", "")),
        (
            "and then a plain approval by a lead",
            LEAD,
            [("ana", 1, EDIT, ("interns",), ""), ("bo", 2, PLAIN, ("leads",), "")],
            ("met", "", ""),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_D3_an_edit_binds_where_one_approval_suffices_and_ends_the_rest(
    story: str,
    requirements: tuple[Requirement, ...],
    votes: list[tuple[str, float, dict[str, int] | None, tuple[str, ...], str]],
    wanted: tuple[str, str, str],
) -> None:
    """D3: each story of the table: (met or open, whose edit is in force, who superseded it)."""
    request = asked_of(requirements, *votes)
    found = tally(request, requirements_of(request.spec))
    editor = found.edit.editor if found.edit else ""
    superseded = found.superseded_by.editor if found.superseded_by else ""
    assert ("met" if found.met else "open", editor, superseded) == wanted


def test_D3_an_edit_never_adds_up_with_approvals_of_the_call_as_asked() -> None:
    """D3: one approves the call, another a changed one: two places are not filled, the request makes way."""
    request = asked_of(TWO, ("bo", 1, PLAIN, (), ""), ("ana", 2, EDIT, (), ""))
    assert not tally(request, TWO).met


def test_editors_are_all_who_changed_the_call() -> None:
    """Everybody whose approval carried an edit is excluded from the successor."""
    request = asked_of(TWO, ("bo", 1, EDIT, (), ""), ("ana", 2, {"amount": 2}, (), ""), ("cy", 3, PLAIN, (), ""))
    assert editors(request) == ("ana", "bo")


def test_one_approval_suffices_says_so_before_anybody_votes() -> None:
    """The command line can tell a reviewer beforehand whether his edit will apply at once."""
    assert one_approval_suffices(a_spec())
    assert one_approval_suffices(a_spec(tier="multi-factor"))
    assert not one_approval_suffices(a_spec(requirements=TWO))
    assert not one_approval_suffices(a_spec(requirements=(*ONE, *LEAD)))
