"""The root key stays with its account, and namespace keys come from it the same way every time (SECURITY D1)."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitl.errors import Unavailable
from hitl_operator.keys import Keyring, open_keyring


def test_D1_the_root_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """D1: the first start makes a 0600 root key whatever the umask, and later starts use the same one."""
    before = os.umask(0)
    try:
        first = open_keyring(tmp_path / "keys")
    finally:
        os.umask(before)
    root = tmp_path / "keys" / "root"
    assert stat.S_IMODE(root.stat().st_mode) == 0o600
    assert stat.S_IMODE(root.parent.stat().st_mode) == 0o700
    assert open_keyring(tmp_path / "keys").keys_of("ns") == first.keys_of("ns")
    assert sorted(path.name for path in root.parent.iterdir()) == ["epoch", "root"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_D1_a_root_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """D1: a readable root key stops the hub and the message says how to mend it."""
    open_keyring(tmp_path)
    (tmp_path / "root").chmod(mode)
    with pytest.raises(Unavailable, match="chmod 600") as caught:
        open_keyring(tmp_path)
    assert caught.value.reason_code == "KEY_UNSAFE"


def test_D1_a_root_key_behind_a_symlink_is_refused(tmp_path: Path) -> None:
    """D1: a swapped-in link is not followed."""
    (tmp_path / "elsewhere").write_bytes(bytes(32))
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "root").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="plain file"):
        open_keyring(tmp_path / "keys")


def test_D1_a_cut_off_root_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    """D1: a broken root key is never silently made anew, because that would strand every held call."""
    open_keyring(tmp_path)
    (tmp_path / "root").write_bytes(b"short")
    with pytest.raises(Unavailable, match="has 5 bytes, wanted 32"):
        open_keyring(tmp_path)
    assert (tmp_path / "root").read_bytes() == b"short"


def test_D1_namespaces_and_installations_never_share_a_key(tmp_path: Path) -> None:
    """D1: another namespace, another root and another epoch each give another key and another id."""
    keys = [
        Keyring(bytes(32), 1).keys_of("a")[0],
        Keyring(bytes(32), 1).keys_of("b")[0],
        Keyring(bytes(32), 2).keys_of("a")[0],
        Keyring(b"\1" * 32, 1).keys_of("a")[0],
    ]
    assert len({key.key for key in keys}) == 4
    assert len({key.id for key in keys}) == 4


def test_D1_rotation_keeps_the_epoch_before_alive_and_ends_older_ones(tmp_path: Path) -> None:
    """D1: after a rotation two keys live, the new one first; after two the first key is gone."""
    (first,) = open_keyring(tmp_path).keys_of("ns")
    second, still = open_keyring(tmp_path, rotate=True).keys_of("ns")
    assert still == first
    third, before = open_keyring(tmp_path, rotate=True).keys_of("ns")
    assert before == second
    assert first not in (third, before)
    assert open_keyring(tmp_path).keys_of("ns") == (third, second)


def test_D1_a_key_never_shows_in_text(tmp_path: Path) -> None:
    """D1: neither repr of a key nor its id gives the key away."""
    (key,) = Keyring(b"secret-root-of-thirty-two-bytes!", 1).keys_of("ns")
    assert key.key.hex() not in repr(key)
    assert str(key.key) not in repr(key)
    assert key.id.split("-")[1] not in key.key.hex()


def test_D1_hubs_that_start_together_agree_on_one_root(tmp_path: Path) -> None:
    """D1: of many first starts at once one root key survives, and all use it."""
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: open_keyring(tmp_path / "keys"), range(16)))
    assert len({ring.keys_of("ns") for ring in rings}) == 1


def test_a_broken_epoch_is_named(tmp_path: Path) -> None:
    """An epoch file with nonsense in it stops the hub and says what to write."""
    open_keyring(tmp_path)
    (tmp_path / "epoch").write_text("soon\n")
    with pytest.raises(Unavailable, match="wanted a number from 1"):
        open_keyring(tmp_path)
