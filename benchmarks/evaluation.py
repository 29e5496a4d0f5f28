"""What it costs to judge one parsed call: 50 rules, 20 regular expressions, 0.5 KB of arguments.

The budget of DESIGN 15 is 10 µs for a call that a rule lets through; what a person is to see (preview, summary) is only
made for calls that somebody is shown. Each figure is processor time, the median of five rounds of calls through the
real `evaluate`, with a real ledger. Strict parsing stands apart, as the budget asks.
"""

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks.rows import Row, ceiling
from hitl.policy.calls import Agent, ToolCall
from hitl.policy.config import compile_config
from hitl.policy.envelope import parse_call
from hitl.policy.evaluation import evaluate
from hitl.policy.explanation import explain
from hitl.policy.ledger import Ledger
from hitl.policy.spec import Config

NOW = 1_790_000_000.0
BUDGET = 10.0
AGENT = Agent(namespace="shop", service_account="support", workload="deploy/support", labels={"app": "support"})

# Twenty patterns on one tool: each of its calls that comes to the last rule has been searched twenty times.
PATTERNS = [
    rf"(?i)\b{word}\b[^;]{{0,16}}{number}" for number, word in enumerate(("drop", "truncate", "grant", "revoke") * 5)
]


def run() -> list[Row]:
    """Microseconds per call, by what kind of call it is."""
    config = _config()
    allowed = _cost(config, _call("crm", "get_ticket"))
    searched = _cost(config, _call("db", "query"))
    return [
        ceiling("evaluate: allowed by a rule", allowed, BUDGET, "µs"),
        ceiling("evaluate: allowed, all 20 patterns on its arguments", searched, BUDGET, "µs"),
        _row("evaluate: as above, with a path and a URL in it", _cost(config, _call("db", "query", places=True))),
        _row(
            "evaluate: scored, runs and is told (preview, summary)",
            _cost(config, _call("docs", "list_pages", sql=False)),
        ),
        _row("evaluate: held by a rule (preview, summary)", _cost(config, _call("mail", "send"))),
        _row("evaluate: denied by a rule (preview, summary)", _cost(config, _call("mail", "purge"))),
        _row("explain", _measured(lambda: explain(config, _call("db", "query"), Ledger(), NOW, agent=AGENT), 300)),
        _row("strict parse of 0.5 KB, apart", _measured(lambda: _call("db", "query"), 3000)),
    ]


def _row(what: str, microseconds: float) -> Row:
    return Row(what, f"{microseconds:.2f} µs")


def _cost(config: Config, call: ToolCall, calls: int = 3000) -> float:
    ledger = Ledger()
    ledger.record_call(call.name, call.session_id, NOW)
    return _measured(lambda: evaluate(config, call, ledger, NOW, agent=AGENT), calls)


def _measured(once: Callable[[], object], calls: int) -> float:
    for _ in range(calls // 10):
        once()
    rounds = []
    gc.disable()
    try:
        for _ in range(5):
            started = time.process_time()
            for _ in range(calls):
                once()
            rounds.append((time.process_time() - started) / calls * 1e6)
    finally:
        gc.enable()
    return statistics.median(rounds)


def _call(server: str, tool: str, *, sql: bool = True, places: bool = False) -> ToolCall:
    arguments: dict[str, Any] = {
        "statement": "select id, title, owner, created from tickets where owner = 'ana' order by created limit 50",
        "note": "The weekly report lists the fifty newest tickets of the team; it is built from this table only.",
        "format": "json",
        "columns": ["id", "title", "owner", "created"],
        "options": {"timeout": 30, "readonly": True, "trace": "5f1c2ab977d0e4b1", "cache": "no"},
        "tags": ["report", "weekly", "tickets", "team-a"],
        "limit": 50,
        "page": 1,
    }
    if not sql:
        del arguments["statement"]
        arguments["topic"] = "the fifty newest tickets of the team that nobody has answered yet, by their owner"
    if places:
        arguments["output"] = "/workspace/reports/2026-11-21.md"
        arguments["source"] = "https://wiki.corp.example/reports"
    return parse_call(server, tool, orjson.dumps(arguments), session_id="s1")


def _config() -> Config:
    searched: list[dict[str, Any]] = [
        {
            "name": f"pattern-{number}",
            "action": "Deny",
            "tools": ["db/query"],
            "args": {"statement": {"matches": pattern}},
        }
        for number, pattern in enumerate(PATTERNS)
    ]
    others: list[dict[str, Any]] = [
        {"name": f"other-{number}", "action": "Confirm", "tools": [f"other{number}/*", f"tool{number}"]}
        for number in range(26)
    ]
    rules = [
        *searched,
        *others,
        {"name": "reads", "action": "Allow", "tools": ["get_*"], "args": {"limit": {"max": 100}}},
        {"name": "queries", "action": "Allow", "tools": ["db/query"], "args": {"limit": {"max": 100}}},
        {"name": "mail", "action": "Confirm", "tools": ["mail/send"], "summary": "mail {args.format}"},
        {"name": "purge", "action": "Deny", "tools": ["purge"]},
    ]
    return compile_config(
        {
            "schema": 1,
            "namespace": "shop",
            "namespaceUID": "uid-shop",
            "baseline": "none",
            "keyID": "k1",
            "settings": {},
            "policies": [
                {
                    "kind": "AgentPolicy",
                    "name": "support",
                    "namespace": "shop",
                    "uid": "u1",
                    "generation": 1,
                    "spec": {"undeclared": "Score", "rules": rules},
                }
            ],
            "toolServers": [],
        }
    )
