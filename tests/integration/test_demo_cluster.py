"""`make demo-cluster`: real cluster, two replicas, two pods, two reviewers; every race ends as told, nothing stays."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200), pytest.mark.xdist_group("cluster-full")]


def still_running(folder: str) -> list[str]:
    """Command lines of processes that work in the demonstration's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended while we looked
        if folder in command:
            found.append(command)
    return found


def test_I6_the_demonstration_on_a_cluster_loses_no_call_and_releases_none_twice() -> None:
    """I6, I3: nine races with replicas, sidecars, the API server and a policy's binding taken away; then it is tidy."""
    done = subprocess.run(
        [sys.executable, "-m", "control_plane.demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=1180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    whole = r"calls tried (\d+): released (\d+), (.*)\nlost 0, released twice 0, released against the policy 0\n"
    counted = re.search(whole, done.stdout)
    assert counted is not None, done.stdout[-2000:]
    tried, released = int(counted[1]), int(counted[2])
    assert tried == 16
    assert tried == released + sum(int(number) for number in re.findall(r"\d+", counted[3])), "each became something"
    assert "unanswered" not in counted[3]
    assert 12 <= released <= 13, "what was approved in time ran; the one in the last moment may have"
    place = re.search(r"in (/tmp/hitl-cluster-\S+)", done.stdout)
    assert place is not None
    assert not os.path.exists(place[1])  # noqa: PTH110 - the shortest question
    assert still_running(place[1]) == []
