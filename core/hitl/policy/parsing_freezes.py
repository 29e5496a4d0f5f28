"""Reading freezes: PolicyOverrides as people write them, and as they stand in a config document."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from hitl.errors import InvalidPolicy
from hitl.policy.freezes import FREEZE, Freeze
from hitl.policy.parsing_reader import Problems, Reader
from hitl.policy.parsing_rules import read_globs
from hitl.policy.parsing_sections import read_selector
from hitl.policy.spec import PodSelector
from hitl.policy.weights import check_weight

KIND: Final = "PolicyOverride"
_LONGEST_REASON: Final = 500  # characters; as the CRD has it
_LONGEST_USER: Final = 512
_LONGEST_TIME: Final = 64
_TYPES: Final = {FREEZE: FREEZE}


def parse_freeze(metadata: Mapping[str, Any], spec: Any) -> tuple[Freeze, PodSelector]:
    """A PolicyOverride of type Freeze, and the pods that it is for.

    Args:
        metadata: name, namespace, uid, generation.
        spec: as written.

    Raises:
        InvalidPolicy: with every problem; paths start at ``spec``.
    """
    problems = Problems()
    check_weight(spec)
    reader = Reader(spec, "spec", problems)
    freeze = read_freeze(reader, metadata)
    selector = read_selector(reader)
    reader.done({"selector": "unknown key; write podSelector"})
    if problems.found:
        raise InvalidPolicy(tuple(problems.found))
    return freeze, selector


def end_of(spec: Any) -> datetime | None:
    """When a freeze that is written like this is over, as far as a cheap look can tell; None: it does not say so."""
    text = spec.get("until") if isinstance(spec, Mapping) else None
    return _time_of(text) if isinstance(text, str) and len(text) <= _LONGEST_TIME else None


def read_freeze(reader: Reader, metadata: Mapping[str, Any]) -> Freeze:
    """What a spec and an entry of a config document have in common; what is wrong is noted."""
    reader.require("type", "by", "reason")
    reader.word("type", _TYPES, FREEZE)
    return Freeze(
        name=str(metadata["name"]),
        namespace=str(metadata["namespace"]),
        uid=str(metadata["uid"]),
        generation=int(metadata["generation"]),
        by=reader.text("by", limit=_LONGEST_USER),
        reason=reader.text("reason", limit=_LONGEST_REASON),
        until=_read_time(reader, "until"),
        tools=read_globs(reader, "tools"),
    )


def _read_time(reader: Reader, key: str) -> datetime | None:
    text = reader.text(key, limit=_LONGEST_TIME)
    if not text:
        return None
    found = _time_of(text)
    if found is None:
        reader.problem(key, f"{text!r} is no time; write one such as 2026-05-01T14:30:00Z, or leave it out")
    return found


def _time_of(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
