"""Finding secrets in parsed JSON and replacing them: by the name they stand under, by their form, in any wrapping."""

import base64
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from hitl.policy.escaping import escape, plain, seen_text
from hitl.policy.secret_names import secret_class
from hitl.policy.secret_patterns import SecretPattern, compiled, is_value
from hitl.policy.strict_json import pointer

# A string that is itself JSON or base64, inside one that is: people nest twice, hiding places are deeper.
MAX_WRAPPINGS: Final = 3

# A text with more secrets of one kind is hidden from there on: nobody reads it, and looking on costs time (A5).
MAX_HITS: Final = 200

_ENCODED = compiled(r"[A-Za-z0-9+/_-]{16,}(?:\r?\n[A-Za-z0-9+/_-]+)*={0,2}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2})+")
_URL_SAFE: Final = str.maketrans("-_", "+/")
# Members of a pair object such as {"name": "DB_PASSWORD", "value": "…"}.
_NAME_MEMBERS: Final = ("name", "key", "header", "field", "variable", "env", "param")
_VALUE_MEMBERS: Final = frozenset({"value", "val", "values", "data", "stringdata", "content", "default"})


class Redacted(NamedTuple):
    """One replaced secret: where (JSON pointer as shown), its class, and how many characters it had (G2)."""

    pointer: str
    name: str
    length: int


class Span(NamedTuple):
    """A secret inside a text; `named` of its characters are hidden only because of a word that stands before them."""

    start: int
    end: int
    name: str
    certain: bool
    named: int


@dataclass(frozen=True, slots=True)
class Rules:
    """What to look for in one direction.

    Attributes:
        patterns: each with its compiled form.
        hint: matches every text in which a pattern may match; None where no such thing exists.
        keys: author's argument names, as (compiled glob, class).
        detect_encoding: look into base64 and hex too.
    """

    patterns: tuple[tuple[SecretPattern, Any], ...]
    hint: Any
    keys: tuple[tuple[Any, str], ...] = ()
    detect_encoding: bool = False

    def class_of(self, name: str) -> str | None:
        """What kind of secret a value of this name is, by our table or by the author's keys."""
        if self.keys:
            lower = unicodedata.normalize("NFKC", name).lower()
            snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
            for glob, kind in self.keys:
                if glob.fullmatch(lower) or glob.fullmatch(snake):
                    return kind
        return secret_class(name)

    def spans(self, text: str, *, only_certain: bool = False) -> list[Span]:
        """The secrets in a text by their form, in order, without overlaps."""
        if self.hint is not None and not self.hint.search(text):
            return []
        found = []
        for pattern, regex in self.patterns:
            if only_certain and not pattern.certain:
                continue
            for hit, (start, found_end) in enumerate(_places(pattern, regex, text)):
                end = found_end if hit < MAX_HITS else len(text)
                found.append(Span(start, end, pattern.name, pattern.certain, end - start if pattern.by_name else 0))
                if hit >= MAX_HITS:
                    break
        return _merged(found)


