"""Tables of pod in, patch out: tests/injection/cases, each a story (SECURITY E1, B2, I11)."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from hitl_operator.injection.installation import Installation
from hitl_operator.injection.patching import Injected, OptedOut, Refused, inject, patch

INSTALLATION = Installation("registry.example.com/hitl-sidecar:1.0")
CASES = [
    pytest.param(case, id=case["story"])
    for file in sorted((Path(__file__).parent / "cases").glob("*.yaml"))
    for case in yaml.safe_load_all(file.read_text("utf-8"))
]
WORDS = {"story", "pod", "may_opt_out", "opted_out", "patch", "expects", "warnings", "refused", "refused_exactly"}


def at(found: Any, pointer: str) -> Any:
    """What stands at a JSON pointer, None where nothing does; `*` is every item of a list."""
    parts = [part.replace("~1", "/") for part in pointer.split("/")[1:]]
    for index, part in enumerate(parts):
        if part == "*":
            return [at(item, "/" + "/".join(parts[index + 1 :])) for item in found or ()]
        found = found[int(part)] if isinstance(found, list) else (found or {}).get(part)
    return found


@pytest.mark.parametrize("case", CASES)
def test_a_pod_becomes(case: dict[str, Any]) -> None:
    """What the story says, and the pod that was handed in stays as it was."""
    assert case.keys() <= WORDS, f"unknown words: {case.keys() - WORDS}"
    pod = copy.deepcopy(case["pod"])
    found = inject(pod, installation=INSTALLATION, ca="THE CA", may_opt_out=case.get("may_opt_out", False))
    assert pod == case["pod"]
    match found:
        case Refused(reasons):
            assert "refused" in case or "refused_exactly" in case, reasons
            assert list(reasons) == case.get("refused_exactly", list(reasons))
            for words in case.get("refused", ()):
                assert words in "; ".join(reasons)
        case Injected(made, warnings) | OptedOut(made, warnings):
            assert "expects" in case or "patch" in case, "it was not refused"
            assert isinstance(found, OptedOut) is case.get("opted_out", False)
            if "patch" in case:
                assert patch(pod, made) == case["patch"]
            for pointer, wanted in case.get("expects", {}).items():
                assert at(made, pointer) == wanted, pointer
            wanted = case.get("warnings", [])
            assert len(warnings) == len(wanted), warnings
            for words in wanted:
                assert any(words in warning for warning in warnings), warnings
