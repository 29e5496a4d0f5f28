"""The Dockerfiles: how the images run, and that both ways to build them are about the same things."""

from pathlib import Path

import pytest

from images import debian, dockerfile
from images.application import fit

ROOT = Path(__file__).parents[2]
MODULES = {"sidecar": "hitl_sidecar", "operator": "hitl_operator.cluster"}


@pytest.mark.parametrize("program", MODULES)
def test_images_run_as_somebody_without_rights(program: str) -> None:
    """The program itself is what runs, as a user that is not root and has a name where there is no Docker engine."""
    settings = dockerfile.read(ROOT / program / "Dockerfile")
    uid, gid = settings.user.split(":")
    assert int(uid) > 1000
    assert f":x:{uid}:{gid}:".encode() in debian.PEOPLE["etc/passwd"]
    assert settings.entrypoint == (f"/usr/bin/{debian.PYTHON}", "-P", "-m", MODULES[program])
    assert "PYTHONPATH=/app" in settings.environment


@pytest.mark.parametrize("program", MODULES)
def test_an_image_has_what_is_locked_and_nothing_of_other_programs(program: str, tmp_path: Path) -> None:
    """Every package is installed by its hash; what belongs to other programs is left out."""
    text = (ROOT / program / "Dockerfile").read_text()
    assert f"--require-hashes --target /app -r requirements/{program}.txt" in text
    for package in ("hitl", "hitl_sidecar", "hitl_operator", "hitl_cli", "bin"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "thing.py").write_text("X = 1\n")
    fit(program, tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {"hitl", MODULES[program].partition(".")[0]}
    assert list((tmp_path / "hitl" / "__pycache__").glob("thing.*.pyc"))


def test_what_cannot_be_compiled_is_no_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A broken module ends the build instead of the first container."""
    (tmp_path / "hitl").mkdir()
    (tmp_path / "hitl" / "broken.py").write_text("def\n")
    with pytest.raises(ValueError, match="could not be compiled"):
        fit("sidecar", tmp_path)
    assert "broken.py" in capsys.readouterr().out


def test_a_misspelled_program_is_named(tmp_path: Path) -> None:
    """Nothing is removed for a program that there is not."""
    with pytest.raises(ValueError, match="'sidecars' is no program with an image"):
        fit("sidecars", tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('FROM x\nUSER 1\nENTRYPOINT ["a"]\n', "has no ENV"),
        ('FROM x\nUSER 1\nENV A=1\nENTRYPOINT ["a"]\nFROM y\nUSER 2\n', "has no ENTRYPOINT, ENV"),
        ('FROM x\nUSER 1\nUSER 2\nENV A=1\nENTRYPOINT ["a"]\n', "USER stands twice"),
    ],
)
def test_a_dockerfile_that_leaves_something_open_is_refused(text: str, words: str, tmp_path: Path) -> None:
    """Only the last stage counts, and each of its settings is said once."""
    (tmp_path / "Dockerfile").write_text(text)
    with pytest.raises(ValueError, match=words):
        dockerfile.read(tmp_path / "Dockerfile")


@pytest.mark.parametrize("part", ["sidecar", "operator", "build"])
def test_images_are_made_of_the_versions_that_were_tested(part: str) -> None:
    """Every pin and hash of an image's lock stands in the one that `make test` installs."""
    tested = set((ROOT / "requirements" / "dev.txt").read_text().replace(" \\", "").splitlines())
    lines = (ROOT / "requirements" / f"{part}.txt").read_text().replace(" \\", "").splitlines()
    pinned = [line for line in lines if line and not line.strip().startswith("#")]
    assert any("==" in line for line in pinned)
    assert [line for line in pinned if line not in tested] == []
