"""The resources that make up config, as the API server has them, and what each of them means by itself."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from hitl.errors import InvalidInput, InvalidPolicy, Problem
from hitl.kube.manifests import API_VERSION
from hitl.kube.paths import path_of
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.parsing_freezes import KIND
from hitl.policy.parsing_reader import UNKNOWN_KEY
from hitl.policy.spec import Policy, ToolServer
from hitl.policy.verdicts import Requirement, SecondFactor
from hitl.policy.weights import MAX_SPEC, weight_of, weight_problem

OVERRIDE: Final = KIND

PLURALS: Final[Mapping[str, str]] = {
    "AgentPolicy": "agentpolicies",
    "ClusterAgentPolicy": "clusteragentpolicies",
    "ToolServer": "toolservers",
    OVERRIDE: "policyoverrides",
}
KINDS: Final[Mapping[str, str]] = {plural: kind for kind, plural in PLURALS.items()}

# Whoever has read a policy again without changing it says so with this annotation: a time as in RFC 3339.
REVIEWED: Final = "hitl.dev/reviewed-at"

_ROOT: Final = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})

Key = tuple[str, str, str]
"""Kind, namespace ("" for a ClusterAgentPolicy) and name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One AgentPolicy, ClusterAgentPolicy, ToolServer or PolicyOverride as it is written now.

    Attributes:
        version: of the whole object; grows with every write to it.
        changed: when its spec was written last.
        reviewed: what the annotation `REVIEWED` says, if it says a time.
        foreign: keys beside spec that nobody knows.
        status: as written by whoever leads.
        digest: of its spec.
        weight: of its spec (`hitl.policy.weights`). One that is too heavy to be read is not kept: `spec` holds no more
            of it than which pods it is for.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: Any
    version: int
    created: datetime
    changed: datetime
    reviewed: datetime | None = None
    foreign: tuple[str, ...] = ()
    status: Mapping[str, Any] = field(default_factory=dict)
    weight: int | None = 0
    digest: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Take the digest of the spec."""
        object.__setattr__(self, "digest", digest_of(self.spec))

    @property
    def key(self) -> Key:
        """What it is called."""
        return self.kind, self.namespace, self.name

    @property
    def content(self) -> tuple[str, int, bytes]:
        """What names its spec. A generation grows with every change of it, but after a restore of etcd the numbers
        that were given since the snapshot are given again, to something else.
        """
        return self.uid, self.generation, self.digest

    @property
    def metadata(self) -> dict[str, Any]:
        """The part of its metadata that a config document has."""
        return {"name": self.name, "namespace": self.namespace, "uid": self.uid, "generation": self.generation}

    def __str__(self) -> str:
        return "/".join(filter(None, self.key))


def resource_of(kind: str, manifest: Mapping[str, Any]) -> Resource:
    """From what the API server sent. InvalidInput where it is none: nobody but a program can have made that."""
    try:
        metadata = manifest["metadata"]
        spec = manifest.get("spec")
        weight = weight_of(spec)
        return Resource(
            kind=kind,
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
            uid=metadata["uid"],
            generation=int(metadata.get("generation", 1)),
            spec=spec if weight_problem(weight) is None else _pods_of(spec),
            version=int(metadata["resourceVersion"]),
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            changed=_changed(metadata),
            reviewed=reviewed_at(metadata),
            foreign=tuple(sorted(manifest.keys() - _ROOT)),
            status=manifest.get("status") or {},
            weight=weight,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"the API server sent a {kind} that cannot be read ({type(error).__name__}: {error})"
        ) from None


def _pods_of(spec: Any) -> dict[str, Any]:
    """The part of a spec that says which pods it is for; nothing, which is all of them, where that is heavy itself."""
    selector = spec.get("podSelector") if isinstance(spec, Mapping) else None
    weight = weight_of(selector)
    return {} if selector is None or weight is None or weight > MAX_SPEC else {"podSelector": selector}


def digest_of(spec: Any) -> bytes:
    """Tells specs apart, however they are spelled."""
    try:
        text = orjson.dumps(spec, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError:  # numbers and characters that are refused when it is read
        text = json.dumps(spec, sort_keys=True, default=str).encode()
    return hashlib.blake2b(text, digest_size=16).digest()


def reviewed_at(metadata: Mapping[str, Any]) -> datetime | None:
    """When somebody said that it was reviewed; None if nobody did, or nobody can tell when."""
    text = (metadata.get("annotations") or {}).get(REVIEWED, "")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _changed(metadata: Mapping[str, Any]) -> datetime:
    """The API server stamps each manager of fields whenever it changed any of them."""
    written = [datetime.fromisoformat(metadata["creationTimestamp"])]
    for each in metadata.get("managedFields") or ():
        if "time" in each and "f:spec" in (each.get("fieldsV1") or {}):
            with suppress(ValueError):  # whoever creates it may bring stamps of his own, also of the year 0
                written.append(datetime.fromisoformat(each["time"]))
    return max(written)


def path_of_resource(key: Key, subresource: str | None = None) -> str:
    """Where it is found."""
    kind, namespace, name = key
    return path_of(API_VERSION, PLURALS[kind], namespace or None, name, subresource)


def path_of_kind(kind: str) -> str:
    """Where all of a kind are found."""
    return path_of(API_VERSION, PLURALS[kind])


def parse(kind: str, metadata: Mapping[str, Any], spec: Any) -> Policy | ToolServer:
    """What a spec means; `metadata`: name, namespace, uid, generation. InvalidPolicy with every problem of it."""
    if kind == "ToolServer":
        return parse_tool_server(metadata, spec)
    return parse_policy(kind, metadata, spec)


def read(resource: Resource) -> Policy | ToolServer:
    """What a resource means by itself. InvalidPolicy with every problem of it, also beside the spec (SECURITY C5)."""
    if problem := weight_problem(resource.weight):
        raise InvalidPolicy((problem,))
    problems = [
        Problem(key, "unknown key; what a policy says stands under spec", UNKNOWN_KEY) for key in resource.foreign
    ]
    parsed: Policy | ToolServer | None = None
    try:
        parsed = parse(resource.kind, resource.metadata, resource.spec)
    except InvalidPolicy as error:
        problems += error.problems
    if problems or parsed is None:
        raise InvalidPolicy(tuple(problems))
    return parsed


def asked_of(policy: Policy) -> Iterator[tuple[str, Requirement]]:
    """Every requirement that a policy may make of people, with the path where it is written."""
    yield from (("spec.approval", each) for each in policy.approval.requirements)
    yield from (("spec.approval.multiFactor", each) for each in policy.approval.multi_factor_requirements)
    for rule in policy.rules:
        yield from ((f"spec.rules[{rule.index}]", each) for each in rule.requirements or ())


def missing_factors(policy: Policy, available: frozenset[SecondFactor]) -> tuple[Problem, ...]:
    """Requirements that no person could ever meet, because they want a second factor that is not to be had here.

    A requirement that a second person also satisfies can be met and is fine.
    """
    return tuple(
        Problem(
            path,
            f"requirement {requirement.name!r} wants a second factor ({requirement.second_factor}) that nobody has "
            "here; configure one, or let a second person satisfy it too (satisfiedBy: [SecondFactor, SecondPerson])",
            "HITL110",
        )
        for path, requirement in asked_of(policy)
        if requirement.second_factor is not SecondFactor.NONE
        and requirement.second_factor not in available
        and not requirement.or_second_person
    )
