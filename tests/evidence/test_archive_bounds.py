"""What sidecars and authors make up stays bounded, and stops nobody who verifies (SECURITY B5, H2)."""

from collections.abc import Iterator, ValuesView
from datetime import timedelta
from pathlib import Path

import pytest

import hitl_operator.archive.archive as archive_module
import hitl_operator.archive.expiry as expiry_module
from evidence.archives import KEY, NOON, Log, a_checked, an_archive, checkpoints, said, shipped, who
from hitl.audit import Head, RecordKind
from hitl.audit.checkpoint import ChainHead, Expired
from hitl.audit.records import Epoch, ordered
from hitl.audit.report import rows_of
from hitl.audit.signing import PublicKeys
from hitl.errors import Refused, Unavailable
from hitl.v1 import hub_pb2
from hitl_operator.archive.archive import EndedRequest
from hitl_operator.archive.epochs import MOST_AT_ONCE, Epochs, named_in
from hitl_operator.archive.expiry import expire
from hitl_operator.archive.pending import LARGEST, Pending
from hitl_operator.archive.shipping import Shipping


def many_epochs(count: int, first: int = 0) -> list[bytes]:
    """As many processes, each with no more than its start."""
    log = Log()
    return [log.of(f"e{number}")[0] for number in range(first, first + count)]


async def test_B5_a_pod_that_makes_up_epochs_keeps_them(tmp_path: Path) -> None:
    """B5: beyond some hundred epochs a pod's lines are refused and stay with it; other pods, and what it was given
    before, are not concerned.
    """
    archive = an_archive(tmp_path)
    await archive.open()
    shipping, lines = Shipping(archive), many_epochs(MOST_AT_ONCE)
    assert (await shipping.ship(who(), hub_pb2.ShipRequest(lines=b"".join(lines)))).archived
    for more in (many_epochs(9, first=MOST_AT_ONCE), many_epochs(9, first=0)):
        with pytest.raises(Refused, match="began too many epochs"):
            await shipping.ship(who(), hub_pb2.ShipRequest(lines=b"".join(more)))
    assert (await shipping.ship(who(), hub_pb2.ShipRequest(lines=lines[-1]))).archived
    assert (await shipping.ship(who("uid-2"), hub_pb2.ShipRequest(lines=lines[0]))).archived
    stored = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("segments/*/*.jsonl")))  # noqa: ASYNC240
    assert stored.count(b"\n") == MOST_AT_ONCE + 2
    await archive.close()


async def test_B5_what_the_disk_refused_is_not_counted(tmp_path: Path) -> None:
    """B5: a sidecar that comes again after the disk refused its lines has as many epochs left as before."""
    seconds = 0.0
    archive = an_archive(tmp_path, monotonic=lambda: seconds)
    await archive.open()
    (tmp_path / "segments").write_text("not a folder")
    shipping, request = Shipping(archive), hub_pb2.ShipRequest(lines=b"".join(many_epochs(MOST_AT_ONCE)))
    with pytest.raises(Unavailable):
        await shipping.ship(who(), request)
    (tmp_path / "segments").unlink()
    seconds = 2.0
    assert (await shipping.ship(who(), request)).archived
    await archive.close()


def test_B5_epochs_come_back_in_the_long_run() -> None:
    """B5: a container that crashes every five minutes, day after day, is never refused."""
    seconds = 0.0
    epochs = Epochs(lambda: seconds)
    for number in range(2000):
        assert epochs.take("uid-1", [f"e{number}"]) == 1
        epochs.know("uid-1", [f"e{number}"])
        seconds += 300.0


@pytest.mark.parametrize(
    "second",
    [
        b'{"epoch":"e2","seq":2,"prev":"","time":"2026-05-01T12:00:00Z","kind":"stop"}',
        b'{"epoch":"e1","seq":2,"prev":"","time":"2026-05-01T12:00:00Z","kind":"stop","epoch":"e2"}',
        b'{"epoch":"e1","seq":2,"prev":"","time":"2026-05-01T12:00:00Z","kind":"stop","\\u0065poch":"e2"}',
        b'{"seq":2,"epoch":"e2","prev":"","time":"2026-05-01T12:00:00Z","kind":"stop"}',
    ],
)
def test_B5_no_spelling_hides_an_epoch(second: bytes) -> None:
    """B5: epochs are counted as a reader of the archive will find them, however a lying sidecar writes them."""
    first = b'{"epoch":"e1","seq":1,"prev":"","time":"2026-05-01T12:00:00Z","kind":"start"}'
    assert named_in(b"%s\n%s\n" % (first, second)).epochs == ("e1", "e2")


