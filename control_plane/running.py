"""Start etcd, kube-apiserver and, on request, kube-controller-manager on loopback, and end them."""

import http.client
import ipaddress
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from control_plane.certificates import Authority, Pair, pem_of, private_key
from control_plane.kubeconfigs import by_certificate, impersonating, kubeconfig_of
from control_plane.processes import Processes
from control_plane.provide import provide

DEADLINE = 120.0  # seconds until /readyz; 2.5 s on an idle machine, minutes where eight test sessions share two cores
TRIES = 5  # how often a start is tried again after somebody else took a port between our look and our use
TAIL = 30  # lines of a log that a failure shows
STEP = 0.05  # seconds between two looks

# Where no node stands behind it these two would evict pods from silent nodes and collect those of none.
CONTROLLERS = "*,-node-lifecycle-controller,-pod-garbage-collector-controller"
# What pods call it: kubernetes, kubernetes.default, and so on.
API_NAME = ("kubernetes", "default", "svc", "cluster", "local")


@dataclass(frozen=True, slots=True)
class Reach:
    """From where the API server is reached, and what it hands out.

    Attributes:
        address: of this machine, on which it listens.
        services: the range of Services' addresses; the first is its own.
        has_nodes: pods run behind it: it calls kubelets, lets them write what is theirs alone, and silent ones lose
            their pods.
    """

    address: str = "127.0.0.1"
    services: str = "10.0.0.0/24"
    has_nodes: bool = False

    @property
    def service_address(self) -> str:
        """Where pods find it."""
        return str(next(ipaddress.ip_network(self.services).hosts()))


LOOPBACK = Reach()


class ControlPlaneFailed(Exception):
    """A program of the control plane ended or never became ready; the message carries the end of its log."""


class PortTaken(ControlPlaneFailed):
    """Somebody took the port between our look and our use; another one will do."""


