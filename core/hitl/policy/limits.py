"""Limits of rules: what a call would use up, and whether that is too much (DESIGN 6, 18)."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hitl.errors import EvaluationFailed
from hitl.policy.calls import ToolCall
from hitl.policy.durations import format_duration
from hitl.policy.spec import Limit
from hitl.policy.strict_json import render_json
from hitl.policy.verdicts import Charge

# A bucket that refills evenly has rounding in it; a call is not refused over a billionth of a token.
_ROUNDING = 1e-9


def charge_for(limit: Limit, limit_id: str, call: ToolCall) -> Charge:
    """What the call uses up of a limit.

    Raises:
        EvaluationFailed: the argument that is summed, or counted by, is absent or of a type that cannot be.
    """
    return Charge(
        limit_id=limit_id,
        key=_key(limit, call),
        amount=1.0 if limit.sum_of is None else _amount(limit.sum_of, call.arguments),
        maximum=limit.maximum,
        per=limit.per,
        kind="calls" if limit.sum_of is None else "sum",
    )


def is_exceeded(charge: Charge, used: float) -> bool:
    """Whether the window has no room left for the charge."""
    if used == float("inf"):
        return True
    if charge.kind == "calls":
        return used + charge.amount > charge.maximum + _ROUNDING
    # In exact decimals: 0.1 + 0.2 fits into 0.3.
    return Decimal(repr(used)) + Decimal(repr(charge.amount)) > Decimal(repr(charge.maximum))


def describe(limit: Limit, charge: Charge, used: float) -> str:
    """``95000 of 100000 amount used in 24h, this call adds 15000``; one line, no full stop."""
    per = format_duration(limit.per)
    if used == float("inf"):
        return f"what was used in the last {per} is not known after a restart, so the limit counts as exhausted"
    if limit.sum_of is None:
        return f"{_number(used)} of {_number(limit.maximum)} calls used in {per}"
    what = limit.sum_of.lstrip("/")
    return f"{_number(used)} of {_number(limit.maximum)} {what} used in {per}, this call adds {_number(charge.amount)}"


def argument_at(arguments: Mapping[str, Any], where: str) -> tuple[bool, Any]:
    """(whether it is there, its value) of a top-level argument by name, or of any value by JSON pointer."""
    if not where.startswith("/"):
        return where in arguments, arguments.get(where)
    value: Any = arguments
    for raw in where[1:].split("/"):
        step = raw.replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isascii() and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return False, None
    return True, value


def as_key(value: Any) -> str:
    """A value as what is counted or remembered by it: strings as they are, all else as JSON."""
    return value if isinstance(value, str) else render_json(value).decode()


def _amount(where: str, arguments: Mapping[str, Any]) -> float:
    there, value = argument_at(arguments, where)
    if not there:
        raise EvaluationFailed(f"the limit sums {where}, which the call does not have; send it")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EvaluationFailed(f"the limit sums {where}, which is not a number; send a number")
    if value < 0:
        raise EvaluationFailed(f"the limit sums {where}, which is negative; a limit only ever fills up")
    return float(value)


def _key(limit: Limit, call: ToolCall) -> str:
    match limit.by:
        case "pod":
            return ""
        case "session":
            return call.session_id
        case "argument":
            there, value = argument_at(call.arguments, limit.by_argument)
            if not there:
                raise EvaluationFailed(
                    f"the limit counts by {limit.by_argument}, which the call does not have; send it"
                )
            return as_key(value)
        case unknown:
            raise EvaluationFailed(f"the limit counts by {unknown!r}, which this program does not know; update it")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
