"""Runs tests/cases/*.yaml: a story, policies and tool servers, calls with their past, and the verdicts wanted.

One row of a case is one test. `past` is played into a real ledger; policies go through the real parser. What a row does
not name under `want` it does not ask.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from hitl.errors import InvalidPolicy
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.config import compile_config
from hitl.policy.envelope import parse_call
from hitl.policy.evaluation import evaluate, sightings
from hitl.policy.explanation import explain
from hitl.policy.ledger import Ledger
from hitl.policy.spec import Config, ToolDefinition
from hitl.policy.verdicts import Charge, Requirement, SecondFactor, Verdict

CASES = Path(__file__).parents[1] / "cases"
NOW = 1_790_000_000.0
SAME = "the same call"


@dataclass(frozen=True)
class Row:
    """One call of a case with the verdict it is to get."""

    case: str
    story: str
    name: str
    document: dict[str, Any]
    call: dict[str, Any]
    past: dict[str, Any]
    want: dict[str, Any]


def rows() -> Iterator[Row]:
    for path in sorted(CASES.glob("*.yaml")):
        case = yaml.safe_load(path.read_text())
        for row in case["rows"]:
            yield Row(
                case=path.stem,
                story=case["story"],
                name=row["name"],
                document=case | {"policies": row.get("policies", case.get("policies", []))},
                call=row["call"],
                past=row.get("past", {}),
                want=row["want"] if isinstance(row["want"], dict) else {"action": row["want"]},
            )


ROWS = list(rows())


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.case}: {row.name}" for row in ROWS])
def test_case(row: Row) -> None:
    """The verdict is the one that the row wants, and `explain` tells of the same verdict."""
    config, agent, call = config_of(row.document), agent_of(row), call_of(row.call)
    ledger, definition = ledger_of(row, call, config, agent), definition_of(row)
    situation = {
        "agent": agent,
        "on_behalf_of": OnBehalfOf(**row.call["onBehalfOf"]) if "onBehalfOf" in row.call else None,
        "tainted": row.call.get("tainted", False),
        "definition": definition,
        "sameness": SAME,
    }
    verdict = evaluate(config, call, ledger, NOW, **situation)
    explanation = explain(config, call, ledger, NOW, **situation)
    found = {key: FOUND[key](verdict, wanted) for key, wanted in row.want.items()}
    assert found == row.want, difference(row, found, explanation.text())
    assert explanation.to_json()["action"] == verdict.action.word
    assert max(map(len, explanation.text().splitlines())) <= 100


def test_every_case_tells_a_story() -> None:
    """Each file has a story line and at least two rows, whose names differ."""
    for path in CASES.glob("*.yaml"):
        case = yaml.safe_load(path.read_text())
        names = [row["name"] for row in case["rows"]]
        assert case["story"].strip(), path.name
        assert len(set(names)) == len(names) > 1, path.name


def difference(row: Row, found: dict[str, Any], explained: str) -> str:
    wrong = [
        f"  {key}: wanted {row.want[key]!r}, found {value!r}" for key, value in found.items() if value != row.want[key]
    ]
    return "\n".join([f"\n{row.case}: {row.story.strip()}", f"row: {row.name}", *wrong, "", explained])


def config_of(document: dict[str, Any]) -> Config:
    policies = [
        {
            "kind": policy.get("kind", "AgentPolicy"),
            "name": policy["name"],
            "namespace": "" if policy.get("kind") == "ClusterAgentPolicy" else "shop",
            "uid": f"uid-{policy['name']}",
            "generation": 1,
            "spec": policy["spec"],
        }
        for policy in document["policies"]
    ]
    servers = [
        {"name": server["name"], "uid": f"uid-{server['name']}", "generation": 1, "spec": server["spec"]}
        for server in document.get("toolServers", [])
    ]
    compiled = {
        "schema": 1,
        "namespace": "shop",
        "namespaceUID": "uid-shop",
        "baseline": "present" if any(policy["kind"] == "ClusterAgentPolicy" for policy in policies) else "none",
        "keyID": "k1",
        "settings": document.get("settings", {}),
        "policies": policies,
        "toolServers": servers,
    }
    compiled |= {key: document[key] for key in ("floor", "overrides") if key in document}
    try:
        return compile_config(compiled)
    except InvalidPolicy as error:
        pytest.fail("\n".join(map(str, error.problems)))


def agent_of(row: Row) -> Agent:
    labels = {"app": "support"} | row.document.get("labels", {}) | row.call.get("labels", {})
    return Agent(namespace="shop", service_account="support", workload="deploy/support", labels=labels)


def call_of(described: dict[str, Any]) -> ToolCall:
    server, _, tool = described["tool"].rpartition("/")
    return parse_call(
        server,
        tool,
        orjson.dumps(described.get("arguments", {})),
        session_id=described.get("session", "s1"),
        confidence_percent=described.get("confidence"),
        external_impact=described.get("externalImpact", False),
        claimed_user=described.get("claims", ""),
    )


def definition_of(row: Row) -> ToolDefinition | None:
    described = row.call.get("definition")
    if described is None:
        return None
    return ToolDefinition(
        name=row.call["tool"].rpartition("/")[2],
        description=described.get("description", ""),
        argument_names=tuple(described.get("arguments", ())),
        annotations=described.get("annotations", {}),
    )


def ledger_of(row: Row, call: ToolCall, config: Config, agent: Agent) -> Ledger:
    past = row.past
    ledger = Ledger.lost(NOW - past["lost"]) if "lost" in past else Ledger()
    for hour in range(past.get("usual", {}).get("hours", 0), 0, -1):
        for _ in range(past["usual"]["calls"]):
            ledger.record_call(call.name, "", NOW - 3600 - hour * 3600)
    for _ in range(past.get("lastHour", 0)):
        ledger.record_call(call.name, "", NOW - 1800)
    for _ in range(past.get("calls", 0)):
        ledger.record_call(call.name, call.session_id, NOW - 10)
    for number in range(past.get("podCalls", 0)):
        ledger.record_call(f"other/tool{number}", "elsewhere", NOW - 10)
    for spent in past.get("spent", []):
        charge = Charge(
            limit_id=spent["limit"],
            key=spent.get("by", ""),
            amount=spent["amount"],
            maximum=spent["max"],
            per=spent["per"],
            kind=spent["kind"],
        )
        ledger.charge([charge], NOW - 10)
    for _ in range(past.get("allowed", 0)):
        ledger.record_allowed(call.name, sightings(config, call, agent=agent), NOW - 10)
    for arguments in past.get("allowedWith", []):
        seen = call_of(row.call | {"arguments": arguments})
        ledger.record_allowed(call.name, sightings(config, seen, agent=agent), NOW - 10)
    for number in range(past.get("decided", 0)):
        ledger.record_decision(NOW - 10, denied=number < past.get("denied", 0))
    if "clarified" in past:
        ledger.record_clarify(SAME, past["clarified"], NOW - 60)
    return ledger


def described(requirement: Requirement) -> str:
    """``cluster/security: 2 of [sre, oncall], Any or 3 people`` in the words of the cases."""
    text = f"{requirement.name}: {requirement.approvals} of [{', '.join(requirement.any_of)}]"
    if requirement.second_factor is not SecondFactor.NONE:
        text += f", {requirement.second_factor}"
    return f"{text} or {requirement.approvals + 1} people" if requirement.or_second_person else text


def requirements_of(verdict: Verdict, _: Any) -> list[str]:
    return [described(requirement) for requirement in verdict.terms.requirements] if verdict.terms else []


def holds(text: str, wanted: str) -> str:
    """The wanted part if the text holds it, else the whole text, for the difference."""
    return wanted if wanted in text else text


FOUND = {
    "action": lambda verdict, _: verdict.action.word,
    "code": lambda verdict, _: verdict.reason_code,
    "rule": lambda verdict, _: verdict.rule.rpartition("#")[2] if verdict.rule else "",
    "score": lambda verdict, _: verdict.score,
    "tier": lambda verdict, _: verdict.action.tier,
    "clarify": lambda verdict, _: verdict.clarify,
    "would": lambda verdict, _: verdict.would_have.word if verdict.would_have else None,
    "recorded": lambda verdict, _: verdict.recorded_as,
    "policies": lambda verdict, _: [ref.name for ref in verdict.policies],
    "reasons": lambda verdict, _: [str(reason) for reason in verdict.reasons],
    "requirements": requirements_of,
    "timeout": lambda verdict, _: verdict.terms.timeout if verdict.terms else None,
    "summary": lambda verdict, _: verdict.summary,
    "because": lambda verdict, _: verdict.because,
    "effects": lambda verdict, _: list(verdict.effects),
    "charges": lambda verdict, _: [[charge.key, charge.amount] for charge in verdict.charges],
    "redactions": lambda verdict, _: list(verdict.redactions),
    "factors": lambda verdict, wanted: [f.name for f in verdict.factors if f.name in wanted],
    "points": lambda verdict, _: sum(factor.points for factor in verdict.factors),
    "says": lambda verdict, wanted: holds(verdict.explanation, wanted),
    "hears": lambda verdict, wanted: holds(verdict.message, wanted),
}
