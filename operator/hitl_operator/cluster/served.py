"""Reads from the API server what guards votes, and what of it is not as shipped (SECURITY C4)."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.errors import ApiError
from hitl.kube.api import LIST_METADATA, KubeAPI
from hitl.kube.comparison import KINDS, Guard, collection, difference, digest_of
from hitl_operator.cluster.enforcement_record import Mark

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Touched:
    """What tells whether anybody touched a guard: equal means that nobody did."""

    uid: str
    generation: int


@dataclass(frozen=True, slots=True)
class Listed:
    """The guards at one moment, as far as their metadata say.

    Attributes:
        touched: by `Guard.key`; one that is not there is missing.
        versions: resourceVersion of each collection. All of it is read past every cache: it holds what was written
            before the question was put.
    """

    touched: Mapping[str, Touched]
    versions: Mapping[str, int]

    def untouched_since(self, marks: Mapping[str, Mark]) -> bool:
        """Whether every guard of `marks` is still the very one that was verified."""
        return all(self.touched.get(key) == Touched(mark.uid, mark.generation) for key, mark in marks.items())


@dataclass(frozen=True, slots=True)
class Served:
    """The guards as they are.

    Attributes:
        marks: of the vital ones that are there.
        problems: by `Guard.key`: how it differs from what was shipped, for people; only those that do.
    """

    listed: Listed
    marks: Mapping[str, Mark]
    problems: Mapping[str, str]


class Guards:
    """The guards of one installation, and what was last read of each."""

    def __init__(self, api: KubeAPI, guards: Iterable[Guard]) -> None:
        self.all = tuple(guards)
        self.vital = tuple(guard for guard in self.all if guard.is_vital)
        self._api = api
        self._read: dict[str, tuple[Touched, str, str]] = {}

    def names(self, kind: str) -> frozenset[str]:
        """Names of the guards of one kind."""
        return frozenset(guard.name for guard in self.all if guard.kind == kind)

    async def list(self) -> Listed:
        """Read the metadata of all of them, past every cache. ApiError, StoreUnavailable."""
        pages = await asyncio.gather(*(self._list(kind) for kind in KINDS))
        touched = {key: found for _, each in pages for key, found in each.items()}
        return Listed(touched, {kind: version for kind, (version, _) in zip(KINDS, pages, strict=True)})

    async def look(self) -> Served:
        """Read all of them and compare those anew that were touched. ApiError, StoreUnavailable."""
        listed = await self.list()
        for guard in self.all:
            if listed.touched.get(guard.key) != self._touched_when_read(guard):
                await self._compare(guard)
        vital = {guard.key for guard in self.vital}
        return Served(
            listed,
            {
                key: Mark(was.uid, was.generation, digest)
                for key, (was, digest, _) in self._read.items()
                if key in vital
            },
            {key: problem for key, (_, _, problem) in self._read.items() if problem}
            | {guard.key: difference(guard, None) for guard in self.all if guard.key not in self._read},
        )

    def _touched_when_read(self, guard: Guard) -> Touched | None:
        read = self._read.get(guard.key)
        return None if read is None else read[0]

    async def _compare(self, guard: Guard) -> None:
        try:
            stored = await self._api.get(guard.path)
        except ApiError as error:
            if error.status != 404:
                raise
            self._read.pop(guard.key, None)
            return
        self._read[guard.key] = (touched(stored["metadata"]), digest_of(stored), difference(guard, stored))

    async def _list(self, kind: str) -> tuple[int, dict[str, Touched]]:
        names = self.names(kind)
        only = {"fieldSelector": f"metadata.name={next(iter(names))}"} if len(names) == 1 else {}
        after, version, found = "", 0, {}
        while True:
            page = await self._api.list_page(collection(kind), only, limit=_PAGE, after=after, accept=LIST_METADATA)
            version = version or int(page["metadata"]["resourceVersion"])
            for item in page.get("items") or ():
                if (name := item["metadata"]["name"]) in names:
                    found[f"{kind}/{name}"] = touched(item["metadata"])
            after = page["metadata"].get("continue", "")
            if not after:
                return version, found


def touched(metadata: Mapping[str, Any]) -> Touched:
    """Of an object's metadata."""
    return Touched(metadata["uid"], metadata.get("generation", 0))
