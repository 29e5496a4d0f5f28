"""`hitl audit verify` on an archive: exit codes and words (SECURITY H2)."""

import contextlib
import io
import json
from pathlib import Path

import pytest

from evidence.archives import KEY, Log, an_archive, shipped
from hitl.audit.signing import AuditKey
from hitl_cli.main import run


class Done:
    """One run of `kubectl hitl`, which needs no cluster for this."""

    def __init__(self, *words: str | Path) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.code = run([str(each) for each in words], "kubectl hitl")
        self.out, self.err = out.getvalue(), err.getvalue()
        self.words = " ".join(self.out.split())


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """An archive with one sidecar, and the public key beside it."""
    archive, log = an_archive(tmp_path / "archive"), Log()
    await shipped(archive, log.epoch("e1", 4))
    await archive.close()
    (tmp_path / "audit.pem").write_bytes(KEY.pem)
    (tmp_path / "other.pem").write_bytes(AuditKey(bytes(32)).pem)
    return tmp_path


def test_H2_a_whole_archive_is_verified_with_the_public_key_alone(folder: Path) -> None:
    """H2: exit code 0, and one line that says what was verified, under which key."""
    done = Done("audit", "verify", folder / "archive", "--key", folder / "audit.pem")
    assert done.code == 0, done.err
    assert "1 sidecar, 6 records, 1 epoch" in done.words
    assert KEY.fingerprint in done.words
    assert done.err == ""


def test_without_a_key_it_says_what_that_does_not_show(folder: Path) -> None:
    """The keys in the archive show damage, not who signed; that is a note."""
    done = Done("audit", "verify", folder / "archive")
    assert done.code == 0
    assert "taken from the archive itself" in done.err


def test_H2_a_finding_names_file_epoch_and_record_and_ends_with_1(folder: Path) -> None:
    """H2: a changed record is named by file and line, pod, epoch and sequence."""
    (segment,) = folder.glob("archive/segments/*/*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"shop/t1", b"shop/tX"))
    done = Done("audit", "verify", folder / "archive", "--key", folder / "audit.pem", "-o", "json")
    assert done.code == 1
    (problem, *_) = json.loads(done.out)["archives"][0]["problems"]
    assert problem["kind"] == "changed"
    assert problem["place"].endswith(":3")
    assert "record 3 of epoch e1" in problem["message"]


def test_H2_another_key_verifies_nothing(folder: Path) -> None:
    """H2: under a key that did not sign, no checkpoint counts."""
    done = Done("audit", "verify", folder / "archive", "--key", folder / "other.pem")
    assert done.code == 1
    assert "its signature is not good" in done.words


def test_what_is_no_key_is_said(folder: Path) -> None:
    """A file that is no public key ends with 1 and its name."""
    (folder / "audit.pem").write_text("hello")
    done = Done("audit", "verify", folder / "archive", "--key", folder / "audit.pem")
    assert done.code == 1
