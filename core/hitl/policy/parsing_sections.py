"""The other parts of a policy: selector, scoring, trust, raisers, protected paths, redaction, review."""

import re
from collections.abc import Mapping
from typing import Any, Final

from hitl.policy.actions import Action
from hitl.policy.parsing_matchers import BAD_PATTERN, BAD_PLACE, MAX_NAME
from hitl.policy.parsing_reader import CONTRADICTION, TWICE, Reader
from hitl.policy.parsing_rules import read_globs
from hitl.policy.paths import protection
from hitl.policy.patterns import MAX_PATTERN, Pattern
from hitl.policy.spec import Level, PodSelector, Raise, Redaction, RedactionPattern, Scoring, Trust
from hitl.policy.urls import HostPattern

PUBLISHER: Final = re.compile(r"ed25519:[A-Za-z0-9+/_=-]{8,128}", re.ASCII)
PUBLISHER_FORM: Final = "a publisher's key; write ed25519: and the key"

_LABEL_NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", re.ASCII
)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?", re.ASCII)
_OPERATORS: Final = {word: word for word in ("In", "NotIn", "Exists", "DoesNotExist")}
_CLASS = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", re.ASCII)
_KEY_GLOB = re.compile(r"[^/\s]+")
_SCOPES: Final = {word: word for word in ("request", "response", "all")}
_WEIGHTS: Final = {
    "category": "category",
    "wildcardFull": "wildcard_full",
    "wildcardPartial": "wildcard_partial",
    "environment": "environment",
    "process": "process",
    "write": "write",
    "exact": "exact",
}
_THRESHOLDS: Final = {"notify": "notify", "confirm": "confirm", "multiFactor": "multi_factor"}
_RAISED: Final = {action.word: action for action in Action if action is not Action.ALLOW}
_CEILINGS: Final = {action.word: action for action in Action if action < Action.MULTI_FACTOR}


def read_selector(spec: Reader) -> PodSelector:
    """`podSelector` as Kubernetes has it."""
    reader = spec.child("podSelector")
    if reader is None:
        return PodSelector()
    labels: dict[str, str] = {}
    wanted = reader.child("matchLabels")
    if wanted is not None:
        for key in wanted.names():
            _check_label(wanted, key)
            labels[key] = _label_value(wanted, key)
        wanted.done()
    expressions = tuple(map(_read_expression, reader.children("matchExpressions", most=32)))
    reader.done({"app": "unknown key; labels stand under matchLabels: {app: …}"})
    return PodSelector(labels, expressions)


def _read_expression(reader: Reader) -> tuple[str, str, tuple[str, ...]]:
    reader.require("key", "operator")
    key = reader.text("key", limit=317, form=_LABEL_NAME, wants="the name of a label")
    operator = reader.word("operator", _OPERATORS, "In")
    values = reader.texts("values", most=64, limit=63, form=_LABEL_VALUE, wants="a label's value")
    if operator in ("In", "NotIn") and "values" not in reader:
        reader.problem("values", f"{operator} needs values", CONTRADICTION)
    if operator in ("Exists", "DoesNotExist") and values:
        reader.problem("values", f"{operator} has no values; leave them out", CONTRADICTION)
    reader.done()
    return key, operator, values


def _check_label(reader: Reader, key: str) -> None:
    if not _LABEL_NAME.fullmatch(key):
        reader.problem(key, "is not the name of a label")


def _label_value(reader: Reader, key: str) -> str:
    value = reader.raw[key]
    if value == "":
        return ""  # a label may be empty
    return reader.text(key, limit=63, form=_LABEL_VALUE, wants="a label's value")


def read_scoring(spec: Reader) -> Scoring:
    """`scoring`: weights and thresholds, each from 0 to 100."""
    reader = spec.child("scoring")
    if reader is None:
        return Scoring()
    default = Scoring()
    levels: Mapping[Level, int] = default.levels
    changed: dict[str, Any] = {}
    weights = reader.child("weights")
    if weights is not None:
        levels = {level: weights.whole(level.word, default=default.levels[level], low=0, high=100) for level in Level}
        if list(levels.values()) != sorted(levels.values()):
            weights.problem("", "low, medium, high and critical must not fall: a riskier level never scores less")
        for key, name in _WEIGHTS.items():
            changed[name] = weights.whole(key, default=getattr(default, name), low=0, high=100)
        weights.done()
    thresholds = reader.child("thresholds")
    if thresholds is not None:
        bounds = {
            name: thresholds.whole(key, default=getattr(default, name), low=1, high=100)
            for key, name in _THRESHOLDS.items()
        }
        if list(bounds.values()) != sorted(bounds.values()):
            thresholds.problem("", "notify, confirm and multiFactor must not fall; the defaults are 26, 51 and 76")
        changed |= bounds
        thresholds.done()
    reader.done()
    return Scoring(levels=levels, **changed)


