"""values.schema.json, values.yaml and the table of the README, all from one description of the values.

The source is a JSON schema written as YAML: every value has its description and its default beside it, once. Objects
that name their properties take no others, at every level, so that a misspelled value is refused by its name.
"""

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

_WIDTH: Final = 116
_TITLE: Final = "Values of the chart hitl"


def schema_text(source: Mapping[str, Any]) -> str:
    """The text of values.schema.json."""
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": _TITLE}
    return json.dumps({**head, **_closed(source)}, indent=2, ensure_ascii=False) + "\n"


def values_text(source: Mapping[str, Any], head: str) -> str:
    """The text of values.yaml: every value with its default, under what it means."""
    return f"{head}\n{''.join(_values(source['properties'], ''))}"


def table(source: Mapping[str, Any]) -> str:
    """Rows of Markdown: value, default, meaning."""
    rows = [
        f"| `{path}` | {_code(default)} | {_cell(each.get('description', ''))} |\n"
        for path, each, default in _leaves(source["properties"], "", _defaults(source))
    ]
    return "| value | default | what it is |\n|---|---|---|\n" + "".join(rows)


def _closed(schema: Any) -> Any:
    """The schema with `additionalProperties: false` wherever properties are named."""
    match schema:
        case dict():
            made = {key: _closed(value) for key, value in schema.items()}
            # A property may itself be called `properties`; then its value is a schema, not a map of them.
            if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
                made.setdefault("additionalProperties", False)
            return made
        case list():
            return [_closed(item) for item in schema]
    return schema


def _defaults(schema: Mapping[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    return {key: _defaults(each) for key, each in schema.get("properties", {}).items() if _has_default(each)}


def _has_default(schema: Mapping[str, Any]) -> bool:
    return "default" in schema or any(map(_has_default, schema.get("properties", {}).values()))


def _leaves(
    properties: Mapping[str, Any], above: str, defaults: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any], Any]]:
    for key, each in properties.items():
        if key not in defaults:
            continue
        if "properties" in each and "default" not in each:
            yield from _leaves(each["properties"], f"{above}{key}.", defaults[key])
        else:
            yield f"{above}{key}", each, defaults[key]


def _values(properties: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, each in properties.items():
        if not _has_default(each):
            continue
        if not indent:
            yield "\n"
        yield from _comment(each.get("description", ""), indent)
        if "properties" in each and "default" not in each:
            yield f"{indent}{key}:\n"
            yield from _values(each["properties"], f"{indent}  ")
        else:
            yield f"{indent}{key}: {_flow(each['default'])}\n"
        for example in each.get("examples", ()):
            lines = yaml.safe_dump({key: example}, sort_keys=False, default_flow_style=None, width=_WIDTH).splitlines()
            yield from (f"{indent}# {line}\n" for line in ("For example:", *lines))


def _comment(text: str, indent: str) -> Iterator[str]:
    width = _WIDTH - len(indent)
    yield from (f"{indent}# {line}\n" for line in textwrap.wrap(text, width, break_on_hyphens=False))


def _flow(value: Any) -> str:
    """JSON is YAML; bare where it reads better and means the same."""
    if isinstance(value, str) and value and yaml.safe_load(value) == value and ": " not in value:
        return value
    if isinstance(value, dict) and value:
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _code(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
