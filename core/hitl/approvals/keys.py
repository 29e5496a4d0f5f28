"""Names of requests. The name follows from the call, so a retry finds its request and two hubs cannot open it twice."""

import hmac
import re
from collections.abc import Iterable
from typing import Final

import rfc8785

from hitl.errors import AmbiguousName, NotFound, Unavailable

KEY_BYTES: Final = 32
MAX_TOOL: Final = 30
SUFFIX: Final = 10  # characters of five bits: 50 bits, for at most some thousands of requests that live at once

# Of these so many say which request is meant: to be given a name with the same ones an agent would ask a million times.
TELLING: Final = 4

# Crockford's base32 in lower case: without i, l, o and u, which are misread over the phone or spell words.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_NAMED = re.compile(rf".+-[{_ALPHABET}]{{{SUFFIX}}}")
_VERSION = "hitl.dev/name/v1"
_SHOWN_CANDIDATES = 10


def request_name(tool: str, key: bytes, *, workload: str, session: str, key_text: str, n: int) -> str:
    """``<tool, at most 30>-<10 characters>``: a valid Kubernetes name, equal for equal intentions.

    The suffix is an HMAC under the namespace's key, so that neither digest nor call_id can be guessed from it, and
    names do not cross workloads or sessions (SECURITY B4).

    Args:
        tool: the tool's name, without its server.
        key: the namespace's key, 32 bytes.
        workload: as established by the hub.
        session: the agent's session; empty: the whole pod.
        key_text: `RequestSpec.key`: the call_id, else the digest.
        n: 0 for the first request of this key; one more for each that ended before (`opening`).

    Raises:
        Unavailable: NO_KEY, the key is not 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise Unavailable("NO_KEY", f"the namespace key has {len(key)} bytes, not {KEY_BYTES}; wait for a config")
    # After a request was cleaned up its call_id, used again, gives this very name to another request: it must be the
    # same for hubs that know nothing of each other, or of what was there before. Nothing takes the one for the other. A
    # vote carries uid and digest of the request that its writer read, and the API server refuses it for any other (C1);
    # hubs remember what ended, and hear of what was deleted, by uid; history shows what is stored. Who types a whole
    # name from memory decides what stands there now, and that stands in the vote.
    # JCS keeps the parts apart: ("a", "bc") and ("ab", "c") must not give one name.
    digest = hmac.digest(key, rfc8785.dumps([_VERSION, workload, session, key_text, n]), "sha256")
    bits = int.from_bytes(digest[:8], "big") >> (64 - 5 * SUFFIX)
    suffix = "".join(_ALPHABET[(bits >> (5 * place)) & 31] for place in reversed(range(SUFFIX)))
    return f"{_slug(tool)}-{suffix}"


def match_prefix(names: Iterable[str], prefix: str) -> str:
    """The one name that `prefix` means: itself, or the only one that begins with it. Capitals do not matter.

    Raises:
        NotFound: no name begins with it.
        AmbiguousName: several do; the message lists them.
    """
    wanted = prefix.strip().lower()
    found = sorted({name for name in names if wanted and name.startswith(wanted)})
    if wanted in found:
        return wanted
    if not found:
        raise NotFound(f'no request is named "{prefix}" or begins so; see which there are')
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN_CANDIDATES])
        more = f" and {len(found) - _SHOWN_CANDIDATES} more" if len(found) > _SHOWN_CANDIDATES else ""
        raise AmbiguousName(f'"{prefix}" could be {shown}{more}; give more letters', tuple(found))
    return found[0]


def tells(name: str, typed: str) -> bool:
    """Whether `typed` is the request's name, or so much of it that no later request can be meant by it (SECURITY G1).

    What stands before the suffix is the tool's name, which the agent chooses.
    """
    wanted = typed.strip().lower()
    if wanted == name:
        return True
    least = len(name) - SUFFIX + TELLING
    return _NAMED.fullmatch(name) is not None and name.startswith(wanted) and len(wanted) >= least


def _slug(tool: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", tool.lower()).strip("-")[:MAX_TOOL].strip("-") or "call"
