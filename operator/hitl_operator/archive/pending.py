"""What the next checkpoint will say; bounded, whatever sidecars make up."""

from dataclasses import dataclass, field
from typing import Final

from hitl.audit.checkpoint import ChainHead, Expired, KeptFile

_MOST_CONFLICTS: Final = 512  # contradicting heads between two checkpoints; two are enough to be found out
_MOST_SAID: Final = 20_000
LARGEST: Final = 1000  # entries of one line


@dataclass(frozen=True, slots=True)
class Entries:
    """Of one checkpoint."""

    heads: tuple[ChainHead, ...] = ()
    files: tuple[KeptFile, ...] = ()
    expired: tuple[Expired, ...] = ()


@dataclass(slots=True)
class Pending:
    """Heads that sidecars said, newest of each chain; and those that contradict."""

    _said: dict[tuple[str, str], ChainHead] = field(default_factory=dict)
    _conflicts: list[ChainHead] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._said or self._conflicts)

    def said(self, head: ChainHead) -> None:
        """A sidecar said so."""
        chain = head.pod, head.epoch
        known = self._said.get(chain)
        if known is not None and _contradict(known, head):
            self._keep_conflict(known, head)  # both: by the time of the next checkpoint `known` may be an older one
        elif known is not None or len(self._said) < _MOST_SAID:
            self._said[chain] = head

    def take(self) -> list[Entries]:
        """Everything, in lines of a bearable size; it is gone from here."""
        heads = list(dict.fromkeys([*self._said.values(), *self._conflicts]))
        self._said, self._conflicts = {}, []
        return [Entries(heads=tuple(heads[at : at + LARGEST])) for at in range(0, len(heads), LARGEST)]

    def give_back(self, entries: list[Entries]) -> None:
        """They could not be written: said again, unless something newer was; what contradicts is kept in any case."""
        given: dict[tuple[str, str, int], ChainHead] = {}
        for head in (head for each in entries for head in each.heads):
            other = given.setdefault((head.pod, head.epoch, head.sequence), head)
            known = self._said.setdefault((head.pod, head.epoch), head)
            for before in (other, known):
                if _contradict(before, head):
                    self._keep_conflict(before, head)

    def _keep_conflict(self, one: ChainHead, other: ChainHead) -> None:
        new = [head for head in (one, other) if head not in self._conflicts]
        if len(self._conflicts) + len(new) <= _MOST_CONFLICTS:
            self._conflicts += new


def _contradict(one: ChainHead, other: ChainHead) -> bool:
    """Of two heads of one chain: whether no honest sidecar said both."""
    return one.sequence == other.sequence and one.hash != other.hash
