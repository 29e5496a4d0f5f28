"""Policies as files: YAML read in exactly one way, with the line of everything in it.

YAML has traps that change a policy in silence: a key twice (the last one wins), ``on`` and ``no`` as booleans, ``010``
as eight, ``12:30`` as 750, dates, aliases that expand without end. Each is refused here, at its line, with what to
write instead. What the fields mean is for `hitl.policy.parse`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import InvalidPolicy, Problem
from hitl.kube.yaml_nodes import Document, Line, read_documents
from hitl.policy.parse import KINDS
from hitl.policy.parsing_reader import Problems, Reader, nearest

API_VERSION: Final = "hitl.dev/v1alpha1"

UNKNOWN_KIND: Final = "HITL122"
BAD_METADATA: Final = "HITL125"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One resource in a file.

    Attributes:
        api_version: always ``hitl.dev/v1alpha1``.
        kind: AgentPolicy, ClusterAgentPolicy or ToolServer.
        metadata: as written; name and namespace are valid.
        spec: as written.
        source: the file's name, for messages.
        lines: line of every path, counted from 1; the empty path is the resource itself.
    """

    api_version: str
    kind: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]
    source: str
    lines: Mapping[str, int]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return str(self.metadata["name"])

    def line_of(self, path: str) -> int:
        """Line of a path such as ``spec.rules[2].args.amount.min``, or of the nearest thing around it that is there."""
        while path and path not in self.lines:
            path = _parent(path)
        return self.lines.get(path, 1)


def read_manifests(text: str, source: str) -> list[Manifest]:
    """Every resource in a text of one or more YAML documents (JSON is YAML); empty documents are skipped.

    Args:
        text: the file's content.
        source: the file's name, for messages.

    Raises:
        InvalidPolicy: with every problem of every document. `Problem.path` is ``file:line``, `Problem.document` the
            index of the document.
    """
    documents, broken = read_documents(text)
    found = [_placed(line, source) for line in broken]
    manifests: list[Manifest] = []
    for document in documents:
        problems = Problems()
        manifest = _read(document, source, problems)
        found += [_placed(_line(document, each), source) for each in problems.found]
        if manifest is not None:
            manifests.append(manifest)
    if found:
        raise InvalidPolicy(tuple(found))
    return manifests


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """The one mapping of a settings file, read as strictly; empty for an empty file.

    Raises:
        InvalidPolicy: as `read_manifests`.
    """
    documents, broken = read_documents(text)
    found = [_placed(line, source) for line in broken]
    if len(documents) > 1:
        found.append(
            Problem(
                f"{source}:{documents[1].first}", "a settings file is one document; remove the second", UNKNOWN_KIND, 1
            )
        )
    elif documents and not isinstance(documents[0].value, dict):
        found.append(Problem(f"{source}:{documents[0].first}", "must be a mapping of keys to values", UNKNOWN_KIND, 0))
    if found:
        raise InvalidPolicy(tuple(found))
    return dict(documents[0].value) if documents else {}


def _read(document: Document, source: str, problems: Problems) -> Manifest | None:
    reader = Reader(document.value, "", problems)
    api_version, kind = reader.value("apiVersion"), reader.value("kind")
    if problems.found or not _check_type(reader, api_version, kind):
        return None
    reader.require("metadata", "spec")
    metadata = reader.child("metadata")
    if metadata is not None:
        _check_metadata(metadata, str(kind))
    spec = reader.value("spec")
    reader.done({"status": "is written by the operator, never by hand; remove it"})
    if problems.found or not isinstance(spec, Mapping):
        if not problems.found:
            reader.problem("spec", "must be a mapping of keys to values")
        return None
    return Manifest(API_VERSION, str(kind), reader.raw["metadata"], spec, source, document.lines)


def _check_type(reader: Reader, api_version: Any, kind: Any) -> bool:
    reader.require("apiVersion", "kind")
    if kind is not None and kind not in KINDS:
        near = nearest(str(kind), KINDS)
        hint = f"did you mean {near}?" if near else f"kinds read here: {', '.join(KINDS)}"
        reader.problem("kind", f"{kind!r} is not read here; {hint}", UNKNOWN_KIND)
        return False
    if api_version is not None and api_version != API_VERSION:
        reader.problem("apiVersion", f"{api_version!r} is not read here; write {API_VERSION}", UNKNOWN_KIND)
        return False
    return api_version is not None and kind is not None


def _check_metadata(metadata: Reader, kind: str) -> None:
    metadata.require("name")
    name = metadata.text("name", limit=253)
    if name and not _NAME.fullmatch(name):
        metadata.problem(
            "name", f"{name!r} is no resource name; write lower-case letters, digits and '-'", BAD_METADATA
        )
    namespace = metadata.text("namespace", limit=63)
    if namespace and not _NAMESPACE.fullmatch(namespace):
        metadata.problem(
            "namespace", f"{namespace!r} is no namespace; write lower-case letters, digits and '-'", BAD_METADATA
        )
    if namespace and kind == "ClusterAgentPolicy":
        metadata.problem("namespace", "a ClusterAgentPolicy is in no namespace; remove it", BAD_METADATA)
    for key in ("labels", "annotations"):
        entries = metadata.child(key)
        for each in entries.names() if entries else ():
            if not isinstance(entries and entries.raw[each], str):
                metadata.problems.add(f"{metadata.at(key)}.{each}", "wants a string; put it in quotes", BAD_METADATA)
    # What an API server adds and `kubectl get -o yaml` prints is no mistake.
    for key in ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "finalizers", "selfLink"):
        metadata.asks(key)
    metadata.done()


def _line(document: Document, problem: Problem) -> Line:
    path = problem.path
    while path and path not in document.lines:
        path = _parent(path)
    return Line(document.lines.get(path, document.first), problem.path, problem.message, problem.code, document.index)


def _placed(line: Line, source: str) -> Problem:
    what = f"{line.path}: {line.message}" if line.path else line.message
    return Problem(f"{source}:{line.number}", what, line.code, line.document)


def _parent(path: str) -> str:
    """The path around a path: without its last ``.key``, ``[2]`` or ``["key"]``."""
    if path.endswith('"]'):
        # The key is JSON, so a quote inside it has a backslash before it: the last bare [" opens it.
        openings = [match.start() for match in re.finditer(r'(?<!\\)\["', path)]
        return path[: openings[-1]] if openings else ""
    return path[: max(path.rfind("."), path.rfind("["), 0)]
