"""reviewers.yaml is read in exactly one way, and a reviewer's key signs for that reviewer alone."""

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hitl.errors import InvalidPeople
from hitl.stores.people import REVIEWERS, add_reviewer, read_reviewers, sign, verify

KEY = "ed25519:" + base64.b64encode(bytes(range(32))).decode()


def written(path: Path, text: str) -> Path:
    file = path / REVIEWERS
    file.write_text(text)
    return file


def test_a_person_who_was_added_is_read_back_and_can_sign(tmp_path: Path) -> None:
    """`add_reviewer` leaves an entry and a key whose signature the entry's public key verifies."""
    added = add_reviewer(tmp_path, "ana", ("support-leads", "oncall"))
    read = read_reviewers(tmp_path / REVIEWERS)["ana"]
    assert read == added
    assert verify(read, b"yes", sign(tmp_path, "ana", b"yes"))


def test_D5_a_signature_is_good_for_one_text_and_one_person(tmp_path: Path) -> None:
    """D5: another text, another person and a damaged signature are all refused."""
    ana, bo = add_reviewer(tmp_path, "ana"), add_reviewer(tmp_path, "bo")
    signature = sign(tmp_path, "ana", b"yes")
    assert not verify(ana, b"no", signature)
    assert not verify(bo, b"yes", signature)
    assert not verify(ana, b"yes", signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not verify(ana, b"yes", b"")


def test_private_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    """The key file is 0600 whatever the umask, and a key that others can read does not sign."""
    before = os.umask(0)
    try:
        add_reviewer(tmp_path, "ana")
    finally:
        os.umask(before)
    key = tmp_path / "people" / "ana.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    key.chmod(0o640)
    with pytest.raises(InvalidPeople, match="chmod 600"):
        sign(tmp_path, "ana", b"yes")


def test_names_are_unique_without_regard_to_case(tmp_path: Path) -> None:
    """Ana cannot be added beside ana, and signing as Ana uses ana's key."""
    ana = add_reviewer(tmp_path, "ana")
    with pytest.raises(InvalidPeople, match="there already"):
        add_reviewer(tmp_path, "Ana")
    assert verify(ana, b"yes", sign(tmp_path, "ANA", b"yes"))


def test_adding_keeps_comments_and_hand_written_entries(tmp_path: Path) -> None:
    """What a person wrote into the file stands there afterwards, comment included."""
    file = written(tmp_path, f"# on duty\nreviewers:\n- name: cy  # nights\n  publicKey: {KEY}\n")
    add_reviewer(tmp_path, "ana", ("oncall",))
    assert "# on duty" in file.read_text()
    assert "# nights" in file.read_text()
    assert set(read_reviewers(file)) == {"cy", "ana"}


def test_adding_to_a_file_in_flow_style_keeps_everybody(tmp_path: Path) -> None:
    """An entry that cannot be appended as text is added by writing the file anew."""
    file = written(tmp_path, f"reviewers: [{{name: cy, publicKey: '{KEY}'}}]\n")
    add_reviewer(tmp_path, "ana")
    assert set(read_reviewers(file)) == {"cy", "ana"}


def test_people_added_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    """Concurrent additions lose nobody."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add_reviewer(tmp_path, f"p{n}"), range(24)))
    assert len(read_reviewers(tmp_path / REVIEWERS)) == 24


def test_nobody_signs_without_a_key(tmp_path: Path) -> None:
    """An unknown reviewer is told how to get a key."""
    with pytest.raises(InvalidPeople, match="hitl dev reviewer add kim"):
        sign(tmp_path, "kim", b"yes")


@pytest.mark.parametrize("name", ["", "../ana", "a/b", "-ana", "ana\n", "\u0430na", "system:serviceaccount:a:b"])
def test_I4_names_that_could_be_a_path_or_a_service_account_are_refused(tmp_path: Path, name: str) -> None:
    """I4: a reviewer's name can be neither a path nor a ServiceAccount, and homoglyphs are no names."""
    with pytest.raises(InvalidPeople, match="not fit for a name"):
        add_reviewer(tmp_path, name)
    with pytest.raises(InvalidPeople):
        sign(tmp_path, name, b"yes")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("reviewers: [\n", 2, "not YAML"),
        ("people: []\n", 1, "no key 'people'"),
        ("- ana\n", 1, "must be a mapping"),
        ("reviewers: ana\n", 1, "must be a list"),
        (f"reviewers:\n- name: ana\n  publicKey: {KEY}\n  admin: true\n", 4, "no key 'admin'"),
        (f"reviewers:\n- name: ana\n  name: bo\n  publicKey: {KEY}\n", 3, "stands here twice"),
        (f"reviewers:\n- name: ana\n  publicKey: {KEY}\n- name: ANA\n  publicKey: {KEY}\n", 4, "here twice"),
        ("reviewers:\n- name: ana\n", 2, "needs publicKey"),
        (f"reviewers:\n- name: 7\n  publicKey: {KEY}\n", 2, "must be text"),
        ("reviewers:\n- name: ana\n  publicKey: ed25519:AAAA\n", 3, "32 bytes in base64"),
        ("reviewers:\n- name: ana\n  publicKey: ssh-ed25519 AAAA\n", 3, "wanted ed25519:"),
        (f"reviewers:\n- name: ana\n  publicKey: {KEY}\n  groups: oncall\n", 4, "must be a list"),
        (f"reviewers:\n- name: ana\n  publicKey: {KEY}\n  groups: [' a']\n", 4, "not fit for a group"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    """Each mistake in reviewers.yaml is refused at its line, in words."""
    file = written(tmp_path, text)
    with pytest.raises(InvalidPeople) as caught:
        read_reviewers(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert said in str(caught.value)


def test_a_missing_or_empty_file_has_nobody_in_it(tmp_path: Path) -> None:
    """No file, an empty file and an empty list all mean: nobody."""
    assert read_reviewers(tmp_path / REVIEWERS) == {}
    assert read_reviewers(written(tmp_path, "")) == {}
    assert read_reviewers(written(tmp_path, "reviewers:\n")) == {}


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """A file in another encoding is refused instead of guessed at."""
    (tmp_path / REVIEWERS).write_bytes(b"reviewers: \xff\n")
    with pytest.raises(InvalidPeople, match="not UTF-8"):
        read_reviewers(tmp_path / REVIEWERS)
