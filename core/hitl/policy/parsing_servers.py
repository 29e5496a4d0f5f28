"""ToolServers: what whoever installed a server declares about its tools."""

import re
from collections.abc import Mapping
from typing import Final

from hitl.errors import InvalidCall
from hitl.policy.names import clean_name
from hitl.policy.parsing_reader import CONTRADICTION, Reader
from hitl.policy.parsing_rules import EFFECTS, LEVELS
from hitl.policy.parsing_sections import PUBLISHER, PUBLISHER_FORM
from hitl.policy.spec import ToolDeclaration, ToolServer

SAME_NAME: Final = "HITL115"

MAX_TOOLS: Final = 512

_ENDPOINT = re.compile(r"https?://[^\s/?#@]+(?:/[^\s?#]*)?")
_IMAGE = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*", re.ASCII)
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
_SECRET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_SECRET_KEY = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_VARIABLE = re.compile(r"\*|[A-Za-z_][A-Za-z0-9_]*\*?", re.ASCII)
_SIGNATURE = re.compile(r"[A-Za-z0-9+/_=.:-]+", re.ASCII)
_DIGEST = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_ON_CHANGE: Final = {word: word for word in ("Quarantine", "Warn")}


def read_tool_server(name: str, reader: Reader) -> ToolServer:
    """The server with its tools under their normalised names."""
    endpoint = reader.text("endpoint", limit=2048, form=_ENDPOINT, wants="an address; write https://host:port/path")
    _read_container(reader)
    if endpoint and "container" in reader:
        reader.problem("container", "excludes endpoint: the server runs here or there", CONTRADICTION)
    _read_credentials(reader)
    reader.text("signature", limit=4096, form=_SIGNATURE, wants="a signature; write it in base64")
    reader.word("onDefinitionChange", _ON_CHANGE, "Quarantine")
    server = ToolServer(
        name=_normalised(name, reader, "", "server"),
        trusted=reader.flag("trusted"),
        publisher=reader.text("publisher", limit=136, form=PUBLISHER, wants=PUBLISHER_FORM),
        endpoint=endpoint,
        tools=_read_tools(reader),
    )
    reader.done()
    return server


def _read_tools(reader: Reader) -> Mapping[str, ToolDeclaration]:
    tools: dict[str, ToolDeclaration] = {}
    places: dict[str, str] = {}
    for tool in reader.children("tools", most=MAX_TOOLS):
        tool.require("name")
        raw = tool.text("name", limit=256)
        name = _normalised(raw, tool, "name", "tool") if raw else ""
        declaration = _read_declaration(tool, name)
        if name in places:
            tool.problem(
                "name",
                f"{raw!r} and {places[name]!r} are one name to the gate ({name}: NFKC, lower case); rename one at its "
                "server, or no rule can tell them apart",
                SAME_NAME,
            )
        elif name:
            places[name] = raw
            tools[name] = declaration
    return tools


def _read_declaration(tool: Reader, name: str) -> ToolDeclaration:
    can = tool.child("capabilities")
    network: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    process = False
    if can is not None:
        network = can.texts("network", most=64, limit=253)
        environment = can.texts("environment", most=64, limit=128, form=_VARIABLE, wants="the name of a variable, or *")
        process = can.flag("process")
        files = can.child("filesystem")
        if files is not None:
            reads = files.texts("read", most=64, limit=1024)
            writes = files.texts("write", most=64, limit=1024)
            files.done({"reads": "unknown key; write read", "writes": "unknown key; write write"})
        can.done()
    declaration = ToolDeclaration(
        name=name,
        level=tool.word("level", LEVELS, None),
        network=network,
        reads=reads,
        writes=writes,
        environment=environment,
        process=process,
        effects=tool.words("effects", EFFECTS),
        undo=tool.text("undo", limit=256),
        untrusted_output=tool.flag("untrustedOutput"),
        definition_digest=tool.text("definitionDigest", limit=71, form=_DIGEST, wants="64 hex digits of SHA-256"),
    )
    tool.done(
        {key: f"unknown key; write capabilities: {{{key}: …}}" for key in ("network", "filesystem", "environment")}
    )
    return declaration


def _read_container(reader: Reader) -> None:
    """Checked for shape; what runs servers beside the sidecar reads it from the resource."""
    container = reader.child("container")
    if container is None:
        return
    container.require("image")
    container.text("image", limit=512, form=_IMAGE, wants="an image; write registry/name:tag")
    for path, item in container.items("command", most=64):
        container.text_of(item, path, limit=4096)
    container.done()


def _read_credentials(reader: Reader) -> None:
    """Checked for shape; the values are mounted into the sidecar alone and never stand in a resource."""
    for credential in reader.children("credentials", most=8):
        credential.require("header", "secretKeyRef")
        credential.text("header", limit=128, form=_HEADER, wants="the name of an HTTP header")
        secret = credential.child("secretKeyRef")
        if secret is not None:
            secret.require("name", "key")
            secret.text("name", limit=253, form=_SECRET_NAME, wants="the name of a Secret")
            secret.text("key", limit=253, form=_SECRET_KEY, wants="a key of a Secret")
            secret.done()
        credential.done({"value": "a credential never stands in a resource; write secretKeyRef: {name: …, key: …}"})


def _normalised(text: str, reader: Reader, key: str, what: str) -> str:
    try:
        return clean_name(text, what).lower()
    except InvalidCall as error:
        reader.problem(key, str(error))
        return ""
