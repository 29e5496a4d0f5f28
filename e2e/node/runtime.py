"""The container runtime of a node: its configuration, its images, and what it leaves behind when it is killed."""

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from e2e.node.machine import CNI, Network, NoNode, call

PAUSE: Final = "localhost/pause:1"
_SHIM: Final = "containerd-shim-runc-v2"
_CAP_SYS_RESOURCE: Final = 24


def configuration(folder: Path) -> str:
    """containerd's, with all it keeps under `folder`."""
    # Without that right nobody can lower oom_score_adj, and runc fails at it.
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    restricted = not int(effective.split()[1], 16) >> _CAP_SYS_RESOURCE & 1
    return f"""\
version = 3
imports = []
root = "{folder}/containerd"
state = "{folder}/run/containerd"
[grpc]
  address = "{socket_in(folder)}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = {str(restricted).lower()}
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI}"]
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      SystemdCgroup = false
      Root = "{folder}/run/runc"
"""


def pod_network(network: Network, folder: Path) -> str:
    """The pods' network, for the plug-ins of the CNI."""
    ranges = [[{"subnet": network.pods, "gateway": network.node}]]
    addresses = {
        "type": "host-local",
        "dataDir": f"{folder}/addresses",
        "ranges": ranges,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": network.bridge, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return json.dumps({"cniVersion": "1.0.0", "name": "hitl", "plugins": [bridge]})


def socket_in(folder: Path) -> Path:
    return folder / "run" / "containerd.sock"


class Runtime:
    """A running containerd, by its own client."""

    def __init__(self, programs: Mapping[str, Path], folder: Path) -> None:
        self._ctr = programs["ctr"]
        self._folder = folder

    def answers(self) -> bool:
        """Whether it can be asked already."""
        try:
            self._call("version")
        except NoNode:
            return False
        return True

    def take(self, archive: Path) -> None:
        """Take in the images of an archive."""
        self._call("images", "import", str(archive))

    def clear(self) -> None:
        """Kill and forget every container that is left."""
        for name in self._call("containers", "list", "-q").split():
            for command in (("tasks", "kill", "-s", "SIGKILL"), ("tasks", "delete", "-f"), ("containers", "delete")):
                try:
                    self._call(*command, name)
                except NoNode:
                    continue  # it has no task, or has ended by itself

    def _call(self, *arguments: str) -> str:
        return call([str(self._ctr), "--address", str(socket_in(self._folder)), "-n", "k8s.io", *arguments])


def end_shims(folder: Path) -> None:
    """End the shims of this runtime, which outlive it, and of no other."""
    for wait in (2.0, 0.0):
        left = _shims(folder)
        deadline = time.monotonic() + wait
        while left and time.monotonic() < deadline:
            time.sleep(0.1)
            left = _shims(folder)
    for pid in _shims(folder):
        with suppress(ProcessLookupError):  # it ended between our look and this
            os.kill(pid, signal.SIGKILL)


def unmount(folder: Path) -> None:
    """Whatever is still mounted below `folder`, deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    for place in sorted((line.split()[4] for line in lines), reverse=True):
        if place.startswith(f"{folder}/"):
            call(["umount", "-l", place])


def _shims(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # it ended between our look and this
        if Path(words[0]).name == _SHIM and str(socket_in(folder)) in words:
            found.append(int(process.name))
    return found
