"""The house stands as DESIGN says: programs on one ground, source folders that are not packages, one front door."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_folder_operator_never_shadows_the_standard_library() -> None:
    """`import operator` at the root of a checkout gives Python's module, because the source folders are no packages."""
    shown = run(sys.executable, "-c", "import operator; print(operator.itemgetter(0)('x'))")
    assert shown.stdout == "x\n", shown.stderr
    assert [str(path) for name in ("core", "sidecar", "operator", "cli") for path in (ROOT / name).glob("*.py")] == []


def test_import_contracts_hold() -> None:
    """Four programs on one ground and no circle: import-linter keeps every contract of pyproject.toml."""
    checked = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


def test_generated_stubs_are_those_of_the_protos() -> None:
    """`proto/generate --check` finds no drift between proto/ and core/hitl/v1."""
    checked = run("proto/generate", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_make_help_lists_every_target() -> None:
    """Each target of the front door has its line in `make help`."""
    shown = run("make", "help").stdout
    for target in ("demo", "demo-cluster", "test", "check", "bench", "generate", "lock"):
        assert f"make {target}" in shown


def test_no_module_is_longer_than_its_reader_likes() -> None:
    """Modules stay under 400 lines; the aim is 60 to 250."""
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("core", "sidecar", "operator", "cli")
        for path in (ROOT / folder).rglob("*.py")
        if "v1" not in path.parts and "lexicon" not in path.name
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_two_test_files_have_one_name() -> None:
    """Tests are no packages, so of two modules with one name pytest can import only the first."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
