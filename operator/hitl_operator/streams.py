"""How many streams one pod may keep open: few, and the newest always gets in (SECURITY B5, F3)."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

MOST: Final = 3
"""Of each kind and pod. A sidecar has one; one that was started anew has another beside what is left of the first."""


class Streams:
    """Open streams of one kind, by pod."""

    def __init__(self) -> None:
        self._open: dict[str, list[asyncio.Event]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    @contextmanager
    def opened(self, pod: str) -> Iterator[asyncio.Event]:
        """For as long as a stream of this pod is open; it has to end when the event is set: newer ones took its place.

        Never refused: whoever comes back after a crash must not wait until the hub has noticed it.
        """
        crowded = asyncio.Event()
        streams = self._open.setdefault(pod, [])
        streams.append(crowded)
        if len(streams) > MOST:
            streams.pop(0).set()
        try:
            yield crowded
        finally:
            if crowded in streams:
                streams.remove(crowded)
            if not streams and self._open.get(pod) is streams:
                del self._open[pod]
