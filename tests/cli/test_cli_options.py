"""Options that one program has and the other has not; times with their zone."""

import contextlib
import io
from datetime import UTC, datetime, timedelta

from hitl_cli.main import run
from hitl_cli.times import clock


def _help(program: str, *words: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert run([*words, "--help"], program) == 0
    return out.getvalue()


def test_homes_are_no_option_of_kubectl_hitl() -> None:
    """--home stands in the help of `hitl` and not in that of `kubectl hitl`, of the program and of a command."""
    for words in ((), ("list",), ("activity",)):
        assert "--home" in _help("hitl", *words)
        assert "--home" not in _help("kubectl-hitl", *words)
        assert "--context" in _help("kubectl-hitl", *words)


def test_activity_says_what_it_has_on_a_cluster() -> None:
    """The help tells Notify-tier calls, which are posted, from refused and allowed ones, which are not."""
    said = " ".join(_help("kubectl-hitl", "activity").split())
    assert "On a cluster: Notify-tier calls alone, from the Events" in said
    assert "refused and allowed calls are in the sidecars' audit logs" in said


def test_a_time_of_day_names_its_zone() -> None:
    """Two people in two zones compare times: each says whose clock it is."""
    now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    zone = now.astimezone().strftime("%Z")
    assert clock(now, now).endswith(f" {zone}")
    assert clock(now - timedelta(days=3), now).startswith("2026-11-1")
    assert zone not in clock(now, now, zone=False)
