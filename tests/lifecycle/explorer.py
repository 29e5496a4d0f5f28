"""Visits every state that a scenario can reach, and says in which of them something is wrong.

What is driven is the real code (`hitl.approvals`) on the store contract, through a store that passes the same suite as
every other one. Reached is every interleaving of: the reviewers' votes, edits and notes, in any order and at any time;
two hubs with their sidecars, interruptible before each step that others could notice (plan, create, read, evaluate,
consume, compare-and-set, run); the sweep; the clock; changes of the policy; crashes and restarts; an agent that swaps
its arguments after people have seen them.

In every state and step is checked, by an oracle with words of its own: I5 (no write takes anything back or follows an
end, and none that our code proposes is refused), I6 (one approval, at most one execution), I7 (what ran is what was
approved), I8 (no release under a policy that asks for more than was approved), I1 (Approved means in time, over no
denial, by enough people), and I13: whoever looks at an open request after the last deadline ends it, and from every
state a state can be reached in which all requests have ended and every agent was told. As the clock goes on and the
sweep comes back, nothing waits for ever.

Bounds, so that it ends:
- two reviewers, each with one vote and at most one note on each request;
- two hubs that hold one and the same call; a third participant only sweeps;
- one crash in all; who crashes forgets everything and makes the same call again;
- at most two requests in a row; a sidecar that would need a third, or one at the last instant, gives up;
- a clock of two to four instants, shared by all, which starts when something is asked, as does the policy;
- live reads (the store's promise), no deletion, no watches: a hub may look at any time instead.
"""

import gc
from array import array
from collections import Counter, deque
from dataclasses import dataclass, field
from itertools import accumulate

from lifecycle.oracle import Oracle
from lifecycle.scenario import Code, Scenario
from lifecycle.steps import IDLE, Stage, State


@dataclass(frozen=True)
class Violation:
    """Something that must never be, and the shortest way there."""

    invariant: str
    what: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:2} {label}" for number, label in enumerate(self.trace, start=1))
        return f"{self.invariant} violated: {self.what}\n{steps}"


@dataclass
class Report:
    """What an exploration found."""

    scenario: str
    states: int = 0
    transitions: int = 0
    depth: int = 0
    violations: list[Violation] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"{self.scenario}: states visited {self.states}, transitions {self.transitions}, depth {self.depth}, "
            f"violations {len(self.violations)}"
        )


def explore(scenario: Scenario, code: Code | None = None) -> Report:
    """Breadth first, so a trace is as short as can be. Stops at the first violation."""
    search = _Search(Stage(scenario, code or Code()))
    gc.disable()  # half a million states and no cycle among them: collecting would only search
    try:
        return search.run()
    finally:
        gc.enable()


class _Search:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._oracle = Oracle(stage)
        self._report = Report(stage.scenario.name)
        self._numbers: dict[State, int] = {}
        self._origins, self._depths = array("I"), array("I")  # for each state: from which one, how far from the first
        self._labels: list[str] = []  # and by which step
        self._edges = (array("I"), array("I"))  # from, to
        self._ended: list[int] = []

    def run(self) -> Report:
        first = self._stage.first()
        self._add(first, 0, "", 0)
        waiting = deque([first])
        while waiting and not self._report.violations:
            state = waiting.popleft()
            number = self._numbers[state]
            for step in self._stage.steps(state):
                self._report.transitions += 1
                invariant, what = self._oracle.of_step(state, step)
                if invariant:
                    self._wrong(invariant, what, number, step.label)
                    break
                if step.told:
                    self._report.told[step.told] += 1
                if step.state not in self._numbers:
                    self._add(step.state, number, step.label, self._depths[number] + 1)
                    waiting.append(step.state)
                self._edges[0].append(number)
                self._edges[1].append(self._numbers[step.state])
        self._report.states = len(self._numbers)
        self._report.depth = max(self._depths)
        if not self._report.violations:
            self._check_ends()
        return self._report

    def _add(self, state: State, origin: int, label: str, depth: int) -> None:
        number = self._numbers[state] = len(self._labels)
        self._origins.append(origin)
        self._labels.append(label)
        self._depths.append(depth)
        if self._is_over(state):
            self._ended.append(number)
        elif self._stage.is_last(state):
            invariant, what = self._oracle.of_end(state)
            if invariant:
                self._wrong(invariant, what, number, "")

    def _is_over(self, state: State) -> bool:
        return (
            state.sweep == IDLE
            and all(hub.at == "done" for hub in state.hubs)
            and all(self._stage.requests[number].status.state.is_terminal for number in state.store)
        )

    def _check_ends(self) -> None:
        """I13: an end can be reached from everywhere."""
        # The edges sorted by where they lead: those into n are origins[first[n]:first[n + 1]].
        first = array("I", bytes(4 * (len(self._labels) + 1)))
        for target in self._edges[1]:
            first[target] += 1
        for number, count in enumerate(accumulate(first)):
            first[number] = count
        origins = array("I", bytes(4 * len(self._edges[0])))
        for origin, target in zip(*self._edges, strict=True):
            first[target] -= 1
            origins[first[target]] = origin
        reaching = bytearray(len(self._labels))
        waiting = list(self._ended)
        for number in waiting:
            reaching[number] = True
        while waiting:
            number = waiting.pop()
            for origin in origins[first[number] : first[number + 1]]:
                if not reaching[origin]:
                    reaching[origin] = True
                    waiting.append(origin)
        stuck = reaching.find(0)
        if stuck >= 0:
            self._wrong("I13", "from here nothing leads to an end that everybody was told of", stuck, "")

    def _wrong(self, invariant: str, what: str, number: int, label: str) -> None:
        trace = [label] if label else []
        while number:
            trace.append(self._labels[number])
            number = self._origins[number]
        self._report.violations.append(Violation(invariant, what, tuple(reversed(trace))))
