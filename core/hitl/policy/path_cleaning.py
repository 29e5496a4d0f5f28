"""File paths as they will be understood by whoever opens them, not as they are spelled (SECURITY A2, DESIGN 7.3).

`clean_path` gives the one canonical form. A path may be read in several ways (does the tool decode ``%2e``? does it
take a backslash for a separator?), so `within_any` asks that all readings agree, and refuses to judge where they do
not. Symbolic links are out of sight here: what a link points to only the tool's own file system knows.
"""

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

from hitl.errors import EvaluationFailed
from hitl.policy.values import MAX_SCANNED

# Nobody encodes a path more than twice in earnest; each round is linear, so the bound is only against mischief.
MAX_DECODINGS: Final = 8

_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]")
_HOME = re.compile(r"\$(?:HOME(?![A-Za-z0-9_])|\{HOME\})", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_DRIVE = re.compile(r"[A-Za-z]:(?=[/\\]|$)", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Can be read in one way only, as nearly all paths.
_PLAIN = re.compile(r"[~/A-Za-z0-9._-](?:[/A-Za-z0-9._ -]{0,1000}[/A-Za-z0-9._-])?", re.ASCII)
# A reading that is below no root: a URL, or a variable that may stand for anything.
_ELSEWHERE: Final = ".."


def clean_path(text: str) -> str:
    """The canonical form: decoded, with ``/`` only, without ``.``, ``//`` and resolvable ``..``, home as ``~``.

    Absolute paths start with ``/`` (or a drive, ``C:/``) and never climb above it; a relative one that leaves its
    directory starts with ``..``; ``.`` is the directory itself. Cleaning a cleaned path changes nothing.

    Raises:
        EvaluationFailed: a NUL or another control character, over 16 KiB, or encoded more than eight times.
    """
    return _normalised(_checked(decodings(_checked(text))[-1]).replace("\\", "/"))


def is_within(path: str, root: str) -> bool:
    """Whether a cleaned path is `root` or below it; both cleaned. Never true for what climbs out of sight."""
    if root == ".":
        return not (path.startswith(("/", "~", "../")) or path == ".." or _DRIVE.match(path) or _SCHEME.match(path))
    if path == root:
        return True
    prefix = root if root.endswith("/") else f"{root}/"
    if not path.startswith(prefix):
        return False
    # In "~/../x" and "../../x" the dots were not resolvable: the path is somewhere else.
    return not path[len(prefix) :].startswith("../") and path[len(prefix) :] != ".."


def within_any(value: str, roots: tuple[str, ...]) -> bool:
    """Whether an argument as sent is below one of these cleaned roots, in every way it can be read.

    Raises:
        EvaluationFailed: it is below one in one reading and outside in another, or cannot be cleaned.
    """
    if _PLAIN.fullmatch(value):
        path = _normalised(value)
        return any(is_within(path, root) for root in roots)
    answers = {any(is_within(reading, root) for root in roots) for reading in _readings(_checked(value))}
    if len(answers) == 1:
        return answers.pop()
    raise EvaluationFailed(
        "it can be read as a path inside and as one outside (percent-encoding, backslashes, spaces at its ends or "
        "variables); send the plain path"
    )


def clean_root(text: str) -> str:
    """A root that an author wrote, cleaned. ValueError, with the next step, if it is none."""
    if not text.strip():
        raise ValueError("the path is empty; write a directory such as /workspace, ~/project or . for relative paths")
    if text != text.strip():
        raise ValueError(f"{text!r} starts or ends with a space")
    if "*" in text or "?" in text:
        raise ValueError(f"{text!r} holds a wildcard; a directory covers everything below it, write it without")
    if _SCHEME.match(text) and not _DRIVE.match(text):
        raise ValueError(f"{text!r} is a URL; write a path here, and hosts for URLs")
    if "$" in _HOME.sub("", text):
        raise ValueError(f"{text!r} holds a variable; only ~, $HOME and ${{HOME}} are understood")
    try:
        cleaned = clean_path(text)
    except EvaluationFailed as error:
        raise ValueError(f"{text!r} is no path: {error}") from error
    if cleaned == ".." or cleaned.startswith(("../", "~/..")):
        raise ValueError(f"{text!r} leaves its directory; write the directory it means")
    return cleaned


def _checked(text: str) -> str:
    if len(text) > MAX_SCANNED:
        raise EvaluationFailed(f"it has {len(text)} characters, and at most {MAX_SCANNED} are searched")
    if control := _CONTROL.search(text):
        raise EvaluationFailed(f"it holds the control character U+{ord(control[0]):04X}, which no path needs")
    return text


def _readings(text: str) -> set[str]:
    """Every way in which `text` may be understood as a path, cleaned."""
    readings: set[str] = set()
    for decoded in decodings(text):
        for variant in {decoded, decoded.strip(), unicodedata.normalize("NFKC", decoded)}:
            for local in local_paths(_checked(variant)):
                readings |= _readings_of(local)
    return readings


def _readings_of(local: str) -> set[str]:
    if _SCHEME.match(local) and not _DRIVE.match(local):
        return {_ELSEWHERE}
    readings = {_normalised(local), _normalised(local.replace("\\", "/"))}
    return readings | {_ELSEWHERE} if "$" in _HOME.sub("", local) else readings


def local_paths(text: str) -> tuple[str, ...]:
    """The paths that a ``file:`` URL may mean; any other text as it is."""
    if text[:5].lower() != "file:":
        return (text,)
    rest = text[5:].replace("\\", "/")
    paths = [f"/{rest.lstrip('/')}"]
    if rest.startswith("//"):
        # file://etc/passwd: a host named etc to some, a part of the path to others.
        paths.append(f"/{rest[2:].partition('/')[2]}" if not rest.startswith("///") else f"/{rest[3:]}")
    # What follows ? and # is no part of the path to some and is to others.
    return tuple(dict.fromkeys(each for path in paths for each in (path, re.split(r"[?#]", path, maxsplit=1)[0])))


def decodings(text: str) -> tuple[str, ...]:
    """`text` and what it becomes when percent-encoding is undone once, twice, … until nothing changes.

    Raises:
        EvaluationFailed: it still changes after eight rounds.
    """
    rounds = [text]
    while "%" in rounds[-1] and (decoded := _decoded(rounds[-1])) != rounds[-1]:
        if len(rounds) > MAX_DECODINGS:
            raise EvaluationFailed(f"it is percent-encoded more than {MAX_DECODINGS} times")
        rounds.append(decoded)
    return tuple(rounds)


def _decoded(text: str) -> str:
    data = unquote_to_bytes(text.encode("utf-8", "replace"))
    # Two-byte spellings of ASCII (%c0%ae is a dot to careless decoders) are no UTF-8; read them as they mean it.
    if b"\xc0" in data or b"\xc1" in data:
        data = _OVERLONG.sub(lambda pair: bytes([(pair[0][0] & 3) << 6 | pair[0][1] & 0x3F]), data)
    return data.decode("utf-8", "replace")


def _normalised(text: str) -> str:
    """Components resolved by their spelling alone."""
    head, rest = "", text
    if home := _HOME.match(text):
        rest = "~" + text[home.end() :] if text[home.end() : home.end() + 1] in ("", "/") else text
    if drive := _DRIVE.match(rest):
        head, rest = f"{drive[0].upper()}/", rest[2:]
    elif rest.startswith("/"):
        head = "/"
    elif rest.startswith("~"):
        head, _, rest = rest.partition("/")
        head += "/"
    stack: list[str] = []
    for part in rest.split("/"):
        if part in ("", "."):
            continue
        if part != "..":
            stack.append(part)
        elif stack and stack[-1] != "..":
            stack.pop()
        elif head == "" or head.startswith("~"):
            stack.append(part)  # above a directory that we cannot see
    path = head + "/".join(stack)
    if not head and stack and (stack[0].startswith("~") or _HOME.match(stack[0]) or _SCHEME.match(stack[0])):
        return f"./{path}"  # a file whose name only looks like a home directory, a drive or a URL
    if len(path) > 1 and path.endswith("/") and not path.endswith(":/"):
        path = path[:-1]
    return path or "."
