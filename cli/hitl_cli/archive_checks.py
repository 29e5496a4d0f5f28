"""What `hitl audit verify` and `report` do with an archive: the keys that count, and what was found in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hitl.audit.archive import ArchiveReport, verify_archive
from hitl.audit.layout import KEYS
from hitl.audit.signing import PublicKeys
from hitl.errors import HitlError, InvalidInput

OWN_KEYS = (
    "the keys were taken from the archive itself, so this shows damage, not who signed; compare them with ConfigMap "
    "hitl-audit-key of the operator's namespace, or give --key FILE"
)


@dataclass(frozen=True, slots=True)
class Checked:
    """An archive and what is wrong with it.

    Attributes:
        keys: whose signatures count.
        notes: what an auditor should know beside.
    """

    folder: Path
    report: ArchiveReport
    keys: PublicKeys
    notes: tuple[str, ...]

    @property
    def summary(self) -> str:
        """In one line."""
        found = self.report
        last = f"{found.last:%Y-%m-%dT%H:%M:%SZ}" if found.last else "none"
        return ", ".join(
            [
                counted(found.pods, "sidecar"),
                counted(found.records, "record"),
                counted(found.epochs, "epoch"),
                counted(found.requests, "request"),
                counted(found.policies, "policy text"),
                f"{counted(found.checkpoints, 'checkpoint')}, the last {last} (key {', '.join(found.keys) or 'none'})",
                counted(len(found.problems), "problem"),
            ]
        )


def check_archive(folder: Path, keys: Sequence[Path]) -> Checked:
    """Verify an archive with these public keys; with none, with those that stand in it.

    Raises:
        HitlError: there is no key, or a file is none.
    """
    files = list(keys) or sorted((folder / KEYS).glob("*.pem"))
    if not files:
        raise HitlError(f"{folder}/{KEYS}: no public key is here\nGive the one that the operator published: --key FILE")
    pems = []
    for file in files:
        try:
            pem = file.read_bytes()
            PublicKeys([pem])
        except (InvalidInput, OSError) as error:
            raise HitlError(f"{file}: {error}") from error
        pems.append(pem)
    trusted = PublicKeys(pems)
    report = verify_archive(folder, trusted.is_good)
    return Checked(folder, report, trusted, (*report.notes, *(() if keys else (OWN_KEYS,))))


def counted(number: int, thing: str) -> str:
    """``2 records``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
