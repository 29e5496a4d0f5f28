"""What may leave the sidecar of a call or a result: previews without secrets (SECURITY I10, G2).

A secret is replaced by ``[REDACTED:class]``. How long it was stands in `Preview.redacted`, never in the text: the class
tells a reviewer what he needs, a length drawn into the text would invite to guess.

Redaction must not become a hiding place, so:

- A value that a rule matched (`keep`) is never hidden because of its name, or because of the words around it. What has
  a public, fixed form (an AWS key, a private key) is hidden even there: its class says exactly what it is, and a live
  credential does not belong into a stored object.
- An object under a secret's name keeps its shape; only the values in it are hidden.
- Much text hidden under names that the agent chose makes the preview `heavy`: the call is one tier stricter.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from hitl.errors import InvalidInput, InvalidPolicy, Problem
from hitl.policy.actions import Action
from hitl.policy.escaping import escape, mixed_script_words, plain
from hitl.policy.fitting import fit
from hitl.policy.secret_names import HINT
from hitl.policy.secret_patterns import PATTERNS, SecretPattern, compiled
from hitl.policy.secret_scan import Redacted, Rules, Scan
from hitl.policy.spec import Redaction
from hitl.policy.strict_json import pointer, render_json

# More characters than this, hidden only because of names that the agent chose, make a call stricter. Passwords, PINs
# and API keys are shorter; longer known kinds (JWT, private key) are recognised by their form and not counted.
HEAVY: Final = 128


@dataclass(frozen=True, slots=True)
class Preview:
    """A call's arguments as people and records may see them.

    Attributes:
        text: JSON, redacted and escaped (G1), at most the limit in bytes of UTF-8.
        arguments: redacted, neither escaped nor cut: what summary templates are filled from.
        findings: classes of secrets that were replaced, sorted, each once.
        whole: names of the top-level arguments that stand there uncut and unredacted.
        oversize: not everything fitted.
        heavy: more than `HEAVY` characters are hidden under names that the agent chose; one tier stricter (G2).
        redacted: every replacement with its place, class and length.
        mixed_script: words that mix scripts, with the foreign letters written out (G1).
    """

    text: str
    arguments: Mapping[str, Any]
    findings: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    oversize: bool = False
    heavy: bool = False
    redacted: tuple[Redacted, ...] = ()
    mixed_script: tuple[str, ...] = ()

    @property
    def patchable(self) -> tuple[str, ...]:
        """JSON pointers of the arguments that a reviewer may edit: only those he saw (SECURITY D3)."""
        return tuple(map(pointer, self.whole))


class Redactor:
    """The built-in rules and those of some policies, compiled. Immutable; the same input gives the same output.

    Attributes:
        oversize: what a call gets whose arguments do not fit the preview: the strictest of the policies.
        responses: whether any policy wants tool results redacted.
    """

    __slots__ = ("_request", "_request_names", "_response", "_response_names", "oversize", "responses")

    def __init__(self, redactions: tuple[Redaction, ...]) -> None:
        self.oversize = max((each.oversize for each in redactions), default=Action.DENY)
        self.responses = any(each.responses for each in redactions)
        self._request = _rules(redactions, "request")
        self._response = _rules(redactions, "response")
        self._request_names = _suspicion(redactions, self._request)
        self._response_names = _suspicion(redactions, self._response)

    def preview(
        self,
        arguments: Mapping[str, Any],
        limit_bytes: int,
        keep: Collection[str] = (),
        *,
        declared: Collection[str] = (),
        rendered: bytes | None = None,
    ) -> Preview:
        """What reviewers, audit and summaries see of these arguments.

        Args:
            arguments: parsed, as in `ToolCall.arguments`.
            limit_bytes: how long the text may be.
            keep: JSON pointers (or top-level names) that a rule matched: they are shown, with all below them.
            declared: top-level names that the policy or the pinned tool definition knows: not the agent's choice.
            rendered: `ToolCall.arguments_json`, which spares writing it again.

        Raises:
            InvalidCall: the arguments cannot be written as JSON.
        """
        rendered = render_json(arguments) if rendered is None else rendered
        if len(rendered) <= limit_bytes and _is_clean(arguments, rendered, self._request_names):
            return Preview(
                rendered.decode(),
                arguments,
                whole=tuple(arguments),
                mixed_script=() if rendered.isascii() else mixed_script_words(rendered.decode()),
            )
        scan = Scan(
            self._request,
            keep=frozenset(each if each.startswith("/") else pointer(each) for each in keep),
            declared=frozenset(declared),
        )
        shown: dict[str, Any] = scan.value(arguments)
        fitted = fit(shown, limit_bytes)
        touched = {entry.pointer.split("/")[1] for entry in scan.redacted}
        return Preview(
            text=fitted.text,
            arguments=shown,
            findings=scan.findings,
            whole=tuple(name for name in arguments if name in fitted.whole and pointer(name)[1:] not in touched),
            oversize=fitted.oversize,
            heavy=scan.named > HEAVY,
            redacted=tuple(scan.redacted),
            mixed_script=mixed_script_words(rendered.decode()),
        )

    def redact_text(self, text: str) -> tuple[str, tuple[str, ...]]:
        """An agent's prose without secrets, and the classes found. Not escaped."""
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        scan = Scan(self._request)
        return scan.text(text), scan.findings

    def redact_json(self, data: bytes) -> tuple[bytes, tuple[str, ...]]:
        """A tool's result without secrets, and the classes found; untouched unless a policy wants `responses`.

        Numbers keep their spelling, whatever their size. Of duplicate keys the last stays, as most readers do.

        Raises:
            InvalidInput: it is not JSON, so nobody can tell what is in it; withhold it.
        """
        if not self.responses or (_is_bare(data) and _has_no(self._response_names, data)):
            return data, ()
        scan = Scan(self._response)
        try:
            value = json.loads(data, parse_int=_Number, parse_float=_Number, parse_constant=_no_constant)
            orjson.dumps(value, default=_as_written)  # refuses what has no UTF-8 form, before anything searches in it
            shown = orjson.dumps(scan.value(value), default=_as_written)
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidInput(
                f"the tool's result cannot be read, so nothing in it can be redacted: {error}"
            ) from error
        return (shown, scan.findings) if scan.redacted else (data, ())


