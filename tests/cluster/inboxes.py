"""Requests on a real API server as the operator opens and settles them, and people who look at them through kubectl."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.homes import a_spec
from cluster.gated_pods import EVER
from control_plane.running import ControlPlane
from hitl.approvals.requests import ApprovalRequest, Decision, RequestSpec, RequestStatus, State, Verified
from hitl.approvals.settle import Outcome, consume, settle
from hitl.approvals.votes import unverified, with_verified
from hitl.errors import Conflict
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.stores.kubernetes import KubernetesStore

OPERATOR = "system:serviceaccount:hitl-system:hitl-operator"
OPERATORS_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:hitl-system", "system:authenticated")
BIN = Path(sys.executable).parent
# The plugin with more patience: two seconds are for people, while on a machine that others want as well the hub that
# is there takes longer. What people are told after two seconds is tried where there is none.
PATIENT = f"""\
#!{sys.executable}
import sys
from hitl_cli import deciding, main, notes
deciding.PATIENCE = deciding._PATIENCE_EDITED = notes.PATIENCE = {EVER}
sys.exit(main.main())
"""
REVIEWS = path_of("authorization.k8s.io/v1", "subjectaccessreviews")

Step = Callable[[KubernetesStore, ApprovalRequest], Awaitable[ApprovalRequest]]


@dataclass(frozen=True)
class Done:
    """How a run of kubectl ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def document(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Inbox:
    """A namespace of a cluster: what the operator does there, and what people type."""

    plane: ControlPlane
    namespace: str
    plugins: list[Path] = field(default_factory=lambda: [BIN], compare=False)

    @property
    def operator(self) -> Access:
        """The operator as the API server sees it."""
        return Access.from_kubeconfig(self.plane.kubeconfig(OPERATOR, OPERATORS_GROUPS))

    def bind(self, role: str, *users: str, namespace: str | None = None, groups: Sequence[str] = ()) -> "Inbox":
        """Give people, or groups, a ClusterRole in this namespace, or in another; returns when it acts."""
        where = namespace or self.namespace
        subjects = [{"kind": "User", "name": each, "apiGroup": "rbac.authorization.k8s.io"} for each in users]
        subjects += [{"kind": "Group", "name": each, "apiGroup": "rbac.authorization.k8s.io"} for each in groups]
        name = "-".join([role, *(each.partition("@")[0] for each in (*users, *groups))])
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": where},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": subjects,
        }
        done = self.plane.kubectl("apply", "-f", "-", stdin=json.dumps(binding))
        assert done.returncode == 0, done.stderr
        asyncio.run(self._until_allowed(role, where, [{"user": each} for each in users]))
        asyncio.run(self._until_allowed(role, where, [{"user": "anybody", "groups": [each]} for each in groups]))
        return self

    async def _until_allowed(self, role: str, where: str, people: Sequence[Mapping[str, Any]]) -> None:
        """Returns when the API server lets them do all that the role has, a moment after it was bound."""
        async with KubeAPI.open(Access.from_kubeconfig(self.plane.admin)) as api:
            rules = (await api.get(path_of("rbac.authorization.k8s.io/v1", "clusterroles", name=role)))["rules"]
            for rule, who in itertools.product(rules, people):
                for verb, group, resource in itertools.product(rule["verbs"], rule["apiGroups"], rule["resources"]):
                    name, _, part = resource.partition("/")
                    wish = {"namespace": where, "verb": verb, "group": group, "resource": name, "subresource": part}
                    review = {"spec": {**who, "resourceAttributes": wish}}
                    until = time.monotonic() + EVER
                    while not (await api.create(REVIEWS, review))["status"]["allowed"]:
                        assert time.monotonic() < until, f"{who} may not {verb} {resource} in {where}"
                        await asyncio.sleep(0.02)

    def request(self, name: str, spec: RequestSpec | None = None, *, then: Step | None = None) -> ApprovalRequest:
        """Open a request as the operator does; `then` is what becomes of it at once."""

        async def opened() -> ApprovalRequest:
            async with KubernetesStore.open(self.operator) as store:
                asked = replace(spec or a_spec(), requester=f"system:serviceaccount:{self.namespace}:support")
                request = await store.create(self.namespace, name, asked, RequestStatus())
                return request if then is None else await then(store, request)

        return asyncio.run(opened())

    def now_is(self, name: str) -> ApprovalRequest:
        """The request as stored."""

        async def read() -> ApprovalRequest:
            async with KubernetesStore.open(self.operator) as store:
                return await store.get(self.namespace, name)

        return asyncio.run(read())

    def step(self, name: str, then: Step) -> ApprovalRequest:
        """What the operator does to it next."""

        async def taken() -> ApprovalRequest:
            async with KubernetesStore.open(self.operator) as store:
                return await then(store, await store.get(self.namespace, name))

        return asyncio.run(taken())

    def person(
        self, name: str, groups: Sequence[str] = (), extra: Mapping[str, Sequence[str]] | None = None
    ) -> "Person":
        """Somebody with a kubeconfig of their own, whose commands mean this namespace."""
        config = self.plane.kubeconfig(name, groups, extra=extra, namespace=self.namespace)
        return Person(self, name, config)

    @contextmanager
    def operated(self) -> Iterator[None]:
        """While this lasts, votes are verified, counted and the call consumed, as the operator's hub does."""
        ready, stop = threading.Event(), threading.Event()
        thread = threading.Thread(target=lambda: asyncio.run(self._operate(ready, stop)))
        thread.start()
        with tempfile.TemporaryDirectory() as folder:
            plugin = Path(folder) / "kubectl-hitl"
            plugin.write_text(PATIENT)
            plugin.chmod(0o755)
            self.plugins.insert(0, plugin.parent)
            try:
                assert ready.wait(EVER)
                yield
            finally:
                self.plugins.remove(plugin.parent)
                stop.set()
                thread.join(EVER)

    async def _operate(self, ready: threading.Event, stop: threading.Event) -> None:
        async with KubernetesStore.open(self.operator) as store:
            changes = store.watch(self.namespace)
            await store.anchor()
            ready.set()
            coming = asyncio.ensure_future(anext(changes))
            while not stop.is_set():
                await asyncio.wait({coming}, timeout=0.1)
                if coming.done():
                    changed = coming.result()
                    with suppress(Conflict):  # the write that came between is the next change
                        request = await store.get(changed.namespace, changed.name)
                        if request.status.state is State.PENDING:
                            await counted(store, request)
                    coming = asyncio.ensure_future(anext(changes))
            coming.cancel()

    def kubectl(self, kubeconfig: Path, *words: str, columns: int = 100, typed: str = "", **environment: str) -> Done:
        """Run real kubectl, which finds the plugin on PATH; the kubeconfig's namespace is this one."""
        done = subprocess.run(
            [str(self.plane.kubectl_program), *words],
            input=typed,
            capture_output=True,
            text=True,
            env={
                "PATH": ":".join([*map(str, self.plugins), os.environ["PATH"]]),
                "HOME": str(kubeconfig.parent),
                "KUBECONFIG": str(kubeconfig),
                "COLUMNS": str(columns),
                "TZ": "UTC",
                **environment,
            },
            timeout=EVER,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@dataclass(frozen=True)
class Person:
    """Somebody at a terminal with kubectl and the plugin on PATH."""

    inbox: Inbox
    name: str
    kubeconfig: Path

    def hitl(self, *words: str, columns: int = 100, typed: str = "", **environment: str) -> Done:
        """Run `kubectl hitl …`."""
        return self.inbox.kubectl(self.kubeconfig, "hitl", *words, columns=columns, typed=typed, **environment)


async def counted(store: KubernetesStore, request: ApprovalRequest) -> ApprovalRequest:
    """What a hub does when votes came: verify them, settle, and release to the sidecar that holds the call."""
    decisions, notes = unverified(request.status)
    entries = [_entry(each) for each in decisions] + [Verified(each.reviewer, note=each.n) for each in notes]
    if entries:
        request = await store.write_status(request, with_verified(request, entries))
    now = datetime.now(UTC)
    found = settle(request, now)
    if found.outcome is Outcome.READY:
        released = consume(request, now, digest=request.spec.digest, by="pod-1/epoch-1")
        assert released.status is not None
        return await store.write_status(request, released.status)
    return request if found.status is None else await store.write_status(request, found.status)


def _entry(decision: Decision) -> Verified:
    factors = decision.proof.factors if decision.proof else ()
    return Verified(
        decision.reviewer,
        groups=decision.groups,
        second_factor=f"oidc:{','.join(factors)}" if factors else "",
        hardware="hwk" in factors,
    )
