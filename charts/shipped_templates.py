"""Chart templates of what `hitl.kube.shipped` ships: the same text, comments included, with expressions for names.

The operator compares what stands in the cluster with what was shipped (SECURITY C4), so the chart renders exactly that.
Only scalars that differ between installations are replaced, where they stand; the rest of a file is copied, and what
Helm would take for an expression of its own is escaped.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from hitl.kube import shipped
from hitl.kube.shipped import DEFAULT

KUBE: Final = Path(shipped.__file__).parent
FOLDERS: Final = {"crds": "crds.enabled", "admission": "", "roles": "", "pods": "injection.enabled"}
"""Folders of `hitl.kube`, and the value under which each is rendered; always, where there is none."""

NAMESPACE: Final = "{{ .Release.Namespace | quote }}"
SERVICE_ACCOUNT: Final = "{{ .Values.serviceAccount.name | quote }}"
EXPRESSIONS: Final = dict(
    zip(
        shipped.texts(DEFAULT),
        (
            "system:serviceaccount:{{ .Release.Namespace }}:{{ .Values.serviceAccount.name }}",
            "'{{ .Release.Namespace }}'",
            "{{ .Values.secondFactor.key }}",
            '{{ include "hitl.listed" .Values.secondFactor.factors }}',
            '{{ include "hitl.listed" .Values.secondFactor.hardware }}',
        ),
        strict=True,
    )
)
"""What stands for the texts of a default installation, in the order in which `shipped.texts` gives them."""

_TEXT: Final = re.compile("|".join(map(re.escape, EXPRESSIONS)))
_MADE: Final = "{{{{- /* Made by charts/generate.py from {source}: change that, then run `make generate`. */ -}}}}\n"
_KEPT: Final = "{{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n{{- end }}\n"


def templates() -> dict[str, str]:
    """The text of each template, by its path under templates/."""
    made = {}
    for folder, condition in FOLDERS.items():
        for file in sorted((KUBE / folder).glob("*.yaml")):
            source = file.resolve().relative_to(KUBE.parents[2])
            body = templated(file.read_text("utf-8"), is_kept=folder == "crds")
            if condition:
                body = f"{{{{- if .Values.{condition} }}}}\n{body}{{{{- end }}}}\n"
            made[f"{folder}/{file.name}"] = _MADE.format(source=source) + body
    return made


def templated(text: str, *, is_kept: bool = False) -> str:
    """A manifest's text as a template; `is_kept`: with the annotation that keeps it through `helm uninstall`."""
    changes = []
    for root in yaml.compose_all(text, yaml.SafeLoader):
        changes += list(_changes(root, text))
        if is_kept:
            metadata = next(value for key, value in root.value if key.value == "metadata")
            at = text.rindex("\n", 0, metadata.start_mark.index) + 1
            changes.append((at, at, _KEPT))
    parts, done = [], 0
    for start, end, new in sorted(changes):
        parts += [_escaped(text[done:start]), new]
        done = end
    return "".join(parts) + _escaped(text[done:])


def _changes(node: yaml.Node, text: str) -> Iterator[tuple[int, int, str]]:
    """What to put in place of which characters below a node."""
    match node:
        case yaml.MappingNode():
            plain = {key.value: value.value for key, value in node.value}
            for key, value in node.value:
                yield from _unambiguous(key)
                if key.value == "name" and (plain.get("kind"), value.value) == (
                    "ServiceAccount",
                    DEFAULT.service_account,
                ):
                    yield value.start_mark.index, value.end_mark.index, SERVICE_ACCOUNT
                else:
                    yield from _changes(value, text)
        case yaml.SequenceNode():
            for item in node.value:
                yield from _changes(item, text)
        case yaml.ScalarNode(value=DEFAULT.namespace):
            yield node.start_mark.index, node.end_mark.index, NAMESPACE
        case yaml.ScalarNode():
            start, end = node.start_mark.index, node.end_mark.index
            raw = text[start:end]
            if wanted := len(_TEXT.findall(node.value)):
                if len(_TEXT.findall(raw)) != wanted:  # folded apart, or quotes that are doubled where they stand
                    raw = json.dumps(node.value, ensure_ascii=False) + raw[len(raw.rstrip()) :]
                yield start, end, _expressed(raw)
            else:
                yield from _unambiguous(node)


def _unambiguous(node: yaml.Node) -> Iterator[tuple[int, int, str]]:
    """Quote what Helm and kubectl read as true and false (YAML 1.1), and PyYAML does not."""
    if isinstance(node, yaml.ScalarNode) and not node.style and node.value in {"y", "n", "Y", "N"}:
        yield node.start_mark.index, node.end_mark.index, f'"{node.value}"'


def _expressed(raw: str) -> str:
    parts, done = [], 0
    for found in _TEXT.finditer(raw):
        parts += [_escaped(raw[done : found.start()]), EXPRESSIONS[found[0]]]
        done = found.end()
    return "".join(parts) + _escaped(raw[done:])


def _escaped(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}')
