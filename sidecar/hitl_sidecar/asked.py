"""A call as it was asked, kept as the bytes that came, and as a reviewer may have changed it."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from hitl.errors import InvalidCall
from hitl.policy.calls import ToolCall
from hitl.policy.escaping import plain
from hitl.policy.redaction import Preview
from hitl.policy.verdicts import Verdict
from hitl.v1 import gate_pb2
from hitl.wire.calls import call_from_proto
from hitl_sidecar.programmed import InForce

_MOST_EDITS: Final = 1000


@dataclass(frozen=True, slots=True)
class Edited:
    """A reviewer's version of a call that other people must agree to (SECURITY D3).

    Attributes:
        arguments: the edited arguments, as they would run.
        excluded: who made it, and so may not approve it.
        original: fingerprint of the call that the agent made, before any edit.
    """

    arguments: bytes
    excluded: tuple[str, ...]
    original: bytes

    def stands_for(self, call: ToolCall) -> bool:
        """Whether this is what became of `call`, and not of another one under the same call_id."""
        return fingerprint(call) == self.original


def fingerprint(call: ToolCall) -> bytes:
    """Tells the calls of one process apart."""
    return hashlib.sha256(b"%s\0%s" % (call.name.encode(), call.arguments_json)).digest()


def request_of(data: bytes) -> gate_pb2.CheckRequest:
    """InvalidCall where the bytes are no CheckRequest."""
    try:
        return gate_pb2.CheckRequest.FromString(data)
    except DecodeError as error:
        raise InvalidCall(f"the message is no CheckRequest ({error}); use the stubs of this release") from None


def call_of(message: gate_pb2.ToolCall, edited: Edited | None = None) -> ToolCall:
    """The call that a message means, with its edited arguments where there are some. InvalidCall as `parse_call`."""
    if edited is not None:
        message.arguments_json = edited.arguments
    call = call_from_proto(message)
    if not plain(call.checkpoint):
        raise InvalidCall("checkpoint contains characters that cannot be seen; send it as base64")
    return call


class Judged(NamedTuple):
    """A call with its verdict. A tuple, because one is made for every call and a frozen dataclass costs three times it.

    Attributes:
        preview: what may be shown of the call, where it was worked out already.
        edited: a reviewer's version, where `call` is one.
    """

    in_force: InForce
    call: ToolCall
    verdict: Verdict
    preview: Preview | None = None
    edited: Edited | None = None

    @property
    def needs_people(self) -> bool:
        """Whether the call must be held."""
        return self.verdict.action.holds and not self.verdict.clarify


class Edits:
    """Which calls reviewers changed while others must still agree. In memory: a restart asks for the original anew."""

    def __init__(self) -> None:
        self._edits: OrderedDict[tuple[str, str, str], Edited] = OrderedDict()

    def get(self, key: tuple[str, str, str]) -> Edited | None:
        """The reviewer's version that a retry of the original call stands for."""
        return self._edits.get(key)

    def put(self, key: tuple[str, str, str], edited: Edited) -> None:
        self._edits[key] = edited
        if len(self._edits) > _MOST_EDITS:
            self._edits.popitem(last=False)

    def forget(self, key: tuple[str, str, str]) -> None:
        """It was released, or people decided otherwise."""
        self._edits.pop(key, None)