class ControlPlane:
    """A running API server on its own etcd. Ends with the `with` block, with `stop`, or with this process.

    Attributes:
        url: `https://ADDRESS:PORT`, also after `restart_apiserver`; on loopback unless told otherwise.
        ca_file: what signs the API server's certificate and its clients'.
        admin: kubeconfig of a user in `system:masters`.
    """

    def __init__(
        self, folder: Path, *, controller_manager: bool, extra_apiserver_flags: Sequence[str], reach: Reach
    ) -> None:
        self._programs = provide()
        self._reach = reach
        self._folder = folder
        self._authority = Authority()
        self._flags = tuple(extra_apiserver_flags)
        self._controllers = controller_manager
        self._processes = Processes()
        self._kubeconfigs: dict[str, Path] = {}
        self._prepare()
        self.ca_file = folder / "ca.crt"
        self.url = ""
        self.admin = folder / "admin.kubeconfig"

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        controller_manager: bool = False,
        extra_apiserver_flags: Sequence[str] = (),
        reach: Reach = LOOPBACK,
    ) -> "ControlPlane":
        """Start in `folder` (made if absent) and wait until the API server answers ready.

        Args:
            folder: certificates, kubeconfigs, logs and etcd's files.
            controller_manager: also namespaces, tokens, owners are looked after, and ServiceAccount admission is on.
            extra_apiserver_flags: handed to kube-apiserver after ours.
            reach: where it listens, and whether nodes stand behind it.

        Raises:
            ControlPlaneFailed: with the name of the program and the end of its log.
            ProvisionFailed: the programs could not be had; says which ways were tried.
        """
        folder.mkdir(parents=True, exist_ok=True)
        plane = cls(
            folder, controller_manager=controller_manager, extra_apiserver_flags=extra_apiserver_flags, reach=reach
        )
        try:
            plane._start_all()
        except BaseException:
            plane.stop()
            raise
        return plane

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End every program. What they stored stays in the folder; logs and kubeconfigs too."""
        self._processes.close()

    def freeze(self) -> None:
        """Stop the API server's clock: it keeps its connections and answers nobody until `thaw`."""
        self._processes.freeze("kube-apiserver")

    def thaw(self) -> None:
        self._processes.thaw("kube-apiserver")

    def restart_apiserver(self, *flags: str) -> None:
        """Kill the API server, as a crash would, and start it on the same port and etcd; returns when it is ready.

        `flags` are handed to it after all others, this time only.
        """
        self._processes.kill("kube-apiserver")
        self._start_apiserver(*flags)

    @contextmanager
    def storage(self) -> Iterator[Path]:
        """Stop API server and etcd, lend the folder of etcd's files to copy or replace, and start both again."""
        self._processes.kill("kube-apiserver")
        self._processes.stop("etcd")
        yield self._folder / "etcd"
        self._retrying(self._start_etcd)
        self._start_apiserver()

    def kubeconfig(
        self,
        user: str,
        groups: Sequence[str] = (),
        *,
        extra: Mapping[str, Sequence[str]] | None = None,
        namespace: str = "default",
    ) -> Path:
        """The kubeconfig of `user` in `groups`, by client certificate; commands without -n mean `namespace`.

        With `extra` (what a login adds, e.g. `{"hitl.dev/amr": ["hwk"]}`) the administrator speaks as that user,
        because a certificate carries no extras.
        """
        extras = None if extra is None else {key: list(values) for key, values in extra.items()}
        key = json.dumps([user, list(groups), extras, namespace])
        if key not in self._kubeconfigs:
            pair = self._authority.client(user, groups)
            who = by_certificate(pair)
            if extra is not None:
                masters = by_certificate(self._authority.client("hitl-test-impersonator", ["system:masters"]))
                who = impersonating(masters, user, groups, extra)
            path = self._folder / "kubeconfigs" / f"{len(self._kubeconfigs)}.kubeconfig"
            path.parent.mkdir(exist_ok=True)
            self._write(path, who, namespace)
            self._kubeconfigs[key] = path
        return self._kubeconfigs[key]

    def kubectl(
        self, *args: str, kubeconfig: Path | None = None, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run the pinned kubectl as `kubeconfig` (the administrator); a refusal is an exit code, not an exception."""
        command = [str(self._programs.kubectl), f"--kubeconfig={kubeconfig or self.admin}", *args]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False, cwd=self._folder
        )

    def client(self, user: str, groups: Sequence[str] = ()) -> Pair:
        """A client certificate of `user` in `groups`, for programs that belong to the cluster."""
        return self._authority.client(user, groups)

    def server(self, name: str, *, addresses: Sequence[str] = ()) -> Pair:
        """A certificate for a server that the API server calls, on `addresses` beside loopback."""
        return self._authority.server(name, names=(name,), addresses=addresses)

    @property
    def kubectl_program(self) -> Path:
        """The pinned kubectl, for who runs it himself."""
        return self._programs.kubectl

    def _prepare(self) -> None:
        folder = self._folder
        (folder / "ca.crt").write_bytes(self._authority.pem)
        names = ("localhost", *(".".join(API_NAME[: n + 1]) for n in range(len(API_NAME))))
        addresses = (self._reach.address, self._reach.service_address)
        self._authority.server("kube-apiserver", names=names, addresses=addresses).write(folder, "apiserver")
        key = folder / "service-accounts.key"
        key.touch(mode=0o600)
        key.write_bytes(pem_of(private_key()))

    def _start_all(self) -> None:
        self._retrying(self._start_etcd)
        self._retrying(self._first_apiserver)
        if self._controllers:
            self._start_controllers()

    def _retrying(self, start: Callable[[], None]) -> None:
        for left in reversed(range(TRIES)):
            try:
                start()
            except PortTaken:
                if left == 0:
                    raise
            else:
                return

    def _start_etcd(self) -> None:
        client, peer = free_ports(2)
        self._etcd = f"http://127.0.0.1:{client}"
        self._launch(
            "etcd",
            self._programs.etcd,
            f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}",
            f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            "--unsafe-no-fsync=true",  # a crash of the machine ends the session anyway
            "--log-level=warn",
        )
        self._await("etcd", lambda: _reads(f"{self._etcd}/health", None), "to answer /health")

    def _first_apiserver(self) -> None:
        (self._port,) = free_ports(1)
        self.url = f"https://{self._reach.address}:{self._port}"
        self._write(self.admin, by_certificate(self._authority.client("admin", ["system:masters"])))
        self._start_apiserver()

    def _start_apiserver(self, *flags: str) -> None:
        folder = self._folder
        service_accounts = () if self._controllers else ("--disable-admission-plugins=ServiceAccount",)
        self._launch(
            "kube-apiserver",
            self._programs.kube_apiserver,
            f"--etcd-servers={self._etcd}",
            f"--secure-port={self._port}",
            f"--bind-address={self._reach.address}",
            f"--advertise-address={self._reach.address}",
            f"--cert-dir={folder}",
            f"--tls-cert-file={folder / 'apiserver.crt'}",
            f"--tls-private-key-file={folder / 'apiserver.key'}",
            f"--client-ca-file={self.ca_file}",
            f"--service-cluster-ip-range={self._reach.services}",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder / 'service-accounts.key'}",
            f"--service-account-signing-key-file={folder / 'service-accounts.key'}",
            *(self._for_nodes() if self._reach.has_nodes else ("--endpoint-reconciler-type=none",)),
            *service_accounts,
            *self._flags,
            *flags,
        )
        pair = self._authority.client("admin", ["system:masters"])
        certificate, key = pair.write(folder, "ready")
        trusting = ssl.create_default_context(cafile=str(self.ca_file))
        trusting.load_cert_chain(certificate, key)
        self._await("kube-apiserver", lambda: _reads(f"{self.url}/readyz", trusting), "to answer /readyz")
        # Ready comes a moment before the namespaces that every cluster has.
        default = f"{self.url}/api/v1/namespaces/default"
        self._await("kube-apiserver", lambda: _reads(default, trusting), "to make the namespace default")

    def _for_nodes(self) -> tuple[str, ...]:
        certificate, key = self._authority.client("kube-apiserver", ["system:masters"]).write(
            self._folder, "to-kubelets"
        )
        return (
            "--enable-admission-plugins=NodeRestriction",
            f"--kubelet-certificate-authority={self.ca_file}",
            f"--kubelet-client-certificate={certificate}",
            f"--kubelet-client-key={key}",
            "--kubelet-preferred-address-types=InternalIP",
        )

    def _start_controllers(self) -> None:
        folder = self._folder
        own = folder / "controller-manager.kubeconfig"
        self._write(own, by_certificate(self._authority.client("system:kube-controller-manager")))
        self._launch(
            "kube-controller-manager",
            self._programs.kube_controller_manager,
            f"--kubeconfig={own}",
            "--use-service-account-credentials",  # so that admission sees each controller under its own name
            f"--service-account-private-key-file={folder / 'service-accounts.key'}",
            f"--root-ca-file={self.ca_file}",
            f"--controllers={'*' if self._reach.has_nodes else CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
        )
        account = ("get", "serviceaccount/default", "configmap/kube-root-ca.crt", "--namespace=default")
        self._await(
            "kube-controller-manager",
            lambda: self.kubectl(*account).returncode == 0,
            "to make the service account of the namespace default",
        )

    def _launch(self, name: str, program: Path, *flags: str) -> None:
        self._processes.start(name, [program, *flags], log=self._log(name))

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _await(self, name: str, ready: Callable[[], bool], wish: str) -> None:
        until = time.monotonic() + DEADLINE
        while not ready():
            code = self._processes.ended(name)
            if code is not None:
                tail = self._tail(name)
                failure = PortTaken if "address already in use" in tail else ControlPlaneFailed
                raise failure(f"{name} ended with exit code {code}; the end of {self._log(name)}:\n{tail}")
            if time.monotonic() > until:
                raise ControlPlaneFailed(
                    f"waited {DEADLINE:.0f} s for {name} {wish}; the end of {self._log(name)}:\n{self._tail(name)}"
                )
            time.sleep(STEP)

    def _tail(self, name: str) -> str:
        return "\n".join(self._log(name).read_text(errors="replace").splitlines()[-TAIL:])

    def _write(self, path: Path, user: Mapping[str, object], namespace: str = "default") -> None:
        path.touch(mode=0o600)
        path.write_text(kubeconfig_of(self.url, self._authority.pem, user, namespace=namespace))


def free_ports(count: int) -> list[int]:
    """`count` different loopback ports that nobody listens on now; somebody may before they are used."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _reads(url: str, trusting: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=trusting) as answer:  # our own loopback URL
            return bool(answer.status == http.client.OK)
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException):
        return False
