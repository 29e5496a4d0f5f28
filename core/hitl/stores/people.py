"""The people of standalone mode: who they are (`reviewers.yaml`), and the key each of them signs decisions with.

    reviewers:
    - name: ana
      groups: [support-leads, oncall]
      publicKey: ed25519:<base64 of 32 bytes>
      may: [override]

`may` gives what a reviewer has not by being one: to let a call run against what its policy asks for (break-glass).
The private halves lie beside it in ``people/<name>.key``. One account of this machine can read them all, which is why
standalone mode is called cooperative (SECURITY G5). Names are unique and compared without regard to case.
"""

import base64
import binascii
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from hitl.errors import InvalidPeople

REVIEWERS = "reviewers.yaml"
OVERRIDE = "override"
# What somebody may be given beside approving and denying.
RIGHTS = (OVERRIDE,)
_SCHEME = "ed25519:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,62}")
# As policies spell them: visible, without spaces at the ends.
_GROUP = re.compile(r"[^\s\x00-\x1f\x7f]([^\n\x00-\x1f\x7f]{0,126}[^\s\x00-\x1f\x7f])?")
_MOST_GROUPS = 64
_HEADER = "# Who may decide. Add people with: hitl dev reviewer add NAME --group GROUP\n"
_LARGEST_FILE = 1 << 20  # bytes; some 4 000 people


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may decide.

    Attributes:
        name: as written; compare it case-folded.
        groups: what they may vote as.
        public_key: Ed25519, 32 bytes.
        may: out of `RIGHTS`.
    """

    name: str
    groups: tuple[str, ...]
    public_key: bytes
    may: tuple[str, ...] = ()


def read_reviewers(path: Path) -> dict[str, Person]:
    """Everybody in the file, by case-folded name. A file that is not there has nobody in it.

    Raises:
        InvalidPeople: naming file and line of the first thing that cannot be read in exactly one way.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidPeople(f"{path}: cannot be read: {error.strerror}; make it readable for this account") from error
    if len(raw) > _LARGEST_FILE:
        raise InvalidPeople(f"{path}: larger than {_LARGEST_FILE} bytes; keep only people who decide here")
    return _parse(path, raw)


def add_reviewer(home: Path, name: str, groups: tuple[str, ...] = (), may: tuple[str, ...] = ()) -> Person:
    """Make a key pair for `name`: the private key in ``people/<name>.key`` (0600), the entry in ``reviewers.yaml``.

    Raises:
        InvalidPeople: the name, a group or a right is not fit, or somebody of that name is there already.
    """
    _check_name(name, f"reviewer {name!r}")
    for group in groups:
        _check_group(group, f"group {group!r}")
    for right in may:
        _check_right(right, f"right {right!r}")
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / REVIEWERS
    with _only_writer(home):
        known = read_reviewers(path)
        if name.casefold() in known:
            raise InvalidPeople(
                f"{path}: {known[name.casefold()].name} is there already; give another name, or remove that entry "
                "and its key file first"
            )
        private = Ed25519PrivateKey.generate()
        public = private.public_key().public_bytes_raw()
        person = Person(name, tuple(dict.fromkeys(groups)), public, tuple(dict.fromkeys(may)))
        _write_new(_key_file(home, name), base64.b64encode(private.private_bytes_raw()) + b"\n")
        try:
            _append(path, known, person)
        except BaseException:
            _key_file(home, name).unlink(missing_ok=True)
            raise
    return person


