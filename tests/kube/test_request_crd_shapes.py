"""The CRD of ApprovalRequest says the same as the tables that write and read it, field by field and enum by enum."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hitl.approvals.conditions import OUTCOMES, CancelReason, ExpiryReason
from hitl.approvals.requests import Category, DecisionKind, Kind, NoteType, State
from hitl.approvals.transitions import RESULTS
from hitl.kube import request_shapes as shapes
from hitl.kube.shapes import _ABSENT, Shape
from hitl.kube.shipped import crds
from hitl.policy.escaping import plain
from hitl.policy.verdicts import OnTimeout, Reason, SecondFactor
from hitl_operator import wishes

Schema = dict[str, Any]


@cache
def the_crd() -> Schema:
    return next(crd for crd in crds() if crd["metadata"]["name"] == "approvalrequests.hitl.dev")


def schema() -> Schema:
    found: Schema = the_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def at(path: str) -> Schema:
    """The schema of a field: ``status.decisions[].proof``."""
    found = schema()
    for step in path.split("."):
        found = found["properties"][step.removesuffix("[]")]
        if step.endswith("[]"):
            found = found["items"]
    return found


def fields(found: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every declared field below, with its path."""
    yield path, found
    for name, below in found.get("properties", {}).items():
        yield from fields(below, f"{path}.{name}".removeprefix("."))
    if "items" in found:
        yield from fields(found["items"], f"{path}[]")


# Where each table stands, and what of it a cluster does not have: the server stamps entries, and nobody signs notes.
TABLES: dict[str, tuple[Shape[Any], set[str]]] = {
    "spec": (shapes.SPEC, set()),
    "spec.call": (shapes._CALL, set()),
    "spec.touches": (shapes._TOUCHES, set()),
    "spec.factors[]": (shapes._FACTOR, set()),
    "spec.policies[]": (shapes._POLICY, set()),
    "spec.requirements[]": (shapes._REQUIREMENT, set()),
    "spec.escalation[]": (shapes._ESCALATION, set()),
    "status": (shapes.STATUS, set()),
    "status.requirements[]": (shapes._REQUIREMENT, set()),
    "status.decisions[]": (shapes.DECISION, {"time"}),
    "status.decisions[].proof": (shapes._PROOF, set()),
    "status.notes[]": (shapes.NOTE, {"time", "proof"}),
    "status.verified[]": (shapes._VERIFIED, set()),
    "status.conditions[]": (shapes.CONDITION, set()),
}


@pytest.mark.parametrize("path", TABLES)
def test_the_crd_has_exactly_the_fields_of_the_table(path: str) -> None:
    """No field is written that the API server does not know, and none is declared that nobody writes."""
    shape, elsewhere = TABLES[path]
    assert set(at(path)["properties"]) == set(shape._known[""]) - elsewhere
    for group, keys in shape._known.items():
        if group:
            assert set(at(f"{path}.{group}")["properties"]) == set(keys)


# Required though the table has a default.
STRICTER = {"status": {"state"}, "status.decisions[].proof": {"factors"}}


@pytest.mark.parametrize("path", TABLES)
def test_the_crd_requires_what_the_table_cannot_do_without(path: str) -> None:
    """What has no default is required, so whatever the API server takes, the operator can read."""
    shape, elsewhere = TABLES[path]
    wanted = {(group, key) for group, key, _, _, default, _ in shape._lines if default is _ABSENT} - {
        ("", key) for key in elsewhere
    }
    groups = {group for group, _ in wanted if group}
    plain_ones = {key for group, key in wanted if not group} | groups
    found = set(at(path).get("required", []))
    assert plain_ones <= found
    assert found - plain_ones <= STRICTER.get(path, set())
    for group in groups:
        assert {key for where, key in wanted if where == group} <= set(at(f"{path}.{group}")["required"])


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("spec.kind", Kind),
        ("spec.tier", ("confirm", "multi-factor")),
        ("spec.reasons[]", Reason),
        ("spec.onTimeout", OnTimeout),
        ("spec.requirements[].secondFactor", SecondFactor),
        ("status.requirements[].secondFactor", SecondFactor),
        ("status.state", State),
        ("status.decisions[].decision", DecisionKind),
        ("status.decisions[].category", Category),
        ("status.notes[].type", NoteType),
        ("status.notes[].category", Category),
        ("status.conditions[].status", ("True", "False", "Unknown")),
        ("status.result", ("", *RESULTS)),
    ],
)
def test_the_crd_has_exactly_the_words_of_the_enums(path: str, words: Iterable[str]) -> None:
    """An enum lists what the ground knows, and YAML has not read one of its words as something else."""
    assert at(path)["enum"] == [str(word) for word in words]


