"""Policy files as `check` and `explain` read them: every document with its place, every problem with file and line."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hitl.errors import HitlError, InvalidPolicy, Problem
from hitl.kube.manifests import API_VERSION, Manifest, read_manifests
from hitl.policy.calls import Agent
from hitl.policy.config import compile_config, config_document, together
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.selectors import selects
from hitl.policy.settings import Settings
from hitl.policy.spec import Config, Policy, ToolServer
from hitl_cli.home import Home

# What a folder's policies are; the control plane reads the same.
_SUFFIXES = (".yaml", ".yml", ".json")
_NAMESPACE = "default"
_RULE = re.compile(r"\((rules\[\d+\])\)")
_METADATA = ("name", "namespace", "uid", "generation")


@dataclass(frozen=True, slots=True)
class Found:
    """One problem and where it stands.

    Attributes:
        file: as given on the command line.
        line: counted from 1.
        message: what is wrong and what to do, with the path inside the document.
        code: for `hitl check --explain`.
    """

    file: str
    line: int
    message: str
    code: str
    is_error: bool

    @property
    def place(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The documents of some files, and what is wrong with them.

    Attributes:
        files: how many were read.
        manifests: those that could be read.
        resources: parsed, one for each manifest; None where it could not be.
        found: every error.
    """

    files: int
    manifests: Sequence[Manifest]
    resources: Sequence[Policy | ToolServer | None]
    found: Sequence[Found]

    def need_valid(self) -> None:
        """Refuse to go on while something is wrong."""
        if self.found:
            listed = "\n".join(f"{each.place}: {each.message} ({each.code})" for each in self.found)
            raise HitlError(f"{listed}\nWhat a code means: hitl check --explain {self.found[0].code}")


@dataclass(frozen=True, slots=True)
class InForce:
    """The policies that a place has for an agent.

    Attributes:
        files: valid ones.
        agent: with what the place knows of it.
        labels_known: whether the agent's labels are all there is to know.
        notes: what the reader must know of how far this can be relied on.
    """

    files: PolicyFiles
    agent: Agent
    labels_known: bool
    notes: Sequence[str]


def read_policies(paths: Iterable[str]) -> PolicyFiles:
    """Read files, folders (their ``*.yaml``, ``*.yml``, ``*.json``, not deeper ones) and ``-`` for stdin."""
    manifests: list[Manifest] = []
    resources: list[Policy | ToolServer | None] = []
    found: list[Found] = []
    files = [file for path in paths for file in _files(path)]
    for file in files:
        try:
            read = read_manifests(_text(file), file)
        except InvalidPolicy as error:
            found += [_unreadable(file, problem) for problem in error.problems]
            continue
        for manifest in read:
            manifests.append(manifest)
            try:
                resources.append(_parsed(manifest))
            except InvalidPolicy as error:
                resources.append(None)
                found += [_located(manifest, problem) for problem in error.problems]
    whole = [(manifest, resource) for manifest, resource in zip(manifests, resources, strict=True) if resource]
    for problem in together([resource for _, resource in whole]):
        found.append(_located(whole[problem.document][0], problem))
    order = {file: at for at, file in enumerate(files)}
    return PolicyFiles(len(files), manifests, resources, sorted(found, key=lambda each: (order[each.file], each.line)))


def linted(files: PolicyFiles) -> list[Found]:
    """Errors, and what is valid but hardly meant, in the order of the files."""
    from hitl.policy.linting import lint  # noqa: PLC0415 - start-up: `explain` needs it not

    whole = [(manifest, r) for manifest, r in zip(files.manifests, files.resources, strict=True) if r]
    advice = lint([resource for _, resource in whole])
    found = [*files.found, *(_advised(whole[problem.document][0], problem) for problem in advice)]
    order = {manifest.source: at for at, manifest in enumerate(files.manifests)}
    return sorted(found, key=lambda each: (order.get(each.file, -1), each.line))


