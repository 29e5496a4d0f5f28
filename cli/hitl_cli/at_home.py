"""A home on this machine as a place: people stand in reviewers.yaml, and a decision is signed with their key."""

import base64
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hitl.approvals.requests import ApprovalRequest, Decision, Note, NoteType, Proof
from hitl.approvals.requirements import Progress, barred, fold, progress_of
from hitl.errors import Forbidden, HitlError
from hitl.policy.calls import Agent
from hitl.policy.escaping import as_plain
from hitl.policy.verdicts import SecondFactor
from hitl.stores.protocol import ReviewerStore
from hitl_cli.home import Home
from hitl_cli.place import Desk
from hitl_cli.standing import Obstacle, Standing, Viewer
from hitl_cli.wishes import Wish

if TYPE_CHECKING:
    from hitl.stores.people import Person  # at run time it would bring cryptography and yaml, 30 ms
    from hitl_cli.policies import InForce
    from hitl_cli.told import Activity

_PROOF = "ed25519"
_OVERRIDE = "override"
# Signed to see whether a key fits; no decision reads like it.
_PROBE = b"hitl: does this key fit?"


@dataclass(frozen=True, slots=True)
class HomePlace:
    """A home.

    Attributes:
        named: what --home said, if anything: hints repeat it.
        namespace: None: all of them.
        person: --as, else HITL_AS.
    """

    home: Home
    named: str | None
    namespace: str | None
    person: str | None
    now: Callable[[], datetime]

    @property
    def where(self) -> str:
        return f"namespace {self.namespace} of {self.home.path}" if self.namespace else str(self.home.path)

    @property
    def anyone(self) -> str:
        return "of reviewers.yaml"

    def hint(self, *words: str, about: ApprovalRequest | None = None) -> str:  # noqa: ARG002 - a home finds any name
        home = ["--home", self.named] if self.named else []
        return " ".join(["hitl", *words, *home])

    def progress(self, request: ApprovalRequest) -> tuple[Progress, ...]:
        # Nobody can show a second factor here: where a second person may stand in for one, that person is what is open.
        return tuple(
            replace(row, places=row.requirement.approvals + 1)
            if row.requirement.or_second_person and not row.met and row.places == row.requirement.approvals
            else row
            for row in progress_of(request)
        )

    async def unheard(self, request: ApprovalRequest) -> list[str]:  # noqa: ARG002 - the same for all of them
        return [f"Next: {self.hint('dev', '-f', 'DIR')}    (nothing answers at {self.home.hub_socket})"]

    def who(self) -> str | None:
        """Who acts, as far as that is plain: who was named, or the only key in the home."""
        named = self.person or os.environ.get("HITL_AS")
        if named:
            return named
        names = self.home.key_names()
        return names[0] if len(names) == 1 else None

    def need_who(self) -> str:
        """Who acts, or an error that lists who could."""
        who = self.who()
        if who is None:
            names = self.home.key_names()
            known = f"keys are here for {', '.join(names)}" if names else "no key is here yet"
            raise Forbidden(
                f"who decides? Say --as NAME or set HITL_AS; {known}\n"
                f"Add a person: {self.hint('dev', 'reviewer', 'add', 'NAME', '--group', 'GROUP')}"
            )
        return who

    def people(self) -> "dict[str, Person]":
        """Everyone in the home's reviewers.yaml, by case-folded name."""
        if not self.home.reviewers.exists():
            return {}
        from hitl.stores.people import read_reviewers  # noqa: PLC0415 - start-up: brings cryptography and yaml

        return read_reviewers(self.home.reviewers)

    @asynccontextmanager
    async def open(self, *, viewed: bool = True, follows: bool = False) -> AsyncIterator[Desk]:  # noqa: ARG002 - costs nothing here
        from hitl.stores.sqlite import SQLiteStore  # noqa: PLC0415 - start-up: a cluster never needs it

        async with SQLiteStore.open(self.home.need_database(), clock=self.now) as store:
            yield _HomeDesk(self, store)

    async def in_force(self, agent: Agent, *, labels_known: bool) -> "InForce":
        from hitl_cli.policies import InForce, accepted_policies  # noqa: PLC0415 - start-up: brings the whole compiler

        notes = ["note: under the policies that the home's control plane accepted last; others: -f PATH"]
        return InForce(accepted_policies(self.home), agent, labels_known, notes)

    def activity(self) -> "Activity":
        from hitl_cli.feed import HomeActivity  # noqa: PLC0415 - start-up: reads audit logs, which few commands do

        return HomeActivity(self.home, self.namespace, self.hint("audit", "verify"))


