"""The caller as one who looks at requests, with what the API server lets them do."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hitl.approvals.requests import ApprovalRequest
from hitl.policy.verdicts import SecondFactor
from hitl_cli.on_cluster.me import Me
from hitl_cli.on_cluster.rights import Right, Rights

# As an installation has them by default; `hitl.kube.shipped` says so too, and a test compares the two.
FACTOR_KEY: Final = "hitl.dev/amr"
FACTORS: Final = ("mfa", "otp", "hwk", "swk", "fpt", "face")
HARDWARE: Final = ("hwk",)
# Names the key of an installation that has another one.
FACTOR_KEY_VARIABLE: Final = "HITL_FACTOR_KEY"


def factor_key() -> str:
    """Under which key of the caller's extra claims the methods of their login stand."""
    return os.environ.get(FACTOR_KEY_VARIABLE) or FACTOR_KEY


@dataclass(frozen=True, slots=True)
class ClusterViewer:
    """The caller."""

    me: Me
    rights: Rights

    @property
    def name(self) -> str:
        return self.me.name

    @property
    def factors(self) -> tuple[str, ...]:
        """Second factors that the caller's login shows."""
        return tuple(each for each in dict.fromkeys(self.me.extra.get(factor_key(), ())) if each in FACTORS)

    def is_in(self, groups: Sequence[str]) -> bool:
        return not groups or not set(groups).isdisjoint(self.me.groups)

    def shows(self, factor: SecondFactor) -> bool:
        match factor:
            case SecondFactor.NONE:
                return True
            case SecondFactor.ANY:
                return bool(self.factors)
            case SecondFactor.HARDWARE:
                return not set(self.factors).isdisjoint(HARDWARE)

    def why_not(self, verb: str, request: ApprovalRequest) -> str:
        if self.me.cannot_be_a_reviewer:
            return f"{self.me.name} is {self.me.cannot_be_a_reviewer}"
        right = Right(verb, request.spec.tier, request.namespace)
        return "" if self.rights.has(right) else f"no verb {verb} on approvalrequests/{request.spec.tier}"
