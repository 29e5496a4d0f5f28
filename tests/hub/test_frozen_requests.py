"""What the hub does where people froze something: nothing opens, waits or is released, whoever approved (DESIGN 8)."""

import pytest
from hubs import HubHere, Sidecar, World, a_spec, document_of

from hitl.approvals.conditions import CancelReason, outcome
from hitl.approvals.requests import State
from hitl.policy.config import MOST_FREEZES
from hitl.policy.freezes import Freeze
from hitl.policy.globs import Glob
from hitl.policy.spec import PodSelector
from hitl.v1 import hub_pb2
from hitl_operator.freezing import Frozen, reaching

ENDED = hub_pb2.ConsumeResponse.RELEASE_ENDED


def stop(*tools: str, name: str = "inc-88", app: str = "") -> Frozen:
    selector = PodSelector({"app": app}) if app else PodSelector()
    freeze = Freeze(name, "shop", f"u-{name}", 1, "ana", "INC-88", None, tuple(map(Glob.parse, tools)))
    return Frozen(freeze, "shop", selector)


def press(hub: HubHere, *frozen: Frozen) -> None:
    """These freezes are in force, and no others."""
    assert hub.book.generation is not None
    hub.book.publish(hub.book.generation, frozen)


async def test_what_waits_ends_as_cancelled_frozen(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """I9: the request ends as Cancelled with reason Frozen and the words of who froze it; the agent hears CANCELLED."""
    held = await sidecar.open(a_spec())
    press(hub, stop())
    assert await held.end() == "CANCELLED"
    assert held.state.reason_code == "FROZEN"
    assert 'frozen by ana: "INC-88"' in held.state.message
    stored = await world.state_of(held.handle, State.CANCELLED)
    condition = outcome(stored.status.conditions, State.CANCELLED)
    assert condition is not None
    assert (condition.reason, condition.message) == (CancelReason.FROZEN, 'frozen by ana: "INC-88"')


async def test_I8_what_was_approved_and_not_released_ends_too(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """Approved by a person and picked up by nobody yet: cancelled, and a Consume that comes now gets nothing."""
    spec = a_spec()
    held = await sidecar.open(spec)
    await world.decide(held.handle, "ana")
    await held.ready()
    press(hub, stop())
    answer = await sidecar.consume(held.handle, spec.digest)
    assert (answer.release, answer.reason_code) == (ENDED, "FROZEN")
    await world.state_of(held.handle, State.CANCELLED)


async def test_nothing_is_opened_while_it_is_frozen(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A sidecar that has not got the new config yet asks nobody; once thawed it may ask again."""
    press(hub, stop("stripe/*"))
    refused = await sidecar.open(a_spec())
    assert (await refused.end(), refused.state.reason_code) == ("DENIED", "FROZEN")
    assert hub.count("holds_refused_total", reason="FROZEN") == 1
    press(hub)
    assert (await sidecar.open(a_spec())).handle


async def test_other_tools_and_other_pods_go_on(world: World, hub: HubHere) -> None:
    """Only what the freeze names is stopped; a pod that was relabelled is meant by the labels of its injection, too."""
    coder, other = await world.sidecar(hub, labels={"app": "coder"}), await world.sidecar(hub)
    await coder.sync()
    await other.sync()
    of_coder, of_other = (
        await coder.open(a_spec()),
        await other.open(a_spec()),
    )
    press(hub, stop("crm/*"), stop(name="b", app="coder"))
    assert await of_coder.end() == "CANCELLED"
    assert not (await world.state_of(of_other.handle, State.PENDING)).status.conditions


async def test_the_leader_ends_what_nobody_holds(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A request whose caller went away is cancelled as well, by the hub that leads."""
    held = await sidecar.open(a_spec())
    await sidecar.drop(held)
    press(hub, stop())
    await world.state_of(held.handle, State.CANCELLED)


async def test_the_config_says_what_is_frozen(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """Pressed, a connected sidecar gets another config with the override; thawed, the one from before."""
    before = sidecar.config
    press(hub, stop("a/*"), stop("b/*", name="other"))
    frozen = await sidecar.next_config()
    assert [each["name"] for each in document_of(frozen)["overrides"]] == ["inc-88", "other"]
    press(hub)
    assert (await sidecar.next_config()).revision == before.revision


async def test_new_policies_do_not_thaw(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """A policy that changes while something is frozen leaves it frozen."""
    press(hub, stop())
    await sidecar.next_config()
    text = (world.policies / "support.yaml").read_text()
    (world.policies / "support.yaml").write_text(text.replace("get_*", "find_*"))
    hub.look()
    assert "overrides" in document_of(await sidecar.next_config())


@pytest.mark.parametrize(
    ("frozen", "wanted"),
    [
        ([stop("a"), stop(name="whole"), stop("b", name="c")], ["whole"]),
        ([stop("a", name=f"f{number:03}") for number in range(MOST_FREEZES)], MOST_FREEZES),
        ([stop("a", name=f"f{number:03}") for number in range(MOST_FREEZES + 1)], ["f000"]),
    ],
)
def test_more_than_a_config_carries_stops_everything(frozen: list[Frozen], wanted: list[str] | int) -> None:
    """One that stops every call stands for all; past what fits, every call is stopped rather than one forgotten."""
    found = reaching(frozen, "shop", ({},))
    if isinstance(wanted, int):
        assert len(found) == wanted
    else:
        assert ([each.name for each in found], [each.tools for each in found]) == (wanted, [()])


def test_B2_a_pod_is_meant_by_the_labels_of_its_injection() -> None:
    """B2: relabelling a running pod does not thaw it; another namespace's pod is not meant at all."""
    assert stop(app="coder").reaches("shop", ({"app": "x"}, {"app": "coder"}))
    assert not stop(app="coder").reaches("shop", ({"app": "x"}, None))
    assert not stop(app="coder").reaches("other", ({"app": "coder"},))
