"""docs/bypasses.md is what it says: each attempt names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "bypasses.md"
TESTS = ROOT / "tests"
CLUSTER = TESTS / "cluster"


def rows() -> list[list[str]]:
    """The cells of every attempt."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "---" not in line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "| as whom |" not in line]


def test_every_attempt_says_who_what_what_stops_it_and_which_test() -> None:
    """Each row has its four cells, none of them empty."""
    assert len(rows()) >= 60
    for row in rows():
        assert len(row) == 4, row
        assert all(row), row


def test_every_named_test_exists() -> None:
    """A row names tests in tests/cluster, or in tests/hub, sidecar and evidence where it says so, by name."""
    for row in rows():
        named = re.findall(r"`((?:(?:hub|sidecar|evidence)/)?\w+\.py)::(\w+)`", row[-1])
        assert named, row
        for file, test in named:
            path = TESTS / file if "/" in file else CLUSTER / file
            assert re.search(rf"^(async )?def {test}\(", path.read_text(), re.MULTILINE), f"{file}::{test}"


def test_the_attempts_on_decisions_and_writers_are_all_listed() -> None:
    """Whatever is tried against votes, requests and tokens in these files stands on the page."""
    page = PAGE.read_text()
    # What may be done, and what is no attempt.
    others = re.compile(
        r"reviewer_decides|stand_side_by_side|is_taken|may_remove|is_answered|stand_beside|may_approve_where|may_deny"
        r"|needs_no_second|may_stand_in|are_taken|can_i|part_of_edit|could_write|every_way_of|keeps_the_vote_open"
        r"|comes_before|survives|selectable|shows_what|teaches|languages|makes_and_removes|forged_dry_runs|wildcard"
        r"|kubectl_apply_takes|field_manager_of_his_own|is_admitted|may_change|passes|completes|well_typed|the_cost_that"
    )
    for file in (
        "test_decisions_*.py",
        "test_writers.py",
        "test_hub_tokens.py",
        "test_request_crd.py",
        "test_bypasses.py",
        "test_pods_*.py",
    ):
        for path in sorted(CLUSTER.glob(file)):
            for test in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE):
                assert others.search(test) or f"{path.name}::{test}" in page, f"{path.name}::{test}"