def read_trust(spec: Reader) -> tuple[Trust, ...]:
    """`trust[]`: a ceiling for some tools, or for a publisher."""
    found: list[Trust] = []
    for reader in spec.children("trust", most=32):
        reader.require("ceiling")
        ceiling = reader.word("ceiling", _CEILINGS, Action.CONFIRM)
        tools = read_globs(reader, "tools")
        publisher = reader.text("publisher", limit=136, form=PUBLISHER, wants=PUBLISHER_FORM)
        if ("tools" in reader) == ("publisher" in reader):
            reader.problem("", "needs either tools or publisher", CONTRADICTION)
        reader.done()
        found.append(Trust(ceiling, tools, publisher))
    return tuple(found)


def read_raisers(spec: Reader) -> Raise:
    """`raise`: a raiser is an action (``novelty: Confirm``), Ignore, or a mapping where it has more to say."""
    reader = spec.child("raise")
    if reader is None:
        return Raise()
    default = Raise()
    bounds = {"auto": default.auto, "notify": default.notify, "clarify": default.clarify}
    missing = None
    confidence = reader.child("confidence")
    if confidence is not None:
        bounds = {key: confidence.whole(key, default=value, low=0, high=100) for key, value in bounds.items()}
        if list(bounds.values()) != sorted(bounds.values(), reverse=True):
            confidence.problem("", "auto, notify and clarify must not rise; the defaults are 90, 70 and 50 percent")
        missing = confidence.word("missing", _RAISED | {"Ignore": None}, None)
        confidence.done()
    novelty, watched = _read_raiser(reader, "novelty", "watch")
    impact, domains = _read_raiser(reader, "externalImpact", "internalDomains")
    for domain in domains:
        reader.attempt(reader.at("externalImpact"), HostPattern.parse, domain.removeprefix("."), BAD_PLACE)
    raisers = Raise(
        **bounds,
        missing=missing,
        novelty=novelty,
        watched=watched,
        external_impact=impact,
        internal_domains=domains or default.internal_domains,
        tainted_egress=_read_raiser(reader, "taintedEgress", "")[0],
        anomaly=_read_raiser(reader, "anomaly", "")[0],
    )
    reader.done()
    return raisers


def _read_raiser(parent: Reader, key: str, list_key: str) -> tuple[Action | None, tuple[str, ...]]:
    words: dict[str, Action | None] = {**_RAISED, "Ignore": None}
    if not list_key or not isinstance(parent.raw.get(key), Mapping):
        return parent.word(key, words, None), ()
    reader = parent.child(key)
    assert reader is not None, "a mapping stands there"
    reader.require("action")
    action = reader.word("action", words, None)
    listed = reader.texts(list_key, most=32, limit=MAX_NAME)
    reader.done()
    return action, listed


def read_protected(spec: Reader) -> tuple[str, ...]:
    """`protectedPaths`: see `paths.Protection`."""
    paths = spec.texts("protectedPaths", most=64, limit=1024)
    for index, path in enumerate(paths):
        spec.attempt(f"{spec.at('protectedPaths')}[{index}]", lambda each: protection((each,)), path, BAD_PLACE)
    return paths


def read_redaction(spec: Reader) -> Redaction:
    """`redaction`: adds to what is hidden anyway."""
    reader = spec.child("redaction")
    if reader is None:
        return Redaction()
    patterns: list[RedactionPattern] = []
    for pattern in reader.children("patterns", most=32):
        pattern.require("name", "regex")
        name = pattern.text(
            "name", limit=40, form=_CLASS, wants="a class of secrets: lower-case letters, digits and '-'"
        )
        regex = pattern.text("regex", limit=MAX_PATTERN)
        compiled = pattern.attempt(pattern.at("regex"), Pattern, regex, BAD_PATTERN) if regex else None
        if compiled is not None and compiled.found_in(b""):
            pattern.problem("regex", "matches the empty text and would redact between all characters", BAD_PATTERN)
        if name and any(name == other.name for other in patterns):
            pattern.problem("name", f"{name!r} stands there twice; give one another name", TWICE)
        patterns.append(RedactionPattern(name, regex, pattern.word("scope", _SCOPES, "all")))
        pattern.done()
    redaction = Redaction(
        keys=reader.texts("keys", most=64, limit=MAX_NAME, form=_KEY_GLOB, wants="the name of an argument or a glob"),
        patterns=tuple(patterns),
        responses=reader.flag("responses"),
        detect_encoding=reader.flag("detectEncoding"),
        oversize=reader.word("oversize", {"Deny": Action.DENY, "MultiFactor": Action.MULTI_FACTOR}, Action.DENY),
    )
    reader.done()
    return redaction


def read_review(spec: Reader) -> int | None:
    """`review.every`, in seconds."""
    reader = spec.child("review")
    if reader is None:
        return None
    reader.require("every")
    every = reader.seconds("every", default=None, low=3600, high=366 * 86400)
    reader.done()
    return every
