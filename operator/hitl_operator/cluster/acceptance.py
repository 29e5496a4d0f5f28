"""Which resources are in force, and what each is told: pure; everything that is looked at comes in (SECURITY C6, H1).

Each resource is judged alone first, then beside the others. What is not accepted changes nothing for its pods: the
generation that was accepted before stays in force, and where none ever was, the pods go by what everybody else says, as
they did before. Left standing for `invalidGrace` it makes what runs unasked ask a person, for exactly the pods that it
was written for. What a baseline forbids is left out of what is in force, because whoever runs the cluster has said so;
everything else in that policy goes on binding.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from hitl.errors import Problem
from hitl.kube.policy_conditions import Accepted
from hitl.kube.shipped import Shipped
from hitl.policy.config import FORBIDDEN, relaxations, together
from hitl.policy.parsing_reader import Problems, Reader
from hitl.policy.parsing_sections import read_selector
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector, Policy
from hitl.policy.verdicts import SecondFactor
from hitl_operator.cluster import accepted_words
from hitl_operator.cluster.crowding import beyond
from hitl_operator.cluster.overrides import Judged
from hitl_operator.cluster.policy_resources import Key, Resource, missing_factors
from hitl_operator.cluster.readings import LastGood, Reading, Readings, stumbled
from hitl_operator.freezing import Frozen, next_end
from hitl_operator.sources import Entry, Floor, Generation

ALL_FACTORS: Final = frozenset((SecondFactor.ANY, SecondFactor.HARDWARE))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one resource.

    Attributes:
        entry: what is in force of it; None: nothing.
        reason: of the condition Accepted, which is True for Valid alone.
        message: of that condition.
        good: what is to be remembered as accepted last; None: nothing ever was.
        floor: the pods that ask people about everything because of it, once its grace is over.
        strict_at: when that will be; None where it never will.
        frozen: of a PolicyOverride: what it stops; None: nothing.
    """

    resource: Resource
    entry: Entry | None
    reason: Accepted
    message: str
    good: LastGood | None = None
    floor: Floor | None = None
    strict_at: datetime | None = None
    frozen: Frozen | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether what is written is in force as it is written."""
        return self.reason is Accepted.VALID


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What becomes of all of them: the generation in force, and an outcome for each.

    Attributes:
        frozen: every freeze in force.
    """

    generation: Generation
    outcomes: Mapping[Key, Outcome]
    frozen: tuple[Frozen, ...] = ()

    @property
    def next_change(self) -> datetime | None:
        """When something changes although nobody writes anything."""
        waiting = [each.strict_at for each in self.outcomes.values() if each.strict_at and each.floor is None]
        ends = next_end(self.frozen)
        return min([*waiting, ends] if ends is not None else waiting, default=None)

    def with_overrides(self, judged: Mapping[Key, Judged]) -> "Acceptance":
        """With what became of PolicyOverrides, which need no grace and nobody's memory."""
        outcomes = {
            key: Outcome(each.resource, None, each.reason, each.message, frozen=each.frozen)
            for key, each in judged.items()
        }
        # Those that are too many share one.
        frozen = tuple({id(each.frozen): each.frozen for each in judged.values() if each.frozen is not None}.values())
        return replace(self, outcomes={**self.outcomes, **outcomes}, frozen=frozen)


def available_factors(shipped: Shipped) -> frozenset[SecondFactor]:
    """The second factors that the installed admission policies can tell from a login (condition FactorUnavailable)."""
    return ALL_FACTORS if shipped.hardware else frozenset({SecondFactor.ANY})


def accept(
    resources: Iterable[Resource],
    good: Mapping[str, LastGood],
    *,
    readings: Readings,
    settings: Settings,
    now: datetime,
    factors: frozenset[SecondFactor] = ALL_FACTORS,
) -> Acceptance:
    """Decide about all resources at once.

    Args:
        resources: every resource as it is written now; what is in force is complete only if they are (H1).
        good: what was accepted last, by uid.
        readings: what was read before.
        settings: of the operator.
        now: decides whose grace is over.
        factors: the second factors that people can show here.
    """
    ordered = sorted(resources, key=lambda each: (each.created, each.key))
    excess = beyond(ordered)
    drafts = {each.key: _drafted(each, good.get(each.uid), readings, factors, excess.get(each.key)) for each in ordered}
    baseline = [draft.parsed for draft in drafts.values() if draft.resource.kind == "ClusterAgentPolicy"]
    for draft in drafts.values():
        if draft.resource.kind == "AgentPolicy":
            _obey(draft, [each for each in baseline if each is not None], readings)
    _keep_apart(drafts.values(), readings)
    outcomes = {key: _outcome(draft, settings, now) for key, draft in sorted(drafts.items())}
    entries = tuple(each.entry for each in outcomes.values() if each.entry is not None)
    floors = tuple(each.floor for each in outcomes.values() if each.floor is not None)
    readings.sweep()
    return Acceptance(Generation(entries, settings, floors), outcomes)


