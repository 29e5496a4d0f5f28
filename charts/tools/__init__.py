"""The programs that check the chart, in versions that a go.mod each pins: `provide("helm3")` answers where one lies.

Each comes from the first of these that has it:
1. the folder that HITL_CHART_TOOLS names;
2. the cache: `$HITL_CACHE/chart-tools/<tool>-<version>-<machine>`, by default under `~/.cache/hitl`;
3. a build from Go modules, verified by go.sum, one to two minutes for the larger ones with nothing built before.

What PATH has is never used: another version finds other things. `python -m charts.tools` gets all of them, or those
that it is given, and prints where they lie. To move one to another version: `go get -tool PACKAGE@VERSION` in its
folder.
"""

from charts.tools.provide import NAMES, provide
from go_programs.provide import ProvisionFailed

__all__ = ["NAMES", "ProvisionFailed", "provide"]
