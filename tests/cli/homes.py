"""Homes for the tests of the command line: a real store with requests in it, real people with real keys."""

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from hitl.approvals.conditions import CancelReason
from hitl.approvals.requests import (
    ApprovalRequest,
    CallShown,
    Category,
    Decision,
    DecisionKind,
    Kind,
    RequestSpec,
    RequestStatus,
    Touches,
    Verified,
)
from hitl.approvals.settle import Outcome, approve_unheld, cancel, consume, expire, settle
from hitl.approvals.votes import with_verified
from hitl.audit import Chain, RecordKind
from hitl.policy.verdicts import Factor, PolicyRef, Reason, Requirement
from hitl.stores.people import add_reviewer
from hitl.stores.sqlite import SQLiteStore
from hitl_cli.main import run

HITL = Path(sys.executable).with_name("hitl")


def a_spec(**changed: object) -> RequestSpec:
    """A refund that rule `refunds` of policy `support` holds; fields of the call may be given by name."""
    call = CallShown(
        server="stripe",
        tool="create_refund",
        arguments_preview=str(changed.pop("arguments", '{"amount":15000,"currency":"eur","customer":"C-20817"}')),
    )
    spec = RequestSpec(
        kind=Kind.TOOL_CALL,
        summary="refund 150.00 EUR to customer C-20817",
        requester="system:serviceaccount:shop:support",
        agent_pod="support-5d9c7-x2x4q",
        agent_pod_uid="pod-1",
        service_account="support",
        workload="deploy/support",
        session_id="session-1",
        call=call,
        digest="5f1c2ab977d0e4b1" * 4,
        key="call-1",
        sameness="ab" * 32,
        tier="confirm",
        requirements=(Requirement("reviewer", any_of=("support-leads",), origin="AgentPolicy/shop/support"),),
        timeout=900,
        reasons=(Reason.RULE,),
        rule="AgentPolicy/shop/support#refunds",
        policies=(PolicyRef("AgentPolicy", "shop", "support", 7),),
        patchable=("/amount", "/currency", "/customer"),
        reason_required=("Denied", "MultiFactor"),
    )
    return replace(spec, **changed)  # type: ignore[arg-type]  # the tests name real fields


def a_migration(**changed: object) -> RequestSpec:
    """The migration of UX 3: held by a score, touches things, explains itself."""
    return a_spec(
        **{
            "summary": "apply migration 0042 to db.prod.internal",
            "arguments": (
                '{"version":"0042_add_invoice_index","database":"db.prod.internal/billing",'
                '"password":"[REDACTED:password]",'
                '"steps":"CREATE INDEX CONCURRENTLY invoice_due ON invoice (due_on);"}'
            ),
            "service_account": "coder",
            "workload": "deploy/coder",
            "agent_pod": "coder-5d9c7-x2x4q",
            "requirements": (Requirement("reviewer", any_of=("platform-leads",)),),
            "rule": "",
            "score": 70,
            "reasons": (Reason.SCORE,),
            "explanation": "score 70 is Confirm (51-75); no rule of policy coder names this tool",
            "factors": (
                Factor("level", 60, "level high"),
                Factor("categories", 10, "network, filesystem"),
                Factor("write", 10, "writes files"),
                Factor("exact", -10, "both lists are exact"),
            ),
            "justification": (
                "The due-date report takes 40 s. Ticket BILL-812 asks for an index. It is built concurrently, so no "
                "write is blocked."
            ),
            "alternatives": ("run it on staging first", "leave the report slow"),
            "touches": Touches(network=("db.prod.internal",), writes=("/migrations/",)),
            "undo": "DROP INDEX invoice_due",
            "on_behalf_of": "ana@example.com",
            "on_behalf_of_verified": True,
            "policies": (PolicyRef("AgentPolicy", "agents", "coder", 7),),
            **changed,
        }
    )


