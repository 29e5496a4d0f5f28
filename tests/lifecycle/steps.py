"""One step of one participant: the real approvals code on the real store contract, nothing else.

A hub and the sidecar that holds the call through it are one participant here; every place where they could be
interrupted is a place of its own:

    out -> create -> watch -> write -> watch … -> judged -> release -> released -> done
                                            `-> withdraw -> withdrawing -> done, or out again

Participants see each other only through the store. All of their memory is in the state, so a crash is forgetting it and
being out again; how long somebody is away is only a matter of who takes the next steps. A sweep that dies before it
writes is one that never looked.

What nobody can tell apart is one step. Reading, and settling what was read: either it is still current when the result
is written, or the write loses. A request that is found Ready, and the sidecar's evaluation: what it reads beside the
policy never changes. For the first reason, too, whoever is about to write over an outdated version remembers nothing
but that (LOST).
"""

import sys
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from hitl.approvals.conditions import CancelReason
from hitl.approvals.edits import apply_patch
from hitl.approvals.opening import Attach, Create, first_status, open_or_attach
from hitl.approvals.requests import (
    ApprovalRequest,
    Decision,
    DecisionKind,
    Note,
    NoteType,
    RequestStatus,
    Verified,
)
from hitl.approvals.settle import Outcome, Release
from hitl.approvals.tightening import Change
from hitl.approvals.transitions import unverified, with_verified
from hitl.errors import AlreadyExists, Conflict, HitlError, NoLongerPending, Refused
from hitl.policy.actions import Action
from hitl.policy.settings import Settings
from lifecycle.memory import MemoryStore, Shelf
from lifecycle.scenario import ARGUMENTS, FACTOR, LIE, NAMESPACE, PATCH, Code, Scenario, digest_of

T = TypeVar("T")
NOTHING, LOST = -1, -2
_KINDS = {
    "approve": DecisionKind.APPROVED,
    "edit": DecisionKind.APPROVED,
    "deny": DecisionKind.DENIED,
    "override": DecisionKind.OVERRIDDEN,
}
_NOTES = {"extend": NoteType.EXTEND, "escalate": NoteType.ESCALATE}


class Hub(NamedTuple):
    """What one hub and its sidecar remember. Numbers name interned values; see `Stage`."""

    at: str = "out"
    request: int = NOTHING  # place in the store
    base: int = NOTHING  # the request as it was read
    status: int = NOTHING  # what it is about to write
    policy: int = NOTHING  # planned, judged or read live under this one
    digest: str = ""  # of the call that would run
    original: str = ""  # and, where a reviewer changed it, of the call before that
    editor: str = ""  # whose change the call it holds carries already
    epoch: int = 0
    supersedes: bool = False
    word: str = ""  # name of the request to open, or why to withdraw
    then: str = ""  # whose change the next call carries, once this one is withdrawn


class State(NamedTuple):
    """Everything there is at one moment."""

    store: tuple[int, ...]
    instant: int
    policy: int
    hubs: tuple[Hub, ...]
    sweep: tuple[int, int, int]  # request, base, status; NOTHING where it is idle
    crashes: int
    ran: tuple[tuple[int, str, str], ...]  # request, digest, by


class Step(NamedTuple):
    """A possible step: what it is called in a trace, what comes of it, and what an oracle should know about it."""

    label: str
    state: State
    release: tuple[int, int] | None = None  # request, policy at the hub's read: this step released it
    wrong: str = ""  # a write that our own code proposed was refused
    told: str = ""  # what an agent was told, at the end


IDLE = (NOTHING, NOTHING, NOTHING)


