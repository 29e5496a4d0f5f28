"""A described past, played into a real ledger, so that `explain` judges as a sidecar with that past would."""

from hitl.policy.calls import Agent
from hitl.policy.envelope import parse_call, render_json
from hitl.policy.evaluation import sightings
from hitl.policy.ledger import Ledger
from hitl.policy.spec import Config
from hitl_cli.described import DescribedCall

# The one call of a run is the same as itself: what CLARIFY remembers of it is found again.
SAMENESS = "this call"

_HOUR = 3600.0
# Within the last minute, and long enough ago for everything that looks back.
_JUST_NOW, _THIS_HOUR, _A_MINUTE = 10.0, 1800.0, 60.0


def ledger_of(described: DescribedCall, config: Config, agent: Agent, now: float) -> Ledger:
    """The agent's ledger at `now` (seconds since the epoch), just before the call."""
    past, call, ledger = described.past, described.call, Ledger()
    hours, usual = past.usual
    for hour in range(hours, 0, -1):
        for _ in range(usual):
            ledger.record_call(call.name, "", now - _HOUR - hour * _HOUR)
    for _ in range(past.last_hour):
        ledger.record_call(call.name, "", now - _THIS_HOUR)
    for _ in range(past.calls):
        ledger.record_call(call.name, call.session_id, now - _JUST_NOW)
    for number in range(past.pod_calls):
        ledger.record_call(f"other/tool{number}", "elsewhere", now - _JUST_NOW)
    ledger.charge(past.spent, now - _JUST_NOW)
    seen = [call] * past.allowed + [
        parse_call(call.server, call.tool, render_json(dict(each))) for each in past.allowed_with
    ]
    for each in seen:
        what = sightings(config, each, agent=agent, definition=described.definition)
        ledger.record_allowed(call.name, what, now - _JUST_NOW)
    for number in range(past.decided):
        ledger.record_decision(now - _JUST_NOW, denied=number < past.denied)
    if past.clarified is not None:
        ledger.record_clarify(SAMENESS, past.clarified, now - _A_MINUTE)
    return ledger
