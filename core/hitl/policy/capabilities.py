"""What a tool can reach: as its ToolServer declares it, or as the names and values of its arguments betray it."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import re2

from hitl.errors import EvaluationFailed
from hitl.policy.names import word_set, words_of
from hitl.policy.secret_names import secret_class
from hitl.policy.spec import ToolDeclaration
from hitl.policy.urls import host_of

# An author's list is exact if it has no wildcard and a person can take it in at one glance.
MAX_EXACT: Final = 5
# Longer strings are content, not an address, a path or a statement; also bounds the searches (SECURITY A5).
MAX_LOOKED_AT: Final = 16 * 1024

# Stands for an address that clients would read differently: it leads outside, and nobody has seen it before.
UNREADABLE_HOST: Final = "(unreadable address)"

_NETWORK = word_set("url urls uri uris href link links endpoint webhook host hosts hostname domain domains ip proxy")
_FILES = word_set("path paths file files filename filenames filepath dir directory directories folder cwd")
_COMMAND = word_set("command commands cmd shell script argv executable")
_ENVIRONMENT = word_set("env envs environ envvars")
_SQL = word_set("sql")
_CREDENTIALS = frozenset(
    {"password", "secret", "token", "api-key", "private-key", "authorization", "cookie", "credential"}
)

_URL = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*://\S+\s*")
_URL_INSIDE = re2.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>`|^{}]+")
_PATH = re.compile(r"(?:/|~/|\.{1,2}/|[A-Za-z]:[\\/])[^\n]*")
_PATH_STARTS = frozenset("/~.")
_STATEMENT_STARTS = frozenset("aAcCdDeEgGiImMpPrRsStTuUwW-/(")
_STATEMENT_WORD = re.compile(
    r"\s*(?:--|/\*|\(|(?:select|insert|update|delete|merge|replace|with|truncate|explain|create|alter|drop|grant|revoke|copy"
    r"|call|pragma|attach)\b)",
    re.IGNORECASE,
)
# The shape of a statement, not its first word alone: people search for "update the docs" too.
_STATEMENT = re2.compile(
    r"(?is)^[\s(]*(?:--[^\n]*\n\s*|/\*.*?\*/\s*)*(?:select\b.*\bfrom\b|select\s+[\w.*]+\s*\(|insert\s+into\b|update\b.*\bset\b"
    r"|delete\s+from\b|merge\s+into\b|replace\s+into\b|with\b.*\bas\s*\(|truncate\s+(?:table\s+)?\w|explain\s+\w"
    r"|(?:create|alter|drop)\s+(?:or\s+replace\s+)?(?:temp\w*\s+|unique\s+|materialized\s+)?"
    r"(?:table|index|view|database|schema|user|role|function|procedure|trigger|sequence|extension)\b"
    r"|(?:grant|revoke)\b.*\bon\b|copy\s+\w+.*\b(?:from|to)\b|call\s+\w+\s*\(|pragma\s+\w|attach\s+database)"
)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the arguments of one call look like. Strings are the agent's own: redact before they leave (I10).

    Attributes:
        hosts: hosts of every URL in any string, and values of arguments named like a host; sorted. `UNREADABLE_HOST`
            for what is meant as an address and leads different clients to different places.
        paths: values that are file paths, in order.
        environment: names of arguments that carry credentials or environment variables.
        has_url, has_command, has_sql: some argument is one, by its name or by its value.
        has_network, has_files: likewise; an argument may be named ``url`` and hold no host.
    """

    hosts: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    has_network: bool = False
    has_files: bool = False
    has_url: bool = False
    has_command: bool = False
    has_sql: bool = False


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a call can touch. `declared`: by a ToolServer's author; else inferred, and never called exact."""

    network: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    process: bool = False
    declared: bool = False

    @property
    def categories(self) -> tuple[str, ...]:
        """Those of network, filesystem, environment and process that are touched, in this order."""
        found = (
            ("network", self.network),
            ("filesystem", self.reads or self.writes),
            ("environment", self.environment),
            ("process", self.process),
        )
        return tuple(name for name, present in found if present)


def capabilities_of(declaration: ToolDeclaration | None, observed: Observed, *, changes: bool) -> Capabilities:
    """What a tool can touch.

    Args:
        declaration: the ToolServer's word about the tool; it stands alone if it names a level or any capability.
        observed: what the arguments show, for a tool that nobody declared.
        changes: whether an undeclared tool does more than read: then it is taken to write the files it is given.
    """
    if declaration is not None and (declaration.level is not None or declaration.has_capability):
        return Capabilities(
            network=declaration.network,
            reads=declaration.reads,
            writes=declaration.writes,
            environment=declaration.environment,
            process=declaration.process,
            declared=True,
        )
    files = (observed.paths or ("a path in the arguments",)) if observed.has_files else ()
    return Capabilities(
        network=(observed.hosts or ("an address in the arguments",)) if observed.has_network else (),
        reads=() if changes else files,
        writes=files if changes else (),
        environment=observed.environment,
        process=observed.has_command,
    )


