"""The tool definitions that agents declared: what tools claim of themselves may raise a score, never lower it."""

from collections.abc import Sequence
from typing import Final

from hitl.errors import InvalidCall
from hitl.policy.definitions import definition_of
from hitl.policy.envelope import parse_json
from hitl.policy.names import lookup_name
from hitl.policy.spec import ToolDefinition
from hitl.v1 import gate_pb2

MAX_SERVERS: Final = 64
MAX_TOOLS: Final = 1000
MAX_DEFINITION_BYTES: Final = 64 * 1024


class DeclaredTools:
    """What each server's tools say of themselves, by lookup name; a server's newest list replaces the one before."""

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, ToolDefinition]] = {}

    def get(self, name: str) -> ToolDefinition | None:
        """The definition of a tool by its lookup name ``server/tool``."""
        server = self._servers.get(name.partition("/")[0])
        return server.get(name) if server else None

    def declare(self, server: str, tools: Sequence[gate_pb2.ToolDefinition]) -> list[tuple[str, ToolDefinition]]:
        """Take a server's list; (lookup name, definition) in the order given.

        InvalidCall names the tool: an invalid name, two tools that are one after normalising (SECURITY A4), a
        definition that is too long or is no JSON object. Nothing of such a list is kept.
        """
        if len(tools) > MAX_TOOLS:
            raise InvalidCall(f"{len(tools)} tools are declared, at most {MAX_TOOLS} are allowed; declare those in use")
        found: dict[str, ToolDefinition] = {}
        spelled: dict[str, str] = {}
        declared: list[tuple[str, ToolDefinition]] = []
        for tool in tools:
            name = lookup_name(server, tool.name)
            if name in found:
                raise InvalidCall(
                    f"tools {spelled[name]!r} and {tool.name!r} are both {name} after normalising; rename one of them"
                )
            definition = found[name] = _definition(tool)
            spelled[name] = tool.name
            declared.append((name, definition))
        key = lookup_name(server, "x").partition("/")[0]
        if key not in self._servers and len(self._servers) >= MAX_SERVERS:
            del self._servers[next(iter(self._servers))]
        self._servers[key] = found
        return declared


def _definition(tool: gate_pb2.ToolDefinition) -> ToolDefinition:
    if len(tool.definition_json) > MAX_DEFINITION_BYTES:
        raise InvalidCall(
            f"the definition of {tool.name!r} has {len(tool.definition_json)} bytes, at most {MAX_DEFINITION_BYTES} "
            f"are allowed; shorten its description or schema"
        )
    document = parse_json(tool.definition_json) if tool.definition_json else {}
    if not isinstance(document, dict):
        raise InvalidCall(f"the definition of {tool.name!r} is no JSON object; send the tool as its server lists it")
    return definition_of(tool.name, document)
