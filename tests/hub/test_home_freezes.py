"""The stop button in a home: `hitl freeze` writes it, the hub there obeys, and what cannot be read stops everything."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hubs import World, a_spec, document_of
from test_standalone import Process

from cli.homes import HITL
from hitl.approvals.requests import State
from hitl.policy.freezes import Freeze
from hitl.policy.globs import Glob
from hitl.policy.settings import Settings
from hitl.stores.freezes import FILE, Unreadable, change_freezes, in_force, read_freezes
from hitl_operator.home_freezes import HomeFreezes
from hitl_operator.sources import ConfigBook, Generation

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVER = 120  # seconds after which a test has failed
# The command with more patience: five seconds are for people, while on a machine that others want as well the control
# plane takes longer.
PATIENT = (
    "import sys; from hitl_cli import home_freezes, main; "
    f"home_freezes._PATIENCE = {EVER}; sys.argv[0] = 'hitl'; main.main()"
)


def a_freeze(name: str = "stop", *, until: datetime | None = None, tools: tuple[str, ...] = ()) -> Freeze:
    return Freeze(name, "shop", f"u-{name}", 1, "ana", "INC-88", until, tuple(map(Glob.parse, tools)))


@pytest.fixture
def followed(tmp_path: Path) -> tuple[ConfigBook, HomeFreezes, Path]:
    """A book with a config, and what follows the file."""
    book, path = ConfigBook(), tmp_path / FILE
    book.publish(Generation((), Settings()))
    return book, HomeFreezes(book, path, "shop"), path


@pytest.fixture
async def processes(world: World) -> AsyncIterator[list[Process]]:
    """Hubs as processes, ended with the test."""
    found: list[Process] = []
    yield found
    for each in found:
        await each.end(signal.SIGKILL)


def test_what_is_written_is_in_force_until_its_time(followed: tuple[ConfigBook, HomeFreezes, Path]) -> None:
    """Pressed, it binds from the next look on; over, it does no more, though nobody wrote anything; nor removed."""
    book, freezes, path = followed
    freezes.look(NOON)
    version = book.version
    change_freezes(
        path, lambda known: (*known, a_freeze(until=NOON + timedelta(hours=1)), a_freeze("b", tools=("x/*",)))
    )
    freezes.look(NOON)
    assert [each.freeze.name for each in book.frozen] == ["stop", "b"]
    freezes.look(NOON + timedelta(minutes=59))
    assert book.version == version + 1  # nothing is published where nothing changed
    freezes.look(NOON + timedelta(hours=1))
    assert [each.freeze.name for each in book.frozen] == ["b"]
    change_freezes(path, lambda _known: ())
    freezes.look(NOON)
    assert book.frozen == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema": 2, "freezes": []}',
        '{"schema": 1, "freezes": [{"type": "Freeze"}]}',
        '{"schema": 1, "freezes": [], "thaw": true}',
    ],
)
def test_I2_a_file_that_cannot_be_read_stops_everything(
    followed: tuple[ConfigBook, HomeFreezes, Path], text: str
) -> None:
    """I2: nobody knows what was to be stopped, so every call is; corrected, it says again."""
    book, freezes, path = followed
    path.write_text(text)
    with pytest.raises(Unreadable):
        read_freezes(path)
    freezes.look(NOON)
    assert [(each.freeze.tools, each.namespace) for each in book.frozen] == [((), "shop")]
    path.unlink()
    freezes.look(NOON)
    assert book.frozen == ()


def test_many_who_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each writer takes its turn, and the file is whole whenever it is read."""
    path = tmp_path / FILE
    program = (
        "import sys; from pathlib import Path; from hitl.policy.freezes import Freeze; "
        "from hitl.stores.freezes import change_freezes; "
        "[change_freezes(Path(sys.argv[1]), lambda known, n=n: (*known, "
        "Freeze(f'{sys.argv[2]}-{n}', 'shop', 'u', 1, 'ana', 'why'))) for n in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(path), name]) for name in ("a", "b", "c")]
    try:
        assert [writer.wait(EVER) for writer in writers] == [0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    assert len({each.name for each in read_freezes(path)}) == 60
    assert in_force(read_freezes(path), NOON)


async def test_I8_the_command_stops_a_home_and_thaws_it(world: World, processes: list[Process]) -> None:
    """I8: a sidecar gets it with its config, what waits is cancelled, and a hub that starts anew still obeys."""
    processes.append(await Process.start(world))
    await processes[0].serving()
    sidecar = await world.sidecar(processes[0].address)
    await sidecar.sync()
    held = await sidecar.open(a_spec())
    patient = (sys.executable, "-c", PATIENT)
    done = await _hitl(world, "freeze", "--all", "--reason", "INC-88", "--yes", "--as", "ana", program=patient)
    assert done == f"{world.home.path} is frozen: every call is refused; 1 request cancelled\n"
    assert await held.end() == "CANCELLED"
    await world.state_of(held.handle, State.CANCELLED)
    assert document_of(await sidecar.next_config())["overrides"][0]["by"] == "ana"
    await processes[0].end(signal.SIGKILL)
    processes.append(await Process.start(world))
    await processes[1].serving()
    later = await world.sidecar(processes[1].address)
    await later.sync()
    assert "overrides" in document_of(later.config)
    (name,) = [each.name for each in read_freezes(world.home.freezes)]
    assert await _hitl(world, "thaw", name[:8]) == f"{name} thawed\n"
    assert "overrides" not in document_of(await later.next_config())


async def test_nothing_is_frozen_by_a_slip(world: World, processes: list[Process]) -> None:
    """What, why, and that somebody was asked; a workload is nothing that a home knows."""
    processes.append(await Process.start(world))
    await processes[0].serving()
    for words in (
        ("freeze", "--reason", "x", "--yes"),
        ("freeze", "--all", "--reason", "x"),
        ("freeze", "deploy/coder", "--reason", "x", "--yes"),
        ("freeze", "--tool", "**", "--reason", "x", "--yes"),
        ("freeze", "-n", "elsewhere", "--reason", "x", "--yes"),
        ("thaw",),
    ):
        assert await _hitl(world, *words, code=2) == ""
    assert read_freezes(world.home.freezes) == ()


async def _hitl(world: World, *words: str, code: int = 0, program: Sequence[str] = (str(HITL),)) -> str:
    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*program, *words, "--home", str(world.home.path)],
            capture_output=True,
            text=True,
            timeout=EVER,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    done = await asyncio.to_thread(run)
    assert done.returncode == code, done.stderr
    return done.stdout