@lru_cache(maxsize=64)
def compile_redaction(redactions: tuple[Redaction, ...]) -> Redactor:
    """One redactor for all of these: the built-in rules, plus every policy's keys and patterns.

    Raises:
        InvalidPolicy: a pattern is not RE2, or matches the empty text.
    """
    return Redactor(redactions)


class _Number:
    """A number of a result, in the spelling it came in."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


def _as_written(value: object) -> orjson.Fragment:
    if isinstance(value, _Number):
        return orjson.Fragment(str(value))
    raise TypeError(type(value).__name__)


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _is_clean(arguments: Mapping[str, Any], rendered: bytes, suspicion: Any) -> bool:
    """Whether nothing needs redaction or escaping: one search instead of a walk, for almost all calls."""
    if _is_bare(rendered):
        return _has_no(suspicion, rendered)
    strings: list[str] = []
    _gather(arguments, strings)
    joined = '"\n"'.join(("", *strings, ""))
    return (
        "\\" not in joined
        and unicodedata.is_normalized("NFKC", joined)
        and plain(joined.replace("\n", " ").replace("\t", " "))
        and _has_no(suspicion, joined)
    )


def _is_bare(data: bytes) -> bool:
    """Whether every string of a JSON text stands there as it is, so that what matches a string matches the text."""
    return data.isascii() and b"\\" not in data and b"\x7f" not in data


def _has_no(suspicion: Any, text: str | bytes) -> bool:
    return suspicion is not None and suspicion.search(text) is None


def _gather(value: Any, strings: list[str]) -> None:
    if isinstance(value, dict):
        strings.extend(value)
        for child in value.values():
            _gather(child, strings)
    elif isinstance(value, list):
        for child in value:
            _gather(child, strings)
    elif not isinstance(value, bool):
        strings.append(str(value))


def _rules(redactions: tuple[Redaction, ...], direction: str) -> Rules:
    patterns = [(pattern, compiled(pattern.regex)) for pattern in PATTERNS]
    for each in _authored(redactions, direction):
        try:
            regex = compiled(each.regex)
        except ValueError as error:
            raise _invalid(each.name, f"is not a regular expression of RE2: {error}; mend it") from error
        if regex.search("") is not None:
            raise _invalid(each.name, "matches the empty text, so it would match everywhere; make a part mandatory")
        patterns.append((each, regex))
    return Rules(
        patterns=tuple(patterns),
        hint=compiled(_either(pattern.hint or pattern.regex for pattern, _ in patterns)),
        keys=tuple(
            (compiled(_glob(key)), re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-") or "key")
            for key in dict.fromkeys(key for each in redactions for key in each.keys)
        ),
        detect_encoding=any(each.detect_encoding for each in redactions),
    )


def _suspicion(redactions: tuple[Redaction, ...], rules: Rules) -> Any:
    """Matches every JSON text without backslashes in which something may have to be hidden; None: no such thing."""
    parts = [HINT, *(pattern.hint or pattern.regex for pattern, _ in rules.patterns)]
    # In camelCase nothing stands between words.
    parts += [f'"(?:{_glob(key, "[_. -]?")})"' for each in redactions for key in each.keys]
    if rules.detect_encoding:
        parts.append(r"[A-Za-z0-9+/_-]{16}")
    # Where a pattern asks for the beginning or end of a value, the whole text cannot stand for the value.
    authored = [pattern.regex for each in redactions for pattern in each.patterns]
    if any(anchor in regex.replace("[^", "[") for regex in authored for anchor in ("^", "$", r"\A", r"\z")):
        return None
    return compiled(_either(parts))


def _authored(redactions: tuple[Redaction, ...], direction: str) -> Iterable[SecretPattern]:
    wanted = dict.fromkeys(pattern for each in redactions for pattern in each.patterns)
    return (
        SecretPattern(escape(pattern.name), pattern.regex) for pattern in wanted if pattern.scope in (direction, "all")
    )


def _glob(text: str, between: str = "[_. -]") -> str:
    """An author's argument name as RE2: ``*`` any run, ``?`` one character, separators between words are all alike."""
    signs = {"*": '[^"]*', "?": '[^"]', "_": between, "-": between, ".": between, " ": between}
    return f"(?i){''.join(signs.get(sign) or re.escape(sign) for sign in text)}"


def _either(parts: Iterable[str]) -> str:
    return "|".join(f"(?:{part})" for part in dict.fromkeys(parts))


def _invalid(name: str, message: str) -> InvalidPolicy:
    return InvalidPolicy((Problem(f"redaction.patterns[{name}].regex", message),))
