"""Child processes that never outlive the process that started them, however that one ends."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# Reads until its parent is gone (the pipe's only writer), then ends its whole process group, also what is stopped.
GUARD = "read _; kill -KILL 0"
PATIENCE = 20  # seconds a server gets to end by itself; kube-apiserver takes about one


class Processes:
    """Servers in one process group of their own, away from the terminal's Ctrl-C.

    The group's leader is a guard that holds the reading end of a pipe. When this process ends, also by SIGKILL, the
    pipe closes and the guard takes the group along. (PR_SET_PDEATHSIG would do it when the starting *thread* ends.)
    """

    def __init__(self) -> None:
        self._guard = subprocess.Popen(["/bin/sh", "-c", GUARD], stdin=subprocess.PIPE, process_group=0)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        talks: bool = False,
    ) -> None:
        """Start `command` under `name`; what it prints is appended to `log`. `talks`: `pipes` of it are used."""
        with log.open("ab") as out:
            self._running[name] = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else out,
                stderr=out,
                process_group=self._guard.pid,
                env=environment,
            )

    def pipes(self, name: str) -> tuple[IO[bytes], IO[bytes]]:
        """Input and output of one that was started to talk."""
        process = self._running[name]
        assert process.stdin is not None, f"{name} was not started to talk"
        assert process.stdout is not None, f"{name} was not started to talk"
        return process.stdin, process.stdout

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def ended(self, name: str) -> int | None:
        """The exit code, None while it runs."""
        return self._running[name].poll()

    def freeze(self, name: str) -> None:
        """SIGSTOP, and wait until it has happened: the kernel stops a busy program's threads one after the other."""
        process = self._running[name]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT | os.WEXITED)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        self._running[name].send_signal(signal.SIGCONT)

    def stop(self, name: str) -> None:
        """End it: SIGTERM (after SIGCONT, for it may be frozen), and SIGKILL when that takes too long."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
        _reap(process)

    def kill(self, name: str) -> None:
        """End it as a crash would: SIGKILL, no goodbye."""
        process = self._running.pop(name, None)
        if process is not None:
            process.kill()
            _reap(process)

    def close(self) -> None:
        """Kill whatever still runs, then the guard."""
        for name in list(self._running):
            self.kill(name)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            # What nobody read is lost with the process that should have read it.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
