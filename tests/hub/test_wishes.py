"""What a sidecar may have stored: sizes that leave room for what people say of it (SECURITY G1, I13)."""

from dataclasses import replace

import pytest

from hitl.approvals.requests import CallShown, RequestSpec, Touches
from hitl.errors import InvalidInput
from hitl.kube.requests import spec_to_json
from hitl.policy.calls import Agent
from hitl.policy.verdicts import Requirement
from hitl.wire.identity import Identity
from hitl_operator.wishes import read_wish
from stores.asking import a_spec

IDENTITY = Identity(
    Agent("shop", "support", "deploy/support", "support-1", "p-1"), namespace_uid="n-1", cluster_uid="c-1"
)


def read(spec: RequestSpec) -> RequestSpec:
    return read_wish(spec_to_json(spec), IDENTITY, preview_bytes=16 << 10)


def test_a_preview_of_the_largest_size_is_taken() -> None:
    """16 KiB of arguments, also where each character takes six bytes in the storage of an API server, are held."""
    call = CallShown("stripe", "create_refund", "<" * (16 << 10))
    assert read(a_spec(call=call)).call.arguments_preview == call.arguments_preview


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(effects=tuple("é" * 4096 for _ in range(20))),
        a_spec(touches=Touches(reads=tuple("<&>" * 300 for _ in range(60)))),
        a_spec(requirements=tuple(Requirement(f"r{n}", any_of=("<" * 1000, "&" * 1000)) for n in range(15))),
    ],
    ids=["on the wire", "as stored", "as stored twice"],
)
def test_I13_a_spec_leaves_room_for_what_people_say_of_it(spec: RequestSpec) -> None:
    """I13: etcd takes 1.5 MiB for all of a request; one that begins too large could not be decided, or even ended."""
    with pytest.raises(InvalidInput, match=r"spec: (has|takes) \d+ bytes, at most \d+ are stored; shorten the preview"):
        read(spec)
    read(replace(spec, effects=(), touches=Touches(), requirements=spec.requirements[:1]))
