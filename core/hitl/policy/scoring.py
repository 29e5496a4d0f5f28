"""The sensitivity score of a call: 0–100, every point of it named (DESIGN 7.5)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from hitl.policy.actions import Action
from hitl.policy.capabilities import Capabilities, Observed, capabilities_of, is_exact, observe, wildcard
from hitl.policy.levels import Inferred, infer_level
from hitl.policy.read_only import is_read_only
from hitl.policy.spec import Level, Scoring, ToolDeclaration, ToolDefinition
from hitl.policy.verdicts import Factor

# Floors hold whatever weights and thresholds an author chose: as a score and as a tier.
CAPABILITY_FLOOR: Final = 26
CRITICAL_FLOOR: Final = 76
# History may make a call a little stricter, never laxer (SECURITY A6).
MAX_HISTORY: Final = 10


@dataclass(frozen=True, slots=True)
class Scored:
    """A score and how it came about.

    Attributes:
        score: 0–100.
        factors: in a fixed order; their points add up to `score`.
        level: the level that was used.
        inferred_reason: why it is that level, where nobody declared one; else empty.
        floor: the least action, whatever the thresholds; ALLOW where there is no floor.
        read_only: whether autonomy ReadOnly lets it run (DESIGN 18).
        capabilities: what it can touch, declared or inferred.
        hosts: every host that the arguments name, sorted.
    """

    score: int
    factors: tuple[Factor, ...]
    level: Level
    inferred_reason: str
    floor: Action
    read_only: bool
    capabilities: Capabilities
    hosts: tuple[str, ...]


def score_call(  # noqa: PLR0917 - who calls it and for which tool; the order of DESIGN 7.5
    scoring: Scoring,
    name: str,
    declaration: ToolDeclaration | None,
    rule_level: Level | None,
    definition: ToolDefinition | None,
    arguments: Mapping[str, Any],
    *,
    trusted: bool = False,
    inferred: Inferred | None = None,
    observed: Observed | None = None,
    history_points: int = 0,
) -> Scored:
    """Scores one call.

    Args:
        scoring: weights and thresholds of the policy that asks.
        name: lookup name ``server/tool``.
        declaration: what the ToolServer's author declares about the tool, or None.
        rule_level: level that the matching rule sets; it comes before every other.
        definition: what the tool says of itself; only read where no level is declared.
        arguments: the parsed arguments.
        trusted: the tool's ToolServer is trusted, so its own words may also lower what its name suggests.
        inferred: an earlier `infer_level` of this tool, to spare the work; the names of its arguments count there.
        observed: an earlier `observe` of these arguments, to spare the work.
        history_points: 0–10, what history adds.
    """
    seen = observe(arguments) if observed is None else observed
    declared_level = declaration.level if declaration is not None else None
    if inferred is None:
        inferred = infer_level(name, definition, arguments, trusted=trusted)
    level = rule_level or declared_level or inferred.level
    capabilities = capabilities_of(declaration, seen, changes=not inferred.reads)

    factors = [Factor("level", scoring.levels[level], _level_reason(level, rule_level, declared_level, inferred))]
    factors += _capability_factors(scoring, capabilities)
    if history_points > 0:
        factors.append(Factor("history", min(history_points, MAX_HISTORY), "what happened with it before"))
    total = sum(factor.points for factor in factors)
    score = min(100, max(0, total))
    if score != total:
        factors.append(Factor("bounds", score - total, "a score is between 0 and 100"))

    floor = Action.ALLOW
    if level is Level.CRITICAL:
        floor, least, why = Action.MULTI_FACTOR, CRITICAL_FLOOR, "level critical is at least MultiFactor"
    elif capabilities.categories:
        floor, least, why = Action.NOTIFY, CAPABILITY_FLOOR, "a tool that can touch something is at least Notify"
    if floor is not Action.ALLOW and score < least:
        factors.append(Factor("floor", least - score, why))
        score = least
    return Scored(
        score=score,
        factors=tuple(factors),
        level=level,
        inferred_reason="" if rule_level or declared_level else inferred.reason,
        floor=floor,
        read_only=is_read_only(name, declaration, rule_level, seen),
        capabilities=capabilities,
        hosts=seen.hosts,
    )


def tier_of(scoring: Scoring, score: int) -> Action:
    """The tier of a score: 0–25 Allow, 26–50 Notify, 51–75 Confirm, 76–100 MultiFactor with the default thresholds."""
    if score >= scoring.multi_factor:
        return Action.MULTI_FACTOR
    if score >= scoring.confirm:
        return Action.CONFIRM
    return Action.NOTIFY if score >= scoring.notify else Action.ALLOW


def _level_reason(level: Level, rule: Level | None, declared: Level | None, inferred: Inferred) -> str:
    if rule is not None:
        return f"level {level.word}, set by the rule"
    return f"level {level.word}" if declared is not None else f"level {level.word}: {inferred.reason}"


def _capability_factors(scoring: Scoring, capabilities: Capabilities) -> list[Factor]:
    categories = capabilities.categories
    if not categories:
        return []
    files = (*capabilities.reads, *capabilities.writes)
    factors = [Factor("categories", scoring.category * len(categories), ", ".join(categories))]
    if capabilities.declared:
        lists = (("network", capabilities.network), ("filesystem", files), ("environment", capabilities.environment))
        open_lists = [(name, openness) for name, entries in lists if (openness := wildcard(entries))]
        points = sum(scoring.wildcard_full if openness > 1 else scoring.wildcard_partial for _, openness in open_lists)
        if open_lists:
            words = ", ".join(f"{'any' if openness > 1 else 'wildcard in'} {name}" for name, openness in open_lists)
            factors.append(Factor("wildcards", points, words))
    if capabilities.environment:
        factors.append(Factor("environment", scoring.environment, "uses credentials or environment variables"))
    if capabilities.process:
        factors.append(Factor("process", scoring.process, "starts processes"))
    if capabilities.writes:
        factors.append(Factor("writes", scoring.write, "writes files"))
    if capabilities.declared:
        exact = [
            name for name, entries in (("network", capabilities.network), ("filesystem", files)) if is_exact(entries)
        ]
        if exact:
            words = "both lists are exact" if len(exact) > 1 else f"the {exact[0]} list is exact"
            factors.append(Factor("exact", -scoring.exact * len(exact), words))
    return factors
