"""Where what stands in an archive. Folders are days (UTC), so that what is too old goes as a whole.

    DIR/segments/2026-11-21/RUN.000001.jsonl     lines of audit logs: the pod's UID, a tab, the record as it was written
    DIR/checkpoints/2026-11-21/RUN.000001.jsonl  signed lines (`checkpoint`)
    DIR/requests/2026-11-21/UID.VERSION.json     ended requests, under the day of their end
    DIR/policies/SHA256.json                     config documents: the policies of a revision as they were compiled
    DIR/keys/FINGERPRINT.pem                     public keys that signed

RUN is one process of the hub. Replicas may share the folder or have one each: whoever verifies puts all runs together.
"""

from datetime import date
from typing import Final

SEGMENTS: Final = "segments"
CHECKPOINTS: Final = "checkpoints"
REQUESTS: Final = "requests"
POLICIES: Final = "policies"
KEYS: Final = "keys"
BY_DAY: Final = (SEGMENTS, REQUESTS, CHECKPOINTS)
LINES: Final = ".jsonl"


def run_of(file_name: str) -> str:
    """The run that wrote a segment or a file of checkpoints."""
    return file_name.removesuffix(LINES).rpartition(".")[0]


def lines_file(kind: str, day: date, run: str, number: int) -> str:
    """Path of a segment or a file of checkpoints in the archive."""
    return f"{kind}/{day.isoformat()}/{run}.{number:06d}{LINES}"


def request_file(day: date, uid: str, version: str) -> str:
    """Path of one version of an ended request."""
    return f"{REQUESTS}/{day.isoformat()}/{uid}.{version}.json"


def policy_file(sha256: str) -> str:
    """Path of a config document."""
    return f"{POLICIES}/{sha256}.json"


def key_file(fingerprint: str) -> str:
    """Path of a public key; its fingerprint has characters that no file name should."""
    return f"{KEYS}/{fingerprint.removeprefix('SHA256:').replace('/', '_').replace('+', '-')}.pem"