def test_every_field_says_what_it_means() -> None:
    """`kubectl explain approvalrequest --recursive` has words for every field, and says what leaving it out means."""
    skipped = ("metadata",)
    for path, found in fields(schema()):
        if path in skipped or path.endswith("[]"):
            continue
        assert found.get("description"), path
    for path in TABLES:
        for name, found in at(path)["properties"].items():
            if name not in at(path).get("required", []):
                assert "Omitted" in found["description"] or "Empty" in found["description"], f"{path}.{name}"


def test_every_text_and_list_is_bounded() -> None:
    """No text without maxLength, no list without maxItems, no number without a lower bound (DESIGN 6)."""
    for path, found in fields(schema()):
        if path.startswith("metadata") or path in ("", "apiVersion", "kind"):
            continue
        match found.get("type"):
            case "string":
                bounded = "enum" in found or "maxLength" in found or path == "spec.digest"
                assert bounded, path
            case "array":
                assert "maxItems" in found, path
            case "integer":
                assert "minimum" in found, path


def test_G1_every_text_of_agents_servers_and_people_shows_all_of_itself() -> None:
    """G1: each text has the pattern, unless its words or letters are listed or it is a time."""
    pattern = at("spec.summary")["pattern"]
    for path, found in fields(schema()):
        if found.get("type") == "string" and path not in ("apiVersion", "kind") and "enum" not in found:
            narrower = "pattern" in found and found["pattern"].startswith(
                ("^[0-9a-f]", "^([0-9a-f]", "^[A-Za-z", "^([0-9]")
            )
            assert found.get("pattern") == pattern or narrower or found.get("format") == "date-time", path


PATTERN = re2.compile(at("spec.summary")["pattern"])
TROUBLE = st.sampled_from(
    "aé /\\0\u0301\u20dd\u034f\u17b4\u180b\u200b\u202e\u3164\u115f\ufe0f\ufe0d\u2800\U000e0041\n\x00\x7f\ud800中"
)


@given(st.text(TROUBLE, max_size=8) | st.text(st.characters() | TROUBLE, max_size=12))
@settings(max_examples=1000)
@example("a\u034f")
@example("a\ufe00")
@example("e" + "\u0301" * 4)
@example("e" + "\u0301" * 5)
@example("\u0301e")
@example("/\u0301")
@example("\u3164")
@example("")
def test_G1_the_pattern_says_what_the_ground_says(text: str) -> None:
    """G1: the API server takes a text exactly where `plain` does, so escaped text always fits and other text never."""
    try:
        fits = PATTERN.fullmatch(text) is not None
    except UnicodeEncodeError:  # a lone surrogate, which JSON over the wire cannot carry
        fits = False
    assert fits == plain(text)


def test_G1_the_pattern_says_what_the_ground_says_of_every_character() -> None:
    """G1: each character of Unicode, on a letter and behind a blank, fits the one where it fits the other."""
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        text = f"a{chr(code)} {chr(code)}" if code % 2 else f"a{chr(code)}"
        assert (PATTERN.fullmatch(text) is not None) == plain(text), hex(code)


def test_texts_may_be_as_long_as_the_hub_lets_them_be() -> None:
    """What passes the hub's own check of sizes fits into the API server's: a hold never fails for its length alone."""
    for path, found in fields(at("spec"), "spec"):
        name = path.removesuffix("[]").rpartition(".")[2]
        if found.get("type") != "string" or "maxLength" not in found or found.get("pattern", "").startswith("^(["):
            continue
        theirs = wishes._LONGEST.get(name, wishes._LONGEST_TEXT)
        by_the_hub = name in (
            "podName",
            "podUID",
            "serviceAccount",
            "workload",
            "uid",
            "sameness",
            "earlier",
            "namespace",
        )
        assert by_the_hub or found["maxLength"] == theirs, path
    for path, found in fields(at("spec"), "spec"):
        if found.get("type") == "array":
            assert found["maxItems"] == wishes._MOST_ITEMS, path


def test_conditions_and_reasons_are_documented() -> None:
    """Every outcome and every reason for it is named where `kubectl explain` shows it."""
    described = at("status.conditions")["description"]
    for word in (*OUTCOMES, *CancelReason, *ExpiryReason, "RequirementsMet", "DeniedByReviewer", "Released"):
        assert str(word) in described


def test_selectable_fields_and_columns() -> None:
    """What the store and the command line select by is selectable; WHAT stands last and is cut alone (UX 2)."""
    version = the_crd()["spec"]["versions"][0]
    paths = [each["jsonPath"] for each in version["selectableFields"]]
    assert ".status.state" in paths
    assert ".spec.agent.workload" in paths
    assert len(paths) <= 8
    columns = version["additionalPrinterColumns"]
    assert [each["name"] for each in columns if not each.get("priority")][-1] == "What"
    assert {each["name"]: each["type"] for each in columns}["Expires"] == "string"  # a date would be shown as an age