@dataclass(slots=True)
class _Draft:
    """One resource while it is being judged.

    Attributes:
        entry: what would be in force of it.
        reason, problems: why it is not accepted as written; Valid and none.
        dropped: paths that a baseline forbids, left out of `entry`.
        is_stumbled: that cannot be told, by a defect of ours; its pods ask people at once.
    """

    resource: Resource
    good: LastGood | None
    entry: Entry | None
    last: Entry | None
    reason: Accepted = Accepted.VALID
    problems: tuple[Problem, ...] = ()
    dropped: tuple[str, ...] = field(default=())
    is_stumbled: bool = False

    @classmethod
    def of(
        cls,
        resource: Resource,
        good: LastGood | None,
        readings: Readings,
        factors: frozenset[SecondFactor],
        excess: Problem | None,
    ) -> "_Draft":
        """Judge it alone; `excess`: why it is not even read."""
        written = readings.of(resource) if excess is None else Reading(problems=(excess,))
        usable = _usable(resource, good)
        last = readings.of_good(resource, usable).entry if usable is not None else None
        draft = cls(resource, usable, written.entry, last)
        if written.entry is None:
            draft.refuse(Accepted.INVALID if excess is None else Accepted.EXCESSIVE, written.problems)
            return draft
        policy = written.entry.policy
        missing = missing_factors(policy, factors) if policy is not None else ()
        if missing:
            draft.refuse(Accepted.FACTOR_UNAVAILABLE, missing)
        return draft

    @property
    def parsed(self) -> Policy | None:
        """The policy that would be in force."""
        return self.entry.policy if self.entry is not None else None

    def refuse(self, reason: Accepted, problems: Sequence[Problem]) -> None:
        """It is not accepted as written; what was accepted before is in force."""
        self.reason, self.problems, self.entry = reason, tuple(problems), self.last

    def stumble(self, doing: str, error: Exception) -> None:
        """As `refuse`, and without grace: nobody wrote anything wrong, and nobody knows what is missing now."""
        self.refuse(Accepted.INVALID, (stumbled(doing, error),))
        self.is_stumbled = True

    def obey(self, baseline: Sequence[Policy], readings: Readings) -> None:
        """Leave out what a baseline forbids (SECURITY A7)."""
        forbidden = _forbidden(self.parsed, baseline)
        if forbidden and self.reason is Accepted.VALID:
            self.refuse(Accepted.CONFLICTED, forbidden)
            forbidden = _forbidden(self.parsed, baseline)
        if forbidden:
            assert self.entry is not None, "what is forbidden is in it"
            self.dropped = tuple(problem.path for problem in forbidden)
            self.entry = readings.without(self.entry, self.dropped)

    def tighten(self, readings: Readings) -> None:
        """Leave out everything that a baseline could forbid."""
        self.dropped = tuple(path for path, _ in relaxations(self.parsed)) if self.parsed is not None else ()
        if self.entry is not None and self.dropped:
            self.entry = readings.without(self.entry, self.dropped)

    def outcome(self, settings: Settings, now: datetime) -> Outcome:
        """What becomes of it, now that it was judged beside the others."""
        resource = self.resource
        if self.reason is Accepted.VALID:
            assert self.entry is not None, "it was read"
            words = accepted_words.valid(self.entry.parsed)
            known = self.good is not None and self.good.is_of(resource) and self.good.invalid_since is None
            kept = self.good if known else LastGood(resource.generation, resource.spec)
            return Outcome(resource, self.entry, self.reason, words, kept)
        # A time to come would put off the end of the grace.
        since = min(self.good.invalid_since or now, now) if self.good is not None else resource.created
        kept = replace(self.good, invalid_since=since) if self.good is not None else None
        is_written = self.entry is not None and self.entry.generation == resource.generation
        strict_at = None if self.is_stumbled else since + timedelta(seconds=settings.invalid_grace)
        is_strict = strict_at is None or (now >= strict_at and not is_written)
        standing = accepted_words.standing(
            self.entry.generation if self.entry is not None else None,
            resource.generation,
            asking=accepted_words.asking(strict_at, begun=is_strict),
            dropped=self.dropped,
            is_strict=is_strict,
        )
        return Outcome(
            resource,
            self.entry,
            self.reason,
            f"{accepted_words.invalid(self.problems)}. {standing}",
            kept,
            self._floor() if is_strict else None,
            None if is_written else strict_at,
        )

    def _floor(self) -> Floor:
        policy = self.parsed
        selector = policy.pod_selector if policy is not None else _selector_of(self.resource)
        return Floor(self.resource.namespace, selector)


