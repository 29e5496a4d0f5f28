"""The plugin's description for krew: in step with the package, its placeholders plainly marked until a release."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from hitl import __version__

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "plugins" / "hitl.yaml").read_text()
SPEC: dict[str, Any] = yaml.safe_load(TEXT)["spec"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("platform", SPEC["platforms"], ids=lambda each: each["selector"]["matchLabels"]["os"])
def test_its_files_are_what_the_package_installs(platform: dict[str, Any]) -> None:
    """Both programs that kubectl looks for, and the licence; archive and address name this version."""
    files = {each["from"] for each in platform["files"]}
    assert files == {each for each in PROJECT["scripts"] if each.startswith("kubectl")} | set(PROJECT["license-files"])
    assert all((ROOT / each).is_file() for each in PROJECT["license-files"])
    assert platform["uri"].endswith(
        f"/v{__version__}/kubectl-hitl-v{__version__}-{platform['selector']['matchLabels']['os']}.tar.gz"
    )


def test_it_asks_for_the_python_that_the_package_needs() -> None:
    """The caveats name the oldest Python of the package's own metadata."""
    assert f"Needs Python {PROJECT['requires-python'].removeprefix('>=')} or newer" in SPEC["caveats"]


def test_until_a_release_every_placeholder_is_marked_as_one() -> None:
    """Addresses and checksums are all placeholders and all say so, or, after a release, none is and none says so."""
    values = re.findall(r"^ +(?:homepage|uri|sha256): (\S+)(.*)$", TEXT, re.MULTILINE)
    assert len(values) == 1 + 2 * len(SPEC["platforms"])
    made_up = [".invalid" in value or set(value.strip('"')) == {"0"} for value, _ in values]
    marked = [comment.strip() == "# placeholder" for _, comment in values]
    assert made_up == marked
    assert len(set(made_up)) == 1, "a release replaces all of them at once"
    assert ("# PLACEHOLDERS: there is no release yet." in TEXT) is made_up[0]