class _HomeDesk:
    """An open home: its database."""

    def __init__(self, place: HomePlace, store: ReviewerStore) -> None:
        self._place = place
        self.store = store

    async def waiting(self) -> list[ApprovalRequest]:
        return await self.store.list(self._place.namespace, pending_only=True)

    async def around(self, names: Sequence[str], *, decides: bool = False) -> list[ApprovalRequest]:  # noqa: ARG002 - a few
        return await self.everything()

    async def everything(self) -> list[ApprovalRequest]:
        return await self.store.list(self._place.namespace)

    async def viewer(self, requests: Sequence[ApprovalRequest], *verbs: str) -> Viewer | None:  # noqa: ARG002 - as above
        name = self._place.who()
        return HomeViewer(name, self._place.people()) if name else None

    async def voter(self, requests: Sequence[ApprovalRequest], *verbs: str) -> "HomeVoter":  # noqa: ARG002 - as above
        return HomeVoter(self._place, self._place.need_who())

    async def unmanned(self, requests: Sequence[ApprovalRequest]) -> list[str]:
        people = self._place.people()
        lacking = (group for each in requests for group in _lacking(self._place.progress(each), people, each))
        lines: list[str] = []
        for group in dict.fromkeys(lacking):
            flag = () if group == "anyone" else ("--group", group.split(" or ", maxsplit=1)[0])
            lines += [
                f"warning: too few people in reviewers.yaml may decide ({group}); what needs them will expire.",
                f"  add one: {self._place.hint('dev', 'reviewer', 'add', 'NAME', *flag)}",
            ]
        return lines

    async def quiet(self, viewer: Viewer | None) -> list[str]:
        from hitl_cli.feed import Feed  # noqa: PLC0415 - start-up: only an empty list reads the audit logs
        from hitl_cli.today import today  # noqa: PLC0415

        numbers = today(Feed(self._place.home).fresh(), await self.everything(), self._place.now())
        people = self._place.people()
        if not people:
            return [
                f"Today: {numbers}.",
                f"Nobody may decide here yet: {self._place.hint('dev', 'reviewer', 'add', 'NAME')}",
            ]
        if viewer is None:
            return [f"{numbers}."]
        person = people.get(viewer.name.casefold())
        groups = ", ".join(person.groups) or "no group" if person else "not in reviewers.yaml"
        return [f"Today: {numbers}.", f"You are {viewer.name} ({groups})."]


@dataclass(frozen=True, slots=True)
class HomeViewer:
    """Somebody named, who may be in reviewers.yaml or not."""

    name: str
    people: "Mapping[str, Person]"

    def is_in(self, groups: Sequence[str]) -> bool:
        person = self.people.get(self.name.casefold())
        return person is not None and (not groups or not set(groups).isdisjoint(person.groups))

    def shows(self, factor: SecondFactor) -> bool:  # noqa: ARG002 - a policy that demands one is not accepted here
        return True

    def why_not(self, verb: str, request: ApprovalRequest) -> str:  # noqa: ARG002 - one list of people for every request
        person = self.people.get(self.name.casefold())
        if person is None:
            return f"{self.name} is not in reviewers.yaml"
        if verb == _OVERRIDE and verb not in person.may:
            return f"reviewers.yaml does not say may: [{verb}] for {person.name}"
        return ""


