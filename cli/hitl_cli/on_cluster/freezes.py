"""PolicyOverrides of type Freeze as people press, see and lift them: what they stop, in words, and who may."""

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hitl.approvals.requests import ApprovalRequest
from hitl.errors import ApiError, Forbidden, HitlError, NotFound
from hitl.kube.api import LIST_METADATA, KubeAPI
from hitl.kube.marks import GATED
from hitl.kube.paths import path_of
from hitl.policy.globs import Glob, normalise
from hitl.policy.parsing_reader import Problems, Reader
from hitl.policy.parsing_sections import read_selector
from hitl.policy.selectors import selects
from hitl_cli.on_cluster.desk import ClusterDesk
from hitl_cli.on_cluster.reading import denied, reading

API: Final = "hitl.dev/v1alpha1"
PLURAL: Final = "policyoverrides"
PRESSED_ON: Final = "hitl.dev/frozen-workload"
"""Annotation: the workload that was typed, so that `thaw deploy/NAME` finds its freeze again. Nothing rests on it."""

_FORBIDDEN: Final = 403
_NOT_THERE: Final = 404
_DENIAL: Final = re.compile(r"denied request: (.*)", re.DOTALL)
# What kubectl calls a workload, the short form that requests have, and where it is.
_WORKLOADS: Final = {
    "deploy": ("deploy", "apps/v1", "deployments"),
    "sts": ("sts", "apps/v1", "statefulsets"),
    "ds": ("ds", "apps/v1", "daemonsets"),
    "rs": ("rs", "apps/v1", "replicasets"),
    "job": ("job", "batch/v1", "jobs"),
}
_LONG: Final = {
    "deployment": "deploy",
    "statefulset": "sts",
    "daemonset": "ds",
    "replicaset": "rs",
    "job": "job",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be stopped.

    Attributes:
        namespace: where the PolicyOverride stands.
        everywhere: that is the operator's namespace, so it stops every namespace.
        workload: in the short form, ``deploy/coder``; empty: every pod.
        selector: of its pods.
        tools: globs; empty: every call.
    """

    namespace: str
    everywhere: bool
    workload: str = ""
    selector: Mapping[str, Any] | None = None
    tools: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """As the beginning of "… is frozen"."""
        where = "every namespace" if self.everywhere else f"namespace {self.namespace}"
        if self.workload:
            place = where if self.everywhere else self.namespace
            where = f"{self.workload.partition('/')[2]} in {place}"
        if self.tools:
            return f"{', '.join(self.tools)} of {where}" if self.workload else f"{', '.join(self.tools)} in {where}"
        return where

    @property
    def calls(self) -> str:
        """Which calls are refused."""
        return f"every call of {', '.join(self.tools)}" if self.tools else "every call"

    def manifest(self, *, by: str, reason: str, until: str) -> dict[str, Any]:
        """The PolicyOverride."""
        spec: dict[str, Any] = {"type": "Freeze", "by": by, "reason": reason}
        if until:
            spec["until"] = until
        if self.tools:
            spec["tools"] = list(self.tools)
        if self.selector is not None:
            spec["podSelector"] = dict(self.selector)
        stem = self.workload.partition("/")[2] or ("cluster" if self.everywhere else self.namespace)
        name = f"{stem[:50].strip('.-')}-{secrets.token_hex(3)}"
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace}
        if self.workload:
            metadata["annotations"] = {PRESSED_ON: self.workload}
        return {"apiVersion": API, "kind": "PolicyOverride", "metadata": metadata, "spec": spec}


@dataclass(frozen=True, slots=True)
class Reach:
    """What it would stop; None: the caller may not read it.

    Attributes:
        pods: gated pods that run.
        requests: handles of those that wait and would be cancelled.
    """

    pods: int | None
    requests: frozenset[str] | None

    @property
    def words(self) -> str:
        """As the end of "This stops … of"."""
        agents = "agents you may not count" if self.pods is None else _count(self.pods, "agent")
        waiting = "requests you may not count" if self.requests is None else _count(len(self.requests), "request")
        return f"{agents}, and cancels {waiting} that wait"


@dataclass(frozen=True, slots=True)
class Pressed:
    """A freeze as it is written, and what the operator says of it."""

    namespace: str
    name: str
    by: str
    reason: str
    until: str
    tools: tuple[str, ...]
    selects: bool
    workload: str
    state: str
    problem: str
    sidecars: tuple[int, int] | None

    @property
    def is_over(self) -> bool:
        """Whether the operator has said that its time is over; unless it has, it may stop calls."""
        return self.state == "Ended"

    def words(self, operator_namespace: str) -> str:
        """What it stops, by whom, until when and why."""
        where = "every namespace" if self.namespace == operator_namespace else f"namespace {self.namespace}"
        pods = self.workload or ("the pods that it selects" if self.selects else "every gated pod")
        until = f" until {self.until}" if self.until else ""
        calls = ", ".join(self.tools) or "every call"
        return f"{calls} of {pods} in {where} is frozen by {self.by}{until}: {self.reason}"


async def selector_of(api: KubeAPI, namespace: str, typed: str) -> tuple[str, Mapping[str, Any]]:
    """The short form of a workload, and the selector of its pods.

    Raises:
        HitlError: it is no workload, it is not there, or its pods cannot be told apart.
        Forbidden: the caller may not read it.
    """
    kind, _, name = typed.partition("/")
    short = _LONG.get(kind.lower().removesuffix("s"), kind.lower())
    if short not in _WORKLOADS or not name:
        raise HitlError(f"{typed} is no workload; write one such as deploy/NAME, sts/NAME, ds/NAME or job/NAME")
    short, version, plural = _WORKLOADS[short]
    try:
        found = await api.get(path_of(version, plural, namespace, name))
    except ApiError as error:
        if error.status == _NOT_THERE:
            raise NotFound(f"there is no {short}/{name} in namespace {namespace}\nAnother namespace: -n NS") from error
        raise denied(
            error,
            f"read {short}/{name} in namespace {namespace}",
            "role hitl-freezer has verb get on it; all of the namespace: -n NS",
        ) from error
    selector: Mapping[str, Any] = found["spec"].get("selector") or {}
    if not selector:
        raise HitlError(f"{short}/{name} does not say which pods are its own; freeze the namespace instead: -n NS")
    return f"{short}/{name}", selector


async def reach_of(desk: ClusterDesk, wish: Wish) -> Reach:
    """What a freeze would stop now, as far as the caller may see it."""
    namespace = None if wish.everywhere else wish.namespace
    return Reach(await _pods(desk.api, namespace, wish), await _requests(desk, namespace, wish))


async def press(desk: ClusterDesk, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Store it. Forbidden, with the role that would help, and HitlError where the cluster has no such kind."""
    namespace = manifest["metadata"]["namespace"]
    try:
        return await desk.api.create(path_of(API, PLURAL, namespace), dict(manifest))
    except ApiError as error:
        raise _refused(error, f"freeze in namespace {namespace}", "hitl-freezer has verb create", namespace) from error


async def lift(desk: ClusterDesk, freeze: Pressed) -> None:
    """Delete it. Errors as `press`; NotFound: somebody was faster."""
    try:
        await desk.api.delete(path_of(API, PLURAL, freeze.namespace, freeze.name))
    except ApiError as error:
        if error.status == _NOT_THERE:
            raise NotFound(f"{freeze.name} is gone already; somebody else thawed it") from error
        doing = f"thaw {freeze.name} in namespace {freeze.namespace}"
        raise _refused(error, doing, "hitl-on-call has verb delete", freeze.namespace) from error


async def pressed(api: KubeAPI, namespaces: Iterable[str | None], doctor: str) -> list[Pressed]:
    """Every freeze there; a namespace None: of all of them. Forbidden, HitlError where they cannot be listed."""
    found: dict[tuple[str, str], Pressed] = {}
    for namespace in namespaces:
        whose = f"namespace {namespace}" if namespace else "all namespaces"
        with reading(PLURAL, whose, "hitl-viewer", doctor):
            async for each in api.list(path_of(API, PLURAL, namespace)):
                one = pressed_of(each)
                found[one.namespace, one.name] = one
    return [found[key] for key in sorted(found)]


async def seen(api: KubeAPI, namespaces: Iterable[str | None], doctor: str) -> list[Pressed]:
    """As `pressed`, those in force; none from where the caller may not look, or the kind is not there."""
    found: list[Pressed] = []
    for namespace in namespaces:
        try:
            found += await pressed(api, [namespace], doctor)
        except HitlError:
            continue
    unique = {(each.namespace, each.name): each for each in found}
    return [each for each in unique.values() if not each.is_over]


async def one(api: KubeAPI, namespace: str, name: str) -> Pressed:
    """One freeze as it is now. Raises as `KubeAPI`."""
    return pressed_of(await api.get(path_of(API, PLURAL, namespace, name)))


def pressed_of(found: Mapping[str, Any]) -> Pressed:
    """From what the API server sent."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    sidecars = status.get("sidecars")
    problem = next(
        (
            str(each.get("message", ""))
            for each in status.get("conditions", ())
            if each.get("type") == "Accepted" and each.get("status") == "False"
        ),
        "",
    )
    return Pressed(
        namespace=metadata["namespace"],
        name=metadata["name"],
        by=str(spec.get("by", "")),
        reason=str(spec.get("reason", "")),
        until=str(spec.get("until") or ""),
        tools=tuple(map(str, spec.get("tools") or ())),
        selects=bool(spec.get("podSelector")),
        workload=str((metadata.get("annotations") or {}).get(PRESSED_ON, "")),
        state=str(status.get("state", "")),
        problem=problem,
        sidecars=None if sidecars is None else (int(sidecars.get("current", 0)), int(sidecars.get("total", 0))),
    )


def named(freezes: Sequence[Pressed], typed: str) -> list[Pressed]:
    """Those that are meant by a name, the unique beginning of one, or the workload that was frozen.

    Raises:
        HitlError: none is, or the beginning fits several.
    """
    if "/" in typed:
        kind, _, name = typed.partition("/")
        short = f"{_LONG.get(kind.lower().removesuffix('s'), kind.lower())}/{name}"
        if found := [each for each in freezes if each.workload == short]:
            return found
        raise NotFound(f"no freeze of {typed} is there; which there are: kubectl get pov")
    exact = [each for each in freezes if each.name == typed]
    found = exact or [each for each in freezes if each.name.startswith(typed)]
    if not found:
        raise NotFound(f"no freeze is called {typed}, or begins so; which there are: kubectl get pov")
    if len(found) > 1:
        raise HitlError(f"{typed} could be {', '.join(each.name for each in found)}; type more of it")
    return found


async def _pods(api: KubeAPI, namespace: str | None, wish: Wish) -> int | None:
    params = {"labelSelector": f"{GATED}=true", "fieldSelector": "status.phase=Running"}
    selector = read_selector(Reader({"podSelector": wish.selector} if wish.selector else {}, "", Problems()))
    try:
        found = [each async for each in api.list(path_of("v1", "pods", namespace), params, accept=LIST_METADATA)]
    except ApiError as error:
        if error.status != _FORBIDDEN:
            raise
        return None
    return sum(selects(selector, each["metadata"].get("labels") or {}) for each in found)


async def _requests(desk: ClusterDesk, namespace: str | None, wish: Wish) -> frozenset[str] | None:
    globs = [Glob.parse(each) for each in wish.tools]

    def is_meant(request: ApprovalRequest) -> bool:
        call = request.spec.call
        name = f"{normalise(call.server)}/{normalise(call.tool)}"
        fits = not globs or any(glob.matches(name) for glob in globs)
        return fits and wish.workload in ("", request.spec.workload)

    try:
        found = await desk.store.list(namespace, pending_only=True)
    except Forbidden:
        return None
    return frozenset(each.handle for each in found if is_meant(each))


def _refused(error: ApiError, doing: str, right: str, namespace: str) -> HitlError:
    if error.status == _NOT_THERE:
        return HitlError(f"cannot {doing}: {error.message}\nWhat is missing: kubectl hitl doctor")
    if (said := _DENIAL.search(error.message)) is not None:
        return Forbidden(f"you may not {doing}: {said[1].strip()}") if error.status == _FORBIDDEN else error
    return denied(error, doing, f"role {right} on {PLURAL}.hitl.dev, here in namespace {namespace}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