def compiled_for(files: PolicyFiles, agent: Agent, *, labels_known: bool) -> tuple[Config, Agent]:
    """What these policies are for one agent.

    Args:
        files: valid ones (`need_valid`).
        agent: an empty namespace becomes the one that the policies name.
        labels_known: False: every policy of the namespace is taken to select the agent.
    """
    entries = [_entry(manifest) for manifest in files.manifests]
    where = agent.namespace or _named_namespace(entries)
    policies, servers = [], []
    for entry, resource in zip(entries, files.resources, strict=True):
        if entry["kind"] == "ToolServer":
            if entry["namespace"] in ("", where):
                servers.append({key: entry[key] for key in ("name", "uid", "generation", "spec")})
            continue
        assert isinstance(resource, Policy), "need_valid was called before"
        cluster = entry["kind"] == "ClusterAgentPolicy"
        if not cluster and entry["namespace"] not in ("", where):
            continue
        if labels_known and not selects(resource.pod_selector, agent.labels):
            continue
        # Evaluation selects again: no policy may be dropped for labels that nobody gave.
        spec = entry["spec"] if labels_known else {k: v for k, v in entry["spec"].items() if k != "podSelector"}
        policies.append({**entry, "namespace": "" if cluster else where, "spec": spec})
    document = config_document(
        namespace=where, namespace_uid="files", settings=Settings(), policies=policies, tool_servers=servers
    )
    return compile_config(document), replace(agent, namespace=where)


def accepted_policies(home: Home) -> PolicyFiles:
    """The policies that the home's control plane accepted last."""
    try:
        stored = json.loads(home.last_good.read_bytes())
        manifests = [
            Manifest(API_VERSION, each["kind"], {key: each[key] for key in _METADATA}, each["spec"], "accepted", {})
            for each in stored["entries"]
        ]
    except FileNotFoundError as error:
        raise HitlError(
            f"no control plane has run in {home.path} yet; name the policies: -f PATH, or start one: hitl dev -f PATH"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HitlError(f"{home.last_good}: cannot be read ({error}); name the policies: -f PATH") from error
    return PolicyFiles(1, manifests, [_parsed(manifest) for manifest in manifests], [])


def _files(path: str) -> list[str]:
    if path == "-":
        return [path]
    place = Path(path)
    if place.is_dir():
        inside = sorted(
            str(each)
            for each in place.iterdir()
            if each.suffix in _SUFFIXES and not each.name.startswith(".") and each.is_file()
        )
        if not inside:
            raise HitlError(f"{path}: no {', '.join(_SUFFIXES)} file in it; a first policy: hitl init {path}")
        return inside
    if not place.exists():
        raise HitlError(f"{path}: no such file or folder; a first policy: hitl init")
    return [path]


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise HitlError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _parsed(manifest: Manifest) -> Policy | ToolServer:
    if manifest.kind == "ToolServer":
        return parse_tool_server(manifest.metadata, manifest.spec)
    return parse_policy(manifest.kind, manifest.metadata, manifest.spec)


def _advised(manifest: Manifest, problem: Problem) -> Found:
    """Advice speaks of a rule as a whole, so the line says where; a rule that it names gets its line, too."""
    message = _RULE.sub(lambda match: f"(line {manifest.line_of(f'spec.{match[1]}')})", problem.message)
    return replace(_located(manifest, problem), message=message)


def _located(manifest: Manifest, problem: Problem) -> Found:
    is_error = problem.severity == "error"
    return Found(manifest.source, manifest.line_of(problem.path), str(problem), problem.code, is_error)


def _unreadable(file: str, problem: Problem) -> Found:
    """Of a document that cannot be read the reader gives ``file:line`` as the path."""
    return Found(file, int(problem.path.rpartition(":")[2]), problem.message, problem.code, is_error=True)


def _entry(manifest: Manifest) -> dict[str, Any]:
    metadata: Mapping[str, Any] = manifest.metadata
    generation = metadata.get("generation")
    return {
        "kind": manifest.kind,
        "name": str(metadata.get("name", "")),
        "namespace": str(metadata.get("namespace", "")),
        "uid": str(metadata.get("uid") or "file"),
        "generation": generation if isinstance(generation, int) and generation > 0 else 1,
        "spec": manifest.spec,
    }


def _named_namespace(entries: Iterable[Mapping[str, Any]]) -> str:
    named = {entry["namespace"] for entry in entries if entry["namespace"]}
    if len(named) > 1:
        raise HitlError(f"the policies are of several namespaces ({', '.join(sorted(named))}); say which: -n NS")
    return named.pop() if named else _NAMESPACE
