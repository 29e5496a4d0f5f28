"""Servers that are started for a test end with the process that started them, also when it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from control_plane.processes import Processes

ROOT = Path(__file__).parents[2]
STARTS_TWO = """
import pathlib, sys, time
from control_plane.processes import Processes
processes = Processes()
for name in ("one", "two"):
    processes.start(name, ["sleep", "600"], log=pathlib.Path(sys.argv[1]) / name)
processes.freeze("two")
print(processes.pid("one"), processes.pid("two"), flush=True)
time.sleep(600)
"""


def lives(pid: int) -> bool:
    """Whether the process runs; a zombie that its new parent has not noticed yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_what_a_killed_process_started_ends_too(tmp_path: Path, number: signal.Signals) -> None:
    """However the starting process ends, its servers end within seconds, the frozen one as well."""
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS_TWO, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with starter:
        assert starter.stdout is not None
        pids = [int(word) for word in starter.stdout.readline().split()]
        assert [lives(pid) for pid in pids] == [True, True]
        starter.send_signal(number)
    until = time.monotonic() + 60
    while any(lives(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert [lives(pid) for pid in pids] == [False, False]


def test_servers_stand_outside_the_terminal_s_process_group(tmp_path: Path) -> None:
    """Ctrl-C in the terminal reaches the tests, not the servers they are still talking to."""
    processes = Processes()
    try:
        processes.start("one", ["sleep", "600"], log=tmp_path / "log")
        assert os.getpgid(processes.pid("one")) != os.getpgid(0)
    finally:
        pid = processes.pid("one")
        processes.close()
    assert not lives(pid)
