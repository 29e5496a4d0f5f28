"""The Lease by which one replica of the operator leads."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

LEASE: Final = "hitl-operator"
# The leader renews every two seconds and others take over after fifteen: older than this nobody leads.
STALE: Final = timedelta(seconds=30)


def age_of(lease: Mapping[str, Any], now: datetime) -> tuple[str, timedelta]:
    """Who holds it, "" for nobody, and how long ago they renewed it, by the clock here."""
    spec = lease.get("spec", {})
    renewed = spec.get("renewTime")
    if not renewed:
        return str(spec.get("holderIdentity") or ""), timedelta.max
    return str(spec.get("holderIdentity") or ""), max(now - datetime.fromisoformat(renewed), timedelta())
