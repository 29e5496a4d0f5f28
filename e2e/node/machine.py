"""What a node needs of the machine: root, Debian's packages, a bridge for its pods, and some kernel settings."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGES: Final = ("runc", "containernetworking-plugins", "nftables", "iptables", "iproute2", "conntrack")
CNI: Final = Path("/usr/lib/cni")
_MINUTES: Final = 10
# The kubelet and the proxy change these; they are put back as they were.
_SETTINGS: Final = (
    "net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables",
    "vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)  # fmt: skip
_KERNEL: Final = Path("/proc/sys")


class NoNode(Exception):
    """This machine cannot run a node; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Network:
    """Addresses of pods and Services; the bridge has the first of the pods' as its own, which is the node's."""

    bridge: str = "hitl0"
    pods: str = "10.244.0.0/24"
    node: str = "10.244.0.1"
    services: str = "10.96.0.0/16"
    dns: str = "10.96.0.10"


def prepare() -> None:
    """Install what is missing of Debian's packages. NoNode: not root, no Debian, or a package cannot be had."""
    if os.geteuid() != 0:
        raise NoNode(
            "a node needs root (bridges, mounts, cgroups); run it as root, or give KUBECONFIG of a throw-away cluster"
        )
    if shutil.which("dpkg-query") is None:
        raise NoNode(
            "a node is made of Debian's packages, and this is no Debian; give KUBECONFIG of a throw-away cluster"
        )
    if any(Path("/sys/fs/cgroup").glob("**/kubepods*")):
        raise NoNode("this machine is a node of a cluster already, and two would undo each other; use another one")
    if missing := [package for package in PACKAGES if not _has(package)]:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        call(["apt-get", "-q", "update"], environment=quiet)
        call(["apt-get", "-q", "install", "-y", "--no-install-recommends", *missing], environment=quiet)


@contextmanager
def bridged(network: Network) -> Iterator[None]:
    """A bridge that is on no wire; taken away with everything on it, and the kernel's settings put back."""
    before = {name: text for name in _SETTINGS if (text := _setting(name)) is not None}
    _unbridge(network)
    try:
        call(["ip", "link", "add", network.bridge, "address", "02:00:0a:f4:00:01", "type", "bridge"])
        call(["ip", "address", "add", f"{network.node}/{network.pods.partition('/')[2]}", "dev", network.bridge])
        call(["ip", "link", "set", network.bridge, "up"])
        # What no Service answers dies on the bridge, and never leaves the machine.
        call(["ip", "route", "replace", network.services, "dev", network.bridge, "src", network.node])
        for name in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
            if name in before:
                (_KERNEL / name).write_text("1")
        yield
    finally:
        _unbridge(network)
        for name, text in before.items():
            with suppress(OSError):  # some can be read and not written in a container
                (_KERNEL / name).write_text(text)


def _unbridge(network: Network) -> None:
    subprocess.run(["ip", "link", "delete", network.bridge], capture_output=True, check=False)


def _setting(name: str) -> str | None:
    try:
        return (_KERNEL / name).read_text()
    except OSError:
        return None


def _has(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "installed"


def call(command: Sequence[str], *, environment: dict[str, str] | None = None, text: str | None = None) -> str:
    """What a command prints. NoNode: it failed; with its last words."""
    done = subprocess.run(
        command, env=environment, input=text, capture_output=True, text=True, timeout=_MINUTES * 60, check=False
    )
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise NoNode(f"{' '.join(map(str, command[:4]))} failed: {words[-1]}")
    return done.stdout
