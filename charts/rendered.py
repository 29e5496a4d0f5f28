"""The chart as Helm renders it, read as strictly as YAML can be."""

import os
import subprocess
import tempfile
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from charts.tools import provide

NAMESPACE = "hitl-system"
DEADLINE = 120.0  # seconds for one run of a tool; a second on an idle machine


class RenderingFailed(Exception):
    """Helm refused, or rendered what is no YAML; the message says which and what it said."""


class StrictLoader(yaml.CSafeLoader):
    """Refuses a key that stands twice: others keep the last one, and the first is lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if key.value in written and key.tag != "tag:yaml.org,2002:merge":
                raise RenderingFailed(
                    f"key {key.value!r} stands twice in one mapping, again in line {key.start_mark.line + 1}"
                )
            written.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said, and whether it was content."""

    code: int
    text: str
    troubles: str


def run(tool: str, *args: str, given: str | None = None) -> Answer:
    """Run one of `charts.tools`, with nothing of this user's own settings of Helm."""
    settings = {key: value for key, value in os.environ.items() if not key.startswith("HELM_")}
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [str(provide(tool)), *args],
            input=given,
            env=settings | {f"HELM_{kind}_HOME": empty for kind in ("CACHE", "CONFIG", "DATA")},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
    return Answer(done.returncode, done.stdout, done.stderr)


def rendered(helm: str, chart: Path, kubernetes: str, *args: str) -> list[dict[str, Any]]:
    """The objects that `helm template` gives, hooks and tests among them.

    Args:
        helm: helm3 or helm4.
        chart: its folder.
        kubernetes: the version that `.Capabilities` shall tell, e.g. 1.36.3.
        args: more of Helm's arguments, such as --values=FILE.

    Raises:
        RenderingFailed: with Helm's words.
    """
    answer = run(
        helm, "template", "hitl", str(chart), f"--namespace={NAMESPACE}", f"--kube-version={kubernetes}", *args
    )
    if answer.code != 0:
        raise RenderingFailed(answer.troubles.strip())
    return list(read(answer.text))


def read(text: str) -> Iterator[dict[str, Any]]:
    """The objects in a stream of YAML; RenderingFailed where a document is none."""
    try:
        for document in yaml.load_all(text, StrictLoader):
            if document is None:
                continue
            if not isinstance(document, dict) or not {"apiVersion", "kind"} <= document.keys():
                raise RenderingFailed(f"a document is no object of Kubernetes: {str(document)[:80]}")
            yield document
    except yaml.YAMLError as error:
        raise RenderingFailed(f"no YAML: {error}") from error
