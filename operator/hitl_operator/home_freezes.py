"""What is frozen in a home, followed while it changes: the standalone hub's side of `hitl freeze`."""

from datetime import datetime
from pathlib import Path
from typing import Final

from hitl.policy.freezes import Freeze, frozen_words
from hitl.stores.freezes import Unreadable, in_force, read_freezes
from hitl_operator.freezing import Frozen
from hitl_operator.logs import Log
from hitl_operator.metrics import HubMetrics
from hitl_operator.sources import ConfigBook

_log = Log(__name__)

_UNREADABLE: Final = "freezes.json of this home"


class HomeFreezes:
    """Keeps the freezes of a `ConfigBook` in step with a file.

    Args:
        book: has a generation already.
        path: the file; it need not be there.
        namespace: of the home.
    """

    def __init__(self, book: ConfigBook, path: Path, namespace: str, metrics: HubMetrics | None = None) -> None:
        self._book = book
        self._path = path
        self._namespace = namespace
        self._metrics = metrics
        self._seen: tuple[int, int, int] | None = None
        self._written: tuple[Freeze, ...] = ()

    def look(self, now: datetime) -> None:
        """One look at file and clock; cheap where neither says anything new."""
        marks = self._marks()
        if marks != self._seen:
            # A file that was written within one tick of a look could change again without other marks; the writer
            # replaces it, so its inode is another one.
            self._seen = marks
            self._written = self._read()
        frozen = tuple(Frozen(each, self._namespace) for each in in_force(self._written, now))
        if frozen == self._book.frozen or self._book.generation is None:
            return
        before = self._book.frozen
        for each in (one for one in frozen if one not in before):
            _log.warning("frozen", name=each.freeze.name, says=frozen_words(each.freeze))
        for each in (one for one in before if one not in frozen):
            _log.warning("freeze-ended", name=each.freeze.name, says=frozen_words(each.freeze))
        self._book.publish(self._book.generation, frozen)
        if self._metrics is not None:
            self._metrics.count_freezes(frozen)

    def _read(self) -> tuple[Freeze, ...]:
        """What is written; everything is stopped where that cannot be told."""
        try:
            return read_freezes(self._path)
        except Unreadable as error:
            _log.error("freezes-unreadable", problem=error, meaning="every call is refused until that is mended")
            reason = "it cannot be read, so everything is stopped until it is corrected or removed"
            return (Freeze("unreadable", self._namespace, "unreadable", 1, _UNREADABLE, reason),)

    def _marks(self) -> tuple[int, int, int]:
        try:
            found = self._path.lstat()
        except OSError as error:
            return 0, error.errno or 0, 0
        return max(found.st_mtime_ns, found.st_ctime_ns), found.st_size, found.st_ino
