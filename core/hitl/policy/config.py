"""The config document and what it compiles to (DESIGN 18, "Compiled config"; SECURITY H1).

The hub builds one document for a pod's policies and names it; hub and sidecar compile it with this same function.
Nothing is taken for granted: an absent, empty or mismatched part is refused, because a config that lost its baseline on
the way looks just like one that never had any.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import rfc8785

import hitl
from hitl.errors import InvalidPolicy, InvalidSettings, Problem
from hitl.policy.actions import Action
from hitl.policy.freezes import Freeze
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.parsing_freezes import read_freeze
from hitl.policy.parsing_reader import TWICE, Problems, Reader
from hitl.policy.parsing_servers import SAME_NAME
from hitl.policy.settings import Settings, parse_settings, settings_document
from hitl.policy.spec import Autonomy, Config, Mode, PodSelector, Policy, Posture, ToolServer

# The form of the document. Raise it when a sidecar that does not know the new form would misread it.
SCHEMA: Final = 1
# What the same document compiles to may change with every release, so the release names it.
COMPILER: Final = f"hitl-{hitl.__version__}"

BAD_DOCUMENT: Final = "HITL130"
FORBIDDEN: Final = "HITL112"

_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", re.ASCII)
_MANY = 10_000
# Freezes of one document; where more tools of a pod are frozen one by one, the hub freezes all of it.
MOST_FREEZES: Final = 256
_KINDS: Final = {"AgentPolicy": "AgentPolicy", "ClusterAgentPolicy": "ClusterAgentPolicy"}
_LISTS: Final = ("policies", "toolServers")
_FLOORS: Final = {Action.CONFIRM.word: Action.CONFIRM}


def config_document(
    *,
    namespace: str,
    namespace_uid: str,
    settings: Settings,
    policies: Iterable[Mapping[str, Any]],
    tool_servers: Iterable[Mapping[str, Any]],
    key_id: str = "",
    freezes: Iterable[Freeze] = (),
) -> dict[str, Any]:
    """The document of one pod, in its canonical order.

    Args:
        namespace: of the pod.
        namespace_uid: uid of that namespace.
        settings: of the operator.
        policies: ``{kind, name, namespace, uid, generation, spec}`` of those that select the pod, baseline included;
            with ``selected: true`` those that are for it whatever labels it has by now (SECURITY B2).
        tool_servers: ``{name, uid, generation, spec}`` of the namespace.
        key_id: names the namespace key for digests.
        freezes: those in force for the pod. A sidecar that does not know them refuses the document: the key is there
            only where something is frozen, so that no other document has another name for it.
    """
    ordered = sorted(policies, key=_policy_order)
    frozen = [freeze.to_json() for freeze in sorted(freezes, key=lambda each: each.order)]
    return {
        "schema": SCHEMA,
        "namespace": namespace,
        "namespaceUID": namespace_uid,
        "baseline": "present" if any(policy["kind"] == "ClusterAgentPolicy" for policy in ordered) else "none",
        "keyID": key_id,
        "settings": settings_document(settings),
        "policies": [dict(policy) for policy in ordered],
        "toolServers": [dict(server) for server in sorted(tool_servers, key=lambda server: str(server["name"]))],
        **({"overrides": frozen} if frozen else {}),
    }


def canonical_form(document: Mapping[str, Any], part: Callable[[Mapping[str, Any]], bytes] = rfc8785.dumps) -> bytes:
    """The JCS of a config document.

    Args:
        document: as `config_document` made it.
        part: gives the JCS of one of its policies or tool servers; whoever has made that before need not do it again.

    Raises:
        InvalidPolicy: the document has no canonical JSON form.
    """
    try:
        texts = {key: rfc8785.dumps(value) for key, value in document.items() if key not in _LISTS}
        for key in _LISTS:
            texts[key] = b"[%s]" % b",".join(map(part, document[key]))
        # Keys are ASCII, so code points sort as the UTF-16 units of RFC 8785 do.
        return b"{%s}" % b",".join(b"%s:%s" % (rfc8785.dumps(key), texts[key]) for key in sorted(texts))
    except (rfc8785.CanonicalizationError, KeyError, TypeError, RecursionError) as error:
        problem = f"has no canonical form ({type(error).__name__}: {error}); send what config_document made"
        raise InvalidPolicy((Problem("", problem, BAD_DOCUMENT),)) from error


def revision_named(canonical: bytes, compiler: str = COMPILER) -> str:
    """The name of a canonical document: SHA-256 over it and the compiler's version, in hex."""
    return hashlib.sha256(canonical + b"\n" + compiler.encode()).hexdigest()


