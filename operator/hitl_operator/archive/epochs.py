"""How many epochs one pod may hand over: each is noted when its day goes, so what one makes up must be bounded (B5)."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic as seconds
from typing import Final

from hitl.audit.chain import AuditRecord
from hitl.errors import InvalidInput
from hitl_operator.pacing import Buckets

LONGEST_EPOCH: Final = 128
"""Characters; ours have sixteen, and each goes into a checkpoint. A longer one is archived and vouched for by none."""
MOST_AT_ONCE: Final = 256
"""Epochs of one pod that are taken without waiting: more than a container that crashes all day has in most of one."""
A_DAY: Final = 864
"""In the long run. A container that crashes is started again every five minutes, which makes 288."""
_MOST_PODS: Final = 10_000
_MOST_KNOWN: Final = 16  # of one pod, the newest: a sidecar hands over one after the other
_HEAD: Final = b'{"epoch":"'
_NAME: Final = b'"epoch"'


@dataclass(frozen=True, slots=True)
class Named:
    """What lines say: their epochs, each once, as they came, and how many lines had to be parsed to know."""

    epochs: tuple[str, ...]
    parsed: int


def named_in(lines: bytes) -> Named:
    """The epochs of whole lines as any reader will find them. What is no record has none."""
    found: dict[str, None] = {}
    parsed, mark = 0, b""
    for line in lines[:-1].split(b"\n"):
        # As our sidecars write it, each line begins like the one before. That is believed only where no second
        # "epoch", nor one that is spelt with escapes, can stand behind it.
        if mark and line.startswith(mark) and line.rfind(_NAME) == 1 and b"\\u" not in line:
            continue
        parsed += 1
        try:
            epoch = AuditRecord.parse(line).epoch
        except InvalidInput:
            continue
        if len(epoch) <= LONGEST_EPOCH:
            found[epoch] = None
            begins = _HEAD + epoch.encode() + b'",'
            mark = begins if line.startswith(begins) else b""
    return Named(tuple(found), parsed)


class Epochs:
    """What each pod has left. `take` before lines are written, `know` when they are, `give_back` when they are not."""

    def __init__(self, monotonic: Callable[[], float] = seconds) -> None:
        self._left: Buckets[str] = Buckets(MOST_AT_ONCE, A_DAY / 86400, most=_MOST_PODS, monotonic=monotonic)
        self._known: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def take(self, pod: str, epochs: Sequence[str]) -> int | None:
        """How many of them are new and were counted; None: the pod has not that many left."""
        known = self._known.get(pod, ())
        new = sum(epoch not in known for epoch in epochs)
        return new if not new or self._left.take(pod, new) else None

    def give_back(self, pod: str, taken: int) -> None:
        """They were not written, and will come again."""
        self._left.give_back(pod, taken)

    def know(self, pod: str, epochs: Sequence[str]) -> None:
        """They were written; more of them costs nothing."""
        known = self._known.setdefault(pod, OrderedDict())
        self._known.move_to_end(pod)
        for epoch in epochs:
            known[epoch] = None
            known.move_to_end(epoch)
        while len(known) > _MOST_KNOWN:
            known.popitem(last=False)
        if len(self._known) > _MOST_PODS:
            self._known.popitem(last=False)
