"""From what an agent sent to a `ToolCall`: parsed once, in one way, or refused (SECURITY A3, A4)."""

from collections.abc import Sequence
from typing import Any, Final

from hitl.errors import InvalidCall
from hitl.policy.calls import ToolCall
from hitl.policy.escaping import as_plain
from hitl.policy.names import LOCAL_SERVER, clean_name
from hitl.policy.strict_json import parse_json, read_json, render_json

__all__ = ["parse_call", "parse_json", "render_json"]

# Identifiers are compared, hashed and logged: what is longer is refused, because cutting would make two of them equal.
MAX_IDENTIFIER: Final = 256
MAX_AGENT_PATH: Final = 16
MAX_CHECKPOINT_BYTES: Final = 1024
MAX_CONTEXT_BYTES: Final = 16 * 1024
# Prose is only read by people: what is longer is cut, and says so.
MAX_JUSTIFICATION: Final = 4000
MAX_ALTERNATIVES: Final = 8
MAX_ALTERNATIVE: Final = 500


def parse_call(
    server: str,
    tool: str,
    arguments_json: bytes,
    *,
    call_id: str = "",
    session_id: str = "",
    agent_path: Sequence[str] = (),
    justification: str = "",
    confidence_percent: int | None = None,
    claimed_user: str = "",
    checkpoint: str = "",
    alternatives: Sequence[str] = (),
    external_impact: bool = False,
    context_json: bytes = b"",
) -> ToolCall:
    """The call, complete and valid, or a refusal that says what to send instead.

    Args:
        server: name of the server; empty for the agent's own tools.
        tool: name of the tool.
        arguments_json: one JSON object of at most 1 MiB; empty means ``{}``.
        call_id: at most 256 printable characters, as are `session_id`, `claimed_user` and each step of `agent_path`.
        session_id: conversation of the call.
        agent_path: at most 16 sub-agents, outermost first.
        justification: cut after 4 000 characters.
        confidence_percent: 0–100 or None.
        claimed_user: whom the agent says it acts for.
        checkpoint: at most 1 KiB of UTF-8, opaque.
        alternatives: cut after 8, each after 500 characters.
        external_impact: the agent's own flag.
        context_json: one JSON object of at most 16 KiB; empty means ``{}``.

    Raises:
        InvalidCall: something is not acceptable; nothing may run.
    """
    server, tool = clean_name(server or LOCAL_SERVER, "server"), clean_name(tool, "tool")
    arguments, rendered = _read_object(arguments_json, "arguments")
    if len(context_json) > MAX_CONTEXT_BYTES:
        raise InvalidCall(f"context: {len(context_json)} bytes, at most {MAX_CONTEXT_BYTES} are allowed; shorten it")
    if confidence_percent is not None and not 0 <= confidence_percent <= 100:
        raise InvalidCall(f"confidence_percent is {confidence_percent}; send 0 to 100, or nothing")
    if checkpoint and len(checkpoint.encode("utf-8", "surrogatepass")) > MAX_CHECKPOINT_BYTES:
        raise InvalidCall(
            f"checkpoint is longer than {MAX_CHECKPOINT_BYTES} bytes; send a reference to the state, not the state"
        )
    if len(agent_path) > MAX_AGENT_PATH:
        raise InvalidCall(f"agent_path has {len(agent_path)} steps, at most {MAX_AGENT_PATH} are allowed")
    return ToolCall(
        server=server,
        tool=tool,
        name=f"{server}/{tool}".lower(),
        arguments=arguments,
        arguments_json=rendered,
        call_id=_identifier(call_id, "call_id"),
        session_id=_identifier(session_id, "session_id"),
        agent_path=tuple(_identifier(step, "agent_path") for step in agent_path),
        justification=_prose(justification, MAX_JUSTIFICATION),
        confidence_percent=confidence_percent,
        claimed_user=_identifier(claimed_user, "claimed_user"),
        checkpoint=checkpoint and _whole(checkpoint, "checkpoint"),
        alternatives=tuple(_prose(text, MAX_ALTERNATIVE) for text in alternatives[:MAX_ALTERNATIVES]),
        external_impact=external_impact,
        context=_read_object(context_json, "context")[0] if context_json else {},
    )


def _read_object(data: bytes, what: str) -> tuple[dict[str, Any], bytes]:
    if not data:
        return {}, b"{}"
    value, rendered = read_json(data, what)
    if not isinstance(value, dict):
        found = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
        raise InvalidCall(f'{what}: {found} where an object is wanted; send {{"name": value, …}}')
    return value, rendered


def _identifier(text: str, what: str) -> str:
    if text.isascii() and text.isprintable() and len(text) <= MAX_IDENTIFIER:
        return text
    if len(text) > MAX_IDENTIFIER:
        raise InvalidCall(f"{what} has {len(text)} characters, at most {MAX_IDENTIFIER} are allowed; send a hash of it")
    if (shown := as_plain(text)) != text:
        raise InvalidCall(f'{what} "{shown}" contains characters that cannot be seen; send printable ones')
    return text


def _prose(text: str, limit: int) -> str:
    if len(text) > limit:
        # Between words, so that no secret is cut in two and slips past redaction as a half.
        kept = text[: limit - 24].rsplit(None, 1)[0]
        text = f"{kept} … {len(text) - len(kept)} more"
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _whole(text: str, what: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidCall(f"{what}: half of a surrogate pair at character {error.start}; send whole ones") from error
    return text
