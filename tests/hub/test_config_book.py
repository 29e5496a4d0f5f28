"""What the config book makes for each pod, and what it need not make again."""

import orjson
import pytest
import rfc8785

from hitl.errors import InvalidPolicy
from hitl.policy.calls import Agent
from hitl.policy.config import compile_config, revision_of
from hitl.policy.parse import parse_policy, parse_tool_server
from hitl.policy.plans import plan_of
from hitl.policy.settings import Settings
from hitl.policy.spec import PodSelector
from hitl.wire.identity import Identity
from hitl_operator.sources import ConfigBook, Entry, Floor, Generation, document_of, serve


def an_entry(name: str, *, app: str = "", kind: str = "AgentPolicy", namespace: str = "shop", **spec: object) -> Entry:
    written: dict[str, object] = {"rules": [{"action": "Deny", "tools": ["delete_*"]}], **spec}
    if app:
        written["podSelector"] = {"matchLabels": {"app": app}}
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "generation": 3}
    return Entry(kind, **metadata, spec=written, parsed=parse_policy(kind, metadata, written))


def a_server(name: str) -> Entry:
    metadata = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1}
    spec = {"tools": [{"name": "create_refund", "level": "high"}]}
    return Entry("ToolServer", **metadata, spec=spec, parsed=parse_tool_server(metadata, spec))


def a_pod(app: str, *, stamped: str | None = None, namespace: str = "shop") -> Identity:
    labels = {"app": stamped} if stamped is not None else None
    return Identity(Agent(namespace, labels={"app": app}), f"uid-of-{namespace}", "cluster", stamped=labels)


def test_a_document_put_together_from_parts_is_the_canonical_one() -> None:
    """Bytes and revision are those of the whole document, whatever order its resources came in."""
    entries = (an_entry("zeta"), a_server("stripe"), an_entry("base", kind="ClusterAgentPolicy", namespace=""))
    for order in (entries, entries[::-1]):
        served = serve(Generation(order, Settings()), a_pod("a"), "key")
        whole = document_of(order, Settings(), a_pod("a"), "key")
        assert served.document == rfc8785.dumps(whole)
        assert served.revision == revision_of(whole) == compile_config(whole).revision


def test_a_pod_gets_what_selects_it_and_the_baseline() -> None:
    """Policies of other namespaces and for other pods stay out; a namespace without any still has the baseline."""
    book = ConfigBook()
    base = an_entry("base", kind="ClusterAgentPolicy", namespace="")
    book.publish(Generation((base, an_entry("a", app="a"), an_entry("b", app="b")), Settings()))
    names = [entry.name for entry in book.concerning(a_pod("a"))]
    assert names == ["base", "a"]
    assert [entry.name for entry in book.concerning(a_pod("a", namespace="empty"))] == ["base"]


def test_B2_a_relabelled_pod_keeps_the_policies_of_its_stamped_labels() -> None:
    """B2: it gets those of both labels, and its sidecar compiles them as policies that select it."""
    book = ConfigBook()
    book.publish(Generation((an_entry("a", app="a"), an_entry("b", app="b"), an_entry("c", app="c")), Settings()))
    relabelled = a_pod("b", stamped="a")
    served = book.config_for(relabelled, "key")
    assert served is not None
    document = orjson.loads(served.document)
    assert [(policy["name"], policy.get("selected", False)) for policy in document["policies"]] == [
        ("a", True),
        ("b", False),
    ]
    plan = plan_of(compile_config(document), relabelled.agent.labels)
    assert [voice.policy.ref.name for voice in plan.namespaced] == ["a", "b"]
    assert revision_of(document) == served.revision


SELECTORS = (
    {},
    {"matchLabels": {"app": "a"}},
    {"matchLabels": {"app": "b"}},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a", "c"]}]},
    {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]},
    {"matchExpressions": [{"key": "app", "operator": "Exists"}]},
    {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]},
    {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]},
)


