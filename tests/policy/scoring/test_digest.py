"""Digests: every change gives another one, spelling gives the same, and only the key can compute it (D1, B4)."""

import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitl.errors import InvalidCall, Unavailable
from hitl.policy.calls import Agent, OnBehalfOf, ToolCall
from hitl.policy.digest import digest_of, sameness_of
from hitl.policy.envelope import parse_call
from hitl.policy.strict_json import render_json

KEY = bytes(range(32))
AGENT = Agent(
    namespace="shop", service_account="support", workload="deploy/support", pod_name="support-1", pod_uid="u1"
)
CALL = parse_call("stripe", "create_refund", b'{"amount":1500,"to":"C-20817"}', session_id="s1", call_id="c1")
PLACE: dict[str, Any] = {"cluster_uid": "cluster", "namespace_uid": "namespace", "agent": AGENT, "on_behalf_of": None}

ARGUMENTS = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


def digest(**changed: Any) -> str:
    """The digest of the call, with this changed."""
    return digest_of(**{"key": KEY, "call": CALL, **PLACE, **changed})


def call_with(arguments: dict[str, Any]) -> ToolCall:
    """The call with other arguments."""
    return parse_call("stripe", "create_refund", render_json(arguments), session_id="s1")


@pytest.mark.parametrize(
    "changed",
    [
        {"cluster_uid": "other"},
        {"namespace_uid": "other"},
        {"agent": replace(AGENT, workload="deploy/other")},
        {"agent": replace(AGENT, service_account="other")},
        {"on_behalf_of": OnBehalfOf("ana")},
        {"on_behalf_of": OnBehalfOf("ana", verified=True)},
        {"on_behalf_of": OnBehalfOf("")},
        {"endpoint": "https://other"},
        {"tool_definition_digest": "other"},
        {"call": replace(CALL, session_id="s2")},
        {"call": replace(CALL, server="other")},
        {"call": replace(CALL, tool="other")},
        {"call": replace(CALL, arguments={"amount": 1501, "to": "C-20817"})},
        {"call": replace(CALL, arguments={"amount": "1500", "to": "C-20817"})},
        {"call": replace(CALL, arguments={"amount": 1500, "to": "C-20817", "x": None})},
        {"key": bytes(32)},
    ],
    ids=str,
)
def test_D1_changing_any_field_changes_the_digest(changed: dict[str, Any]) -> None:
    """D1: cluster, namespace, workload, account, user, session, server, endpoint, tool, definition, arguments, key."""
    assert digest(**changed) != digest()


def test_D1_each_field_has_its_own_place() -> None:
    """D1: a value moved from one field to its neighbour is another call."""
    moved = {digest(cluster_uid="x", namespace_uid=""), digest(cluster_uid="", namespace_uid="x")}
    moved |= {digest(endpoint="x"), digest(tool_definition_digest="x"), digest()}
    assert len(moved) == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"agent": replace(AGENT, pod_name="support-2", pod_uid="u2", labels={"a": "b"})},
        {"call": replace(CALL, call_id="c2")},
        {"call": replace(CALL, justification="other", confidence_percent=3, checkpoint="x", external_impact=True)},
    ],
    ids=["another pod", "another call_id", "other words"],
)
def test_D1_what_does_not_make_it_another_call_leaves_the_digest(changed: dict[str, Any]) -> None:
    """D1: a retry from another pod of the workload, under another id or with other words is the same call."""
    assert digest(**changed) == digest()


@given(ARGUMENTS, st.randoms())
def test_D1_the_order_of_keys_does_not_count(arguments: dict[str, Any], random: Any) -> None:
    """D1: canonical JSON: two spellings of one object have one digest."""
    items = list(arguments.items())
    random.shuffle(items)
    assert digest(call=call_with(dict(items))) == digest(call=call_with(arguments))


