"""`hitl audit verify` on an archive: exit codes and words (SECURITY H2)."""

import contextlib
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from evidence.archives import KEY, NOON, Log, an_archive, shipped, who
from hitl.audit import RecordKind
from hitl.audit.signing import AuditKey
from hitl.policy.config import revision_named
from hitl_cli.main import run
from hitl_operator.archive.archive import EndedRequest


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


@pytest.fixture
async def reported(tmp_path: Path) -> Path:
    """Two pods; ana approved a call of the first, which was released; the second one's record claims that request."""
    archive = an_archive(tmp_path / "archive")
    document = b'{"schema":1}'
    revision = revision_named(document)
    await archive.keep_policy(document)
    decided = {"tool": "stripe/refund", "handle": "shop/r-1", "digest": "ab", "revision": revision, "reviewer": "ana"}
    own, liar = Log(), Log()
    verdict = {"tool": "stripe/refund", "handle": "shop/r-1", "rule": "AgentPolicy/shop/support#refunds"}
    lines = own.of(
        "e1",
        (RecordKind.VERDICT, verdict),
        (RecordKind.DECISION, {**decided, "decision": "Approved", "proof": "ed25519:x"}),
        (RecordKind.RELEASE, {**decided, "decision": "Released"}),
    )
    await shipped(archive, lines)
    claim = (RecordKind.DECISION, {**decided, "decision": "Approved", "reviewer": "=cmd()"})
    await shipped(archive, liar.of("x1", claim), who("uid-2", "other-1", workload="deploy/other"))
    entry = {"reviewer": "ana", "decision": "Approved", "reason": "seen"}
    request = {
        "metadata": {
            "namespace": "shop", "name": "r-1", "uid": "uid-r", "resourceVersion": "77",
            "creationTimestamp": "2026-05-01T11:59:00Z",
        },
        "spec": {"agent": {"workload": "deploy/support"}, "digest": "ab"},
        "status": {"state": "Consumed", "decisions": [entry]},
    }  # fmt: skip
    await archive.keep_requests([EndedRequest("uid-r", "77", NOON, request)])
    await archive.close()
    (tmp_path / "audit.pem").write_bytes(KEY.pem)
    return tmp_path


def report_of(folder: Path, *more: str) -> Any:
    done = Done("audit", "report", folder / "archive", "--key", folder / "audit.pem", "-o", "json", *more)
    assert done.code == 0, done.err
    return json.loads(done.out)["decisions"]


def test_each_decision_leads_to_request_entries_and_policy_text(reported: Path) -> None:
    """A row leads an auditor to the record, the request as it ended, people's entries in it, and the policy text."""
    approved, released, _ = report_of(reported)
    assert (approved["decision"], released["decision"]) == ("Approved", "Released")
    assert (approved["people"], approved["backed"]) == ("ana", "request")
    assert approved["rule"] == "AgentPolicy/shop/support#refunds"
    assert approved["entries"][0]["reason"] == "seen"
    folder = reported / "archive"
    assert json.loads((folder / approved["policy"]).read_text()) == {"schema": 1}
    assert json.loads((folder / approved["requests"][0]).read_text())["metadata"]["uid"] == "uid-r"
    file, _, number = approved["record"].partition(":")
    assert b"shop/r-1" in (folder / file).read_bytes().splitlines()[int(number) - 1]


def test_B4_a_record_that_claims_the_request_of_another_workload_gets_none_of_it(reported: Path) -> None:
    """B4: a lying sidecar may write whatever handle it likes; the row shows that nothing but its own word says so."""
    (claimed,) = [row for row in report_of(reported) if row["agent"] == "shop/deploy/other/other-1"]
    assert (claimed["backed"], claimed["requests"], claimed["entries"]) == ("record", [], [])


def test_a_report_is_of_a_time_and_a_namespace(reported: Path) -> None:
    """--since is in, --until is not, and -n leaves out other namespaces; what is no time is refused with code 2."""
    assert report_of(reported, "--until", "2026-05-01T12:00:00Z") == []
    assert len(report_of(reported, "--since", "2026-05-01T12:00:00")) == 3
    assert report_of(reported, "-n", "bank") == []
    assert Done("audit", "report", reported / "archive", "--since", "yesterday").code == 2


def test_G1_no_cell_of_a_csv_is_a_formula(reported: Path) -> None:
    """G1: what an agent wrote opens in a spreadsheet as text; each row has every column."""
    done = Done("audit", "report", reported / "archive", "--key", reported / "audit.pem", "-o", "csv")
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["people"] for row in rows] == ["ana", "ana", "'=cmd()"]
    assert {len(row) for row in rows} == {16}


def test_a_table_counts_and_names_who(reported: Path) -> None:
    """People read counts first, then one line for each decision."""
    done = Done("audit", "report", reported / "archive", "--key", reported / "audit.pem")
    assert "2 approved, 0 denied, 1 released, by 2 people" in done.words
    assert "1 by people whom no archived request names" in done.words


async def test_a_time_is_shown_in_utc_whatever_zone_the_record_gives(tmp_path: Path) -> None:
    """A record that was written with another offset is shown at the moment it means."""
    archive, log = an_archive(tmp_path / "archive"), Log()
    lines = log.of("e1", (RecordKind.DECISION, {"decision": "Denied", "reviewer": "ana"}))
    lines[-1] = lines[-1].replace(b"2026-05-01T12:00:00Z", b"2026-05-01T14:30:00+05:30")
    await shipped(archive, lines)
    await archive.close()
    done = Done("audit", "report", tmp_path / "archive")
    assert "2026-05-01T09:00:00Z" in done.words
    assert "14:30:00" not in done.words


def test_H2_a_report_of_a_broken_archive_says_so(reported: Path) -> None:
    """H2: exit code 1 and the next command, whatever the report shows."""
    (request,) = reported.glob("archive/requests/*/*.json")
    request.write_bytes(request.read_bytes().replace(b"seen", b"read"))
    done = Done("audit", "report", reported / "archive", "--key", reported / "audit.pem", "-o", "csv")
    assert done.code == 1
    assert "the archive is not whole (1 problem)" in done.err
    assert "uid-r" not in done.out
