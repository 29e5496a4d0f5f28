"""Writes what is made of the chart; with --check compares instead and fails on drift.

Templates of what `hitl.kube.shipped` ships come from there, so that the chart installs exactly what the operator
compares with. values.yaml, values.schema.json and the table of the README come from values_source.yaml, and the version
from `hitl.__version__`. The Grafana dashboard comes from dashboard.py.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from charts.dashboard import dashboard_text
from charts.shipped_templates import FOLDERS, templates
from charts.values_files import schema_text, table, values_text
from hitl import __version__
from hitl.kube import shipped

HERE = Path(__file__).resolve().parent
CHART = HERE / "hitl"
HEAD = (
    "# Made by charts/generate.py from charts/values_source.yaml: change that, then run `make generate`.\n"
    "# Every value of the chart with its default. A misspelled one is refused by its name (values.schema.json)."
)
BEGIN, END = "<!-- values: made by charts/generate.py -->\n", "<!-- end of values -->\n"


def main(arguments: list[str]) -> int:
    """Write or check every file that is made; the exit code."""
    made = files()
    kept = {path for folder in FOLDERS for path in (CHART / "templates" / folder).glob("*")}
    if arguments == ["--check"]:
        drifted = [path for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text]
        for path in sorted({*drifted, *(kept - made.keys())}):
            sys.stderr.write(f"{path.relative_to(HERE.parent)} drifted from what it is made of: run make generate\n")
        return 1 if drifted or kept - made.keys() else 0
    for path in kept - made.keys():
        path.unlink()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return 0


def files() -> dict[Path, str]:
    """The text of every file that is made."""
    source = values_source()
    readme, chart = CHART / "README.md", CHART / "Chart.yaml"
    before, _, rest = readme.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return {
        CHART / "values.schema.json": schema_text(source),
        CHART / "dashboards" / "hitl.json": dashboard_text(),
        CHART / "values.yaml": values_text(source, HEAD),
        readme: f"{before}{BEGIN}{table(source)}{END}{after}",
        chart: re.sub(r"(?m)^(version|appVersion): .*$", rf"\1: {__version__}", chart.read_text("utf-8")),
        **{CHART / "templates" / name: text for name, text in templates().items()},
    }


def values_source() -> dict[str, Any]:
    """What values there are: as described, and the roles for people as shipped."""
    source: dict[str, Any] = yaml.safe_load((HERE / "values_source.yaml").read_text("utf-8"))
    role = source["properties"]["people"]["items"]["properties"]["role"]
    names = [each["metadata"]["name"] for each in shipped.roles() if each["kind"] == "ClusterRole"]
    role["enum"] = [name.removeprefix("hitl-") for name in names if name != "hitl-operator"]
    return source


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
