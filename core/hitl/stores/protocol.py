"""What every store of approval requests promises. `tests/stores/contract` checks each promise on each store."""

from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, Self, TypeAlias

from hitl.approvals.requests import ApprovalRequest, Condition, Decision, Note, RequestSpec, RequestStatus, State

Known: TypeAlias = Callable[[str, str, str], bool]


class Watch(AsyncIterable[ApprovalRequest], Protocol):
    """A stream of changes. It ends by being closed, or when its store is; dropping it closes it too.

    StoreUnavailable says that it could not look this time; the next step of the same watch goes on without a gap.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> ApprovalRequest: ...

    async def aclose(self) -> None:
        """End it; whoever waits for its next change gets the end of the stream. Twice does no harm."""
        ...


@dataclass(frozen=True, slots=True)
class Unread:
    """A request in the store that this release cannot read, as much of it as stands there whatever is written in it.

    Attributes:
        state: as its conditions say.
        ended: the one by which it ended; None: it is open.
        ends: when its time is up, at most 7 days after it was made.
        why: what could not be read.
    """

    namespace: str
    name: str
    uid: str
    version: str
    state: State
    ended: Condition | None
    ends: datetime
    why: str

    @property
    def handle(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class RequestReader(Protocol):
    """What both sides may do. Every method raises StoreUnavailable where the store cannot answer now."""

    async def get(self, namespace: str, name: str) -> ApprovalRequest:
        """The request as it is now, read live. NotFound if there is none."""
        ...

    async def list(self, namespace: str | None = None, *, pending_only: bool = False) -> list[ApprovalRequest]:
        """All requests of a namespace (None: of all), oldest first, then by namespace and name.

        pending_only: Pending and Approved ones.
        """
        ...

    def watch(self, namespace: str | None = None, *, known: Known | None = None) -> Watch:
        """Each request whenever it was created or changed after the call; every change is seen, the last one always is.

        known: asked about (namespace, name, version) from any thread; where it says True the caller has that very
        picture, as of what it wrote itself, and need not get it again.

        "After the call" means that `watch` first and `list` second misses nothing. Several changes between two looks
        may arrive as one. A deletion is not reported: whoever follows one request finds NotFound at his next look.
        """
        ...


class ApprovalStore(RequestReader, Protocol):
    """The operator's side: the only one that creates requests and writes outcomes."""

    async def create(self, namespace: str, name: str, spec: RequestSpec, status: RequestStatus) -> ApprovalRequest:
        """Store a new request; the store gives uid, version and creation time. AlreadyExists if the name is taken.

        The status is that of an opening (`opening.first_status`): a store that stamps times itself, or cannot take spec
        and status in one write, derives its terms from spec and creation time.
        """
        ...

    async def write_status(self, request: ApprovalRequest, status: RequestStatus) -> ApprovalRequest:
        """Compare-and-set: write `status` if `request.version` is still the stored one.

        Conflict if it is not; NotFound if the request is gone; Refused if the life cycle forbids the step
        (`approvals.transitions.guard`), whoever asks.
        """
        ...

    async def delete(self, request: ApprovalRequest) -> None:
        """Remove it, whatever its version. NotFound if it is gone or another one (uid) has its name by now.

        Only clean-up calls this, after the archive has it.
        """
        ...

    async def open_of(self, namespace: str, workload: str) -> list[ApprovalRequest]:
        """One workload's Pending and Approved requests, oldest first, whoever opened them: for its bound (B5)."""
        ...

    async def denied_since(self, namespace: str, workload: str, since: datetime) -> list[ApprovalRequest]:
        """One workload's requests that became Denied at or after `since`, oldest denial first: for cooldown (B4)."""
        ...


class EndingStore(Protocol):
    """For what can be neither read nor judged: the operator may end a request whatever stands in it (I13)."""

    async def end(self, namespace: str, name: str, ended: Condition) -> bool:
        """Write this outcome (Expired or Cancelled), state and time, and nothing else; nothing else is even read.

        Returns:
            False where it has ended already, or was approved after all: NotDecided is said of what is pending.

        Raises:
            HitlError: NotFound; Conflict: somebody wrote meanwhile; all else: it stands there as it did.
        """
        ...


class ReviewerStore(RequestReader, Protocol):
    """The reviewer's side: adds exactly one's own entry, nothing else."""

    async def decide(self, namespace: str, name: str, decision: Decision) -> ApprovalRequest:
        """Append one decision, stamping its time.

        NotFound; NoLongerPending once an outcome is True; Refused for a second decision of one reviewer;
        InvalidDecision where digest or uid are not the request's.
        """
        ...

    async def note(self, namespace: str, name: str, note: Note) -> ApprovalRequest:
        """Append one note, stamping its time. Errors as `decide`; Refused past eight notes of one reviewer."""
        ...
