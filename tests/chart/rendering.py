"""The chart, rendered and installed by a real Helm."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import charts

CHART = Path(charts.__path__[0]) / "hitl"
NAMESPACE = "hitl-system"
PATIENCE = 240.0  # seconds for one command of Helm, where many share a machine

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Helm:
    """One Helm; whatever it notes goes into `home`."""

    program: Path
    home: Path

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None, kubeconfig: Path | None = None) -> "Done":
        """Run a command; a refusal is an exit code."""
        command = [str(self.program), *arguments]
        if values is not None:
            command += ["--values", "-"]
        places = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        places["KUBECONFIG"] = str(kubeconfig or self.home / "none")
        done = subprocess.run(
            command,
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **places},
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def template(self, values: Mapping[str, Any] | None = None, namespace: str = NAMESPACE, *more: str) -> "Rendered":
        """What the chart renders."""
        done = self.run("template", "hitl", str(CHART), "--namespace", namespace, *more, values=values or {})
        assert done.code == 0, done.err
        return Rendered(done.out)

    def refusal(self, values: Mapping[str, Any]) -> str:
        """Why the chart does not render with these values."""
        done = self.run("template", "hitl", str(CHART), "--namespace", NAMESPACE, values=values)
        assert done.code != 0, "it was rendered"
        return done.err


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Rendered:
    """Manifests of the chart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.objects: list[dict[str, Any]] = [each for each in yaml.load_all(text, _Loader) if each]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """The object of that kind and name."""
        (found,) = [each for each in self.objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
        return found

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [each for each in self.objects if each["kind"] in kinds]

    def arguments(self) -> list[str]:
        """Of the operator."""
        (container,) = self.one("Deployment", "hitl-operator")["spec"]["template"]["spec"]["containers"]
        return list(container["args"])


def by_name(objects: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Objects by kind and name, without the annotation that keeps a CRD."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in objects:
        metadata = {key: value for key, value in each["metadata"].items() if key != "annotations"}
        found[each["kind"], each["metadata"]["name"]] = {**each, "metadata": metadata}
    return found