def sign(home: Path, name: str, text: bytes) -> bytes:
    """The Ed25519 signature of `name` over `text`, 64 bytes.

    Raises:
        InvalidPeople: there is no such key, it is no key, or others than its owner could read it.
    """
    _check_name(name, f"reviewer {name!r}")
    path = _key_file(home, _as_written(home, name))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise InvalidPeople(f"{path}: {name} has no key here; make one: hitl dev reviewer add {name}") from error
    except OSError as error:
        raise InvalidPeople(f"{path}: cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise InvalidPeople(f"{path}: other accounts can read this key; run: chmod 600 {path}")
        raw = file.read(1024)
    try:
        private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(raw.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        raise InvalidPeople(
            f"{path}: not an Ed25519 private key (32 bytes in base64); remove it and add {name} again"
        ) from error
    return private.sign(text)


def verify(person: Person, text: bytes, signature: bytes) -> bool:
    """Whether `signature` is this person's over exactly `text`."""
    try:
        Ed25519PublicKey.from_public_bytes(person.public_key).verify(signature, text)
    except (InvalidSignature, ValueError):
        return False
    return True


def _parse(path: Path, raw: bytes) -> dict[str, Person]:
    try:
        root = yaml.compose(raw.decode(), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise InvalidPeople(f"{path}: not UTF-8 at byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise InvalidPeople(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    if root is None:
        return {}
    fields = _mapping(path, root, {"reviewers"}, "the file")
    people: dict[str, Person] = {}
    for node in _sequence(path, fields["reviewers"], "reviewers") if "reviewers" in fields else ():
        person = _person(path, node)
        other = people.setdefault(person.name.casefold(), person)
        if other is not person:
            raise InvalidPeople(
                f"{_at(path, node)}: {person.name} is here twice (as {other.name} above); keep one entry"
            )
    return people


def _person(path: Path, node: yaml.Node) -> Person:
    fields = _mapping(path, node, {"name", "groups", "publicKey", "may"}, "a reviewer")
    for wanted in ("name", "publicKey"):
        if wanted not in fields:
            raise InvalidPeople(
                f"{_at(path, node)}: a reviewer needs {wanted}; add it or run: hitl dev reviewer add NAME"
            )
    name = _text(path, fields["name"], "name")
    _check_name(name, f"{_at(path, fields['name'])}: name {name!r}")
    groups = []
    if "groups" in fields:
        for item in _sequence(path, fields["groups"], "groups"):
            group = _text(path, item, "a group")
            _check_group(group, f"{_at(path, item)}: group {group!r}")
            groups.append(group)
    if len(groups) > _MOST_GROUPS:
        raise InvalidPeople(f"{_at(path, fields['groups'])}: {len(groups)} groups; at most {_MOST_GROUPS} per person")
    may = []
    for item in _sequence(path, fields["may"], "may") if "may" in fields else ():
        right = _text(path, item, "a right")
        _check_right(right, f"{_at(path, item)}: right {right!r}")
        may.append(right)
    key = _text(path, fields["publicKey"], "publicKey")
    public = _public_key(key, _at(path, fields["publicKey"]))
    return Person(name, tuple(dict.fromkeys(groups)), public, tuple(dict.fromkeys(may)))


def _public_key(text: str, place: str) -> bytes:
    refusal = f"{place}: publicKey is {text[:80]!r}; wanted {_SCHEME} and 32 bytes in base64"
    if not text.startswith(_SCHEME):
        raise InvalidPeople(refusal)
    try:
        key = base64.b64decode(text.removeprefix(_SCHEME), validate=True)
        Ed25519PublicKey.from_public_bytes(key)
    except (binascii.Error, ValueError) as error:
        raise InvalidPeople(refusal) from error
    return key


def _at(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"


def _mapping(path: Path, node: yaml.Node, known: set[str], what: str) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise InvalidPeople(f"{_at(path, node)}: {what} must be a mapping with {', '.join(sorted(known))}")
    fields: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(path, key, "a key")
        if name not in known:
            raise InvalidPeople(f"{_at(path, key)}: {what} has no key {name!r}; known: {', '.join(sorted(known))}")
        if name in fields:
            raise InvalidPeople(f"{_at(path, key)}: {name!r} stands here twice; which one is meant?")
        fields[name] = value
    return fields


def _sequence(path: Path, node: yaml.Node, what: str) -> list[yaml.Node]:
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise InvalidPeople(f"{_at(path, node)}: {what} must be a list, e.g. [one, two]")
    return list(node.value)


def _text(path: Path, node: yaml.Node, what: str) -> str:
    if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
        raise InvalidPeople(f"{_at(path, node)}: {what} must be text; put it in quotes if it looks like something else")
    return str(node.value)


def _check_name(name: str, place: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidPeople(
            f"{place} is not fit for a name; wanted 1-63 of A-Z a-z 0-9 . _ @ + -, a letter or digit first"
        )


def _check_group(group: str, place: str) -> None:
    if not _GROUP.fullmatch(group):
        raise InvalidPeople(f"{place} is not fit for a group; wanted 1-128 visible characters, no space at the ends")


def _check_right(right: str, place: str) -> None:
    if right not in RIGHTS:
        raise InvalidPeople(f"{place} is not known; there is: {', '.join(RIGHTS)}")


def _key_file(home: Path, name: str) -> Path:
    return home / "people" / f"{name}.key"


def _as_written(home: Path, name: str) -> str:
    """The name as reviewers.yaml spells it, so that ``--as Ana`` finds the key of ana."""
    person = read_reviewers(home / REVIEWERS).get(name.casefold())
    return person.name if person else name


@contextmanager
def _only_writer(home: Path) -> Iterator[None]:
    """Two `reviewer add` at once wait for each other instead of losing one entry."""
    descriptor = os.open(home / ".reviewers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _append(path: Path, known: Mapping[str, Person], person: Person) -> None:
    """Add the entry below what stands there, comments included; where its form does not allow that, write it anew."""
    before = path.read_text() if path.exists() else _HEADER
    text = before if before.endswith("\n") else before + "\n"
    if not known:
        text = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#")) + "reviewers:\n"
    after = text + _entry(person)
    wanted = {**known, person.name.casefold(): person}
    try:
        fits = _parse(path, after.encode()) == wanted
    except InvalidPeople:
        fits = False
    if not fits:
        after = "reviewers:\n" + "".join(_entry(each) for each in wanted.values())
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    _write_new(fresh, after.encode())
    fresh.replace(path)


def _entry(person: Person) -> str:
    groups = ", ".join(json.dumps(group) for group in person.groups)
    key = base64.b64encode(person.public_key).decode()
    may = f"  may: [{', '.join(person.may)}]\n" if person.may else ""
    return f'- name: "{person.name}"\n  groups: [{groups}]\n  publicKey: {_SCHEME}{key}\n{may}'


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise InvalidPeople(f"{path}: there is a key already; move it away first") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