def revision_of(document: Mapping[str, Any], compiler: str = COMPILER) -> str:
    """As `revision_named`, of a document that need not be in its canonical order.

    Raises:
        InvalidPolicy: the document has no canonical JSON form.
    """
    try:
        ordered = {
            **document,
            "policies": sorted(document["policies"], key=_policy_order),
            "toolServers": sorted(document["toolServers"], key=lambda server: str(server["name"])),
        }
    except (KeyError, TypeError) as error:
        problem = f"has no canonical form ({type(error).__name__}: {error}); send what config_document made"
        raise InvalidPolicy((Problem("", problem, BAD_DOCUMENT),)) from error
    return revision_named(canonical_form(ordered), compiler)


def compile_config(document: Any) -> Config:
    """Everything evaluation needs.

    Raises:
        InvalidPolicy: with every problem. `Problem.path` is inside the resource (``spec.…``) where `document` is the
            index of a policy, or the number of policies plus that of a tool server; the message then names it.
    """
    problems = Problems()
    reader = Reader(document, "", problems)
    reader.require("schema", "namespace", "namespaceUID", "baseline", "keyID", "settings", "policies", "toolServers")
    schema = reader.value("schema")
    if schema != SCHEMA or isinstance(schema, bool):
        raise InvalidPolicy(
            (Problem("schema", f"is {schema!r}, this program knows {SCHEMA}; update the older side", BAD_DOCUMENT),)
        )
    namespace = reader.text("namespace", limit=63, form=_NAMESPACE, wants="the name of a namespace")
    namespace_uid = reader.text("namespaceUID", limit=128, form=_ID, wants="a uid")
    baseline = reader.word("baseline", {"present": True, "none": False}, None)
    key_id = "" if reader.value("keyID") == "" else reader.text("keyID", limit=128, form=_ID, wants="the name of a key")
    floor = reader.word("floor", _FLOORS, None)
    settings = _read_settings(reader)
    policies = _read_policies(reader, namespace)
    servers = _read_servers(reader, len(policies))
    freezes = _read_freezes(reader)
    reader.done()
    found = list(problems.found)
    if baseline is not None and baseline != any(policy is not None and policy.is_cluster for policy in policies):
        says = "present, but no ClusterAgentPolicy is there" if baseline else "none, but a ClusterAgentPolicy is there"
        found.append(Problem("baseline", f"says {says}; part of the config was lost, send it again", BAD_DOCUMENT))
    if not found:
        found = together([*(each for each in policies if each), *(each for each in servers if each)])
    if found:
        raise InvalidPolicy(tuple(found))
    compiled = sorted((policy for policy in policies if policy), key=lambda policy: (policy.ref.name, str(policy.ref)))
    return Config(
        revision=revision_of(document),
        namespace=namespace,
        namespace_uid=namespace_uid,
        key_id=key_id,
        policies=tuple(policy for policy in compiled if not policy.is_cluster),
        baseline=tuple(policy for policy in compiled if policy.is_cluster),
        tool_servers={server.name: server for server in servers if server},
        settings=settings,
        floor=floor,
        freezes=tuple(sorted(freezes, key=lambda each: each.order)),
    )


def together(resources: Sequence[Policy | ToolServer]) -> list[Problem]:
    """What is wrong only when resources of one namespace are taken together; `Problem.document` is the index here.

    Two resources of one name, two servers under one normalised name (A4), and what a baseline forbids (A7).
    """
    found: list[Problem] = []
    seen: dict[tuple[str, str], int] = {}
    for index, resource in enumerate(resources):
        kind, name = ("ToolServer", resource.name) if isinstance(resource, ToolServer) else _identity(resource)
        earlier = seen.setdefault((kind, name), index)
        if earlier != index:
            code = SAME_NAME if kind == "ToolServer" else TWICE
            found.append(Problem("metadata.name", f"{kind} {name} is there twice; keep one", code, index))
    baseline = [each for each in resources if isinstance(each, Policy) and each.is_cluster]
    for index, resource in enumerate(resources):
        if isinstance(resource, Policy) and not resource.is_cluster:
            for path, feature in relaxations(resource):
                by = next((each.ref.name for each in baseline if feature in each.forbid), None)
                if by is not None:
                    message = f"{feature} is forbidden by ClusterAgentPolicy {by}; remove it from {resource.ref}"
                    found.append(Problem(path, message, FORBIDDEN, index))
    return found