def test_epochs_of_an_honest_log_cost_one_look_each() -> None:
    """Lines of one epoch are told by how they begin, so what honest sidecars hand over is not parsed again."""
    log = Log()
    log.epoch("e1", 500)
    log.epoch("e2", 500)
    named = named_in(b"".join(log.lines) + b"no record\n")
    assert (named.epochs, named.parsed) == (("e1", "e2"), 3)


def test_B5_a_day_of_many_chains_goes_in_notes_of_bearable_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B5: each note has at most so many chains, no more are in memory than allowed, and each chain's end is noted."""
    monkeypatch.setattr(expiry_module, "_MOST_CHAINS", 3 * LARGEST)
    folder = tmp_path / "segments" / "2026-05-01"
    folder.mkdir(parents=True)
    log = Log()
    long = log.epoch("long", 1)
    made_up = many_epochs(4 * LARGEST + 7)
    lines = [long[0], *made_up, *long[1:]]
    (folder / "hub-1.000001.jsonl").write_bytes(b"".join(b"uid-1\t" + line for line in lines))
    notes: list[Expired] = []

    def noted(note: Expired) -> None:
        assert folder.is_dir(), "it goes after its last note"
        notes.append(note)

    expire(tmp_path, NOON.date() + timedelta(days=401), 400, noted)
    assert not folder.exists()
    assert max(len(note.chains) for note in notes) == LARGEST
    noted_twice = sum(len(note.chains) for note in notes) - len({each.epoch for note in notes for each in note.chains})
    assert noted_twice == 1, "the long one's first end was not kept until its next record came"
    ends: dict[str, int] = {}
    for chain in (chain for note in notes for chain in note.chains):
        ends[chain.epoch] = max(chain.sequence, ends.get(chain.epoch, 0))
    assert len(ends) == len(made_up) + 1
    assert ends["long"] == len(long)


async def test_H2_a_day_that_went_with_several_notes_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """H2: several signed lines say what one would, and what was linked to any of it still holds."""
    monkeypatch.setattr(expiry_module, "LARGEST", 2)
    monkeypatch.setattr(expiry_module, "_MOST_CHAINS", 4)
    at = [NOON]
    archive = an_archive(tmp_path, clock=lambda: at[0], monotonic=lambda: 86400.0 * (at[0] - NOON).days)
    await archive.open()
    log = Log()
    for number in range(7):
        await shipped(archive, log.epoch(f"e{number}", 1))
    at[0] += timedelta(days=390)
    await shipped(archive, log.epoch("later", 1))
    at[0] += timedelta(days=20)
    await archive.tick()
    await archive.close()
    assert not (tmp_path / "segments" / "2026-05-01").exists()
    sizes = [len(each.chains) for line in checkpoints(tmp_path) for each in line.expired if each.chains]
    assert (max(sizes), sum(sizes)) == (2, 7)
    assert a_checked(tmp_path).problems == ()


async def test_H2_a_fork_survives_a_disk_that_refuses(tmp_path: Path) -> None:
    """H2: two heads that contradict are both signed once the disk can be written, though something newer was said."""
    seconds, log, other = 0.0, Log(), Log()
    log.epoch("e1")
    other.epoch("e1", summary="forged")
    (tmp_path / "checkpoints").write_text("not a folder")
    archive = an_archive(tmp_path, monotonic=lambda: seconds)
    archive.said(said(log.head))
    archive.said(said(other.head))
    with pytest.raises(Unavailable):
        await archive.tick()
    archive.said(said(Head("e1", 9, "f" * 64)))
    (tmp_path / "checkpoints").unlink()
    seconds = 2.0
    await archive.tick()
    heads = {(head.sequence, head.hash) for each in checkpoints(tmp_path) for head in each.heads}
    assert heads == {(5, log.head.hash), (5, other.head.hash), (9, "f" * 64)}
    await archive.close()


