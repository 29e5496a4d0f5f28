"""Runs every measurement, one after the other, and prints one table with its budget beside each figure.

Each module has `run() -> list[Row]`. Absolute times are for orientation; ratios count, and both sides of one come from
the same run on the same machine.
"""

import argparse
import platform
import sys
import traceback

from benchmarks import burst, check, evaluation, fanout, listing, release, stored
from benchmarks.rows import Row, render

MEASUREMENTS = {
    "evaluation": evaluation.run,
    "check": check.run,
    "burst": burst.run,
    "release": release.run,
    "stored": stored.run,
    "fanout": fanout.run,
    "listing": listing.run,
}


def main() -> int:
    """Run the measurements named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "only", nargs="*", metavar="NAME", help=f"any of {', '.join(MEASUREMENTS)}; all if none is named"
    )
    chosen = parser.parse_args().only or list(MEASUREMENTS)
    unknown = sorted(set(chosen) - set(MEASUREMENTS))
    if unknown:
        parser.error(f"no measurement {', '.join(unknown)}; choose from {', '.join(MEASUREMENTS)}")
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()} {platform.release()}")
    rows: list[Row] = []
    failed = []
    try:
        for name in chosen:
            print(f"measuring {name} …", file=sys.stderr)
            try:
                rows += MEASUREMENTS[name]()
            except Exception:  # noqa: BLE001 - one that fails must not cost what the others took their time for
                traceback.print_exc()
                failed.append(name)
    finally:
        print(render(rows))  # also where somebody ends it
    if failed:
        print(f"could not be measured: {', '.join(failed)}; see above for why", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