@given(ARGUMENTS, ARGUMENTS)
def test_D1_two_calls_have_one_digest_only_if_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """D1: different arguments, different digest; true is not 1."""
    same = render_json(dict(sorted(one.items()))) == render_json(dict(sorted(other.items())))
    if same or one != other:
        assert (digest(call=call_with(one)) == digest(call=call_with(other))) is same


def test_D1_the_digest_is_an_hmac_and_needs_the_key() -> None:
    """D1: 64 hex digits that change with one bit of the key; without a whole key there is none."""
    assert len(digest()) == 64
    assert int(digest(), 16)
    assert digest(key=bytes([KEY[0] ^ 1, *KEY[1:]])) != digest()
    for key in (b"", KEY[:31], KEY + b"x"):
        with pytest.raises(Unavailable, match="namespace key") as refusal:
            digest(key=key)
        assert refusal.value.reason_code == "NO_KEY"


def test_D1_a_known_digest_never_changes() -> None:
    """D1: sidecars and hubs of different releases must agree; a new form needs a new version."""
    canonical = (
        b'{"arguments":{"amount":1500,"to":"C-20817"},"clusterUID":"cluster","endpoint":"","namespaceUID":"namespace",'
        b'"onBehalfOf":null,"server":"stripe","serviceAccount":"support","session":"s1","tool":"create_refund",'
        b'"toolDefinitionDigest":"","version":"hitl.dev/digest/v1","workload":"deploy/support"}'
    )
    assert digest() == hmac.new(KEY, canonical, "sha256").hexdigest()


@pytest.mark.parametrize("arguments", [{"a": 2**53}, {"a": float("nan")}, {"a": "\ud800"}, {"\ud800": 1}, {"a": {1}}])
def test_D1_what_has_no_canonical_form_is_no_call(arguments: dict[str, Any]) -> None:
    """D1, I2: such a call is invalid, not digested some other way."""
    with pytest.raises(InvalidCall, match="no canonical form"):
        digest(call=replace(CALL, arguments=arguments))
    with pytest.raises(InvalidCall, match="no canonical form"):
        sameness_of(KEY, namespace_uid="n", agent=AGENT, call=replace(CALL, arguments=arguments))


def sameness(**changed: Any) -> str:
    """What the call is recognised by, with this changed."""
    return sameness_of(**{"key": KEY, "namespace_uid": "namespace", "agent": AGENT, "call": CALL, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"call": replace(CALL, session_id="another")},
        {"call": replace(CALL, call_id="another")},
        {"call": parse_call("Stripe", "CREATE_REFUND", b'{"to":"C-20817","amount":1500.0}', session_id="x")},
        {"agent": replace(AGENT, service_account="other", pod_uid="u2")},
    ],
    ids=["session", "call_id", "spelling", "pod"],
)
def test_B4_a_denied_call_is_recognised_in_another_dress(changed: dict[str, Any]) -> None:
    """B4: a new session, a new id, other capitals or another pod do not make a denied call a new one."""
    assert sameness(**changed) == sameness()


@pytest.mark.parametrize(
    "changed",
    [
        {"namespace_uid": "other"},
        {"agent": replace(AGENT, workload="deploy/other")},
        {"call": parse_call("stripe", "create_charge", b'{"amount":1500,"to":"C-20817"}')},
        {"call": parse_call("paypal", "create_refund", b'{"amount":1500,"to":"C-20817"}')},
        {"call": parse_call("stripe", "create_refund", b'{"amount":1501,"to":"C-20817"}')},
        {"key": bytes(32)},
    ],
    ids=["namespace", "workload", "tool", "server", "arguments", "key"],
)
def test_B4_another_call_is_not_mistaken_for_it(changed: dict[str, Any]) -> None:
    """B4: namespace, workload, server, tool and arguments tell calls apart."""
    assert sameness(**changed) != sameness()


def test_B4_sameness_is_never_a_digest() -> None:
    """B4, D1: the two are hashed apart, so that neither can stand in for the other."""
    assert sameness() != digest()