def _identity(policy: Policy) -> tuple[str, str]:
    return policy.ref.kind, f"{policy.ref.namespace}/{policy.ref.name}" if policy.ref.namespace else policy.ref.name


def relaxations(policy: Policy) -> Iterable[tuple[str, str]]:
    """(path, word of `forbid`) of everything in a policy that relaxes and that a baseline can forbid."""
    if policy.mode is Mode.MONITOR:
        yield "spec.mode", "Monitor"
    if policy.autonomy is Autonomy.AUDIT_ONLY:
        yield "spec.autonomy", "AuditOnly"
    if policy.posture is Posture.PERMISSIVE:
        yield "spec.posture", "Permissive"
    if policy.trust:
        yield "spec.trust", "Trust"
    for rule in policy.rules:
        if rule.final:
            yield f"spec.rules[{rule.index}].final", "Final"


def _policy_order(policy: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(policy["kind"]), str(policy.get("namespace", "")), str(policy["name"])


def _read_settings(reader: Reader) -> Settings:
    raw = reader.value("settings")
    try:
        return parse_settings(raw)
    except InvalidSettings as error:
        reader.problem("settings", str(error), BAD_DOCUMENT)
        return Settings()


def _read_policies(reader: Reader, namespace: str) -> list[Policy | None]:
    found: list[Policy | None] = []
    for index, (path, raw) in enumerate(_entries(reader, "policies")):
        entry = Reader(raw, path, reader.problems)
        entry.require("kind")
        kind = entry.word("kind", _KINDS, None)
        own = entry.text("namespace", limit=63) if entry.raw.get("namespace") != "" else ""
        entry.asks("namespace")
        wanted = "" if kind == "ClusterAgentPolicy" else namespace
        if kind is not None and own != wanted:
            entry.problem("namespace", f"is {own!r}, wants {wanted!r}: the config mixes namespaces", BAD_DOCUMENT)
        selected = entry.flag("selected")
        metadata = _read_metadata(entry, own)
        found.append(None)
        if kind is None:
            continue
        try:
            policy = parse_policy(kind, metadata, entry.value("spec"))
            found[-1] = replace(policy, pod_selector=PodSelector()) if selected else policy
        except InvalidPolicy as error:
            reader.problems.found += _named(error, index, f"{kind} {metadata['name']}")
    return found


def _read_servers(reader: Reader, policies: int) -> list[ToolServer | None]:
    found: list[ToolServer | None] = []
    for index, (path, raw) in enumerate(_entries(reader, "toolServers")):
        entry = Reader(raw, path, reader.problems)
        metadata = _read_metadata(entry, "")
        try:
            found.append(parse_tool_server(metadata, entry.value("spec")))
        except InvalidPolicy as error:
            found.append(None)
            reader.problems.found += _named(error, policies + index, f"ToolServer {metadata['name']}")
    return found


def _read_freezes(reader: Reader) -> list[Freeze]:
    """Each must be understood whole: a sidecar that took half of one would stop less than people think is stopped."""
    found = []
    for entry in reader.children("overrides", most=MOST_FREEZES):
        entry.require("name", "namespace", "uid", "generation")
        metadata = {
            "name": entry.text("name", limit=253),
            "namespace": entry.text("namespace", limit=63, form=_NAMESPACE, wants="the name of a namespace"),
            "uid": entry.text("uid", limit=128, form=_ID, wants="a uid"),
            "generation": entry.whole("generation", default=0, low=1, high=2**53 - 1),
        }
        found.append(read_freeze(entry, metadata))
        entry.done()
    return found


def _entries(reader: Reader, key: str) -> list[tuple[str, Any]]:
    return [] if reader.raw.get(key) == [] and reader.asks(key) else reader.items(key, most=_MANY)


def _read_metadata(entry: Reader, namespace: str) -> dict[str, Any]:
    entry.require("name", "uid", "generation", "spec")
    metadata = {
        "name": entry.text("name", limit=253),
        "namespace": namespace,
        "uid": entry.text("uid", limit=128, form=_ID, wants="a uid"),
        "generation": entry.whole("generation", default=0, low=1, high=2**53 - 1),
    }
    entry.asks("spec")
    entry.done()
    return metadata


def _named(error: InvalidPolicy, index: int, resource: str) -> list[Problem]:
    return [
        Problem(each.path, f"{each.message} (in {resource})", each.code, index, each.severity)
        for each in error.problems
    ]
