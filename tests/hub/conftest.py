"""A world with one hub, for stories about holds and releases."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hubs import HubHere, Sidecar, World


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="hitl-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def world(folder: Path) -> AsyncIterator[World]:
    """A home with ana and bo, both leads, and cy, who is in no group that matters."""
    world = World(folder)
    for name, group in (("ana", "leads"), ("bo", "leads"), ("cy", "trainees")):
        world.person(name, group)
    yield world
    await world.aclose()


@pytest.fixture
async def hub(world: World) -> HubHere:
    return await world.hub()


@pytest.fixture
async def sidecar(world: World, hub: HubHere) -> Sidecar:
    """A sidecar of deploy/support that has its config."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    return sidecar
