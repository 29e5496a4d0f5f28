"""Everything that can go wrong, as one tree.

    HitlError
    ├── InvalidInput            somebody wrote something we cannot accept; they can mend it
    │   ├── InvalidCall         a tool call that cannot be read in exactly one way
    │   ├── InvalidPolicy       policies or tool servers, with every problem found
    │   ├── InvalidSettings     an operator's settings file
    │   ├── InvalidPeople       reviewers.yaml or a reviewer's key file
    │   ├── InvalidDecision     a decision that the request cannot take (digest, patch, reason)
    │   └── AmbiguousName       a shortened name that could mean several requests
    ├── EvaluationFailed        a rule could not be evaluated: the call is denied, never allowed
    ├── Unavailable             the gate cannot answer now; carries a reason code
    ├── Forbidden               who asks may not do this
    ├── NoLongerPending         the request was decided, expired or withdrawn before
    ├── ApiError                the Kubernetes API server said no; carries its status and reason
    └── StoreError
        ├── NotFound            no such request
        ├── AlreadyExists       a request of that name stands there
        ├── Conflict            somebody else wrote first: read again, decide again
        ├── Refused             the life cycle forbids this write, whoever asks (I5)
        └── StoreUnavailable    the store could not answer: full, locked, damaged, unreachable; nothing was half-written

A policy's "no" is a Verdict and a person's "no" is a Decision, not an exception. An exception means "could not tell",
and every edge turns it into a refusal (I2): gRPC status, exit code or HTTP status, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class HitlError(Exception):
    """Root of the tree. The message is for a person and names the next step."""


class InvalidInput(HitlError):
    """Somebody wrote something that cannot be accepted."""


class InvalidCall(InvalidInput):
    """The call could be read in no way, or in two; nothing ran."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a document, and where.

    Attributes:
        path: where inside the document, e.g. ``spec.rules[2].args.amount.min``; empty for the whole document.
        message: what is wrong and what to do, without the path.
        code: stable code for `hitl check`, e.g. ``HITL101``.
        document: index of the document in its file or list, for finding the line; -1 where there is none.
        severity: ``error``, or ``warning`` for what works but is hardly meant.
    """

    path: str
    message: str
    code: str = "HITL100"
    document: int = -1
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidPolicy(InvalidInput):
    """Policies or tool servers that do not compile; carries every problem, not just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


class InvalidSettings(InvalidInput):
    """The settings file has an unknown key or a value out of range."""


class InvalidPeople(InvalidInput):
    """reviewers.yaml cannot be read in exactly one way, or a reviewer's key file is not fit to sign with."""


class InvalidDecision(InvalidInput):
    """The decision does not fit the request it names."""


class AmbiguousName(InvalidInput):
    """A shortened name fits several requests.

    Attributes:
        candidates: their names, sorted.
    """

    def __init__(self, message: str, candidates: tuple[str, ...]) -> None:
        super().__init__(message)
        self.candidates = candidates


class EvaluationFailed(HitlError):
    """A rule could not be evaluated. Callers deny; nobody allows."""


class Unavailable(HitlError):
    """The gate cannot answer now.

    Attributes:
        reason_code: stable and machine-readable: NO_CONFIG, STALE_CONFIG, HUB_UNREACHABLE, AUDIT_UNWRITABLE, …
    """

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code


class Forbidden(HitlError):
    """The caller is known and may not do this."""


class NoLongerPending(HitlError):
    """The request ended before the caller acted."""


class ApiError(HitlError):
    """The Kubernetes API server answered, and the answer is no. That it could not answer is StoreUnavailable.

    Attributes:
        status: HTTP status, 400 to 499 but 429.
        reason: its word for it: NotFound, AlreadyExists, Conflict, Invalid, Forbidden, Expired, …; may be empty.
        message: its sentence, for people; policies' own messages are in it.
        details: what it says about the object, e.g. ``causes``, each with ``field`` and ``message``.
    """

    def __init__(self, status: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details: Mapping[str, Any] = details or {}


class StoreError(HitlError):
    """The store answered, and the answer is not the one hoped for."""


class NotFound(StoreError):
    """No request of that name."""


class AlreadyExists(StoreError):
    """A request of that name exists; read it and attach, or raise n."""


class Conflict(StoreError):
    """The version given is no longer the stored one."""


class Refused(StoreError):
    """The write would break the life cycle (I5): remove a decision, un-set an outcome, revive an ended request."""


class StoreUnavailable(StoreError):
    """The store could not answer: disk full, locked, damaged, read-only, closed. Names the file and the next step.

    Nothing was half-written. After a failed write only reading again tells whether it was taken.
    """


class Unreadable(StoreUnavailable):
    """The request is there, and is none that this release can read: nothing in it counts, and it can only be ended."""


class TooLarge(StoreUnavailable):
    """An answer is larger than what is read at once; ask for less."""
