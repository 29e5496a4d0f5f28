"""A hub with an archive as a process of its own, to be killed: ``hub_process.py FOLDER ARCHIVE RUN LARGEST_FILE``.

It says ``ready`` once it serves ``FOLDER/hub.sock``.
"""

import asyncio
import contextlib
import resource
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hubs import POLICY, HubHere

from evidence.archives import KEY
from hitl_operator.archive.archive import Archive
from hitl_operator.home import open_home


async def main(folder: Path, archive_folder: Path, run: str, largest_file: int) -> None:
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    (policies / "support.yaml").write_text(POLICY)
    home = open_home(folder / "home", "shop")
    (folder / "hub.sock").unlink(missing_ok=True)
    clock = lambda: datetime.now(UTC)  # noqa: E731 - handed on
    world: Any = SimpleNamespace(policies=policies, settings=None, clock=clock)
    archive = Archive(archive_folder, run=run, key=KEY, clock=clock)
    hub = HubHere(world, home, folder / "hub.sock", standing=None, leads=lambda: True, archive=archive)
    await hub.start()
    signing = asyncio.create_task(archive.run())
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    if largest_file:  # as a full disk: what would grow beyond it is refused
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stopped.wait()
    await hub.stop()
    signing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await signing
    await archive.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
