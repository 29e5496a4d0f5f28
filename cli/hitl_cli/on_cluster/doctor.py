"""What `doctor` looks at: each check reads and says what it found; none of them writes."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from hitl.errors import ApiError, Forbidden, HitlError, StoreUnavailable
from hitl.kube import comparison, shipped
from hitl.kube.api import KubeAPI
from hitl.kube.marks import INJECTION
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.backstop import backstop
from hitl_cli.on_cluster.checks import admission, gate_of, missing, operator
from hitl_cli.on_cluster.desk import ClusterDesk
from hitl_cli.on_cluster.findings import Finding, Health
from hitl_cli.on_cluster.freezes import seen
from hitl_cli.on_cluster.me import Me
from hitl_cli.on_cluster.place import ClusterPlace
from hitl_cli.on_cluster.reading import denied
from hitl_cli.on_cluster.rights import TIERS, Right
from hitl_cli.on_cluster.viewer import ClusterViewer, factor_key

# The oldest Kubernetes that finds requests by their fields (KEP-4358): off in 1.30, on in 1.31, for good from 1.32 on.
_OLDEST: Final = (1, 31)
_TIERS: Final = {"confirm": "Confirm", "multi-factor": "MultiFactor"}
_OK: Final = 200
_NOT_KNOWN: Final = 401
_NOT_THERE: Final = 404
_CRDS: Final = "customresourcedefinitions"


async def examined(place: ClusterPlace, operator_namespace: str) -> list[Finding]:
    """Everything, in the order in which one thing needs the other; where the API server is not there only that."""
    async with place.open() as desk:
        try:
            server = await _server(desk.api, place)
            await _need_known(desk)
        except StoreUnavailable as error:
            steps = ("Is the address right, and the cluster up? kubectl cluster-info",)
            return [Finding("api server", Health.PROBLEM, str(error).replace("\n", " "), steps)]
        installation = shipped.Shipped(namespace=operator_namespace)
        checks: list[Awaitable[Sequence[Finding]]] = [
            _crds(desk.api),
            admission(desk.api, installation),
            backstop(desk.api, installation),
            _you(desk, place),
            operator(desk.api, operator_namespace, place.now()),
            _injection(desk.api, place),
            _freezes(desk.api, place, operator_namespace),
        ]
        return [server, *(each for found in await asyncio.gather(*checks) for each in found)]


async def _server(api: KubeAPI, place: ClusterPlace) -> Finding:
    try:
        answer = await api.get("/version")
    except ApiError as error:
        raise denied(error, "read the API server's version", "what kubectl says: kubectl version") from error
    return version_finding(place.access.server, answer)


def version_finding(server: str, answer: Mapping[str, Any]) -> Finding:
    """Whether a server of this version will do; `answer`: what it says under /version."""
    version = (_number(answer.get("major")), _number(answer.get("minor")))
    text = f"{server}, Kubernetes {answer.get('gitVersion', 'of unknown version')}"
    if version < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        step = (
            f"hitl needs Kubernetes {wanted} or newer: an older one cannot select requests by state and workload, so "
            "no vote would count"
        )
        return Finding("api server", Health.PROBLEM, text, (step,))
    return Finding("api server", Health.OK, text)


async def _need_known(desk: ClusterDesk) -> None:
    """Refuse to go on for somebody the API server does not know: everything else would look missing to them."""
    try:
        await desk.me()
    except Forbidden as error:
        if isinstance(error.__cause__, ApiError) and error.__cause__.status == _NOT_KNOWN:
            raise
    except HitlError:
        pass  # said below, as one finding of many


async def _crds(api: KubeAPI) -> list[Finding]:
    """Whether every kind is there, served, and described as this release has it."""
    wanted = shipped.crds()
    step = (f"install them: {shipped.apply_command('crds')}",)
    problems: list[Finding] = []
    gone: list[str] = []
    for crd in wanted:
        name = crd["metadata"]["name"]
        try:
            stored = await api.get(path_of("apiextensions.k8s.io/v1", _CRDS, name=name))
        except ApiError as error:
            if error.status == 403:
                return [await _served(api, [each["spec"] for each in wanted])]
            gone.append(name)
            continue
        conditions = {each["type"]: each["status"] for each in stored.get("status", {}).get("conditions", ())}
        if conditions.get("Established") != "True":
            problems.append(Finding("crds", Health.PROBLEM, f"{name} is not served yet", step))
        elif difference := comparison.difference(comparison.crd_guard(crd), stored):
            problems.append(Finding("crds", Health.PROBLEM, f"not as this release ships it: {difference}", step))
    if gone:
        text = missing("CustomResourceDefinition", gone, of=len(wanted))
        problems.insert(0, Finding("crds", Health.PROBLEM, text, step))
    return problems or [Finding("crds", Health.OK, f"{len(wanted)} of {len(wanted)}, as this release ships them")]


async def _served(api: KubeAPI, wanted: Sequence[Mapping[str, Any]]) -> Finding:
    """What everybody may see: which kinds are served, not how they are described."""
    try:
        answer = await api.get("/apis/hitl.dev/v1alpha1")
    except ApiError:
        answer = {}
    served = {each["name"] for each in answer.get("resources", ())}
    missing = [spec["names"]["plural"] for spec in wanted if spec["names"]["plural"] not in served]
    if missing:
        step = (f"an administrator installs them: {shipped.apply_command('crds')}",)
        return Finding("crds", Health.PROBLEM, f"{', '.join(missing)} are not served", step)
    return Finding("crds", Health.UNKNOWN, f"all {len(wanted)} are served; you may not read how they are described")


async def _you(desk: ClusterDesk, place: ClusterPlace) -> list[Finding]:
    """Who the caller is, and what they may decide."""
    try:
        me = await desk.me()
    except HitlError as error:
        first, *rest = str(error).split("\n")
        return [Finding("you", Health.PROBLEM, first, tuple(rest))]
    where = place.namespace or ""
    wanted = [Right(verb, tier, where) for tier in TIERS for verb in ("approve", "deny", "edit")]
    await place.rights.ask(desk.api, wanted)
    return [_who(me, ClusterViewer(me, place.rights)), _may(me, place, where)]


def _who(me: Me, viewer: ClusterViewer) -> Finding:
    groups = ", ".join(each for each in me.groups if each != "system:authenticated") or "no group"
    factors = ", ".join(viewer.factors)
    shown = (
        f"second factors of this login: {factors}" if factors else f"no second factor in this login ({factor_key()})"
    )
    return Finding("you", Health.OK, f"{me.name}, in {groups}; {shown}")


def _may(me: Me, place: ClusterPlace, where: str) -> Finding:
    if me.cannot_be_a_reviewer:
        text = f"nothing: {me.name} is {me.cannot_be_a_reviewer}, and only people decide"
        return Finding("you may", Health.NOTE, text, ("to decide, log in as yourself or give --context",))
    may = [
        f"{_TIERS[tier]} ({', '.join(verbs)})"
        for tier in TIERS
        if (verbs := [v for v in ("approve", "deny", "edit") if place.rights.has(Right(v, tier, where))])
    ]
    if may:
        return Finding("you may", Health.OK, f"decide in {place.where}: {'; '.join(may)}")
    kind, scope = ("rolebinding", f" -n {where}") if where else ("clusterrolebinding", "")
    step = (
        f"an administrator binds a role: kubectl create {kind} NAME --clusterrole hitl-reviewer --user {me.name}{scope}"
    )
    return Finding("you may", Health.NOTE, f"decide nothing in {place.where}", (step,))


async def _injection(api: KubeAPI, place: ClusterPlace) -> list[Finding]:
    """Whether the pods of the namespace get a sidecar at all."""
    name = place.namespace
    if name is None:
        return []
    gate = await gate_of(api, name)
    if gate.answer == _NOT_THERE:
        return [Finding("namespace", Health.PROBLEM, f"there is no namespace {name}", ("another one: -n NS",))]
    if gate.answer != _OK:
        return [Finding("namespace", Health.UNKNOWN, f"you may not read namespace {name}")]
    if not gate.is_open:
        return [Finding("namespace", Health.OK, f"{name} is labelled {INJECTION}=enabled: its new pods are gated")]
    # Nobody chose `default` who did not say so: that no agent is gated there is as it should be.
    chosen = name != "default" or place.typed.namespace is not None
    steps = (f"kubectl label namespace {name} {INJECTION}=enabled", "and restart its pods; another namespace: -n NS")
    text = f"{name} is not labelled {INJECTION}=enabled: no pod in it is gated"
    return [Finding("namespace", Health.PROBLEM if chosen else Health.NOTE, text, steps)]


async def _freezes(api: KubeAPI, place: ClusterPlace, operator_namespace: str) -> list[Finding]:
    """What people have stopped here; nothing is said where nothing is."""
    namespaces = [None] if place.namespace is None else dict.fromkeys((place.namespace, operator_namespace))
    return [
        Finding(
            "frozen",
            Health.PROBLEM if each.problem else Health.NOTE,
            each.problem or each.words(operator_namespace),
            (f"kubectl hitl thaw {each.name} -n {each.namespace}",),
        )
        for each in await seen(api, namespaces, place.hint("doctor"))
    ]


def _number(text: Any) -> int:
    digits = "".join(each for each in str(text) if each.isdigit())
    return int(digits) if digits else 0
