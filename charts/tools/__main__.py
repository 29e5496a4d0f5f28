"""`python -m charts.tools [NAME …]`: get the tools that are missing and print where each lies."""

import sys

from charts.tools.provide import NAMES, TITLE, provide
from go_programs.provide import told


def main(names: list[str]) -> int:
    """Exit code 2 for a name that is none of ours, else as `told` says."""
    if unknown := [name for name in names if name not in NAMES]:
        print(f"{TITLE}: there is no {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    return told(TITLE, lambda: map(provide, names or NAMES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
