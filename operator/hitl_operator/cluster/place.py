"""What a replica of the operator is started with."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from hitl.audit.signing import AuditKey
from hitl.kube.shipped import Shipped
from hitl_operator.archive.archive import Archive
from hitl_operator.cluster.admission import Webhook
from hitl_operator.cluster.settings_file import SettingsFile
from hitl_operator.cluster.tls import ServingCertificate

_UNFIT: Final = re.compile(r"[^A-Za-z0-9-]")  # for a file's name


@dataclass(frozen=True, slots=True)
class ArchivePlace:
    """Where evidence is kept, and for how many days."""

    folder: Path
    days: int

    def archive(
        self, key: AuditKey, replica: str, *, registry: CollectorRegistry, clock: Callable[[], datetime]
    ) -> Archive:
        """This process's share of it; that it can be written shows when it is."""
        run = f"{_UNFIT.sub('-', replica)}-{secrets.token_hex(4)}"
        return Archive(self.folder, run=run, key=key, clock=clock, days=self.days, registry=registry)


@dataclass(frozen=True, slots=True)
class Place:
    """What a replica is started with.

    Attributes:
        shipped: the installation it belongs to.
        name: of this replica, for people; unlike that of the others.
        listen: ``HOST:PORT`` for sidecars.
        certificate: None: its own, in a Secret.
        state: folder for what it notes of audit chains.
        archive: None: there is none, and nothing that ended is ever deleted.
        service: by which it is reached, for certificates of its own.
        webhook: by which pods are injected; None: this operator injects none.
    """

    shipped: Shipped
    name: str
    listen: str
    certificate: ServingCertificate | None
    settings: SettingsFile
    state: Path
    archive: ArchivePlace | None = None
    service: str = "hitl-operator"
    webhook: Webhook | None = None
