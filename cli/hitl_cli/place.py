"""Where a run of the program works, and who acts there: a home on this machine, or a cluster.

Commands ask the place and never which one it is. `Place` is what can be said without looking, `Desk` is an open place:
its requests, and the person who stands at it.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from hitl.approvals.requests import ApprovalRequest, Decision, Note, NoteType
from hitl.approvals.requirements import Progress
from hitl.errors import HitlError
from hitl.policy.calls import Agent
from hitl.stores.protocol import ReviewerStore
from hitl_cli.standing import Standing, Viewer
from hitl_cli.wishes import Wish

if TYPE_CHECKING:
    from hitl_cli.policies import InForce  # at run time it would bring the whole compiler
    from hitl_cli.told import Activity


class Voter(Protocol):
    """The person who decides: makes their decision as this place wants it, and says what became of a refused one."""

    @property
    def viewer(self) -> Viewer:
        """What they may."""
        ...

    def decision(self, request: ApprovalRequest, wish: Wish) -> Decision:
        """The decision, ready to be stored. Forbidden where it could not count."""
        ...

    def note(self, request: ApprovalRequest, kind: NoteType, *, minutes: int = 0, reason: str = "") -> Note:
        """The note, ready to be stored. Forbidden where it could not count."""
        ...

    def refusal(self, request: ApprovalRequest, verb: str, standing: Standing) -> str:
        """Why they may not, and what to do next."""
        ...

    def refused(self, request: ApprovalRequest, error: HitlError) -> HitlError:
        """What the store said against the decision, in words for this person."""
        ...

    def not_counted(self, request: ApprovalRequest, why: str) -> str:
        """The hub took the decision and does not count it: why, and what to do next."""
        ...


class Desk(Protocol):
    """An open place."""

    @property
    def store(self) -> ReviewerStore:
        """The requests, reviewer's side."""
        ...

    async def waiting(self) -> list[ApprovalRequest]:
        """The requests that nobody has decided yet, those past their time included."""
        ...

    async def around(self, names: Sequence[str], *, decides: bool = False) -> list[ApprovalRequest]:
        """Every request that these names, or beginnings of names, could mean, and all that wait.

        `decides`: the caller means to decide; who may not even look is told which role they need for that.
        """
        ...

    async def everything(self) -> list[ApprovalRequest]:
        """All requests of the place, ended ones included, oldest first."""
        ...

    async def viewer(self, requests: Sequence[ApprovalRequest], *verbs: str) -> Viewer | None:
        """Who looks at these requests and whether they may do this to them; None where that is not plain."""
        ...

    async def voter(self, requests: Sequence[ApprovalRequest], *verbs: str) -> Voter:
        """Who decides on these requests. Forbidden where that is not plain."""
        ...

    async def unmanned(self, requests: Sequence[ApprovalRequest]) -> list[str]:
        """Lines that warn of requests which nobody can decide, with the next step; empty where all is well."""
        ...

    async def quiet(self, viewer: Viewer | None) -> list[str]:
        """Why it is believable that nothing waits: a sentence on today, then lines about the one who looks."""
        ...


class Place(Protocol):
    """Where a run works."""

    @property
    def namespace(self) -> str | None:
        """The namespace that is looked in; None: all of them."""
        ...

    @property
    def where(self) -> str:
        """The place as the end of "in …"."""
        ...

    @property
    def anyone(self) -> str:
        """People who may decide where no group is named, as the end of "1 person …"."""
        ...

    def hint(self, *words: str, about: ApprovalRequest | None = None) -> str:
        """A command to type next, with those options of this run that it needs again."""
        ...

    def progress(self, request: ApprovalRequest) -> tuple[Progress, ...]:
        """How far the requirements have come, as people here see it."""
        ...

    async def unheard(self, request: ApprovalRequest) -> list[str]:
        """Lines on a vote that nobody has looked at yet: what is known of why, and what to do."""
        ...

    def open(self, *, viewed: bool = True, follows: bool = False) -> AbstractAsyncContextManager[Desk]:
        """Open it. `viewed` False: nobody will be asked who looks; `follows`: changes will be watched."""
        ...

    async def in_force(self, agent: Agent, *, labels_known: bool) -> "InForce":
        """The policies that decide about this agent's calls now, as far as they can be read."""
        ...

    def activity(self) -> "Activity":
        """What ran, or was refused, without asking anyone."""
        ...