@pytest.mark.parametrize("present", [{}, {"app": "a"}, {"app": "b"}, {"app": "a", "team": "x"}])
@pytest.mark.parametrize("stamp", [{}, {"app": "a"}, {"app": "b"}, {"app": "c", "team": "x"}, {"team": ""}])
def test_B2_whatever_is_stamped_takes_no_policy_away(present: dict[str, str], stamp: dict[str, str]) -> None:
    """B2: until a stamp cannot be rewritten any more, it may add policies and floors, and removes none."""
    entries = tuple(an_entry(f"p{n}", podSelector=selector) for n, selector in enumerate(SELECTORS))
    floor = Floor("shop", PodSelector({"app": "a"}))
    generation = Generation(entries, Settings(), (floor,))

    def given(stamped: dict[str, str] | None) -> tuple[set[str], bool]:
        pod = Identity(Agent("shop", labels=present), "uid-of-shop", "cluster", stamped=stamped)
        document = orjson.loads(serve(generation, pod, "key").document)
        plan = plan_of(compile_config(document), present)
        return {voice.policy.ref.name for voice in plan.namespaced}, "floor" in document

    (without, low), (with_it, lower) = given(None), given(stamp)
    assert without <= with_it
    assert lower or not low


def test_C6_a_floor_is_for_the_pods_that_it_selects() -> None:
    """C6: pods whose policy stayed invalid ask people about everything; those beside them do not."""
    book = ConfigBook()
    floor = Floor("shop", PodSelector({"app": "a"}))
    book.publish(Generation((an_entry("all"),), Settings(), (floor,)))
    for pod, wanted in (
        (a_pod("a"), True),
        (a_pod("b", stamped="a"), True),
        (a_pod("b"), False),
        (a_pod("a", namespace="other"), False),
    ):
        served = book.config_for(pod, "key")
        assert served is not None
        assert (b'"floor":"Confirm"' in served.document) is wanted


def test_what_a_change_does_not_concern_is_not_made_again() -> None:
    """A document survives generations in which none of its resources changed, so a change costs what it changes."""
    book = ConfigBook()
    kept, changed = an_entry("kept", app="a"), an_entry("changed", app="b")
    book.publish(Generation((kept, changed), Settings()))
    before = book.config_for(a_pod("a"), "key"), book.config_for(a_pod("b"), "key")
    book.publish(Generation((kept, an_entry("changed", app="b", undeclared="Deny")), Settings()))
    after = book.config_for(a_pod("a"), "key"), book.config_for(a_pod("b"), "key")
    assert after[0] is before[0]
    assert before[1] is not None
    assert after[1] is not None
    assert after[1].revision != before[1].revision


def test_what_does_not_go_together_is_not_served() -> None:
    """A policy that uses what the baseline forbids is refused here too, whatever let it through."""
    base = an_entry("base", kind="ClusterAgentPolicy", namespace="", forbid=["Monitor"])
    with pytest.raises(InvalidPolicy, match="Monitor is forbidden by ClusterAgentPolicy base"):
        serve(Generation((base, an_entry("shadow", mode="Monitor")), Settings()), a_pod("a"), "key")


def test_B5_heavy_documents_are_remembered_for_less_long() -> None:
    """B5: by their bytes together, too; the one asked for least goes first, and what is served now stays as it is."""
    kept, other = an_entry("kept", app="a"), an_entry("other", app="b")
    generation = Generation((kept, other), Settings())
    room = len(serve(generation, a_pod("a"), "key").document) + 10
    book = ConfigBook(most_bytes=room)
    book.publish(generation)
    before = [book.config_for(a_pod(app), "key") for app in "ab"]
    assert [book.config_for(a_pod(app), "key") for app in "ab"] == before
    book.publish(generation)
    again = book.config_for(a_pod("b"), "key"), book.config_for(a_pod("a"), "key")
    assert again[0] is before[1]
    assert again[1] == before[0]
    assert again[1] is not before[0]


def test_B5_a_document_heavier_than_all_that_is_remembered_is_served() -> None:
    """B5: the bound is one of memory, not of what may be served."""
    book = ConfigBook(most_bytes=1)
    book.publish(Generation((an_entry("kept"),), Settings()))
    served = book.config_for(a_pod("a"), "key")
    assert served is not None
    assert b"delete_*" in served.document
