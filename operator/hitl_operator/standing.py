"""Whether the hub may open, count and release at all now: the seam for what a cluster has to prove (SECURITY C4, D2).

On one machine nothing has to be proved beside the votes themselves. On a cluster votes carry no signature: they count
because the API server let nobody else write them, so the hub asks before it goes by them.
"""

from dataclasses import dataclass
from typing import Protocol

from hitl.approvals.requests import ApprovalRequest

ENFORCEMENT_LOST = "ENFORCEMENT_LOST"
REWOUND = "REWOUND"


@dataclass(frozen=True, slots=True)
class Lost:
    """Why the hub cannot go by what stands in a request now.

    Attributes:
        reason_code: ENFORCEMENT_LOST: votes cannot be believed now. REWOUND: what was released may look unreleased.
        message: fit for an agent, with the next step.
    """

    reason_code: str
    message: str


class Standing(Protocol):
    """Asked before anything rests on what people wrote."""

    @property
    def lost(self) -> Lost | None:
        """Why nothing may be opened, counted or released now; None while it may. Never does I/O."""
        ...

    async def vouch(self, request: ApprovalRequest) -> Lost | None:
        """Why what people and hubs wrote in this very picture cannot be believed; None: nobody could forge it.

        Raises:
            HitlError: it cannot be told now.
        """
        ...


class Alone:
    """One machine: each vote proves itself by its signature."""

    @property
    def lost(self) -> Lost | None:
        """As `Standing.lost`: never."""
        return None

    async def vouch(self, request: ApprovalRequest) -> Lost | None:  # noqa: ARG002 - nothing has to be looked at
        """As `Standing.vouch`: nothing is in doubt that the signatures do not settle."""
        return None
