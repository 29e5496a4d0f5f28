"""What happens in the demo, scene by scene. Each says what it expects; one that goes otherwise fails the demo."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hitl.errors import HitlError
from hitl_cli.demo.stage import Stage
from hitl_cli.demo.timeline import Timeline
from hitl_cli.demo.world import World

Decider = Callable[[str, "Choice"], None]
"""Carries out a decision on a request's name: a person at the terminal, or the demo itself."""


class StoryWentWrong(HitlError):
    """A scene did not end as it must; what the product did is in the message."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the demo decides where no person sits at the terminal.

    Attributes:
        verb: approve or deny.
        reviewer: whose key signs.
        flags: further flags, as typed.
        exits: the exit code that is right; 5 is "recorded, not yet decisive".
    """

    verb: str
    reviewer: str
    flags: tuple[str, ...] = ()
    exits: int = 0


class Story:
    """The scenes, in order; `play` runs them all."""

    def __init__(self, stage: Stage, world: World, timeline: Timeline, decide: Decider) -> None:
        self.stage = stage
        self.world = world
        self.timeline = timeline
        self.decide = decide
        self.outcomes: dict[str, int] = {}

    def scenes(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Title and action of each."""
        yield "A call nobody needs to see", self.harmless
        yield "A call people hear about", self.notify
        yield "A call that never runs", self.deny
        yield "A call that can be read in two ways", self.invalid
        yield "An agent that is not sure", self.clarify
        yield "A refund waits for a person; a retry attaches instead of asking twice", self.confirm
        yield "The same call_id again runs nothing", self.already_released
        yield "A person says no, and why", self.denied
        yield "A person approves a smaller one", self.edited
        yield "Nobody answers", self.expired
        yield "The agent changes its mind", self.cancelled
        yield "The sidecar is killed while a call waits", self.killed
        yield "Two people, because one is not enough", self.two_people
        yield "The policy is tightened while a call waits", self.tightened
        yield "Something a person should do himself", self.suggested
        yield "The control plane stands still", self.unavailable
        yield "An agent that lies", self.lying

    def play(self) -> None:
        """Every scene; raises StoryWentWrong at the first that does not end as it must."""
        for number, (title, scene) in enumerate(self.scenes(), start=1):
            self.timeline.scene(number, title)
            scene()

    # -- scenes, in order ------------------------------------------------------------------------------------------

    def harmless(self) -> None:
        self.check("ALLOWED", "text/format_amount", {"amount": 15000, "currency": "eur"})

    def notify(self) -> None:
        self.check("ALLOWED", "files/read_file", {"path": "reports/march.csv"})
        self.timeline.note("it ran at once; hitl activity shows it")

    def deny(self) -> None:
        self.check("DENIED", "shop-db/drop_table", {"table": "invoice"}, reason="RULE")
        self.expect(self.rows("SELECT count(*) FROM invoice") == [(2,)], "the table invoice is untouched")

    def invalid(self) -> None:
        self.check(
            "INVALID",
            "payments/create_refund",
            raw='{"customer": "C-20817", "amount": 100, "currency": "eur", "amount": 900000}',
        )

    def clarify(self) -> None:
        arguments = {"name": "0041_add_due_on", "sql": "ALTER TABLE invoice ADD COLUMN reminded INTEGER"}
        self.check("CLARIFY", "shop-db/apply_migration", arguments, confidence=60)

    def confirm(self) -> None:
        call = self.refund("C-20817", 15000, call_id="refund-1", justification="3 days late, the SLA promises 2")
        first = self.check("PENDING", *call, wait=0)
        again = self.check("PENDING", *call, wait=0)
        self.expect(first["handle"] == again["handle"], "the retry attached to the same request")
        waiting = self.hold(*call)
        self.decided(first, Choice("approve", "ana"))
        self.released(waiting, "ALLOWED")

    def already_released(self) -> None:
        self.check("ALREADY_RELEASED", *self.refund("C-20817", 15000, call_id="refund-1"))

    def denied(self) -> None:
        call = self.refund("C-20904", 4200)
        first = self.check("PENDING", *call, wait=0)
        waiting = self.hold(*call)
        reason = "C-20904 was refunded yesterday"
        self.decided(first, Choice("deny", "ana", ("--reason", reason, "--category", "missing-context")))
        self.released(waiting, "DENIED")
        self.check("DENIED", *call)
        self.timeline.note("asked again within the cooldown: the same answer, and nobody was bothered")

    def edited(self) -> None:
        call = self.refund("C-21003", 18000)
        first = self.check("PENDING", *call, wait=0)
        waiting = self.hold(*call)
        self.decided(first, Choice("approve", "ana", ("--edit", "amount=12000")))
        self.released(waiting, "ALLOWED")
        refunded = self.rows("SELECT amount FROM refund WHERE customer = 'C-21003'")
        self.timeline.note(f"in the database: {refunded[0][0]} cents" if refunded else "in the database: nothing")

    def expired(self) -> None:
        self.check("EXPIRED", "mail/send", {"to": "all@example.com", "subject": "Sale", "body": "Now."}, wait=20)

    def cancelled(self) -> None:
        call = self.refund("C-20817", 300)
        waiting = self.check("PENDING", *call, wait=0)
        ref = self.stage.order(do="cancel", handle=waiting["handle"], reason="the customer withdrew")
        self.record("CANCELLED", self.stage.answer(ref))

    def killed(self) -> None:
        call = self.refund("C-20904", 900, call_id="refund-9")
        waiting = self.hold(*call)
        name = self.pending("C-20904")
        self.stage.kill("sidecar")
        self.record("NO ANSWER", self.stage.answer(waiting))
        self.decided({"handle": f"x/{name}"}, Choice("approve", "ana"))
        self.stage.start_sidecar()
        self.timeline.note("the sidecar is back, with nothing but its audit log")
        handle = self.handle_of(name)
        ref = self.stage.order(do="await", handle=handle, wait=20)
        self.record("APPROVED", self.stage.answer(ref))
        self.check("ALLOWED", *call)

    def two_people(self) -> None:
        call = ("deploy/release", {"version": "web-v314", "target": "staging"})
        first = self.check("PENDING", *call, wait=0)
        waiting = self.hold(*call)
        self.decided(first, Choice("approve", "bo", ("--reason", "CHG-4411, staging is green"), exits=5))
        self.decided(first, Choice("approve", "ana", ("--reason", "read the change, agreed")))
        self.released(waiting, "ALLOWED")

    def tightened(self) -> None:
        call = ("shop-db/apply_migration", {"name": "0042", "sql": "CREATE INDEX due ON invoice(due_on)"})
        first = self.check("PENDING", *call, wait=0)
        waiting = self.hold(*call)
        policy = self.stage.policies / "shop.yaml"
        rule = '  - {name: moratorium, action: Deny, tools: ["shop-db/apply_*"], because: no migrations this week}\n'
        policy.write_text(policy.read_text().replace("  rules:\n", "  rules:\n" + rule))
        self.timeline.note("somebody adds rule moratorium: Deny shop-db/apply_*")
        answer = self.stage.answer(waiting)
        self.record("DENIED", answer)
        self.expect(answer["reason"] == "TIGHTENED", f"reason TIGHTENED, not {answer['reason']}")
        late = self.stage.hitl("approve", first["handle"].partition("/")[2], "--as", "ana")
        self.timeline.command(late, "approve", "ana")
        self.expect(late.returncode == 3, "an approval that comes now is too late (exit 3)")

    def suggested(self) -> None:
        self.check("SUGGESTED", "crm/delete_customer", {"customer": "C-20904"})

    def unavailable(self) -> None:
        self.stage.pause("hub")
        self.timeline.note(
            "the hub is stopped with SIGSTOP; the second answer takes some seconds, the gate waits for it"
        )
        self.check("ALLOWED", "text/format_amount", {"amount": 100, "currency": "eur"})
        self.check("UNAVAILABLE", *self.refund("C-21003", 100), wait=3)
        self.stage.resume("hub")
        self.timeline.note("allowed calls went on, new holds were refused; the hub is back")

    def lying(self) -> None:
        self.check("DENIED", "files/write_file", {"path": "reports/../../shop.db", "content": ""})
        self.check("INVALID", "payments/cr\u0435ate_refund", {"customer": "C-20817", "amount": 1, "currency": "eur"})
        call, arguments = self.refund("C-20817", 500, call_id="refund-77", confidence=100, claimed_user="ana")[:2]
        extra = {"call_id": "refund-77", "confidence": 100, "claimed_user": "ana"}
        first = self.check("PENDING", call, arguments, extra, wait=0)
        self.timeline.note("it says it acts for ana, so ana may no longer approve this one")
        own = self.stage.hitl("approve", first["handle"].partition("/")[2], "--as", "ana")
        self.timeline.command(own, "approve", "ana")
        self.expect(own.returncode == 4, "ana may not approve a call made in her name (exit 4)")
        self.check("INVALID", call, {**arguments, "amount": 19000}, extra, reason="CALL_ID_REUSED")
        self.stage.forge_approval(first["handle"], reviewer="bo")
        self.timeline.note("it writes an approval in bo's name straight into the store, with a made-up signature")
        self.check("PENDING", call, arguments, extra, wait=2)
        self.expect(
            not self.rows("SELECT * FROM refund WHERE amount IN (500, 19000)"), "no refund of 500 or 19000 exists"
        )

    # -- how scenes speak ------------------------------------------------------------------------------------------

    def refund(self, customer: str, amount: int, **extra: Any) -> tuple[str, dict[str, Any], dict[str, Any]]:
        return "payments/create_refund", {"customer": customer, "amount": amount, "currency": "eur"}, extra

    def check(
        self,
        expected: str,
        name: str,
        arguments: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
        *,
        reason: str = "",
        **more: Any,
    ) -> dict[str, Any]:
        """Have the agent ask for a call, and hold its answer against what must come."""
        answer = self.stage.answer(self.hold(name, arguments, {**(extra or {}), **more}))
        self.record(expected, answer)
        self.expect(not reason or answer.get("reason") == reason, f"reason {reason}, not {answer.get('reason')}")
        return answer

    def hold(self, name: str, arguments: dict[str, Any] | None = None, extra: dict[str, Any] | None = None) -> str:
        """Have the agent ask, and go on; the ref is for `released`."""
        server, _, tool = name.partition("/")
        order = {_ORDER_WORDS.get(key, key): value for key, value in (extra or {}).items()}
        if arguments is not None:
            order["arguments"] = arguments
        self.timeline.asks(name, order.get("raw") or json.dumps(arguments, ensure_ascii=True))
        return self.stage.order(do="check", server=server, tool=tool, **order)

    def released(self, ref: str, expected: str) -> None:
        """What a held call came to."""
        self.record(expected, self.stage.answer(ref))

    def record(self, expected: str, answer: dict[str, Any]) -> None:
        """Print an answer, count it, and hold it against what must come."""
        self.outcomes[answer["outcome"]] = self.outcomes.get(answer["outcome"], 0) + 1
        self.timeline.answer(answer)
        self.expect(answer["outcome"] == expected, f"{expected}, not {answer['outcome']}: {answer.get('message', '')}")

    def decided(self, answer: dict[str, Any], choice: Choice) -> None:
        self.decide(answer["handle"].partition("/")[2], choice)

    def pending(self, needle: str) -> str:
        """Name of the one pending request whose line holds `needle`."""
        for _ in range(100):
            listed = self.stage.hitl("list", "-o", "json")
            names = [
                item["metadata"]["name"] for item in json.loads(listed.stdout)["items"] if needle in json.dumps(item)
            ]
            if names:
                return str(names[-1])
        raise StoryWentWrong(f"no request for {needle} appeared")

    def handle_of(self, name: str) -> str:
        shown = json.loads(self.stage.hitl("show", name, "-o", "json").stdout)
        return f"{shown['metadata']['namespace']}/{name}"

    def rows(self, sql: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.world.database}?mode=ro", uri=True) as connection:
            found = connection.execute(sql).fetchall()
        connection.close()
        return found

    def expect(self, holds: bool, what: str) -> None:
        """A scene must go as told; where a person decides, what they chose is right by definition."""
        if holds:
            return
        if not self.timeline.interactive:
            raise StoryWentWrong(f"the demo expected {what}")
        self.timeline.note(f"(as you decided; the scripted story has {what})")


_ORDER_WORDS = {"call_id": "callID", "claimed_user": "claimedUser"}