@dataclass
class Clock:
    """The store's clock: tests say what time it is when something is written."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        return self.now


Step = Callable[[SQLiteStore, ApprovalRequest, Clock], Awaitable[ApprovalRequest]]


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def document(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


@dataclass
class AHome:
    """A home on disk with a real store, and two ways to run `hitl` in it."""

    path: Path
    clock: Clock = field(default_factory=Clock)

    def people(self, **groups: tuple[str, ...]) -> "AHome":
        """Add people with their groups."""
        for name, theirs in groups.items():
            add_reviewer(self.path, name, theirs)
        return self

    def request(
        self,
        name: str,
        spec: RequestSpec | None = None,
        *,
        age: float = 60,
        namespace: str = "default",
        then: Step | None = None,
    ) -> ApprovalRequest:
        """Store a request that is `age` seconds old; `then` is what became of it a second later."""
        return asyncio.run(self._request(name, spec or a_spec(), age, namespace, then))

    def decide(self, request: ApprovalRequest, decision: Decision) -> ApprovalRequest:
        """Append a decision as somebody else's program would; nobody verifies it yet."""

        async def decided() -> ApprovalRequest:
            async with SQLiteStore.open(self.path / "hitl.db", clock=self.clock) as store:
                return await store.decide(request.namespace, request.name, decision)

        return asyncio.run(decided())

    def verify(self, name: str, reviewer: str, *groups: str) -> ApprovalRequest:
        """Write the hub's word that a stored vote counts."""

        async def verified() -> ApprovalRequest:
            async with SQLiteStore.open(self.path / "hitl.db", clock=self.clock) as store:
                request = await store.get("default", name)
                return await store.write_status(request, with_verified(request, [Verified(reviewer, groups=groups)]))

        return asyncio.run(verified())

    def audit(self, *records: dict[str, Any]) -> Path:
        """Append linked records to the home's audit log; `age` in seconds, else as a sidecar writes."""
        log = self.path / "sidecar" / "audit" / "000001.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        chain = Chain("epoch-1")
        for line in log.read_bytes().splitlines() if log.exists() else ():
            chain.accept(line + b"\n")
        with log.open("ab") as file:
            for record in records:
                fields = {"agent_id": "default/deploy/coder/coder-1", **record}
                time = self.clock.now - timedelta(seconds=fields.pop("age", 0))
                line = chain.peek(RecordKind(fields.pop("kind")), time, fields)
                chain.accept(line)
                file.write(line)
        return log

    def now_is(self, name: str, namespace: str = "default") -> ApprovalRequest:
        """The request as stored."""

        async def read() -> ApprovalRequest:
            async with SQLiteStore.open(self.path / "hitl.db", clock=self.clock) as store:
                return await store.get(namespace, name)

        return asyncio.run(read())

    async def _request(
        self,
        name: str,
        spec: RequestSpec,
        age: float,
        namespace: str,
        then: Step | None,
    ) -> ApprovalRequest:
        now = self.clock.now
        self.clock.now = now - timedelta(seconds=age)
        async with SQLiteStore.open(self.path / "hitl.db", clock=self.clock) as store:
            expires = self.clock.now + timedelta(seconds=spec.timeout)
            stored = await store.create(namespace, name, spec, RequestStatus(expiration_time=expires))
            if then is not None:
                self.clock.now += timedelta(seconds=1)
                stored = await then(store, stored, self.clock)
        self.clock.now = now
        return stored

    def hitl(self, *words: str, columns: int = 100, **environment: str) -> Done:
        """Run `hitl` in this process: fast, for what is about words and shapes."""
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self._environment(columns, environment), clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            code = run(words)
        return Done(code, out.getvalue(), err.getvalue())

    def process(self, *words: str, typed: str = "", columns: int = 100, **environment: str) -> Done:
        """Run `hitl` as a process of its own: for what is about streams, exit codes and start-up."""
        done = subprocess.run(
            [str(HITL), *words],
            input=typed,
            capture_output=True,
            text=True,
            env=self._environment(columns, environment),
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def _environment(self, columns: int, more: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HITL_")}
        return {**kept, "HITL_HOME": str(self.path), "COLUMNS": str(columns), "TZ": "UTC", **more}


# What may become of a request, by the functions that decide it in the control plane.


async def expired(store: SQLiteStore, request: ApprovalRequest, clock: Clock) -> ApprovalRequest:
    """Its time ran out."""
    clock.now = request.created + timedelta(seconds=request.spec.timeout)
    return await store.write_status(request, expire(request, clock.now))


async def cancelled(store: SQLiteStore, request: ApprovalRequest, clock: Clock) -> ApprovalRequest:
    """The agent withdrew it."""
    message = "the agent withdrew it: no longer wanted"
    return await store.write_status(request, cancel(request, clock.now, CancelReason.WITHDRAWN, message))


def decided(kind: DecisionKind, reviewer: str, reason: str = "", category: Category | None = None) -> Step:
    """One verified decision ends it; an approved one is not picked up."""

    async def step(store: SQLiteStore, request: ApprovalRequest, clock: Clock) -> ApprovalRequest:
        decision = Decision(reviewer, kind, request.spec.digest, request.uid, reason=reason, category=category)
        request = await store.decide(request.namespace, request.name, decision)
        groups = tuple(group for each in request.spec.requirements for group in each.any_of)
        request = await store.write_status(request, with_verified(request, [Verified(reviewer, groups=groups)]))
        found = settle(request, clock.now)
        status = approve_unheld(request, clock.now) if found.outcome is Outcome.READY else found.status
        assert status is not None
        return await store.write_status(request, status)

    return step


def released(reviewer: str) -> Step:
    """Approved and picked up."""

    async def step(store: SQLiteStore, request: ApprovalRequest, clock: Clock) -> ApprovalRequest:
        request = await decided(DecisionKind.APPROVED, reviewer)(store, request, clock)
        consumed = consume(request, clock.now, digest=request.spec.digest, by="pod-1/epoch-1")
        assert consumed.status is not None
        return await store.write_status(request, consumed.status)

    return step
