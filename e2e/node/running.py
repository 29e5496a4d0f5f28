"""Start a node beside a control plane on this machine, and end both with everything they made."""

import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from control_plane.kubeconfigs import by_certificate, kubeconfig_of
from control_plane.processes import Processes
from control_plane.running import ControlPlane, Reach
from e2e.node import machine, programs, runtime
from e2e.node.machine import Network, NoNode
from go_programs.modules import architecture
from images import archive
from images.dockerfile import Settings

NAME: Final = "node1"
_DEADLINE: Final = 180.0  # seconds; 20 on an idle machine
_STEP: Final = 0.2
_TAIL: Final = 30
_PORTS: Final = {"kubelet": 10250, "proxy": 10256, "proxy metrics": 10249, "dns": 10053}
_LONGEST: Final = 60  # characters of the folder's path: Unix sockets are below it

_WORKLOADS: Final = "deployments,daemonsets,statefulsets,replicasets,jobs,cronjobs"


@dataclass(frozen=True, slots=True)
class Node:
    """One node and its control plane, both running.

    Attributes:
        plane: kubectl, kubeconfigs of people, and what can be done to the API server.
        folder: logs, of programs and (under ``pods``) of containers.
    """

    plane: ControlPlane
    folder: Path
    _runtime: runtime.Runtime

    def take(self, archive: Path) -> None:
        """Take in the images of an archive, for pods with ``imagePullPolicy: IfNotPresent``."""
        self._runtime.take(archive)