def _usable(resource: Resource, good: LastGood | None) -> LastGood | None:
    """One that is newer than what is written was accepted by a replica that saw more; it is not used here."""
    return good if good is not None and good.generation <= resource.generation else None


def _drafted(
    resource: Resource,
    good: LastGood | None,
    readings: Readings,
    factors: frozenset[SecondFactor],
    excess: Problem | None,
) -> _Draft:
    """It judged alone. Where we stumble, what was accepted last stays in force, as far as that can be read."""
    try:
        return _Draft.of(resource, good, readings, factors, excess)
    except Exception as error:  # noqa: BLE001 - as below, and so on: it takes nobody else with it
        usable = _usable(resource, good)
        draft = _Draft(resource, usable, None, _last(resource, usable, readings))
        draft.stumble("judged", error)
        return draft


def _last(resource: Resource, good: LastGood | None, readings: Readings) -> Entry | None:
    try:
        return readings.of_good(resource, good).entry if good is not None else None
    except Exception:  # noqa: BLE001 - told as what we stumbled over before that
        return None


def _obey(draft: _Draft, baseline: Sequence[Policy], readings: Readings) -> None:
    """As `_Draft.obey`; where it cannot be told what is forbidden in it, what was accepted last is in force without
    anything that could be, and nothing where even that cannot be told.
    """
    try:
        draft.obey(baseline, readings)
    except Exception as error:  # noqa: BLE001
        _not_compared(draft, "the baseline", error, readings)


def _not_compared(draft: _Draft, others: str, error: Exception, readings: Readings) -> None:
    draft.stumble(f"compared with {others}", error)
    try:
        draft.tighten(readings)
    except Exception:  # noqa: BLE001
        draft.entry = None


def _outcome(draft: _Draft, settings: Settings, now: datetime) -> Outcome:
    """As `_Draft.outcome`; where that cannot be told, its pods ask people about everything."""
    try:
        return draft.outcome(settings, now)
    except Exception as error:  # noqa: BLE001
        problem = stumbled("judged", error)
        floor = Floor(draft.resource.namespace)
        return Outcome(draft.resource, draft.entry, Accepted.INVALID, str(problem), draft.good, floor)


def _forbidden(policy: Policy | None, baseline: Sequence[Policy]) -> tuple[Problem, ...]:
    if policy is None or not any(each.forbid for each in baseline):
        return ()
    return tuple(problem for problem in together([policy, *baseline]) if problem.code == FORBIDDEN)


def _keep_apart(drafts: Iterable[_Draft], readings: Readings) -> None:
    """Of two resources that are one to the gate the one that is there for longer stays (SECURITY A4)."""
    by_namespace: dict[str, list[_Draft]] = {}
    for draft in drafts:
        if draft.entry is not None:
            by_namespace.setdefault(draft.resource.namespace, []).append(draft)
    for found in by_namespace.values():
        parsed = [draft.entry.parsed for draft in found if draft.entry is not None]
        try:
            problems = together(parsed)
        except Exception as error:  # noqa: BLE001 - the sidecars of that namespace will stumble as well, and keep theirs
            for draft in found:
                _not_compared(draft, "the others of its namespace", error, readings)
            continue
        for problem in problems:
            found[problem.document].reason = Accepted.CONFLICTED
            found[problem.document].problems = (problem,)
            found[problem.document].entry = None


def _selector_of(resource: Resource) -> PodSelector:
    """The pods that a resource nobody can read was meant for; all of them where not even that can be told."""
    problems = Problems()
    selector = read_selector(Reader(resource.spec, "spec", problems))
    return PodSelector() if problems.found else selector
