"""How often each policy decided calls, for the hub: what the metrics count anyway, less what was reported before."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from hitl.policy.actions import Action
from hitl.v1 import gate_pb2, hub_pb2
from hitl.wire.verdicts import action_to_proto
from hitl_sidecar.metrics import Labels

_ACTIONS: Final = {action.word: action_to_proto(action) for action in Action}

Counts = dict[tuple[str, gate_pb2.Action], int]


class Usage:
    """Calls by policy and action since they were last reported."""

    def __init__(self, checks: Mapping[Labels, int]) -> None:
        """`checks`: calls answered so far, by (action, outcome, policy)."""
        self._checks = checks
        self._reported: Counts = {}

    def report(self, most: int) -> hub_pb2.Usage | None:
        """What has come since what was reported, so many rows at most; None for nothing."""
        now = self._counted()
        fresh = {key: count - self._reported.get(key, 0) for key, count in now.items()}
        rows = [
            hub_pb2.PolicyUsage(policy=policy, action=action, calls=calls)
            for (policy, action), calls in fresh.items()
            if calls
        ][:most]
        return hub_pb2.Usage(policies=rows) if rows else None

    def reported(self, usage: hub_pb2.Usage) -> None:
        """The hub has been told this."""
        for row in usage.policies:
            key = row.policy, row.action
            self._reported[key] = self._reported.get(key, 0) + row.calls

    def _counted(self) -> Counts:
        counts: defaultdict[tuple[str, gate_pb2.Action], int] = defaultdict(int)
        for (action, _, policy), calls in self._checks.items():
            if policy and action in _ACTIONS:
                counts[policy, _ACTIONS[action]] += calls
        return counts
