"""A kopf that does not end keeps neither the next one nor the end of the replica waiting (I13)."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from cluster.gated_pods import until
from hitl.kube.access import Access
from hitl_operator.cluster.kopf_watch import KopfWatch

pytestmark = pytest.mark.timeout(120)


class Plugin:
    """A credential plugin that never answers before it is released; kopf's loop cannot end while it runs."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.released = threading.Event()

    def held(self) -> str | None:
        return None

    def fetch(self) -> str:
        self.asked.release()
        self.released.wait(90)
        return ""

    def drop(self) -> None:
        return


def kopfs() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "kopf"]


@pytest.fixture
def plugin() -> Iterator[Plugin]:
    plugin = Plugin()
    yield plugin
    plugin.released.set()
    for thread in kopfs():
        thread.join(60)
        assert not thread.is_alive()


async def test_I13_a_kopf_that_does_not_end_is_left_behind(plugin: Plugin) -> None:
    """I13: asked to begin anew, there is another one within seconds; asked to end, it has ended within seconds."""
    watch = KopfWatch(Access("http://127.0.0.1:9", bearer=plugin), lambda *_: None)
    running = asyncio.create_task(watch.run())
    assert await asyncio.to_thread(plugin.asked.acquire, timeout=60)
    watch.restart()
    await until(lambda: len(kopfs()) == 2)
    began = time.monotonic()
    running.cancel()
    async with asyncio.timeout(30):
        await asyncio.wait([running])
    assert running.cancelled()
    assert time.monotonic() - began < 30
