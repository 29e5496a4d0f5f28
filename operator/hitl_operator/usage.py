"""What each policy does: calls that sidecars report, and requests that this hub opens and ends (`status.usage`).

Numbers since this process began. Several hubs add up: each request is counted by the hub that wrote it, each call by
the hub that its sidecar told.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hitl.approvals.conditions import outcome
from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import InvalidInput
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.reminding import Reminder

MOST = 2**53
"""More calls than this nobody can have answered; no count goes above it, so that each can be written as JSON."""


@dataclass(slots=True)
class Used:
    """What one policy did: calls that it decided; requests that it had a part in, and how they ended."""

    calls: int = 0
    held: int = 0
    decided: int = 0
    expired: int = 0


class Usage:
    """Counts by policy, e.g. ``AgentPolicy/shop/support``; a `Witness` of requests."""

    def __init__(self) -> None:
        self.by_policy: dict[str, Used] = {}
        self._uids: Mapping[str, str] = {}

    def follow(self, uids: Mapping[str, str]) -> None:
        """These policies are there; what others of the same name did before them is not theirs."""
        self.by_policy = {
            policy: used
            for policy, used in self.by_policy.items()
            if policy in uids and self._uids.get(policy, uids[policy]) == uids[policy]
        }
        self._uids = uids

    def called(self, usage: hub_pb2.Usage, known: Collection[str]) -> None:
        """What a sidecar reports; only of policies that it was given, whatever it says.

        Raises:
            InvalidInput: it names a policy and action twice; nothing of it counts.
        """
        if len({(each.policy, each.action) for each in usage.policies}) < len(usage.policies):
            raise InvalidInput("usage.policies: names a policy and action twice; add their calls up")
        for each in usage.policies:
            if each.policy in known and each.calls < MOST:
                used = self._of(each.policy)
                used.calls = min(MOST, used.calls + each.calls)

    def opened(self, request: ApprovalRequest) -> None:
        """As `Witness.opened`."""
        for policy in _policies(request):
            self._of(policy).held += 1

    def written(self, before: ApprovalRequest, after: ApprovalRequest) -> None:
        """As `Witness.written`."""
        was, now = before.status.state, after.status.state
        if was is now or not now.is_terminal:
            return
        approved = outcome(after.status.conditions, State.APPROVED) is not None
        for policy in _policies(after):
            used = self._of(policy)
            used.decided += approved or now in (State.CONSUMED, State.DENIED)
            used.expired += now is State.EXPIRED and not approved

    def reminded(self, request: ApprovalRequest, reminder: Reminder) -> None:
        """As `Witness.reminded`; held calls are counted once."""

    def acted(self, identity: Identity, records: Iterable[hub_pb2.ActivityRecord]) -> None:
        """As `Witness.acted`; calls come as numbers."""

    def _of(self, policy: str) -> Used:
        return self.by_policy.setdefault(policy, Used())


def _policies(request: ApprovalRequest) -> Iterable[str]:
    return (str(ref) for ref in request.spec.policies if ref.kind != "BuiltIn")
