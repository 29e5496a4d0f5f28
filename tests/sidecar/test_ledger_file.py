"""Limits on disk: what was charged is remembered, and a state that is lost counts as used up."""

import math
import resource
from pathlib import Path

import pytest

from hitl.errors import Unavailable
from hitl.policy.verdicts import Charge
from hitl_sidecar.ledger_file import LedgerFile

NOW = 1_800_000_000.0
PER_HOUR = 3600
ONE = Charge(limit_id="AgentPolicy/shop/support#refunds", key="", amount=1.0, maximum=5.0, per=PER_HOUR, kind="calls")


def used(store: LedgerFile, now: float = NOW) -> float:
    return store.ledger.used(ONE.limit_id, ONE.key, PER_HOUR, now)


def test_a_first_start_has_used_nothing(tmp_path: Path) -> None:
    """A fresh folder is no lost state."""
    assert used(LedgerFile(tmp_path, now=NOW, expected=False)) == 0


def test_charges_survive_a_kill(tmp_path: Path) -> None:
    """Nothing was saved in order: the journal alone brings the charges back."""
    store = LedgerFile(tmp_path, now=NOW, expected=False)
    store.charge((ONE, ONE), NOW)
    assert used(LedgerFile(tmp_path, now=NOW, expected=True)) == 2


def test_charges_survive_an_orderly_end(tmp_path: Path) -> None:
    """Saved and loaded, and charged again, nothing is lost and nothing counts twice."""
    store = LedgerFile(tmp_path, now=NOW, expected=False)
    store.charge((ONE,), NOW)
    store.close()
    store = LedgerFile(tmp_path, now=NOW, expected=True)
    store.charge((ONE,), NOW)
    store.close()
    assert used(LedgerFile(tmp_path, now=NOW, expected=True)) == 2


def test_a_torn_charge_is_left_out(tmp_path: Path) -> None:
    """A crash in the middle of a charge: its call was never answered, and what follows stands on a line of its own."""
    store = LedgerFile(tmp_path, now=NOW, expected=False)
    store.charge((ONE,), NOW)
    journal = tmp_path / "ledger.journal"
    journal.write_bytes(journal.read_bytes() + b'[1800000000.0,[["Agent')
    again = LedgerFile(tmp_path, now=NOW, expected=False)
    assert used(again) == 1
    again.charge((ONE,), NOW)
    assert used(LedgerFile(tmp_path, now=NOW, expected=False)) == 2


@pytest.mark.parametrize(
    ("name", "content"),
    [("ledger.json", b"{"), ("ledger.json", b"[]"), ("ledger.journal", b"7\n"), ("ledger.json", b"")],
)
def test_a_state_that_cannot_be_read_counts_as_used_up(tmp_path: Path, name: str, content: bytes) -> None:
    """Damaged: every limit is exhausted for one of its windows, then it counts as before."""
    (tmp_path / name).write_bytes(content)
    store = LedgerFile(tmp_path, now=NOW, expected=True)
    assert used(store) == math.inf
    assert used(store, NOW + PER_HOUR + 1) < 1
    assert store.ledger.lost_because


def test_a_state_that_is_gone_counts_as_used_up(tmp_path: Path) -> None:
    """An earlier process ran here and left nothing: somebody removed it."""
    assert used(LedgerFile(tmp_path, now=NOW, expected=True)) == math.inf


def test_a_charge_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    """Where the journal should be stands a folder: STATE_UNWRITABLE with its path, and the ledger counts nothing."""
    store = LedgerFile(tmp_path, now=NOW, expected=False)
    (tmp_path / "ledger.journal").mkdir()
    with pytest.raises(Unavailable, match=r"ledger\.journal") as error:
        store.charge((ONE,), NOW)
    assert error.value.reason_code == "STATE_UNWRITABLE"
    assert used(store) == 0


def test_a_charge_on_a_full_disk_is_refused_and_leaves_no_half_line(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts the charge: it is refused, not counted, and the journal still reads."""
    store = LedgerFile(tmp_path, now=NOW, expected=False)
    store.charge((ONE,), NOW)
    size = (tmp_path / "ledger.journal").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, hard))
    try:
        with pytest.raises(Unavailable, match="free space there"):
            store.charge((ONE,), NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert used(store) == 1
    store.charge((ONE,), NOW)
    assert used(LedgerFile(tmp_path, now=NOW, expected=True)) == 2
