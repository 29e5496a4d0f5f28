"""`hitl demo`, as `make demo` runs it: every scene goes as told, and what it prints at the end is true."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(400)

OUTCOMES = (
    "ALLOWED",
    "DENIED",
    "PENDING",
    "EXPIRED",
    "CANCELLED",
    "SUGGESTED",
    "CLARIFY",
    "UNAVAILABLE",
    "ALREADY_RELEASED",
    "APPROVED",
    "INVALID",
)


def test_the_demo_shows_every_outcome_runs_nothing_twice_and_verifies_its_log() -> None:
    """Off a terminal the demo decides by itself, ends with 0 and has had every outcome of the API by name."""
    done = subprocess.run(
        [sys.executable, "-m", "hitl_cli.main", "demo"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=390,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    counted = re.search(r"\d+ answers: (.*?)\n\d+ executions", done.stdout, re.DOTALL)
    assert counted is not None, done.stdout[-3000:]
    assert [outcome for outcome in OUTCOMES if not re.search(rf"\d\s+{outcome}\b", counted[1])] == []
    assert "7 executions; the same call twice: 0" in done.stdout
    assert re.search(r"\d+ records, 2 epochs, 0 problems", done.stdout)
    assert "has no stop record: its process was killed" in done.stdout