def test_H2_what_is_given_back_contradicts_what_was_said_meanwhile() -> None:
    """H2: a head that was said while the disk refused, and contradicts one given back, is kept beside it; again and
    again given back, it stays once.
    """
    one, other = (ChainHead("uid-1", "e1", 5, digest * 64, stored=False) for digest in "ab")
    pending = Pending()
    pending.said(one)
    taken = pending.take()
    pending.said(other)
    pending.give_back(taken)
    for _ in range(3):
        taken = pending.take()
        assert sorted(head.hash[0] for each in taken for head in each.heads) == ["a", "b"]
        pending.give_back(taken)


def test_H2_a_fork_that_is_given_back_survives_what_is_newer() -> None:
    """H2: while the disk was tried the sidecar went on; both heads that contradict are kept beside its newest."""
    pending = Pending()
    for digest in "ab":
        pending.said(ChainHead("uid-1", "e1", 5, digest * 64, stored=False))
    taken = pending.take()
    pending.said(ChainHead("uid-1", "e1", 9, "c" * 64, stored=False))
    pending.give_back(taken)
    assert sorted(head.hash[0] for each in pending.take() for head in each.heads) == ["a", "b", "c"]


async def test_digests_of_policies_are_forgotten_and_texts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An author who updates a policy for ever fills no memory; a text that is served again is the file that stands."""
    monkeypatch.setattr(archive_module, "_MOST_KNOWN_POLICIES", 5)
    archive = an_archive(tmp_path)
    await archive.open()
    texts = [b'{"schema":%d}' % number for number in range(20)]
    for text in [*texts, texts[0]]:
        await archive.keep_policy(text)
    assert len(archive._policies) == 5
    assert len(list(tmp_path.glob("policies/*.json"))) == len(texts)  # noqa: ASYNC240
    await archive.close()
    assert a_checked(tmp_path).problems == ()


class Counted(dict[str, Epoch]):
    """Counts how often an epoch is looked at by going through all of them."""

    looks = 0

    def values(self) -> ValuesView[Epoch]:
        return _Counting(self)


class _Counting(ValuesView[Epoch]):
    def __iter__(self) -> Iterator[Epoch]:
        for each in super().__iter__():
            assert isinstance(self._mapping, Counted)
            self._mapping.looks += 1
            yield each


def test_B5_epochs_that_name_each_other_are_looked_at_in_one_go() -> None:
    """B5: of many circles each costs as much as of few, and every epoch comes once."""
    pairs = 500
    epochs = Counted()
    for number in range(pairs):
        a, b = f"a{number}", f"b{number}"
        epochs[a] = Epoch(a, NOON, previous=(b, 1))
        epochs[b] = Epoch(b, NOON, previous=(a, 1))
    assert {each.name for each in ordered(epochs)} == epochs.keys()
    assert epochs.looks <= 2 * len(epochs)


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
async def test_H2_no_time_of_a_lying_sidecar_stops_a_report(tmp_path: Path, time: str) -> None:
    """H2: a release at the calendar's end, of a request of the sidecar's own workload, is a row like any other."""
    archive, log = an_archive(tmp_path), Log()
    await archive.open()
    lines = log.of("e1", (RecordKind.RELEASE, {"handle": "shop/r-1", "decision": "Released"}))
    lines[-1] = lines[-1].replace(b"2026-05-01T12:00:00Z", time.encode())
    await shipped(archive, lines)
    metadata = {"namespace": "shop", "name": "r-1", "uid": "uid-r", "resourceVersion": "77"}
    request = {
        "metadata": {**metadata, "creationTimestamp": "2026-05-01T11:59:00Z"},
        "spec": {"agent": {"workload": "deploy/support"}},
        "status": {"state": "Consumed"},
    }
    await archive.keep_requests([EndedRequest("uid-r", "77", NOON, request)])
    await archive.close()
    assert a_checked(tmp_path).problems == ()
    (row,) = rows_of(tmp_path, PublicKeys([KEY.pem]).is_good, since=None, until=None)
    assert (row.time.isoformat()[:10], len(row.requests)) == (time[:10], int(time > "2026"))
