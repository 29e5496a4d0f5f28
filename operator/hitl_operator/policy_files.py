"""Policies from YAML files, followed while they change (DESIGN 18, SECURITY C6).

The set changes whole or not at all. It is read once it has stood still for one look, so that a file caught half written
is neither obeyed nor complained about. What does not compile is reported with file and line and changes nothing; left
standing for `invalidGrace`, it turns the generation in force strict, and that clock outlives a restart. So does a set
that lost its last policy: a file that went missing must not loosen the gate.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from hitl.errors import Unavailable
from hitl.wire.identity import Identity
from hitl_operator.last_good import LastGood, read_last_good, write_last_good
from hitl_operator.logs import Log
from hitl_operator.policy_set import Trouble, Troubles, accept, files_of, policies_of, read_texts
from hitl_operator.sources import ConfigBook, Floor, Generation

LOOK_EVERY = 0.1  # seconds; a change is in force after two looks
# A file written within one clock tick of a look could change again without a newer time stamp: look until it is older.
_YOUNG = 1_000_000_000  # nanoseconds

_log = Log(__name__)


class PolicyFiles:
    """Keeps a `ConfigBook` in step with files and folders.

    Args:
        book: gets every accepted generation.
        paths: policy files, or folders of them.
        settings: the operator's settings file, if any.
        memory: where the last good generation is kept.
        identity: a pod of the namespace served.
    """

    def __init__(
        self, book: ConfigBook, paths: Sequence[Path], *, settings: Path | None, memory: Path, identity: Identity
    ) -> None:
        self.troubles: tuple[Trouble, ...] = ()
        self.taken: datetime | None = None
        self._book = book
        self._paths = tuple(paths)
        self._settings = settings
        self._memory = memory
        self._identity = identity
        self._kept: LastGood | None = None
        self._before: LastGood | None = None
        self._read = b""
        self._seen: _Marks | None = None
        self._candidate: _Marks | None = None

    def start(self, now: datetime) -> None:
        """Take what stands in the files; where that is not fine, what was good in them before the restart.

        What this home accepted from other files is no answer to problems in these: then nothing is in force.
        """
        try:
            self._before = read_last_good(self._memory)
        except Unavailable as error:
            _log.error("last-good-unusable", problem=error)
        before = self._before
        if before is not None and before.paths == self._resolved():
            self._kept = before
        self._candidate = self._marks()
        self.look(now)
        if self._book.generation is not None or before is None:
            return
        if self._kept is None:
            _log.error(
                "last-good-of-other-files",
                files=", ".join(before.paths) or "unknown",
                meaning="the config that this home ran before came from elsewhere, so it is not used for these files",
            )
            return
        since = self._kept.accepted
        _log.warning(
            "config-from-last-good",
            meaning=f"NOT these files: {', '.join(self._kept.paths)}, running generation {self._kept.number} "
            f"of {since.isoformat(timespec='seconds') if since else 'unknown time'}; mend what is named above",
        )
        self.taken = now
        self._book.publish(self._kept.generation)
        self._grow_strict(now)

    def look(self, now: datetime) -> None:
        """One look; reads the files if they changed and then stood still since the look before."""
        marks = self._marks()
        if marks != self._seen:
            if marks != self._candidate:
                self._candidate = marks
                return
            self._take(now)
            youngest = max((mark[1] for mark in marks), default=0)
            self._seen = marks if now.timestamp() * 1e9 - youngest > _YOUNG else None
        self._grow_strict(now)

    def _take(self, now: datetime) -> None:
        try:
            files = files_of(self._paths)
            texts = read_texts([*files, *([self._settings] if self._settings else [])])
            content = sha256(repr(texts).encode()).digest()
            if content == self._read:
                return
            self._read = content
            settings = (self._settings, texts.pop(self._settings)) if self._settings else None
            generation = accept(texts, settings, self._identity, self._before.generation if self._before else None)
            removed = self._removed(generation)
        except Troubles as refused:
            self._refuse(refused.found, now)
            return
        self.troubles, self.taken = (), now
        number = self._before.number + 1 if self._before else 1
        self._kept = self._before = LastGood(generation, self._resolved(), number, accepted=now)
        write_last_good(self._memory, self._kept)
        self._book.publish(generation)
        for policy in removed:
            _log.warning(
                "policy-removed",
                policy=policy,
                meaning="its rules no longer apply; put its file back if that was not meant",
            )
        _log.info("config-accepted", version=self._book.version, resources=len(generation.entries))

    def _removed(self, generation: Generation) -> tuple[str, ...]:
        """The policies that were in force and are gone. Troubles where none is left, or where there is nothing at all.

        Whoever means to go without any policy says so by starting anew; a file that went missing does not.
        """
        place = ", ".join(map(str, self._paths))
        had, left = policies_of(self._kept.generation) if self._kept else (), policies_of(generation)
        if had and not left:
            raise Troubles(
                [
                    Trouble(
                        place,
                        f"no policy is left, and {', '.join(had)} was in force, which stays; put its file back. To go "
                        f"by the built-in policy from now on, remove {self._memory} and start again",
                    )
                ]
            )
        if not generation.entries:
            raise Troubles([Trouble(place, "no policy in there; run `hitl init` to write a first one, or correct -f")])
        return tuple(policy for policy in had if policy not in left)

    def _refuse(self, found: tuple[Trouble, ...], now: datetime) -> None:
        if found == self.troubles:
            return
        self.troubles = found
        for trouble in found:
            _log.error("config-refused", at=trouble.place, problem=trouble.message)
        if self._kept is None:
            _log.error(
                "config-missing",
                meaning="there is no older generation of these files: every call is refused until this is mended",
            )
        elif self._kept.invalid_since is None:
            self._kept = replace(self._kept, invalid_since=now)
            self._before = self._kept
            write_last_good(self._memory, self._kept)

    def _resolved(self) -> tuple[str, ...]:
        return tuple(sorted({str(path.resolve()) for path in self._paths}))

    def _grow_strict(self, now: datetime) -> None:
        kept, generation = self._kept, self._book.generation
        if kept is None or kept.invalid_since is None or generation is None or generation.floors:
            return
        grace = generation.settings.invalid_grace
        if now >= kept.invalid_since + timedelta(seconds=grace):
            self._book.publish(replace(generation, floors=(Floor(),)))
            _log.error(
                "config-strict",
                since=kept.invalid_since.isoformat(),
                meaning=f"invalid for over {grace} s: what ran unasked now asks a person; mend the files named above",
            )

    def _marks(self) -> "_Marks":
        """What the file system tells about the files without opening them."""
        marks = []
        for path in (*files_of(self._paths), *([self._settings] if self._settings else [])):
            try:
                found = path.stat()
            except OSError as error:
                marks.append((str(path), 0, error.errno or 0, 0))
            else:
                marks.append((str(path), max(found.st_mtime_ns, found.st_ctime_ns), found.st_size, found.st_ino))
        return tuple(marks)


_Marks = tuple[tuple[str, int, int, int], ...]
