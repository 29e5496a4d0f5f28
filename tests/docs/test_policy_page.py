"""Every policy in the documents passes `hitl check` without a word; what else is YAML there has tests of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from docs.blocks import ROOT, Block, blocks
from hitl.policy.parsing_freezes import KIND as OVERRIDE
from hitl.policy.parsing_freezes import parse_freeze

RESOURCES = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in sorted((ROOT / "docs").glob("*.md"))
    for number, block in enumerate(blocks(f"docs/{page.name}"))
    if block.language == "yaml" and block.text.startswith("apiVersion: hitl.dev/")
]
FREEZES = [each for each in RESOURCES if f"kind: {OVERRIDE}" in each.values[0].text]
POLICIES = [each for each in RESOURCES if each not in FREEZES]


@pytest.mark.parametrize("block", POLICIES)
def test_a_policy_in_the_documents_is_sound(block: Block, tmp_path: Path) -> None:
    """What readers copy must be right."""
    (tmp_path / "policy.yaml").write_text(block.text)
    command = [sys.executable, "-m", "hitl_cli.main", "check", "-f", str(tmp_path / "policy.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout, done.stderr) == ("", "1 resource in 1 file: nothing to mend.\n")


@pytest.mark.parametrize("block", FREEZES)
def test_a_freeze_in_the_documents_is_sound(block: Block) -> None:
    """Likewise of PolicyOverrides, which people press in a hurry."""
    document = yaml.safe_load(block.text)
    parse_freeze({**document["metadata"], "uid": "u", "generation": 1}, document["spec"])
