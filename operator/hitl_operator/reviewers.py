"""The people of a home as they are now, and the policies that wait for people who are not there."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hitl.errors import InvalidPeople
from hitl.policy.spec import Policy
from hitl.stores.people import Person, read_reviewers
from hitl_operator.logs import Log

_log = Log(__name__)


class Reviewers:
    """Follows ``reviewers.yaml``.

    Attributes:
        version: counts how often other people, or the same with other groups or keys, were there.
    """

    def __init__(self, path: Path) -> None:
        self.version = 0
        self._now: Mapping[str, Person] | None = None
        self._path = path
        self._seen: object = ()

    def now(self) -> Mapping[str, Person] | None:
        """The people by case-folded name, as the file has them this moment: who was just added may vote at once.

        None while the file cannot be read: then no new vote is judged, and none is lost.
        """
        mark = self._mark()
        if mark != self._seen:
            self._seen = mark
            self._read()
        return self._now

    def _read(self) -> None:
        before = self._now
        try:
            self._now = read_reviewers(self._path)
        except InvalidPeople as error:
            self._now = None
            _log.error("reviewers-refused", problem=error, meaning="no vote counts until this is mended")
        if self._now != before:
            self.version += 1

    def _mark(self) -> object:
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def unmanned(policies: Iterable[Policy], people: Mapping[str, Person]) -> dict[str, tuple[str, ...]]:
    """By policy: the requirements' groups of which none has a person in it. Requests that need them will expire."""
    manned = {group for person in people.values() for group in person.groups}
    found: dict[str, tuple[str, ...]] = {}
    for policy in policies:
        approval = policy.approval
        asked = [*approval.requirements, *approval.multi_factor_requirements]
        asked += [requirement for rule in policy.rules for requirement in rule.requirements or ()]
        empty = [
            " or ".join(requirement.any_of)
            for requirement in asked
            if (requirement.any_of and manned.isdisjoint(requirement.any_of)) or not people
        ]
        found[str(policy.ref)] = tuple(dict.fromkeys(text or "anyone" for text in empty))
    return found
