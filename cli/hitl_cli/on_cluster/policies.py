"""The policies that a cluster has for one agent, as far as the caller may read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from hitl.errors import ApiError, InvalidPolicy
from hitl.kube.api import KubeAPI
from hitl.kube.manifests import API_VERSION, Manifest
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import PolicyCondition
from hitl.kube.shipped import DEFAULT
from hitl.policy.calls import Agent
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.spec import Policy, ToolServer
from hitl_cli.on_cluster.freezes import seen
from hitl_cli.on_cluster.place_words import PlaceWords
from hitl_cli.on_cluster.reading import reading
from hitl_cli.policies import InForce, PolicyFiles

_METADATA: Final = ("name", "namespace", "uid", "generation")
# Where the pods of a workload are described, by the short name that a request carries.
_WORKLOADS: Final = {
    "deploy": ("apps/v1", "deployments"),
    "sts": ("apps/v1", "statefulsets"),
    "ds": ("apps/v1", "daemonsets"),
    "job": ("batch/v1", "jobs"),
    "pod": ("v1", "pods"),
}
_DENIED: Final = (403, 404)


@dataclass(frozen=True, slots=True)
class _Read:
    """Resources of one kind as read, and what is to be said about them."""

    manifests: list[Manifest]
    resources: list[Policy | ToolServer | None]
    notes: list[str]


async def in_force(api: KubeAPI, place: PlaceWords, agent: Agent, *, labels_known: bool) -> InForce:
    """The policies for `agent`, whose labels and ServiceAccount are looked up where nobody gave them.

    Raises:
        Forbidden: the caller may not list the namespace's policies.
        HitlError: the cluster has no such resources.
    """
    notes: list[str] = []
    if not labels_known:
        found = await _pod_template(api, agent)
        if found is None:
            notes.append(
                f"note: {agent.workload} cannot be read in {agent.namespace}, so every policy is taken to select it"
            )
        else:
            agent, labels_known = _described(agent, found), True
    read = [
        await _read(api, place, "AgentPolicy", "agentpolicies", agent.namespace),
        await _read(api, place, "ToolServer", "toolservers", agent.namespace),
        await _baseline(api, place),
    ]
    frozen = await seen(api, dict.fromkeys((agent.namespace, DEFAULT.namespace)), place.hint("doctor"))
    notes += [f"note: {each.words(DEFAULT.namespace)}; that is refused, whatever is said here" for each in frozen]
    files = PolicyFiles(
        files=1,
        manifests=[each for part in read for each in part.manifests],
        resources=[each for part in read for each in part.resources],
        found=[],
    )
    return InForce(files, agent, labels_known, [*notes, *(note for part in read for note in part.notes)])


async def _read(api: KubeAPI, place: PlaceWords, kind: str, plural: str, namespace: str | None) -> _Read:
    whose = f"namespace {namespace}" if namespace else "the cluster"
    with reading(plural, whose, "hitl-viewer", place.hint("doctor")):
        items = [each async for each in api.list(path_of(API_VERSION, plural, namespace))]
    read = _Read([], [], [])
    for item in items:
        metadata: Mapping[str, Any] = {key: item["metadata"][key] for key in _METADATA if key in item["metadata"]}
        name = "/".join(filter(None, (namespace, metadata["name"])))
        manifest = Manifest(API_VERSION, kind, metadata, item.get("spec", {}), name, {})
        try:
            resource = _parsed(manifest)
        except InvalidPolicy as error:
            read.notes.append(f"note: {kind} {name} is left out, it does not compile: {error.problems[0]}")
            continue
        if refused := _not_accepted(item):
            read.notes.append(
                f"note: {kind} {name} generation {metadata.get('generation')} is not accepted ({refused}); the one "
                "before it is in force and cannot be read here, so this shows what the new one would do"
            )
        read.manifests.append(manifest)
        read.resources.append(resource)
    return read


async def _baseline(api: KubeAPI, place: PlaceWords) -> _Read:
    try:
        return await _read(api, place, "ClusterAgentPolicy", "clusteragentpolicies", None)
    except Exception as error:
        if isinstance(error.__cause__, ApiError) and error.__cause__.status in _DENIED:
            note = "note: you may not read the baseline (ClusterAgentPolicies); it can only make this stricter"
            return _Read([], [], [note])
        raise


async def _pod_template(api: KubeAPI, agent: Agent) -> Mapping[str, Any] | None:
    """Metadata and spec of the workload's pods; None where the caller may not read it or it is not there."""
    short, _, name = agent.workload.partition("/")
    if short not in _WORKLOADS or not name:
        return None
    version, plural = _WORKLOADS[short]
    try:
        item = await api.get(path_of(version, plural, agent.namespace, name))
    except ApiError as error:
        if error.status in _DENIED:
            return None
        raise
    template: Mapping[str, Any] = item if short == "pod" else item["spec"]["template"]
    return template


def _described(agent: Agent, template: Mapping[str, Any]) -> Agent:
    labels = template.get("metadata", {}).get("labels", {})
    account = template.get("spec", {}).get("serviceAccountName") or "default"
    return replace(agent, labels=labels, service_account=account)


def _parsed(manifest: Manifest) -> Policy | ToolServer:
    if manifest.kind == "ToolServer":
        return parse_tool_server(manifest.metadata, manifest.spec)
    return parse_policy(manifest.kind, manifest.metadata, manifest.spec)


def _not_accepted(item: Mapping[str, Any]) -> str:
    for condition in item.get("status", {}).get("conditions", ()):
        if condition.get("type") == PolicyCondition.ACCEPTED and condition.get("status") == "False":
            return str(condition.get("reason", ""))
    return ""
