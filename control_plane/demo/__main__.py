"""``python -m control_plane.demo``: the product on a cluster of this machine, shown by the races it must not lose."""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from control_plane.demo.races import Races
from control_plane.demo.stage import staged
from control_plane.demo.tally import tally
from control_plane.installing import InstallFailed
from control_plane.provide import ProvisionFailed, provide
from control_plane.running import ControlPlaneFailed
from control_plane.versions import pinned
from hitl.errors import HitlError
from hitl_cli.demo.timeline import Timeline


def main() -> int:
    """Play it; 0 if every race ended as it must and no call was lost or released twice."""
    parser = argparse.ArgumentParser(prog="make demo-cluster", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="keep the scratch folder with every log")
    keep = parser.parse_args().keep
    for way in (signal.SIGTERM, signal.SIGHUP):  # so that everything is ended and swept up then too
        signal.signal(way, lambda number, _: sys.exit(128 + number))
    try:
        provide()
    except ProvisionFailed as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was started", file=sys.stderr)
        return 130
    began = time.monotonic()
    # Sockets have room for about a hundred characters of path, so the system's own temporary folder may be too long.
    folder = Path(tempfile.mkdtemp(prefix="hitl-cluster-", dir="/tmp"))
    try:
        print(f"A Kubernetes {pinned().kubernetes} cluster on this machine, in {folder}", flush=True)
        held = _play(folder)
    except (HitlError, ControlPlaneFailed, InstallFailed) as failure:
        keep = True
        print(f"error: {failure}\nEvery log is in {folder}", file=sys.stderr)
        held = False
    except KeyboardInterrupt:
        print("stopped; every process has ended", file=sys.stderr)
        return 130
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - began:.0f} s in all; every process has ended", flush=True)
    return 0 if held else 1


def _play(folder: Path) -> bool:
    with staged(folder, _say) as stage:
        races = Races(stage, Timeline(_say, time.monotonic, interactive=False, program="kubectl hitl"))
        try:
            races.play()
        except HitlError:
            _count(races)
            raise
        return _count(races)


def _count(races: Races) -> bool:
    result = tally(races.wanted, races.ran(), races.ends)
    _say("")
    _say(str(result))
    return result.holds


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
