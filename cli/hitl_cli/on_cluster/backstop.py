"""Whether what keeps gated pods gated is there and as shipped, and knows what a sidecar of ours looks like (E1)."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.errors import ApiError
from hitl.kube import comparison, shipped
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION
from hitl.kube.paths import path_of
from hitl_cli.on_cluster.checks import compared
from hitl_cli.on_cluster.findings import Finding, Health

_CHECK: Final = "pods"
_NOT_THERE: Final = 404
_NOT_ALLOWED: Final = 403
# What each list of the SidecarStandard is for.
_LISTS: Final = {"sidecars": "what replicas inject", "authorities": "whom sidecars trust"}
_WRITER: Final = "the operator writes it when it is started with --admission and --sidecar-image, see its log"


async def backstop(api: KubeAPI, installation: shipped.Shipped) -> list[Finding]:
    """What is to be said of it. Where nothing of it is installed that is a note: pods can be gated by hand."""
    guards = comparison.guards(shipped.pods(installation), ())
    differences = await compared(api, guards)
    if differences is None:
        return [Finding(_CHECK, Health.UNKNOWN, "you may not read validatingadmissionpolicies; an administrator may")]
    standard = await _standard(api)
    if standard == {} and len(differences.missing) == len(guards):
        text = "nothing here sees to it that pods of gated namespaces have a sidecar, and keep it"
        step = f"python -m hitl_operator.manifests --injection | {shipped.APPLY}"
        return [Finding(_CHECK, Health.NOTE, text, (f"with injection: {step}",))]
    step = f"put it back: {shipped.apply_command('pods')}"
    problems = [Finding(_CHECK, Health.PROBLEM, each, (step,)) for each in differences.words]
    if standard is not None:
        problems += [
            Finding(
                _CHECK,
                Health.PROBLEM,
                f"SidecarStandard {shipped.STANDARD} has no {key}, so no gated pod can be made",
                (f"it says {why}; {_WRITER}",),
            )
            for key, why in _LISTS.items()
            if not standard.get(key)
        ]
    if problems:
        return problems
    policies = sum(guard.kind == "ValidatingAdmissionPolicy" for guard in guards)
    return [Finding(_CHECK, Health.OK, f"{policies} policies keep gated pods gated, as this release ships them")]


async def _standard(api: KubeAPI) -> Mapping[str, Any] | None:
    """What the policies go by; empty where it is not there, None where the caller may not read it."""
    try:
        found = await api.get(path_of(API_VERSION, "sidecarstandards", name=shipped.STANDARD))
    except ApiError as error:
        if error.status == _NOT_THERE:
            return {}
        if error.status == _NOT_ALLOWED:
            return None
        raise
    return dict(found.get("spec") or {})
