"""What a tool says of itself, read the same way for the gate and for `explain`. Never trusted: it may only raise."""

from collections.abc import Mapping
from typing import Any, Final

from hitl.policy.spec import ToolDefinition

_MAX_DESCRIPTION: Final = 4000  # inference reads words, and a longer text has said them by then
_MAX_ARGUMENTS: Final = 256


def definition_of(name: str, document: Mapping[str, Any]) -> ToolDefinition:
    """The part of an MCP Tool object, or of the nearest thing a framework has, that inference reads.

    Args:
        name: as the tool's owner spells it.
        document: title, description, schema and annotations; whatever has another type counts as absent.
    """
    return ToolDefinition(
        name=name,
        description=_text(document, "title", "description")[:_MAX_DESCRIPTION],
        argument_names=_argument_names(document),
        annotations=_annotations(document),
    )


def _text(document: Mapping[str, Any], *keys: str) -> str:
    return " ".join(value for key in keys if isinstance(value := document.get(key), str))


def _argument_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """From the schema's properties, however the framework spells the schema's key."""
    for key in ("inputSchema", "input_schema", "parameters"):
        schema = document.get(key)
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if isinstance(properties, dict):
            return tuple(properties)[:_MAX_ARGUMENTS]
    return ()


def _annotations(document: Mapping[str, Any]) -> dict[str, bool]:
    found = document.get("annotations")
    return {key: value for key, value in found.items() if isinstance(value, bool)} if isinstance(found, dict) else {}
