"""A set of policy files, read and judged as one: either everything in it is accepted, or every problem is named."""

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hitl.errors import InvalidInput, InvalidPolicy, InvalidSettings, Problem
from hitl.kube.manifests import Manifest, read_manifests, read_mapping
from hitl.policy.config import together
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.settings import Settings, parse_settings
from hitl.policy.spec import Policy
from hitl.policy.verdicts import Requirement, SecondFactor
from hitl.wire.identity import Identity
from hitl_operator.sources import Entry, Generation

_LARGEST_FILE = 4 << 20  # bytes
_MOST_FILES = 2000
_SUFFIXES = (".yaml", ".yml", ".json")
_UIDS = uuid.UUID("6f2c1c1e-6a0b-4d0e-9d63-3f3d6c0d6c11")  # namespace of the uids of resources that live in files


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that keeps a set from being accepted. `place`: ``file:line``, or ``file`` where no line is to blame."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class Troubles(InvalidInput):
    """Why a set was not accepted; every problem, not just the first."""

    def __init__(self, found: Iterable[Trouble]) -> None:
        self.found = tuple(found)
        super().__init__("\n".join(str(trouble) for trouble in self.found))


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files meant by paths: a folder stands for the ``*.yaml``, ``*.yml`` and ``*.json`` right in it, sorted.

    Hidden files are left out: editors keep half-written copies there. A path that is neither is returned as it is.
    """
    files: list[Path] = []
    for path in paths:
        try:
            with os.scandir(path) as entries:
                names = [e.name for e in entries if e.name.endswith(_SUFFIXES) and not e.name.startswith(".")]
        except OSError:  # a file, or nothing at all: reading it will say which
            files.append(path)
        else:
            files += [path / name for name in sorted(names)]
    return files


def read_texts(files: Sequence[Path]) -> dict[Path, str]:
    """The text of every file. Troubles where one cannot be read."""
    if len(files) > _MOST_FILES:
        raise Troubles(
            [Trouble(str(files[0].parent), f"{len(files)} files; at most {_MOST_FILES} are read, merge some")]
        )
    found: list[Trouble] = []
    texts: dict[Path, str] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
            texts[path] = raw.decode()
        except OSError as error:
            found.append(
                Trouble(str(path), f"cannot be read: {error.strerror}; make it readable, or leave it out of -f")
            )
        except UnicodeDecodeError as error:
            found.append(Trouble(str(path), f"not UTF-8 at byte {error.start}; save it as UTF-8"))
        else:
            if len(raw) > _LARGEST_FILE:
                found.append(Trouble(str(path), f"larger than {_LARGEST_FILE} bytes; split it"))
    if found:
        raise Troubles(found)
    return texts


def accept(
    policies: dict[Path, str], settings: tuple[Path, str] | None, identity: Identity, before: Generation | None
) -> Generation:
    """The generation that these texts make, if every one of them is fine.

    Args:
        policies: text of every policy file.
        settings: path and text of the operator's settings file, or None for the defaults.
        identity: a pod of the namespace that policies without a namespace belong to.
        before: the generation in force; a resource whose spec is as before keeps its generation number.

    Raises:
        Troubles: with every problem of every file, each at its line.
    """
    found: list[Trouble] = []
    parsed = Settings()
    if settings is not None:
        try:
            parsed = _settings(*settings)
        except Troubles as refused:
            found += refused.found
    manifests: list[Manifest] = []
    for path, text in policies.items():
        try:
            manifests += read_manifests(text, str(path))
        except InvalidPolicy as error:
            found += [Trouble(problem.path, problem.message) for problem in error.problems]
    known = {(e.kind, e.namespace, e.name): e for e in before.entries} if before else {}
    accepted: list[tuple[Entry, Manifest]] = []
    for manifest in manifests:
        try:
            entry = _entry(manifest, identity, known)
        except InvalidPolicy as error:
            found += [Trouble(_place(manifest, problem.path), str(problem)) for problem in error.problems]
            continue
        accepted.append((entry, manifest))
    for problem in together([entry.parsed for entry, _ in accepted]):
        found.append(Trouble(_place(accepted[problem.document][1], problem.path), str(problem)))
    generation = Generation(tuple(entry for entry, _ in accepted), parsed)
    if found:
        raise Troubles(found)
    return generation


def policies_of(generation: Generation) -> tuple[str, ...]:
    """Names of the policies in it, ``AgentPolicy/shop/support``."""
    return tuple(str(entry.policy.ref) for entry in generation.entries if entry.policy is not None)


def _settings(path: Path, text: str) -> Settings:
    try:
        return parse_settings(read_mapping(text, str(path)))
    except InvalidPolicy as error:
        raise Troubles(Trouble(problem.path, problem.message) for problem in error.problems) from error
    except InvalidSettings as error:
        raise Troubles([Trouble(str(path), str(error))]) from error


def _entry(manifest: Manifest, identity: Identity, known: dict[tuple[str, str, str], Entry]) -> Entry:
    """The accepted form of one manifest. InvalidPolicy with every problem of it."""
    name = str(manifest.metadata.get("name", ""))
    namespace = str(manifest.metadata.get("namespace", "")) or identity.agent.namespace
    if manifest.kind == "ClusterAgentPolicy":
        namespace = ""
    if namespace not in ("", identity.agent.namespace):
        wrong = f"is {namespace}, and this home serves {identity.agent.namespace}; leave it out, or use another --home"
        raise InvalidPolicy((Problem("metadata.namespace", wrong, "HITL111"),))
    before = known.get((manifest.kind, namespace, name))
    generation = 1 if before is None else before.generation + (dict(before.spec) != dict(manifest.spec))
    uid = str(uuid.uuid5(_UIDS, f"{identity.cluster_uid}/{manifest.kind}/{namespace}/{name}"))
    metadata: dict[str, Any] = {"name": name, "namespace": namespace, "uid": uid, "generation": generation}
    if manifest.kind == "ToolServer":
        return Entry(manifest.kind, **metadata, spec=manifest.spec, parsed=parse_tool_server(metadata, manifest.spec))
    policy = parse_policy(manifest.kind, metadata, manifest.spec)
    missing = unavailable_factors(policy)
    if missing:
        raise InvalidPolicy(missing)
    return Entry(manifest.kind, **metadata, spec=manifest.spec, parsed=policy)


def unavailable_factors(policy: Policy) -> tuple[Problem, ...]:
    """FactorUnavailable: requirements that no person could ever meet here, because this hub verifies no second factor.

    A requirement that a second person also satisfies can be met and is fine.
    """
    asked: list[tuple[str, Requirement]] = [("spec.approval", r) for r in policy.approval.requirements]
    asked += [("spec.approval.multiFactor", r) for r in policy.approval.multi_factor_requirements]
    asked += [(f"spec.rules[{rule.index}]", r) for rule in policy.rules for r in rule.requirements or ()]
    return tuple(
        Problem(
            path,
            f"FactorUnavailable: requirement {requirement.name!r} wants a second factor ({requirement.second_factor}), "
            "and standalone mode has none; let a second person satisfy it too (satisfiedBy: [SecondPerson]), or ask "
            "for more approvals instead",
            "HITL110",
        )
        for path, requirement in asked
        if requirement.second_factor is not SecondFactor.NONE and not requirement.or_second_person
    )


def _place(manifest: Manifest, path: str) -> str:
    return f"{manifest.source}:{manifest.line_of(path)}"
