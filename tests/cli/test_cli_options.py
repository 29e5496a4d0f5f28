"""Options that one program has and the other has not, or that stand before the command; times with their zone."""

import contextlib
import io
from datetime import UTC, datetime, timedelta

import pytest

from cli.homes import AHome
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


def test_who_acts_and_where_may_stand_before_the_command(home: AHome) -> None:
    """As kubectl's users type it; what stands behind the command counts before what stands in front."""
    home.people(ana=("support-leads",), bo=()).request("refund-1", namespace="shop")
    assert home.hitl("--as", "bo", "show", "refund-1").err.startswith("Next: hitl deny refund-1 ")
    assert home.hitl("--as", "ana", "show", "refund-1").err.startswith("Next: hitl approve refund-1 ")
    assert home.hitl("--as", "bo", "show", "refund-1", "--as", "ana").err.startswith("Next: hitl approve refund-1 ")
    assert home.hitl("-n", "shop", "list", "-o", "name").lines == ["approvalrequest.hitl.dev/refund-1"]
    assert home.hitl("-n", "lab", "list", "-o", "name").lines == []
    assert home.hitl("-n", "lab", "list", "-n", "shop", "-o", "name").lines == ["approvalrequest.hitl.dev/refund-1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "shop", "check", "-f", "x.yaml"], "check has no option --namespace; leave it out"),
        (["-A", "show", "refund-1"], "show has no option --all-namespaces; leave it out"),
        (["--as", "ana", "dev", "reviewer", "list"], "dev has no option --as; leave it out"),
    ],
)
def test_an_option_that_the_command_has_not_is_refused_before_it_too(home: AHome, words: list[str], said: str) -> None:
    """Not passed over: exit code 2 and which one; options of a command within a command are not refused."""
    done = home.hitl(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}\n")
    assert "no option --home" not in home.hitl("--home", str(home.path), "dev", "reviewer", "list").err