@contextmanager
def running(folder: Path, *, network: Network | None = None) -> Iterator[Node]:
    """A node for as long as the block lasts. One at a time on a machine.

    Args:
        folder: everything is kept there, logs also afterwards; a short path.
        network: addresses; the default's are of the private range 10.

    Raises:
        NoNode: this machine cannot run one, or a program never became ready; with the end of its log.
        ProvisionFailed: a program can be neither found nor built.
    """
    if len(str(folder)) > _LONGEST:
        raise NoNode(f"{folder}: longer than {_LONGEST} characters, so that Unix sockets do not fit; use a shorter one")
    network = network or Network()
    machine.prepare()
    found = programs.provide()
    for below in ("run", "cni", "kubelet", "pods"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(machine.bridged(network))
        plane = stack.enter_context(
            ControlPlane.start(
                folder / "plane", controller_manager=True, reach=Reach(network.node, network.services, has_nodes=True)
            )
        )
        processes = Processes()
        stack.callback(processes.close)
        starting = _Starting(folder, network, plane, found, processes)
        stack.callback(starting.clean_up)
        starting.start()
        yield Node(plane, folder, starting.runtime)


class _Starting:
    """What is done to have a node, and to be rid of it."""

    def __init__(
        self, folder: Path, network: Network, plane: ControlPlane, found: dict[str, Path], processes: Processes
    ) -> None:
        self.runtime = runtime.Runtime(found, folder)
        self._folder = folder
        self._network = network
        self._plane = plane
        self._found = found
        self._processes = processes

    def start(self) -> None:
        self._start_runtime()
        self._start_kubelet()
        self._start_proxy()
        self._launch("kube-scheduler", f"--kubeconfig={self._kubeconfig('system:kube-scheduler')}",
                     "--leader-elect=false", "--secure-port=0")  # fmt: skip
        self._start_dns()
        self._await("kubelet", lambda: self._kubectl("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=1s"))
        taints = ("get", "node", NAME, "-o", "jsonpath={.spec.taints}")
        self._await("kubelet", lambda: self._plane.kubectl(*taints).stdout == "")
        for name in ("containerd", "kubelet", "kube-proxy", "kube-scheduler", "coredns"):
            if self._processes.ended(name) is not None:
                raise NoNode(f"{name} has ended:\n{self._tail(name)}")

    def clean_up(self) -> None:
        """End pods in order while there is somebody to do it, then whatever is left of them."""
        if self._processes.ended("kubelet") is None and self._kubectl("get", "--raw=/readyz"):
            for kind in ("validatingwebhookconfigurations", "mutatingwebhookconfigurations"):
                self._kubectl("delete", kind, "--all")
            self._kubectl("delete", _WORKLOADS, "-A", "--all", "--timeout=20s")
            self._kubectl("delete", "pods", "-A", "--all", "--grace-period=1", "--timeout=40s")
        for name in ("coredns", "kube-proxy", "kubelet", "kube-scheduler"):
            self._processes.stop(name)
        if self.runtime.answers():
            self.runtime.clear()
        self._processes.stop("containerd")
        runtime.end_shims(self._folder)
        runtime.unmount(self._folder)
        for left in Path("/var/log/containers").glob("*"):
            if left.is_symlink() and str(left.readlink()).startswith(f"{self._folder}/"):
                left.unlink()
        for groups in (Path("/sys/fs/cgroup/kubepods"), *Path("/sys/fs/cgroup").glob("*/kubepods")):
            _remove_groups(groups)
        machine.call([str(self._found["kube-proxy"]), "--cleanup"])

    def _start_runtime(self) -> None:
        folder = self._folder
        (folder / "containerd.toml").write_text(runtime.configuration(folder))
        (folder / "cni" / "10-hitl.conflist").write_text(runtime.pod_network(self._network, folder))
        path = f"{self._found['containerd-shim-runc-v2'].parent}:{os.environ['PATH']}:/usr/sbin:/sbin"
        self._launch("containerd", f"--config={folder / 'containerd.toml'}", environment={**os.environ, "PATH": path})
        self._await("containerd", self.runtime.answers)
        (folder / "pause").mkdir(exist_ok=True)
        shutil.copy(self._found["pause"], folder / "pause" / "pause")
        settings = Settings(user="65535:65535", entrypoint=("/pause",), environment=())
        layers = [archive.layer(folder / "pause")]
        archive.write(folder / "pause.tar", runtime.PAUSE, layers, settings, architecture=architecture())
        self.runtime.take(folder / "pause.tar")

    def _start_kubelet(self) -> None:
        folder, network = self._folder, self._network
        certificate, key = self._plane.server(NAME, addresses=[network.node]).write(folder, "kubelet")
        (folder / "resolv.conf").touch()
        settings = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network.node,
            "port": _PORTS["kubelet"],
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(self._plane.ca_file)},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "containerRuntimeEndpoint": f"unix://{runtime.socket_in(folder)}",
            "cgroupDriver": "cgroupfs",
            "failCgroupV1": Path("/sys/fs/cgroup/cgroup.controllers").exists(),
            "failSwapOn": False,
            "maxOpenFiles": min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1_000_000),
            "clusterDNS": [network.dns],
            "clusterDomain": "cluster.local",
            "resolvConf": str(folder / "resolv.conf"),
            "podLogsDir": str(folder / "pods"),
            "volumePluginDir": str(folder / "volume-plugins"),
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
            "imagePullCredentialsVerificationPolicy": "NeverVerify",
        }
        self._launch(
            "kubelet",
            f"--config={self._written('kubelet.yaml', settings)}",
            f"--kubeconfig={self._kubeconfig(f'system:node:{NAME}', 'system:nodes')}",
            f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'kubelet' / 'certificates'}",
            f"--hostname-override={NAME}",
            f"--node-ip={network.node}",
        )

    def _start_proxy(self) -> None:
        network = self._network
        settings = {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(self._kubeconfig("system:kube-proxy"))},
            "mode": "nftables",
            "clusterCIDR": network.pods,
            "hostnameOverride": NAME,
            "bindAddress": network.node,
            "healthzBindAddress": f"{network.node}:{_PORTS['proxy']}",
            "metricsBindAddress": f"{network.node}:{_PORTS['proxy metrics']}",
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
        self._launch("kube-proxy", f"--config={self._written('kube-proxy.yaml', settings)}")

    def _start_dns(self) -> None:
        network, port = self._network, _PORTS["dns"]
        self._apply(_dns_objects(network, port))
        (self._folder / "Corefile").write_text(f"""\
.:{port} {{
    bind {network.node}
    errors
    cache 5
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {self._kubeconfig("hitl:coredns")}
        pods insecure
        ttl 5
    }}
    template ANY ANY {{
        rcode NXDOMAIN
    }}
}}
""")
        self._launch("coredns", "-conf", str(self._folder / "Corefile"))

    def _kubeconfig(self, user: str, *groups: str) -> Path:
        path = self._folder / f"{user.replace(':', '-')}.kubeconfig"
        path.touch(mode=0o600)
        pair = self._plane.client(user, groups)
        path.write_text(kubeconfig_of(self._plane.url, self._plane.ca_file.read_bytes(), by_certificate(pair)))
        return path

    def _written(self, name: str, document: dict[str, Any]) -> Path:
        path = self._folder / name
        path.write_text(json.dumps(document, indent=1))  # YAML, too
        return path

    def _apply(self, objects: list[dict[str, Any]]) -> None:
        done = self._plane.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))
        if done.returncode:
            raise NoNode(f"kubectl apply failed: {done.stderr.strip()}")

    def _kubectl(self, *arguments: str) -> bool:
        return self._plane.kubectl(*arguments).returncode == 0

    def _launch(self, name: str, *flags: str, environment: dict[str, str] | None = None) -> None:
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        self._processes.start(
            name,
            [self._found[name], *flags],
            log=self._folder / f"{name}.log",
            environment=environment or {**os.environ, "PATH": path},
        )

    def _await(self, name: str, ready: Callable[[], bool]) -> None:
        until = time.monotonic() + _DEADLINE
        while not ready():
            if (code := self._processes.ended(name)) is not None:
                raise NoNode(f"{name} ended with exit code {code}:\n{self._tail(name)}")
            if time.monotonic() > until:
                raise NoNode(f"waited {_DEADLINE:.0f} s for {name}:\n{self._tail(name)}")
            time.sleep(_STEP)

    def _tail(self, name: str) -> str:
        return "\n".join((self._folder / f"{name}.log").read_text(errors="replace").splitlines()[-_TAIL:])


def _remove_groups(folder: Path) -> None:
    """The cgroups of pods that are gone; each must be empty before the one above it can go."""
    until = time.monotonic() + _DEADLINE
    while folder.is_dir():
        try:
            for group in sorted((each for each in folder.rglob("*") if each.is_dir()), reverse=True):
                group.rmdir()
            folder.rmdir()
        except OSError as error:  # the kernel is still taking leave of what ran in it
            if time.monotonic() > until:
                raise NoNode(f"{error.filename}: cannot be taken away ({error.strerror})") from error
            time.sleep(_STEP)


def _dns_objects(network: Network, port: int) -> list[dict[str, Any]]:
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "hitl:coredns"},
        "rules": [
            {
                "apiGroups": [""],
                "resources": ["endpoints", "services", "pods", "namespaces"],
                "verbs": ["list", "watch", "get"],
            },
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch", "get"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "hitl:coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl:coredns"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "hitl:coredns"}],
    }
    both = (("dns", "UDP"), ("dns-tcp", "TCP"))
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": network.dns,
            "ports": [{"name": name, "port": 53, "protocol": kind, "targetPort": port} for name, kind in both],
        },
    }
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": [{"name": name, "port": port, "protocol": kind} for name, kind in both],
        "endpoints": [{"addresses": [network.node], "conditions": {"ready": True}}],
    }
    return [role, binding, service, slices]