@dataclass(slots=True)
class Scan:
    """One pass over one call or result; collects what it replaced."""

    rules: Rules
    keep: frozenset[str] = frozenset()
    declared: frozenset[str] = frozenset()
    redacted: list[Redacted] = field(default_factory=list)
    named: int = 0
    _wrappings: int = 0

    @property
    def findings(self) -> tuple[str, ...]:
        """The classes found, sorted."""
        return tuple(sorted({entry.name for entry in self.redacted}))

    def value(self, value: Any, steps: tuple[str | int, ...] = (), hidden_as: str | None = None) -> Any:
        """The value without secrets. `hidden_as`: the class of secret that its name, or one above it, announces."""
        match value:
            case str():
                return self.text(value, steps, hidden_as)
            case None | bool():
                return value
            case dict():
                return self._object(value, steps, hidden_as)
            case list() | tuple():
                return self._array(value, steps, hidden_as)
            case _:
                return self._number(value, steps, hidden_as)

    def text(self, text: str, steps: tuple[str | int, ...] = (), hidden_as: str | None = None) -> str:
        """A text without secrets."""
        kept = self._is_kept(steps)
        if hidden_as and not kept and is_value(text):
            whole = [
                span for span in self.rules.spans(text, only_certain=True) if (span.start, span.end) == (0, len(text))
            ]
            name = whole[0].name if whole else hidden_as
            return self._hide(steps, name, len(text), named=0 if whole else len(text))
        inner = self._unwrapped(text, steps)
        if inner is not None:
            return inner
        spans = self.rules.spans(text, only_certain=kept)
        if self.rules.detect_encoding:
            spans = _merged([*spans, *self._encoded(text, kept=kept)])
        if not spans and not plain(text) and (seen := seen_text(text)) != text:
            # Invisible characters in a secret, or full-width digits, hide it from patterns but not from people.
            found = self.rules.spans(seen, only_certain=kept)
            if found:
                return self._hide(steps, found[0].name, len(text), named=len(text))
        return self._replaced(text, spans, steps)

    def _object(self, value: Mapping[str, Any], steps: tuple[str | int, ...], hidden_as: str | None) -> dict[str, Any]:
        named = next((value[name] for name in _NAME_MEMBERS if isinstance(value.get(name), str)), None)
        announced = self.rules.class_of(named) if named else None
        if value.get("kind") == "Secret":  # of Kubernetes
            announced = "secret"
        result: dict[str, Any] = {}
        for key, child in value.items():
            shown = self._replaced(key, self.rules.spans(key), (*steps, "(key)"))
            while shown in result:
                shown += "'"
            kind = hidden_as or self.rules.class_of(key) or (announced if key.lower() in _VALUE_MEMBERS else None)
            result[shown] = self.value(child, (*steps, shown), kind)
        return result

    def _array(self, value: Iterable[Any], steps: tuple[str | int, ...], hidden_as: str | None) -> list[Any]:
        result: list[Any] = []
        before: str | None = None
        items = list(value)
        for index, item in enumerate(items):
            kind = hidden_as
            # ["--password", "…"] on a command line, ["Authorization", "…"] in a list of headers.
            if kind is None and before and (before.startswith("-") or (len(items) == 2 and index == 1)):
                kind = self.rules.class_of(before)
            result.append(self.value(item, (*steps, index), kind))
            before = item if isinstance(item, str) else None
        return result

    def _number(self, value: Any, steps: tuple[str | int, ...], hidden_as: str | None) -> Any:
        if self._is_kept(steps):
            return value
        digits = str(value)
        if hidden_as:
            return self._hide(steps, hidden_as, len(digits), named=len(digits))
        spans = self.rules.spans(digits)
        return self._hide(steps, spans[0].name, len(digits), named=0) if spans else value

    def _unwrapped(self, text: str, steps: tuple[str | int, ...]) -> str | None:
        """The text as JSON within JSON, written anew, if it is that and holds a secret."""
        if self._wrappings >= MAX_WRAPPINGS or not text.lstrip().startswith(("{", "[", '"')):
            return None
        try:
            inner = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(inner, dict | list | str):
            return None
        before = len(self.redacted)
        self._wrappings += 1
        # Names inside such a text are the agent's choice, whoever declared the argument around it.
        declared, self.declared = self.declared, frozenset()
        shown = self.value(inner, steps)
        self.declared = declared
        self._wrappings -= 1
        return None if len(self.redacted) == before else orjson.dumps(shown).decode()

    def _encoded(self, text: str, *, kept: bool) -> Iterable[Span]:
        if self._wrappings >= MAX_WRAPPINGS:
            return
        for match in _ENCODED.finditer(text):
            for decoded in _decodings(match.group()):
                names = [span.name for span in self.rules.spans(decoded, only_certain=kept)]
                if not names and not kept and "\ufffd" not in decoded:
                    inner = Scan(self.rules, _wrappings=self._wrappings + 1)
                    inner.text(decoded)
                    names = [entry.name for entry in inner.redacted]
                if names:
                    yield Span(match.start(), match.end(), names[0], certain=True, named=0)
                    break

    def _replaced(self, text: str, spans: list[Span], steps: tuple[str | int, ...]) -> str:
        if not spans:
            return text
        parts, at = [], 0
        for span in spans:
            parts += [text[at : span.start], self._hide(steps, span.name, span.end - span.start, named=span.named)]
            at = span.end
        return "".join((*parts, text[at:]))

    def _hide(self, steps: tuple[str | int, ...], name: str, length: int, *, named: int) -> str:
        self.redacted.append(Redacted(escape(pointer(*steps)), name, length))
        if not (len(steps) == 1 and steps[0] in self.declared):
            self.named += named
        return f"[REDACTED:{name}]"

    def _is_kept(self, steps: tuple[str | int, ...]) -> bool:
        return bool(self.keep) and any(pointer(*steps[:end]) in self.keep for end in range(1, len(steps) + 1))


def _places(pattern: SecretPattern, regex: Any, text: str) -> Iterable[tuple[int, int]]:
    for match in regex.finditer(text):
        group = next((number for number in range(1, regex.groups + 1) if match.start(number) >= 0), 0)
        start, end = match.span(group)
        if pattern.parts is not None:
            yield from ((start + first, start + last) for first, last in pattern.parts(match.group(group)))
        elif end > start and (pattern.check is None or pattern.check(match.group(group))):
            yield start, end


def _merged(spans: Iterable[Span]) -> list[Span]:
    """Overlapping spans as one, named after the certain one if there is one."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not result or span.start >= result[-1].end:
            result.append(span)
            continue
        last = result[-1]
        end = max(last.end, span.end)
        # A known kind of secret vouches for its own characters, not for what was hidden around it.
        vouched = sum(each.end - each.start for each in (last, span) if each.certain)
        named = max(0, end - last.start - vouched) if last.named or span.named else 0
        name = span.name if span.certain and not last.certain else last.name
        result[-1] = Span(last.start, end, name, last.certain or span.certain, named)
    return result


def _decodings(token: str) -> Iterable[str]:
    """What a token may mean as hex or base64: whole, and line by line where it is wrapped."""
    lines = token.split()
    for candidate in dict.fromkeys(("".join(lines), *lines)):
        if _HEX.fullmatch(candidate):
            yield _as_text(bytes.fromhex(candidate))
        bare = candidate.rstrip("=").translate(_URL_SAFE)
        if len(bare) % 4 != 1:
            yield _as_text(base64.b64decode(bare + "=" * (-len(bare) % 4)))


def _as_text(data: bytes) -> str:
    # Without its zero bytes UTF-16 of a secret is the secret.
    return data.replace(b"\0", b"").decode("utf-8", "replace")
