"""Conditions in CEL, held strictly (SECURITY A1).

The C++ library does not raise for a missing key: it gives a truthy value of type ERROR. So a condition holds only if
the result has type BOOL and is `True`, does not hold only if it is BOOL and `False`, and anything else means the call
is denied. The library itself bounds nesting (32) and iterations (10 000 in one evaluation); length, patterns and the
size of what is scanned are bounded here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from cel_expr_python import cel

from hitl.errors import EvaluationFailed
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.expression_syntax import reads_of
from hitl.policy.patterns import MAX_PROGRAM, Pattern
from hitl.policy.values import MAX_SCANNED

MAX_SOURCE: Final = 2048

_BOOL: Final = cel.Type.BOOL
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MISSING_KEY = re.compile(r"Key not found in map : \"(.*)\"")
# What the library says of errors in words that hold types, but no values.
_SAFE_PHRASES = (
    "No matching overloads found",
    "Iteration budget exceeded",
    "divide by zero",
    "modulus by zero",
    "integer overflow",
)


class Variables:
    """What the conditions of one evaluation read; the library's own form of it is made once, for the first of them.

    Server and tool are the lookup name's, so that capitals chosen by an agent change nothing. A user whom the agent
    merely names is there, but never `verified`.
    """

    __slots__ = ("_activation", "_agent", "_call", "_now", "_on_behalf_of", "_tainted", "arguments")

    def __init__(
        self, call: ToolCall, agent: Agent, on_behalf_of: OnBehalfOf | None, *, tainted: bool, now: float
    ) -> None:
        self.arguments = call.arguments
        self._call = call
        self._agent = agent
        self._on_behalf_of = on_behalf_of
        self._tainted = tainted
        self._now = now
        self._activation: Any = None

    @property
    def activation(self) -> Any:
        """The variables of DESIGN 18. The library copies nothing: a large argument that no condition reads is free."""
        if self._activation is None:
            call, agent, user = self._call, self._agent, self._on_behalf_of
            server, _, tool = call.name.partition("/")
            self._activation = _environment().Activation(
                {
                    "args": call.arguments,
                    "call.server": server,
                    "call.tool": tool,
                    "call.session": call.session_id,
                    "agent.namespace": agent.namespace,
                    "agent.serviceAccount": agent.service_account,
                    "agent.workload": agent.workload,
                    "agent.labels": dict(agent.labels),
                    "onBehalfOf.username": user.username if user else call.claimed_user,
                    "onBehalfOf.verified": user is not None and user.verified,
                    "session.tainted": self._tainted,
                    "now": _EPOCH + timedelta(seconds=self._now),
                }
            )
        return self._activation


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled condition. Making one raises ValueError, with the next step, for what does not compile to a boolean.

    Attributes:
        source: as the author wrote it.
    """

    source: str
    _program: Any = field(init=False, repr=False, compare=False)
    _scanned: tuple[str, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.source) > MAX_SOURCE:
            raise ValueError(f"the expression has {len(self.source)} characters, at most {MAX_SOURCE} are allowed")
        try:
            program = _environment().compile(self.source)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"{self.source!r} is no CEL condition: {_reason(error)}") from error
        if program.return_type() != _BOOL:
            raise ValueError(_not_boolean(self.source, program.return_type().name()))
        reads = reads_of(self.source)
        if reads.open_patterns:
            raise ValueError(
                f"{self.source!r}: matches needs its pattern as one literal, as in args.branch.matches('^release/'); "
                "a pattern that the call brings along cannot be bounded"
            )
        size = 0
        for literal in reads.patterns:
            size += Pattern(_environment().compile(literal).eval().value()).size
            if size > MAX_PROGRAM:
                raise ValueError(
                    f"{self.source!r}: its patterns have more than {MAX_PROGRAM} instructions together; use fewer "
                    "Unicode classes and counted repeats, or ask by matches in args"
                )
        scanned = None if reads.arguments is None else tuple(sorted(reads.arguments))
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_scanned", scanned)

    def holds(self, variables: Variables) -> bool:
        """Whether the condition is true of these variables.

        Raises:
            EvaluationFailed: the library gives an error or anything but a boolean (a missing key, two types that
                cannot be compared, too many iterations), or an argument it scans holds a text over 16 KiB.
        """
        arguments = variables.arguments
        for name in arguments if self._scanned is None else self._scanned:
            value = arguments.get(name)
            if _holds_long_text(value):
                raise EvaluationFailed(
                    f"cel {self.source!r}: argument {name!r} holds a text over {MAX_SCANNED} characters, "
                    "which is not searched; bound it with maxLength in args"
                )
        try:
            result = self._program.eval(variables.activation)
            value = result.value()
            is_bool = result.type() == _BOOL
        except Exception as error:  # whatever the library throws, it is "could not tell" (I2)
            raise EvaluationFailed(self._failure(str(error), "an error")) from error
        if is_bool and value is True:
            return True
        if is_bool and value is False:
            return False
        raise EvaluationFailed(self._failure(str(value), result.type().name()))

    def _failure(self, words: str, kind: str) -> str:
        """Says what went wrong without repeating an argument: the library quotes values, and messages travel (I10)."""
        if missing := _MISSING_KEY.search(words):
            if missing[1] in self.source:
                return f"cel {self.source!r}: the call has no {missing[1]!r}; guard it with has(…) && …"
            return f"cel {self.source!r}: it reads a key that is not there; guard it with has(…) && …"
        known = next((phrase for phrase in _SAFE_PHRASES if phrase in words), None)
        return (
            f"cel {self.source!r}: {known or f'it gives {kind}'}, not true or false; the call or the condition is wrong"
        )


@cache
def _environment() -> Any:
    """One environment for the process, made when the first condition is compiled: it takes 30 ms."""
    # Fields as variables with a dot in their name: a misspelt one is refused when compiled, not when a call comes.
    kinds = cel.Type
    return cel.NewEnv(
        variables={
            "args": kinds.Map(kinds.STRING, kinds.DYN),
            "call.server": kinds.STRING,
            "call.tool": kinds.STRING,
            "call.session": kinds.STRING,
            "agent.namespace": kinds.STRING,
            "agent.serviceAccount": kinds.STRING,
            "agent.workload": kinds.STRING,
            "agent.labels": kinds.Map(kinds.STRING, kinds.STRING),
            "onBehalfOf.username": kinds.STRING,
            "onBehalfOf.verified": kinds.BOOL,
            "session.tainted": kinds.BOOL,
            "now": kinds.TIMESTAMP,
        }
    )


def _holds_long_text(value: Any) -> bool:
    if type(value) is str:
        return len(value) > MAX_SCANNED
    if isinstance(value, Mapping):
        return any(len(key) > MAX_SCANNED or _holds_long_text(child) for key, child in value.items())
    if isinstance(value, list | tuple):
        return any(_holds_long_text(child) for child in value)
    return False


def _not_boolean(source: str, kind: str) -> str:
    if kind == "DYN":
        return f"{source!r} may be of any type; compare it, as in {source.strip()} == true"
    return f"{source!r} gives {kind}, a condition must give BOOL; compare it with something"


def _reason(error: Exception) -> str:
    """The first line of the library's words, without its own name for the input."""
    text = str(error).removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").split("\n", 1)[0]
    return text.replace("<input>:1:", "at character ").replace(" (in container '')", "").strip()
