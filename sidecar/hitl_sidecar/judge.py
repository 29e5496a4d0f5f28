"""Evaluation with its surroundings: history, taint, declared tools; and what the ledger learns from each verdict."""

from collections.abc import Callable
from typing import Final

from hitl.policy.actions import Action
from hitl.policy.calls import ToolCall
from hitl.policy.evaluation import evaluate, sightings
from hitl.policy.history import History
from hitl.policy.ledger import Sightings
from hitl.policy.limits import is_exceeded
from hitl.policy.verdicts import Verdict
from hitl_sidecar import asking
from hitl_sidecar.declared import DeclaredTools
from hitl_sidecar.ledger_file import LedgerFile
from hitl_sidecar.programmed import InForce

FLOODED: Final = "FLOOD"
_NOTHING: Final = Sightings()


class Judge:
    """Evaluates calls of this pod."""

    def __init__(
        self, store: LedgerFile, declared: DeclaredTools, clock: Callable[[], float], *, tainted: bool
    ) -> None:
        """`clock`: wall-clock seconds. `tainted`: an earlier process of this pod may have read anything (A6)."""
        self._store = store
        self._declared = declared
        self._clock = clock
        self._reserved: dict[tuple[str, str], float] = {}
        self.tainted = tainted

    def judge(self, in_force: InForce, call: ToolCall) -> Verdict:
        """What the policies say of a call that arrives now."""
        return self._evaluate(in_force, call, self._past())

    def judge_again(self, in_force: InForce, call: ToolCall) -> Verdict:
        """What they say of a call that was held before and is about to be released (I8). Flood control is about calls
        that arrive, and this one arrived long ago.
        """
        return self._evaluate(in_force, call, _Past(self._store.ledger, self._reserved, floods=False))

    def is_outdated(self, in_force: InForce, call: ToolCall, verdict: Verdict) -> bool:
        """Whether a verdict that took a while may no longer let its call run: others called, or used up its limits."""
        if verdict.action > Action.NOTIFY:
            return False
        past, now, settings = self._past(), self._clock(), in_force.config.settings
        of_tool, of_pod = past.recent_calls(call.name, call.session_id, now)
        if of_tool >= settings.flood_per_tool or of_pod >= settings.flood_per_pod:
            return True
        return verdict.reason_code != "LIMIT" and any(
            is_exceeded(charge, past.used(charge.limit_id, charge.key, charge.per, now)) for charge in verdict.charges
        )

    def reserve(self, verdict: Verdict) -> "Reservation":
        """Set aside what a call will charge if it is released: no other call gets the same room meanwhile."""
        return Reservation(self._reserved, verdict)

    def count(self, call: ToolCall, verdict: Verdict) -> None:
        """A call was judged for the first time."""
        if verdict.reason_code != FLOODED:
            self._store.ledger.record_call(call.name, call.session_id, self._clock())

    def charge(self, verdict: Verdict) -> None:
        """Use up the limits of a call that is about to be ALLOWED. Unavailable where that cannot be kept."""
        if verdict.charges:
            self._store.charge(verdict.charges, self._clock())

    def allowed(self, in_force: InForce, call: ToolCall) -> None:
        """A call was ALLOWED: what it shows is no longer novel, and what it returns may taint the pod (A6)."""
        seen = _NOTHING
        if in_force.minds_novelty:
            definition = self._declared.get(call.name)
            seen = sightings(in_force.config, call, agent=in_force.identity.agent, definition=definition)
        self._store.ledger.record_allowed(call.name, seen, self._clock())
        if not self.tainted:
            declaration = asking.declaration_of(in_force, call)
            self.tainted = declaration is None or declaration.untrusted_output

    def clarified(self, in_force: InForce, call: ToolCall) -> None:
        """A call was answered CLARIFY; the same one with more confidence will not be believed for a while."""
        if call.confidence_percent is not None:
            sameness = asking.sameness(in_force, call)
            self._store.ledger.record_clarify(sameness, call.confidence_percent, self._clock())

    def decided(self, *, denied: bool) -> None:
        """A person decided a held call."""
        self._store.ledger.record_decision(self._clock(), denied=denied)

    def _past(self) -> History:
        """The ledger; with what is set aside for releases under way, where there is something."""
        return _Past(self._store.ledger, self._reserved) if self._reserved else self._store.ledger

    def _evaluate(self, in_force: InForce, call: ToolCall, history: History) -> Verdict:
        # The sameness costs an HMAC over canonical JSON; it is only looked up where something was clarified.
        sameness = asking.sameness(in_force, call) if self._store.ledger.has_clarified else ""
        return evaluate(
            in_force.config,
            call,
            history,
            self._clock(),
            agent=in_force.identity.agent,
            on_behalf_of=asking.on_behalf_of(call),
            tainted=self.tainted,
            definition=self._declared.get(call.name),
            sameness=sameness,
        )


class Reservation:
    """What one release under way may still charge; `end` gives it back, once however often it is called."""

    __slots__ = ("_reserved", "_taken")

    def __init__(self, reserved: dict[tuple[str, str], float], verdict: Verdict) -> None:
        self._reserved = reserved
        self._taken = [((charge.limit_id, charge.key), charge.amount) for charge in verdict.charges]
        for limit, amount in self._taken:
            reserved[limit] = reserved.get(limit, 0.0) + amount

    def end(self) -> None:
        """It was charged, or it will not be."""
        taken, self._taken = self._taken, []
        for limit, amount in taken:
            left = self._reserved.pop(limit) - amount
            if left > 0:
                self._reserved[limit] = left


class _Past:
    """The history with what releases under way will charge; without `floods`, without the calls of the last minute."""

    __slots__ = ("_floods", "_history", "_reserved")

    def __init__(self, history: History, reserved: dict[tuple[str, str], float], *, floods: bool = True) -> None:
        self._history = history
        self._reserved = reserved
        self._floods = floods

    def recent_calls(self, name: str, session_id: str, now: float) -> tuple[int, int]:
        return self._history.recent_calls(name, session_id, now) if self._floods else (0, 0)

    def used(self, limit_id: str, key: str, per: int, now: float) -> float:
        return self._history.used(limit_id, key, per, now) + self._reserved.get((limit_id, key), 0.0)

    def times_seen(self, name: str) -> int:
        return self._history.times_seen(name)

    def has_seen_value(self, name: str, argument: str, value: str) -> bool:
        return self._history.has_seen_value(name, argument, value)

    def has_seen_host(self, host: str) -> bool:
        return self._history.has_seen_host(host)

    def rates(self, name: str, now: float) -> tuple[float, float]:
        return self._history.rates(name, now)

    def recent_denials(self, now: float) -> tuple[int, int]:
        return self._history.recent_denials(now)

    def raised_confidence(self, sameness: str, confidence: int, now: float) -> bool:
        return self._history.raised_confidence(sameness, confidence, now)