class HomeVoter:
    """A person of this home who decides with their key."""

    def __init__(self, place: HomePlace, name: str) -> None:
        self._place = place
        self._home = place.home
        people = place.people()
        person = people.get(name.casefold())
        if person is None:
            known = ", ".join(each.name for each in people.values()) or "nobody yet"
            raise Forbidden(
                f"{name} may not decide here: not in {self._home.reviewers} (known: {known})\n"
                f"Add a person: hitl dev reviewer add {as_plain(name)} --group GROUP"
            )
        self._person = person
        self.viewer = HomeViewer(person.name, people)

    def decision(self, request: ApprovalRequest, wish: Wish) -> Decision:
        from hitl.approvals.signing import signed_text  # noqa: PLC0415 - start-up: only who decides signs

        self._need_key()
        decision = Decision(
            reviewer=self._person.name,
            decision=wish.kind,
            digest=request.spec.digest,
            request_uid=request.uid,
            reason=as_plain(wish.reason.strip()),
            category=wish.category,
            groups=self._person.groups,
            arguments_patch=wish.patch,
            proof=self._unsigned(),
        )
        return replace(decision, proof=self._signed(decision.proof, signed_text(self._home.uid(), request, decision)))

    def refusal(self, request: ApprovalRequest, verb: str, standing: Standing) -> str:
        if standing.obstacle is Obstacle.PARTY:
            return f"{standing.why_not}; another person must decide {request.name}."
        if verb == _OVERRIDE:
            others = [each.name for each in self._place.people().values() if _OVERRIDE in each.may]
            who = f"Who may: {', '.join(others)}" if others else "Nobody may, until it is written there"
            return f"you may not {verb} {request.name}: {standing.why_not}.\n{who}"
        return (
            f"you may not {verb} {request.name}: {standing.why_not}.\nWho can: {self._place.hint('show', request.name)}"
        )

    def refused(self, request: ApprovalRequest, error: HitlError) -> HitlError:  # noqa: ARG002 - the store says it all
        return error

    def not_counted(self, request: ApprovalRequest, why: str) -> str:
        words = [f"your vote on {request.name} does not count: {why}", self._key_problem()]
        return "\n".join([*filter(None, words), f"Who can: {self._place.hint('show', request.name)}"])

    def note(self, request: ApprovalRequest, kind: NoteType, *, minutes: int = 0, reason: str = "") -> Note:
        from hitl.approvals.signing import signed_note  # noqa: PLC0415 - start-up: only who writes signs

        self._need_key()
        written = sum(fold(each.reviewer) == fold(self._person.name) for each in request.status.notes)
        note = Note(
            reviewer=self._person.name,
            n=written + 1,
            request_uid=request.uid,
            type=kind,
            minutes=minutes,
            reason=as_plain(reason.strip()),
            proof=self._unsigned(),
        )
        return replace(note, proof=self._signed(note.proof, signed_note(self._home.uid(), request, note)))

    def _unsigned(self) -> Proof:
        return Proof(_PROOF, time=self._place.now().replace(microsecond=0))

    def _signed(self, unsigned: Proof | None, text: bytes) -> Proof:
        from hitl.stores.people import sign  # noqa: PLC0415 - start-up: only who decides signs

        assert unsigned is not None, "the time in it is part of the text"
        signature = base64.b64encode(sign(self._home.path, self._person.name, text)).decode()
        return replace(unsigned, signature=signature)

    def _need_key(self) -> None:
        problem = self._key_problem()
        if problem:
            raise Forbidden(f"{problem}\nNothing was recorded: a vote with this key would not count")

    def _key_problem(self) -> str:
        """Where the person's key and the public key that votes are held against do not belong together; else empty."""
        from hitl.stores.people import sign, verify  # noqa: PLC0415 - start-up: only who decides signs

        if verify(self._person, _PROBE, sign(self._home.path, self._person.name, _PROBE)):
            return ""
        key = self._home.people / f"{self._person.name}.key"
        return f"the key {key} does not match the public key that {self._home.reviewers} has for {self._person.name}"


def _lacking(rows: Sequence[Progress], people: "Mapping[str, Person]", request: ApprovalRequest) -> list[str]:
    """Groups of an open place that nobody in reviewers.yaml can fill; ``anyone`` where there is nobody at all."""
    voters = {fold(decision.reviewer) for decision in request.status.decisions} | barred(request.spec)
    free = [person for person in people.values() if fold(person.name) not in voters]
    lacking: list[str] = []
    for row in rows:
        groups = row.requirement.any_of
        able = [person for person in free if not groups or set(groups) & set(person.groups)]
        if len(able) < row.places - len(row.filled_by):
            lacking.append(" or ".join(groups) or "anyone")
    return lacking
