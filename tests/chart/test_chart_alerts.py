"""The chart's Prometheus rules, by promtool itself: each alert fires for what alerts.yaml says, and else is silent."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from charts.lint import CHART
from charts.tools import provide

RULES = CHART / "rules" / "hitl.yaml"
DOCS = Path(__file__).parents[2] / "docs" / "alerts.md"
# Everything is text there: 0x5 is six zeros, not a hexadecimal five.
CASES: Mapping[str, Any] = yaml.load((Path(__file__).parent / "alerts.yaml").read_text(), yaml.BaseLoader)
ALL = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}


def promtool(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [provide("promtool"), *args], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def a_test(alert: str, case: Mapping[str, Any], *, fires: bool) -> dict[str, Any]:
    """As `promtool test rules` reads it."""
    rule = ALERTS[alert]
    expected = {
        "exp_labels": {**rule["labels"], **case.get("labels", {})},
        "exp_annotations": {**rule["annotations"], **case.get("says", {})},
    }
    return {
        "interval": "1m",
        "name": f"{alert} {'fires' if fires else 'is silent'}",
        "input_series": [{"series": name, "values": values} for name, values in case["series"].items()],
        "alert_rule_test": [
            {"eval_time": case["at"], "alertname": alert, "exp_alerts": [expected] if fires else []},
        ],
    }


def test_rules_are_sound() -> None:
    """Every expression parses, and no rule is there twice."""
    checked = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_panel_asks_in_sound_promql(tmp_path: Path) -> None:
    """Promtool parses what the dashboard asks, Grafana's variables filled in, and refuses what is unsound."""
    panels = json.loads((CHART / "dashboards" / "hitl.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    filled = [each.replace("$__rate_interval", "5m").replace("$namespace", ".*") for each in asked]
    assert len(filled) >= 30
    assert not any("$" in each for each in filled)
    for expressions, is_sound in ((filled, True), ([*filled, "sum(by (x) up)"], False)):
        rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
        (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        checked = promtool("check", "rules", str(tmp_path / "panels.yaml"))
        assert (checked.returncode == 0) is is_sound, checked.stdout + checked.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert nobody has seen fire is a wish."""
    assert list(CASES) == list(ALERTS)
    assert all({"fires", "silent"} <= case.keys() for case in CASES.values())


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    """With their labels and every word of their annotations, in one run, for promtool takes its time to start."""
    tests = [a_test(alert, case[kind], fires=kind == "fires") for alert, case in CASES.items() for kind in case]
    (tmp_path / "tests.yaml").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    tested = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_case_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    """What is silent, expected to fire, fails: promtool does compare."""
    test = a_test("HitlNoLeader", CASES["HitlNoLeader"]["silent"], fires=True)
    (tmp_path / "tests.yaml").write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))
    assert promtool("test", "rules", "tests.yaml", cwd=tmp_path).returncode == 1


def test_every_alert_says_what_how_bad_and_where_to_read_on() -> None:
    """Severity, summary, description, and a part of docs/alerts.md that is there, with something to type."""
    parts = dict(_parts(DOCS.read_text()))
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (page, anchor in parts) == ("docs/alerts.md", True), name
        assert name in parts[anchor]
        assert "```console\n$ " in parts[anchor], f"{name}: docs/alerts.md says nothing to type"
        assert rule["labels"]["severity"] in parts[anchor], f"{name}: docs/alerts.md does not say how bad it is"


def test_the_page_describes_no_alert_that_is_not_there() -> None:
    """What was renamed or removed leaves the page, too."""
    assert set(re.findall(r"\bHitl[A-Z]\w+", DOCS.read_text())) == set(ALERTS)


def _parts(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"(?m)^## ", text)[1:]:
        title = part.splitlines()[0]
        yield re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-"), part


def test_recorded_ratios_are_what_design_says(tmp_path: Path) -> None:
    """Holds by calls, approvals and denials by decisions, Confirm within 5 min by all that was not taken back."""
    confirm = 'job="hitl-operator", tier="confirm"'
    series = {
        'hitl_checks_total{job="hitl-sidecar", action="Allow", outcome="allowed", policy="p"}': "0+80x144",
        'hitl_checks_total{job="hitl-sidecar", action="Confirm", outcome="pending", policy="p"}': "0+20x144",
        f'hitl_holds_total{{{confirm}, outcome="consumed"}}': "0+20x144",
        f'hitl_decisions_total{{{confirm}, decision="approved"}}': "0+15x144",
        f'hitl_decisions_total{{{confirm}, decision="denied"}}': "0+5x144",
        f'hitl_hold_duration_seconds_bucket{{{confirm}, outcome="consumed", le="300.0"}}': "0+6x144",
        f'hitl_hold_duration_seconds_count{{{confirm}, outcome="consumed"}}': "0+8x144",
    }
    wanted = {
        "hitl:escalation:ratio_rate1d": 0.2,
        "hitl:approval:ratio_rate1d": 0.75,
        "hitl:override:ratio_rate1d": 0.25,
        "hitl:trust:score": 60,
        "hitl:confirm_within_5m:ratio_rate1h": 0.75,
    }
    tests = {
        "interval": "10m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({name}, 0.0001)",
                "eval_time": "1440m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for name, value in wanted.items()
        ],
    }
    (tmp_path / "tests.yaml").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "10m", "tests": [tests]})
    )
    tested = promtool("test", "rules", "tests.yaml", cwd=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr
