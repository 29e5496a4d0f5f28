"""A cluster as a place: which one, which namespace, and how to say so again in a hint."""

import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hitl.approvals.requests import ApprovalRequest
from hitl.approvals.requirements import Progress, progress_of
from hitl.errors import StoreUnavailable
from hitl.kube.access import Access
from hitl_cli.on_cluster.desk import ClusterDesk
from hitl_cli.on_cluster.opened import opened
from hitl_cli.on_cluster.reading import EVERYWHERE
from hitl_cli.on_cluster.rights import Rights

if TYPE_CHECKING:
    from hitl.policy.calls import Agent  # start-up, as all here: a list needs it not
    from hitl_cli.policies import InForce  # at run time it would bring the whole compiler
    from hitl_cli.told import Activity

# Commands that take -A; a hint to one of them keeps it.
_TAKE_ALL = ("list", "history", "status", "unprotected")


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed of where and who.

    Attributes:
        plugin: as ``kubectl hitl``, not ``hitl --context``.
        user, groups: whom to impersonate.
    """

    plugin: bool
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    user: str | None = None
    groups: tuple[str, ...] = ()


class ClusterPlace:
    """A cluster that a kubeconfig leads to."""

    anyone = "who may approve it"

    def __init__(self, typed: Typed, now: Callable[[], datetime]) -> None:
        if typed.groups and not typed.user:
            raise click.UsageError("--as-group says what groups --as NAME is in; give both")
        if typed.all_namespaces and typed.namespace:
            raise click.UsageError("-A is every namespace and -n is one; give one of the two")
        self.typed = typed
        self.now = now
        self.rights = Rights()
        self._access: Access | None = None

    @property
    def access(self) -> Access:
        """How the caller reaches the API server. InvalidInput where the kubeconfig says it in no usable way."""
        if self._access is None:
            self._access = Access.from_kubeconfig(
                Path(self.typed.kubeconfig) if self.typed.kubeconfig else None,
                context=self.typed.context,
                as_user=self.typed.user,
                as_groups=self.typed.groups,
                namespace=self.typed.namespace,
            )
        return self._access

    @property
    def namespace(self) -> str | None:
        return None if self.typed.all_namespaces else self.access.namespace

    @property
    def where(self) -> str:
        return EVERYWHERE if self.namespace is None else f"namespace {self.namespace}"

    def hint(self, *words: str, about: ApprovalRequest | None = None) -> str:
        typed = self.typed
        flags: list[str] = []
        if about is not None and (typed.namespace or about.namespace != self.access.namespace):
            flags += ["-n", about.namespace]
        elif about is None and typed.namespace:
            flags += ["-n", typed.namespace]
        elif about is None and typed.all_namespaces and words[0] in _TAKE_ALL:
            flags.append("-A")
        for flag, value in (("--kubeconfig", typed.kubeconfig), ("--context", typed.context), ("--as", typed.user)):
            flags += [flag, shlex.quote(value)] if value else []
        flags += [part for group in typed.groups for part in ("--as-group", shlex.quote(group))]
        return " ".join(["kubectl hitl" if typed.plugin else "hitl", *words, *flags])

    def _kubectl(self, *words: str) -> str:
        typed = self.typed
        named = (("--kubeconfig", typed.kubeconfig), ("--context", typed.context))
        return " ".join(
            ["kubectl", *words, *(part for flag, value in named if value for part in (flag, shlex.quote(value)))]
        )

    def progress(self, request: ApprovalRequest) -> tuple[Progress, ...]:
        return progress_of(request)

    async def unheard(self, request: ApprovalRequest) -> list[str]:
        from hitl_cli.on_cluster.unheard import why_unheard  # noqa: PLC0415 - start-up: few votes wait

        async with self.open(viewed=False) as desk:
            known = await why_unheard(desk.api, self)
        return [*known, f"What became of it: {self.hint('show', request.name, about=request)}"]

    @asynccontextmanager
    async def open(self, *, viewed: bool = True, follows: bool = False) -> AsyncIterator[ClusterDesk]:
        async with opened(self.access, follows=follows) as (api, store):
            desk = ClusterDesk(self, api, store)
            if viewed:
                desk.expect_viewer()
            try:
                yield desk
            except StoreUnavailable as error:
                raise StoreUnavailable(f"{error}\nIs it up? {self._kubectl('cluster-info')}") from error
            finally:
                await desk.close()

    async def in_force(self, agent: "Agent", *, labels_known: bool) -> "InForce":
        from hitl_cli.on_cluster.policies import in_force  # noqa: PLC0415 - start-up: brings the whole compiler

        where = replace(agent, namespace=agent.namespace or self.access.namespace)
        async with self.open(viewed=False) as desk:
            return await in_force(desk.api, self, where, labels_known=labels_known)

    def activity(self) -> "Activity":
        from hitl_cli.on_cluster.activity import ClusterActivity  # noqa: PLC0415 - start-up: a list needs it not

        return ClusterActivity(self)