def observe(arguments: Mapping[str, Any]) -> Observed:
    """What names and values of the arguments say about what the call touches."""
    look = _Look()
    for name, value in arguments.items():
        look.at(name, value)
    if not (look.kinds or look.hosts):
        return _NOTHING
    return Observed(
        hosts=tuple(sorted(look.hosts)),
        paths=tuple(dict.fromkeys(look.paths)),
        environment=tuple(dict.fromkeys(look.environment)),
        has_network="network" in look.kinds,
        has_files="files" in look.kinds,
        has_url="url" in look.kinds,
        has_command="command" in look.kinds,
        has_sql="sql" in look.kinds,
    )


_NOTHING: Final = Observed()


class _Look:
    """Goes once through the arguments."""

    __slots__ = ("environment", "hosts", "kinds", "paths")

    def __init__(self) -> None:
        self.kinds: set[str] = set()
        self.hosts: set[str] = set()
        self.paths: list[str] = []
        self.environment: list[str] = []

    def at(self, name: str, value: Any) -> None:
        kind = kind_of(name) if len(name) <= 128 else ""
        if kind and value not in (None, "", False):
            self._named(kind, name, value)
        if isinstance(value, str):
            if len(value) > 6:  # shorter is neither a URL with a host nor a statement
                self._string(value)
            elif value.startswith(("/", "~/", "./", "../")):
                self._path(value)
        elif isinstance(value, dict):
            for inner, child in value.items():
                self.at(inner, child)
        elif isinstance(value, list):
            for child in value:
                if isinstance(child, str | dict | list):
                    self.at("" if kind == "environment" else name, child)

    def _named(self, kind: str, name: str, value: Any) -> None:
        match kind:
            case "network":
                self.kinds |= {"network", "url"}
                if isinstance(value, str) and "://" not in value:
                    self._host(value)
            case "files":
                self.kinds.add("files")
                if isinstance(value, str) and len(value) <= MAX_LOOKED_AT:
                    self.paths.append(value)
            case "environment":
                self.kinds.add("environment")
                self.environment.append(name)
            case _:
                self.kinds.add(kind)

    def _string(self, value: str) -> None:
        if len(value) > MAX_LOOKED_AT:
            value = value[:MAX_LOOKED_AT]
        if "://" in value:
            if _URL.fullmatch(value):
                self.kinds |= {"network", "url"}
                self._host(value)
            else:
                for match in _URL_INSIDE.finditer(value):
                    self._host(match.group())
        start = value[:1]
        if start.isspace():
            start = value.lstrip()[:1]
        if (start in _PATH_STARTS or value[1:2] == ":") and _PATH.fullmatch(value.strip()):
            self._path(value.strip())
        if start in _STATEMENT_STARTS and _STATEMENT_WORD.match(value) and _STATEMENT.search(value):
            self.kinds.add("sql")

    def _path(self, value: str) -> None:
        self.kinds.add("files")
        self.paths.append(value)

    def _host(self, text: str) -> None:
        address = text.strip().rstrip(").,;:!?")
        if address[:5].lower() == "file:":
            return
        try:
            self.hosts.add(host_of(address if "://" in address else f"https://{address}"))
        except EvaluationFailed:
            self.hosts.add(UNREADABLE_HOST)


@lru_cache(maxsize=8192)
def kind_of(argument: str) -> str:
    """What an argument's name says it carries: network, files, command, sql, environment, or nothing (empty)."""
    words = words_of(argument)
    if not words:
        return ""
    last = words[-1]
    if last in _NETWORK:
        return "network"
    if last in _FILES:
        return "files"
    if last in _COMMAND:
        return "command"
    if last in _ENVIRONMENT or words[-2:] == ("environment", "variables") or words[-2:] == ("env", "vars"):
        return "environment"
    if last in _SQL or (words[0] in _SQL and last in ("query", "statement", "text")):
        return "sql"
    return "environment" if secret_class(argument) in _CREDENTIALS else ""


def wildcard(entries: Iterable[str]) -> int:
    """How open a declared list is: 2 if an entry is everything, 1 if one has a wildcard inside, 0 if all are exact."""
    worst = 0
    for entry in entries:
        bare = entry.strip()
        if bare in ("*", "**", "/", "/*", "/**", "*:*", "*.*", "0.0.0.0/0", "::/0"):
            return 2
        if any(sign in bare for sign in "*?["):
            worst = 1
    return worst


def is_exact(entries: tuple[str, ...]) -> bool:
    """Whether a declared list names at most five things, each of them exactly."""
    return 0 < len(entries) <= MAX_EXACT and wildcard(entries) == 0
