"""How much one policy or tool server may be, measured before anything of it is read (SECURITY A5, B5).

Hub and sidecars compile whatever somebody applied, and everybody else's policies wait meanwhile. The API server takes
objects of 1.5 MiB; nobody reads a policy of that size, and its patterns alone would keep a compiler busy for seconds.
"""

import json
from typing import Any, Final

import orjson

from hitl.errors import InvalidPolicy, Problem
from hitl.policy.values import is_deeper

# Bytes of a spec as JSON without blanks; 128 rules of 20 lines each have some 60 KiB.
MAX_SPEC: Final = 256 << 10
# Levels: what a policy says itself takes ten, and JSON of its author's own, as deep as that of calls, 32 more.
MAX_LEVELS: Final = 64
TOO_HEAVY: Final = "HITL124"


def weight_of(spec: Any) -> int | None:
    """Bytes of a spec as JSON without blanks; None where it is nested so deep that reading it would not end well."""
    if is_deeper(spec, MAX_LEVELS):
        return None
    try:
        return len(orjson.dumps(spec, option=orjson.OPT_NON_STR_KEYS))
    except orjson.JSONEncodeError:
        pass  # numbers and characters that are refused by their place, where the spec is light enough to be read
    try:
        return len(json.dumps(spec, separators=(",", ":"), default=str))
    except (RecursionError, TypeError, ValueError):
        return None


def weight_problem(weight: int | None) -> Problem | None:
    """What is wrong with a spec of this weight; None: it may be read."""
    if weight is None:
        return Problem("spec", f"is nested deeper than {MAX_LEVELS} levels; flatten it", TOO_HEAVY)
    if weight <= MAX_SPEC:
        return None
    return Problem(
        "spec",
        f"has {weight >> 10} KiB as JSON, at most {MAX_SPEC >> 10} KiB are read; split it into several policies, for "
        "example one for each server",
        TOO_HEAVY,
    )


def check_weight(spec: Any) -> None:
    """InvalidPolicy where a spec is not to be read at all."""
    if problem := weight_problem(weight_of(spec)):
        raise InvalidPolicy((problem,))
