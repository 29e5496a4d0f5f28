"""What happens: a held call is released exactly once, whatever happens between the approval and the release."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from control_plane.demo.objects import NAMESPACE
from control_plane.demo.pods import AgentPod
from control_plane.demo.stage import REPLICAS, Stage
from control_plane.demo.tally import Wanted
from hitl.errors import HitlError
from hitl_cli.demo.timeline import Timeline

ANA, BO = "ana@example.com", "bo@example.com"
DEADLINE = 120.0  # seconds within which an approved call must have come back, whatever was killed
AGAIN = ("PENDING", "UNAVAILABLE", "NO ANSWER", "UNKNOWN")  # answers after which an agent asks again
PAUSE = 1.2  # seconds before an agent asks again; sixty calls a minute are let in
PAST_THE_LEASE = 13.0  # seconds; a holder whose renewals fail stops after 10
FIRST_LOOK = 10_000  # cents; smaller refunds belong to the story
TAKEN = (0, 5)  # exit codes: the vote was counted; it stands, and nobody has counted it yet
WRITTEN_AFTER = 0.5  # of the time that `kubectl hitl approve` takes, its vote is written
AT_ONCE = 6  # calls in flight when a replica is killed
CHECKS = "a replica's checks take ten seconds before votes count"
MORATORIUM = "  - {name: moratorium, action: Deny, tools: [payments/*], because: no refunds this week}\n"


class RaceLost(HitlError):
    """A race did not end as it must; the message says what was expected and what came."""


class Races:
    """Plays them in order.

    Attributes:
        wanted: afterwards, by call, what may have become of it.
        ends: the outcome of calls that were not released, as the agent was told it.
    """

    def __init__(self, stage: Stage, timeline: Timeline) -> None:
        self.stage = stage
        self.timeline = timeline
        self.wanted: dict[str, Wanted] = {}
        self.ends: dict[str, str] = {}
        self._told = False
        self._looks = itertools.count(FIRST_LOOK)
        self._took = 0.6  # seconds that `kubectl hitl approve` takes; measured as we go

    def scenes(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Title and action of each."""
        yield "Approved while it waits: it runs once, and never again", self.approved
        yield "The sidecar is killed while the call waits, and approved meanwhile", self.sidecar_killed
        yield "Approved in the last moment: in time, or too late", self.expiring
        yield "Two people approve in the same moment", self.two_at_once
        yield "The policy is tightened while the call waits", self.tightened
        yield "The hub that holds it is stopped, then killed, between approval and release", self.hub_killed
        yield "The leading replica is killed among six calls in flight", self.leader_killed
        yield "The API server stands still for longer than the Lease", self.server_frozen
        yield "For a moment nothing guards decisions, and somebody votes in another's name", self.guard_removed

    def play(self) -> None:
        """Every race; RaceLost at the first that does not end as it must."""
        self.until_held(*self.stage.pods)
        for number, (title, race) in enumerate(self.scenes(), start=1):
            self.timeline.scene(number, title)
            race()

    def ran(self) -> list[str]:
        """The call of each execution, as the world recorded them."""
        return [_key(each["arguments"]) for each in self.stage.world.ran()]

    # -- races -----------------------------------------------------------------------------------------------------

    def approved(self) -> None:
        pod, order = self.stage.pods[0], self.refund(100)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        self.approve(ANA, name)
        self.settled(pod, order, waiting)
        self.expect(self.answered(pod, order)["outcome"], "ALREADY_RELEASED")

    def sidecar_killed(self) -> None:
        pod, order = self.stage.pods[0], self.refund(200)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        pod.kill_sidecar()
        self.timeline.note("the sidecar was killed")
        self.expect(self.told(pod.answer(waiting))["outcome"], "NO ANSWER")
        self.approve(BO, name)
        pod.start_sidecar()
        self.settled(pod, order, self.asked(pod, order))
        self.expect(self.answered(pod, order)["outcome"], "ALREADY_RELEASED")

    def expiring(self) -> None:
        pod = self.stage.pods[1]
        mail = {"to": "ops@example.com", "subject": "late", "body": "x"}
        order = {"do": "check", "server": "mail", "tool": "send", "arguments": mail, "callID": "mail-late"}
        self.wanted[_key(mail)] = Wanted.EITHER
        name = self.opened(pod, order)
        waiting = self.asked(pod, order, wait=20)
        left = (self.stage.cluster.deadline(name) - datetime.now(UTC)).total_seconds()
        time.sleep(max(0.0, left - self._took * WRITTEN_AFTER))
        code = self.approve(ANA, name, exits=(*TAKEN, 3))
        outcome = self.told(pod.answer(waiting))["outcome"]
        runs = self.ran().count(_key(mail))
        self.expect((outcome, runs), ("ALLOWED", 1), ("EXPIRED", 0))
        if outcome == "ALLOWED":
            self.expect(code, *TAKEN)
        self.ends[_key(mail)] = outcome
        self.timeline.note("in time: it ran once, as ana was told" if runs else "too late: it expired, and did not run")

    def two_at_once(self) -> None:
        pod, order = self.stage.pods[1], self.refund(400)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        with ThreadPoolExecutor(2) as voters:
            codes = list(voters.map(lambda person: self.approve(person, name, exits=(*TAKEN, 3)), (ANA, BO)))
        self.expect(any(code in TAKEN for code in codes), True)
        self.settled(pod, order, waiting)

    def tightened(self) -> None:
        pod, order = self.stage.pods[0], self.refund(500, Wanted.NEVER)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        policy = self.stage.policies["shop.yaml"]
        self.timeline.note("pat adds rule moratorium: Deny payments/*")
        self.stage.apply(policy.replace("  rules:\n", f"  rules:\n{MORATORIUM}", 1))
        answer = self.told(pod.answer(waiting))
        self.expect((answer["outcome"], answer["reason"]), ("DENIED", "TIGHTENED"))
        self.ends[_key(order["arguments"])] = answer["outcome"]
        self.approve(ANA, name, exits=(3,))
        self.stage.apply(policy)
        self.timeline.note("and takes it back")
        self.until_held(*self.stage.pods)

    def hub_killed(self) -> None:
        pod, order = self.stage.pods[0], self.refund(600)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        self.stage.replicas.pause(REPLICAS[0])
        self.timeline.note(f"{REPLICAS[0]} stands still")
        self.approve(ANA, name)
        self.stage.replicas.kill(REPLICAS[0])
        self.timeline.note(f"{REPLICAS[0]} was killed; {REPLICAS[1]} is left")
        self.settled(pod, order, waiting)
        self.expect(self.answered(pod, order)["outcome"], "ALREADY_RELEASED")
        self.timeline.note(f"{REPLICAS[0]} is started again; {CHECKS}")
        self.stage.replicas.start(REPLICAS[0])
        self.until_held(*self.stage.pods)
        self.timeline.note(f"{REPLICAS[0]} is back")

    def leader_killed(self) -> None:
        orders = [(self.stage.pods[number % 2], self.refund(700 + number)) for number in range(AT_ONCE)]
        names = [self.opened(pod, order) for pod, order in orders]
        waiting = [self.asked(pod, order) for pod, order in orders]
        leader = next((name for name in REPLICAS if name in self.stage.cluster.leader()), REPLICAS[0])
        with ThreadPoolExecutor(2) as voters:
            votes = [voters.submit(self.approve, (ANA, BO)[number % 2], name) for number, name in enumerate(names)]
            votes[1].result()
            self.stage.replicas.kill(leader)
            self.timeline.note(f"{leader}, which held the Lease, was killed")
            for vote in votes:
                vote.result()
        for (pod, order), name, ref in zip(orders, names, waiting, strict=True):
            self.timeline.note(f"{name}, {order['arguments']['amount']} cents:")
            self.settled(pod, order, ref)
        self.timeline.note(f"{leader} is started again; {CHECKS}")
        self.stage.replicas.start(leader)
        self.until_held(*self.stage.pods)
        self.timeline.note(f"{leader} is back; {self.stage.cluster.leader()} holds the Lease")

    def server_frozen(self) -> None:
        pod, order = self.stage.pods[0], self.refund(800)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        plane, began = self.stage.cluster.plane, time.monotonic()
        plane.freeze()
        self.timeline.note("kube-apiserver is stopped with SIGSTOP")
        harmless = {"amount": 1, "currency": "eur"}
        self.wanted[_key(harmless)] = Wanted.RUNS
        self.timeline.asks("text/format_amount", json.dumps(harmless))
        allowed = {"do": "check", "server": "text", "tool": "format_amount", "arguments": harmless}
        self.expect(self.answered(pod, allowed)["outcome"], "ALLOWED")
        new = self.refund(801, Wanted.NEVER)
        self.timeline.asks("payments/create_refund", json.dumps(new["arguments"]))
        outcome = self.answered(self.stage.pods[1], new)["outcome"]
        self.expect(outcome, "UNAVAILABLE")
        self.ends[_key(new["arguments"])] = outcome
        self.timeline.note(f"it stays so for {PAST_THE_LEASE:.0f} s: who leads must stop after ten")
        time.sleep(max(0.0, began + PAST_THE_LEASE - time.monotonic()))
        leading = self.stage.replicas.leading()
        plane.thaw()
        self.timeline.note(
            f"it goes on after {time.monotonic() - began:.0f} s; replicas that still led: {len(leading)}"
        )
        self.expect(leading, [])
        self.timeline.note(CHECKS)
        self.until_held(*self.stage.pods)
        self.approve(BO, name)
        self.settled(pod, order, waiting)

    def guard_removed(self) -> None:
        pod, order = self.stage.pods[1], self.refund(900, Wanted.NEVER)
        name = self.opened(pod, order)
        waiting = self.asked(pod, order)
        self.stage.cluster.unguard()
        self.timeline.note("an administrator deletes the binding hitl-decisions")
        self.stage.cluster.forge_vote("jun@example.com", name, ANA)
        self.timeline.note("jun, who is no lead, writes an approval in ana's name, and the API server takes it")
        self.stage.cluster.guard()
        self.timeline.note("the binding is back, and the forged vote looks like any other")
        self.timeline.note(CHECKS)
        outcome = self.ended(pod, name, waiting)["outcome"]
        self.expect(outcome, "CANCELLED")
        self.ends[_key(order["arguments"])] = outcome
        self.expect(self.stage.cluster.why_cancelled(name), "EnforcementLost")
        self.until_held(*self.stage.pods)
        self.timeline.note("votes count again, as nobody can forge them")

    # -- how races speak -------------------------------------------------------------------------------------------

    def refund(self, amount: int, wanted: Wanted = Wanted.RUNS) -> dict[str, Any]:
        """An order for a refund, which the policy holds for one person of group support."""
        arguments = {"customer": "C-20817", "amount": amount, "currency": "eur"}
        self.wanted[_key(arguments)] = wanted
        tool = {"server": "payments", "tool": "create_refund"}
        return {"do": "check", **tool, "arguments": arguments, "callID": f"refund-{amount}"}

    def asked(self, pod: AgentPod, order: dict[str, Any], **more: Any) -> str:
        """Have the agent ask and wait for people; the ref is for its answer."""
        return pod.order(**{**order, **more})

    def opened(self, pod: AgentPod, order: dict[str, Any]) -> str:
        """Open the request without waiting; its name."""
        self.timeline.asks(f"{order['server']}/{order['tool']}", json.dumps(order["arguments"]))
        answer = pod.answer(pod.order(**order, wait=0))
        name = str(answer["handle"].partition("/")[2])
        # What an agent is told in full is worth reading once.
        self.told(answer if name == "" or not self._told else {**answer, "message": f"{name} waits for people"})
        self._told = True
        self.expect(answer["outcome"], "PENDING")
        return name

    def answered(self, pod: AgentPod, order: dict[str, Any]) -> dict[str, Any]:
        """Ask and print what came of it."""
        return self.told(pod.answer(pod.order(**order)))

    def told(self, answer: dict[str, Any]) -> dict[str, Any]:
        self.timeline.answer(answer)
        return answer

    def settled(self, pod: AgentPod, order: dict[str, Any], ref: str) -> None:
        """An approved call: the agent asks until it is released, as an agent does whose gate or hub went away."""
        until = time.monotonic() + DEADLINE
        answer = self.told(pod.answer(ref))
        while answer["outcome"] in AGAIN and time.monotonic() < until:
            time.sleep(PAUSE)
            before, answer = answer["outcome"], pod.answer(pod.order(**order))
            if answer["outcome"] != before:
                self.told(answer)
        self.expect(answer["outcome"], "ALLOWED", "ALREADY_RELEASED")

    def ended(self, pod: AgentPod, name: str, ref: str) -> dict[str, Any]:
        """What a call came to that must not run; the agent waits on where the gate's budget for a wait ends."""
        until = time.monotonic() + DEADLINE
        answer = pod.answer(ref)
        while answer["outcome"] in AGAIN and time.monotonic() < until:
            time.sleep(PAUSE)
            answer = pod.answer(pod.order(do="await", handle=f"{NAMESPACE}/{name}", wait=20))
        return self.told(answer)

    def approve(self, person: str, name: str, *, exits: tuple[int, ...] = TAKEN) -> int:
        """`kubectl hitl approve NAME` as `person`, in a process of its own; its exit code."""
        began = time.monotonic()
        done = self.stage.cluster.kubectl_of(person, "hitl", "approve", name)
        self._took = time.monotonic() - began
        self.timeline.command(done, "approve", person.partition("@")[0])
        if done.returncode not in exits:
            raise RaceLost(f"kubectl hitl approve {name} as {person} ended with {done.returncode}: {done.stderr}")
        return done.returncode

    def until_held(self, *pods: AgentPod) -> None:
        """Return when refunds are held again: policy and hub have reached the pods' sidecars, and votes count."""
        until = time.monotonic() + DEADLINE
        for pod in pods:
            answer: dict[str, Any] = {}
            while answer.get("outcome") != "PENDING":
                if time.monotonic() > until:
                    raise RaceLost(f"{pod.name} can hold no call within {DEADLINE:.0f} s; it last said {answer}")
                time.sleep(PAUSE)
                answer = pod.answer(pod.order(**self.refund(next(self._looks), Wanted.NEVER), wait=0))
            pod.answer(pod.order(do="cancel", handle=answer["handle"], reason="only a look whether calls are held"))
        # A look is no call of the story.
        for look in [call for call in self.wanted if call.isdigit() and int(call) >= FIRST_LOOK]:
            del self.wanted[look]

    def expect(self, found: object, *wanted: object) -> None:
        if found not in wanted:
            raise RaceLost(f"expected {' or '.join(map(str, wanted))}, found {found}")


def _key(arguments: dict[str, Any]) -> str:
    """What tells the demonstration's calls apart, whoever asks for them."""
    return str(arguments.get("amount") or arguments.get("subject"))