class Stage:
    """Interns requests and statuses, remembers what the pure functions gave, and lets participants take steps."""

    def __init__(self, scenario: Scenario, code: Code) -> None:
        self.scenario, self.code = scenario, code
        self.requests: list[ApprovalRequest] = []
        self.statuses: list[RequestStatus] = []
        self._numbers: dict[str, int] = {}
        self._known: dict[Any, Any] = {}
        self._people = {person.reviewer: person for person in scenario.people}
        self._hubs: dict[Hub, Hub] = {}
        self._when = {
            "out": self._when_out,
            "create": self._when_create,
            "watch": self._when_watch,
            "write": self._when_write,
            "judged": self._when_judged,
            "release": self._when_release,
            "released": self._when_released,
            "withdraw": self._when_withdraw,
            "withdrawing": self._when_withdrawing,
        }

    def first(self) -> State:
        """Nothing was asked yet."""
        hubs = tuple(Hub() for _ in self.scenario.hubs)
        return State((), 0, 0, hubs, IDLE, self.scenario.crashes, ())

    def is_last(self, state: State) -> bool:
        return state.instant == len(self.scenario.instants) - 1

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that could happen next."""
        # Before anything is asked neither time nor policy matter: a scenario that begins later says so itself.
        if state.store and not self.is_last(state):
            seconds = self.scenario.instants[state.instant + 1]
            yield Step(f"the clock steps to {seconds} s", state._replace(instant=state.instant + 1))
        for policy in range(state.policy + 1, len(self.scenario.policies)) if state.store else ():
            word = self.scenario.policies[policy].action.word
            yield Step(f"the policy changes to {policy} ({word})", state._replace(policy=policy))
        for place, number in enumerate(state.store):
            yield from self._reviewers(state, place, number)
        for place, hub in enumerate(state.hubs):
            if hub.at == "done":
                continue
            if hub.at != "out" and state.crashes:
                step = self._moved(
                    state, place, "crashes; its agent makes the same call again", Hub(epoch=hub.epoch + 1)
                )
                yield step._replace(state=step.state._replace(crashes=state.crashes - 1))
            yield from self._when[hub.at](state, place, hub)
        yield from self._sweep(state)

    def _stored(self, state: State, content: tuple[int, ...]) -> State:
        """The state after a write: whoever was about to write over what is outdated now can only lose."""
        if content == state.store:
            return state
        changed = {place for place, number in enumerate(state.store) if content[place] != number}
        hubs, sweep = state.hubs, state.sweep
        if self.code.store_compares:
            hubs = tuple(
                hub._replace(base=LOST, status=LOST) if hub.request in changed and hub.status >= 0 else hub
                for hub in hubs
            )
            sweep = (sweep[0], LOST, LOST) if sweep[0] in changed else sweep
        return state._replace(store=content, hubs=hubs, sweep=sweep)

    # --- people

    def _reviewers(self, state: State, place: int, number: int) -> Iterator[Step]:
        for label, after in self._once(("acts", number, state.instant), self._acts):
            store = (*state.store[:place], after, *state.store[place + 1 :])
            yield Step(label, self._stored(state, store))

    def _acts(self, number: int, instant: int) -> list[tuple[str, int]]:
        """What people can do to a request now, and what it becomes."""
        found = [
            (f"{person}: {act} {self.requests[number].name}", self._act(number, person, act, instant))
            for person, acts in self.scenario.acts.items()
            for act in acts
        ]
        return [(label, after) for label, after in found if after != NOTHING]

    def _act(self, number: int, person: str, act: str, instant: int) -> int:
        request = self.requests[number]
        votes = len(request.status.decisions) + len(request.status.notes)
        store, shelf = self._store((number,), instant, votes)
        if act in _NOTES:
            if any(note.reviewer == person for note in request.status.notes):
                return NOTHING
            minutes = 15 if act == "extend" else 0
            doing = store.note(NAMESPACE, request.name, Note(person, 1, request.uid, _NOTES[act], minutes))
        else:
            patch = PATCH if act == "edit" else None
            shown = {"reason": "INC-88", "proof": FACTOR} if act == "override" else {}
            decision = Decision(person, _KINDS[act], request.spec.digest, request.uid, arguments_patch=patch, **shown)
            doing = store.decide(NAMESPACE, request.name, decision)
        try:
            now(doing)
        except HitlError:
            return NOTHING
        return self._content(shelf)[0]

    # --- the sweep

    def _sweep(self, state: State) -> Iterator[Step]:
        place, base, status = state.sweep
        if place == NOTHING:
            for other, number in enumerate(state.store):
                found = self._once(("sweep", number, state.instant), self._swept)
                if found != NOTHING:
                    label = f"sweep reads and settles: {self.statuses[found].state.value}"
                    yield Step(label, state._replace(sweep=(other, number, found)))
            return
        store, wrong = self._write(state, base, status)
        if store is None:
            yield Step("sweep loses the race", state._replace(sweep=IDLE), wrong=wrong)
        else:
            label = f"sweep writes {self.statuses[status].state.value}"
            yield Step(label, self._stored(state._replace(sweep=IDLE), store))

    def _swept(self, base: int, instant: int) -> int:
        request, at = self._judged(base), self.scenario.now(instant)
        found = self.code.settle(request, at)
        status = found.status or request.status
        if found.outcome is Outcome.READY:
            status = self.code.approve_unheld(request, at)
        return NOTHING if status == self.requests[base].status else self._status(status)

    # --- hub and sidecar

    def _moved(self, state: State, place: int, what: str, hub: Hub) -> Step:
        store, instant, policy, hubs, sweep, crashes, ran = state
        hubs = (*hubs[:place], self._hubs.setdefault(hub, hub), *hubs[place + 1 :])
        label = f"{self.scenario.hubs[place]} {what}"
        return Step(sys.intern(label), State(store, instant, policy, hubs, sweep, crashes, ran))

    def _wrote(self, state: State, place: int, what: str, hub: Hub, store: tuple[int, ...]) -> Step:
        step = self._moved(state, place, what, hub)
        return step._replace(state=self._stored(step.state, store))

    def _when_out(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        """Evaluate the call, and find or plan the request that stands for it."""
        if self.scenario.policies[state.policy].action is Action.DENY:
            yield self._done(state, place, "DENIED by policy")
            return
        key = ("plan", state.store, state.policy, hub.editor, hub.supersedes, state.instant)
        found, words = self._once(key, self._plan)
        if found == "attach":
            index = next(n for n, number in enumerate(state.store) if self.requests[number].name == words)
            yield self._moved(
                state, place, f"attaches to {words}", Hub("watch", index, editor=hub.editor, epoch=hub.epoch)
            )
        elif found == "refuse":
            yield self._done(state, place, words)
        elif len(state.store) < self.scenario.requests and not self.is_last(state):
            planned = hub._replace(at="create", word=words, policy=state.policy)
            yield self._moved(state, place, f"plans to open {words}", planned)
        else:
            yield self._done(state, place, "gave up")

    def _plan(
        self, store: tuple[int, ...], policy: int, editor: str, supersedes: bool, instant: int
    ) -> tuple[str, str]:
        named = {self.requests[number].name: self.requests[number] for number in store}
        found = open_or_attach(
            self.scenario.spec_of(policy, editor=editor),
            name_of=lambda n: self._name(editor, n),
            find=named.get,
            earlier=(),
            open_in_workload=0,
            open_in_namespace=0,
            settings=Settings(),
            now=self.scenario.now(instant),
            supersedes=supersedes,
        )
        if isinstance(found, Attach):
            return "attach", found.request.name
        return ("create", found.name) if isinstance(found, Create) else ("refuse", found.answer.reason_code)

    def _name(self, editor: str, n: int) -> str:
        return f"{'changed' if editor and not self.scenario.by_call_id else 'refund'}-{n}"

    def _when_create(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        if self.is_last(state):
            yield self._done(state, place, "gave up")
            return
        key = ("create", state.store, hub.word, hub.policy, hub.editor, state.instant)
        store = self._once(key, self._create)
        if store is None:
            again = Hub("out", editor=hub.editor, epoch=hub.epoch, supersedes=hub.supersedes)
            yield self._moved(state, place, f"finds {hub.word} taken", again)
            return
        watching = Hub("watch", len(store) - 1, editor=hub.editor, epoch=hub.epoch)
        yield self._wrote(state, place, f"opens {hub.word}", watching, store)

    def _create(
        self, content: tuple[int, ...], name: str, policy: int, editor: str, instant: int
    ) -> tuple[int, ...] | None:
        spec = self.scenario.spec_of(policy, editor=editor)
        store, shelf = self._store(content, instant)
        try:
            now(store.create(NAMESPACE, name, spec, first_status(spec, self.scenario.now(instant))))
        except AlreadyExists:
            return None
        return self._content(shelf)

    def _when_watch(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        """Read the request and settle it, by the time it is now."""
        number = state.store[hub.request]
        outcome, reason, status, editor = self._once(("settle", number, state.instant), self._settled)
        label = f"reads and settles: {outcome.value}"
        if outcome in (Outcome.READY, Outcome.APPROVED):
            yield from self._evaluate(state, place, hub, editor)
        elif status != NOTHING:
            yield self._moved(state, place, label, hub._replace(at="write", base=number, status=status))
        elif outcome is Outcome.WAITING:
            return  # nothing to do: it looks again when something has changed
        elif reason == CancelReason.SUPERSEDED:
            yield self._moved(state, place, label, Hub(editor=editor or hub.editor, epoch=hub.epoch, supersedes=True))
        else:
            yield self._done(state, place, outcome.value)

    def _settled(self, base: int, instant: int) -> tuple[Outcome, str, int, str]:
        request = self._judged(base)
        found = self.code.settle(request, self.scenario.now(instant))
        status = found.status or request.status
        number = NOTHING if status == self.requests[base].status else self._status(status)
        return found.outcome, found.reason, number, found.edit.editor if found.edit else ""

    def _when_write(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        store, wrong = self._write(state, hub.base, hub.status)
        watching = Hub("watch", hub.request, editor=hub.editor, epoch=hub.epoch)
        if store is None:
            yield self._moved(state, place, "loses the race to write", watching)._replace(wrong=wrong)
        else:
            yield self._wrote(state, place, f"writes {self.statuses[hub.status].state.value}", watching, store)

    def _evaluate(self, state: State, place: int, hub: Hub, editor: str) -> Iterator[Step]:
        """The sidecar evaluates the call that would run; or its agent has swapped the arguments meanwhile."""
        lies = self.scenario.hubs[place] in self.scenario.liars
        for lie in (False, True) if lies else (False,):
            key = ("judge", state.store[hub.request], state.policy, bool(hub.editor), bool(editor), lie)
            change, digest, original = self._once(key, self._judge)
            label = f"finds it Ready and evaluates{' arguments that nobody saw' if lie else ''}: {change.value}"
            if change in (Change.SAME, Change.LESS_STRICT):
                judged = hub._replace(at="judged", policy=state.policy, digest=digest, original=original)
                yield self._moved(state, place, label, judged)
            elif not lie:
                reason = CancelReason.POLICY_TIGHTENED if change is Change.DENY else CancelReason.SUPERSEDED
                going = hub._replace(at="withdraw", word=reason.value, then=editor or hub.editor)
                yield self._moved(state, place, label, going)

    def _judge(self, number: int, policy: int, changed: bool, edited: bool, lie: bool) -> tuple[Change, str, str]:
        """What the policy says of the call, and both digests, from the raw arguments that the sidecar has now.

        changed: the call that is held carries an edit already; edited: it was approved with one.
        """
        raw = LIE if lie else {**ARGUMENTS, **PATCH} if changed else ARGUMENTS
        runs = apply_patch(raw, PATCH) if edited else raw
        change = self.code.compare(self.requests[number].spec, self.scenario.policies[policy])
        return change, digest_of(runs), digest_of(raw) if edited else ""

    def _when_judged(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        """Consume, first half: the hub asks if the sidecar judged by the config of now, reads live and decides."""
        watching = Hub("watch", hub.request, editor=hub.editor, epoch=hub.epoch)
        if self.code.checks_revision and hub.policy != state.policy:
            yield self._moved(state, place, "is told to judge by the new config", watching)
            return
        by = f"{self.scenario.hubs[place]}/{hub.epoch}"
        number = state.store[hub.request]
        key = ("consume", number, hub.digest, hub.original, by, state.instant)
        release, status = self._once(key, self._consume)
        label = f"asks to consume: {release.value}"
        if release is Release.RELEASED:
            going = hub._replace(at="release", base=number, status=status, policy=state.policy)
            yield self._moved(state, place, label, going)
        elif release in (Release.SPENT, Release.REFUSED):
            yield self._done(state, place, release.value)
        elif status != NOTHING:
            yield self._moved(state, place, label, watching._replace(at="write", base=number, status=status))
        else:
            yield self._moved(state, place, label, watching)

    def _consume(self, base: int, digest: str, original: str, by: str, instant: int) -> tuple[Release, int]:
        request = self._judged(base)
        found = self.code.consume(request, self.scenario.now(instant), digest=digest, by=by, original_digest=original)
        changed = found.status is not None and found.status != self.requests[base].status
        return found.release, self._status(found.status) if changed else NOTHING

    def _when_release(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        """Consume, second half: the compare-and-set. Only then does the sidecar hear RELEASED."""
        store, wrong = self._write(state, hub.base, hub.status)
        released = Hub("released", hub.request, digest=hub.digest, epoch=hub.epoch)
        if store is None:
            again = hub._replace(at="judged", base=NOTHING, status=NOTHING)
            then = again if self.code.heeds_conflicts else released
            yield self._moved(state, place, "loses the race to release", then)._replace(wrong=wrong)
            return
        step = self._wrote(state, place, "releases", released, store)
        yield step._replace(release=(hub.request, hub.policy))

    def _when_released(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        run = (hub.request, hub.digest, f"{self.scenario.hubs[place]}/{hub.epoch}")
        ran = tuple(sorted((*state.ran, run)))
        step = self._moved(state, place, "runs the call", Hub("done"))
        yield step._replace(state=step.state._replace(ran=ran), told="ran")

    def _when_withdraw(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        base = state.store[hub.request]
        status = self._once(("cancel", base, hub.word, state.instant), self._cancel)
        if status == NOTHING:
            watching = Hub("watch", hub.request, editor=hub.editor, epoch=hub.epoch)
            yield self._moved(state, place, "withdraws too late", watching)
            return
        yield self._moved(
            state, place, "is about to withdraw", hub._replace(at="withdrawing", base=base, status=status)
        )

    def _cancel(self, base: int, reason: str, instant: int) -> int:
        try:
            return self._status(
                self.code.cancel(self._judged(base), self.scenario.now(instant), CancelReason(reason), "tightened")
            )
        except NoLongerPending:
            return NOTHING

    def _when_withdrawing(self, state: State, place: int, hub: Hub) -> Iterator[Step]:
        store, wrong = self._write(state, hub.base, hub.status)
        if store is None:
            again = hub._replace(at="withdraw", base=NOTHING, status=NOTHING)
            yield self._moved(state, place, "loses the race to withdraw", again)._replace(wrong=wrong)
            return
        label = f"writes Cancelled/{hub.word}"
        if hub.word == CancelReason.SUPERSEDED:
            yield self._wrote(state, place, label, Hub(editor=hub.then, epoch=hub.epoch, supersedes=True), store)
        else:
            yield self._wrote(state, place, label, Hub("done"), store)._replace(told="DENIED, TIGHTENED")

    def _done(self, state: State, place: int, told: str) -> Step:
        return self._moved(state, place, f"tells its agent: {told}", Hub("done"))._replace(told=told)

    # --- the store

    def _judged(self, number: int) -> ApprovalRequest:
        """The request with the hub's word on every vote and note; all of these people are who they say."""
        request = self.requests[number]
        votes, notes = unverified(request.status)
        entries = [self._people[each.reviewer] for each in votes]
        entries += [Verified(each.reviewer, note=each.n) for each in notes]
        return replace(request, status=with_verified(request, entries))

    def _write(self, state: State, base: int, status: int) -> tuple[tuple[int, ...] | None, str]:
        """The store's content after a compare-and-set, or None where it failed; and what the life cycle refused."""
        if status == LOST:
            return None, ""
        return self._once(("write", state.store, base, status, state.instant), self._written)

    def _written(
        self, content: tuple[int, ...], base: int, status: int, instant: int
    ) -> tuple[tuple[int, ...] | None, str]:
        store, shelf = self._store(content, instant)
        try:
            now(store.write_status(self.requests[base], self.statuses[status]))
        except Conflict:
            return None, ""
        except Refused as error:
            return None, str(error)
        return self._content(shelf), ""

    def _store(self, content: tuple[int, ...], instant: int, votes: int = 0) -> tuple[MemoryStore, Shelf]:
        shelf = Shelf([self.requests[number] for number in content], count=len(content))
        return self.code.store(shelf, lambda: self.scenario.stamp(instant, votes)), shelf

    def _content(self, shelf: Shelf) -> tuple[int, ...]:
        return tuple(self._request(request) for request in shelf.requests.values())

    def _request(self, request: ApprovalRequest) -> int:
        """Interned by content: the version says nothing that the content does not say."""
        number = self._number(("request", repr(replace(request, version=""))), self.requests, request)
        self.requests[number] = replace(request, version=str(number))
        return number

    def _status(self, status: RequestStatus) -> int:
        return self._number(("status", repr(status)), self.statuses, status)

    def _number(self, key: Any, values: list[T], value: T) -> int:
        number = self._numbers.setdefault(key, len(values))
        if number == len(values):
            values.append(value)
        return number

    def _once(self, key: tuple[Any, ...], compute: Any) -> Any:
        """Pure functions are asked once for each question."""
        if key not in self._known:
            self._known[key] = compute(*key[1:])
        return self._known[key]


def now(doing: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        doing.send(None)
    except StopIteration as done:
        return done.value
    doing.close()
    raise AssertionError("a step of the store waited: it would be no single step")
