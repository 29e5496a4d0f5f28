"""What the hub counts of each policy, and how fresh it says that its config is (DESIGN 6, 14)."""

from hubs import HubHere, Sidecar, World, a_spec, eventually

from hitl.approvals.requests import DecisionKind, State
from hitl.policy.verdicts import PolicyRef
from hitl.v1 import gate_pb2, hub_pb2
from hitl_operator.usage import Usage, Used

POLICY = "AgentPolicy/shop/support"


def rows(policy: str, calls: int) -> hub_pb2.Usage:
    return hub_pb2.Usage(policies=[hub_pb2.PolicyUsage(policy=policy, action=gate_pb2.ACTION_ALLOW, calls=calls)])


async def counted(hub: HubHere, wanted: dict[str, Used]) -> None:
    """Returns once the hub has counted this, and nothing else."""

    async def look() -> dict[str, Used]:
        return hub.hub.usage.by_policy

    await eventually(look, wanted.__eq__)


async def test_calls_add_up_over_reports_and_sidecars(world: World, hub: HubHere) -> None:
    """Each report has what is new, so all of them add up."""
    for calls in (3, 4):
        sidecar = await world.sidecar(hub)
        await sidecar.sync()
        await sidecar.say(usage=rows(POLICY, calls))
    await counted(hub, {POLICY: Used(calls=7)})


async def test_B4_a_sidecar_counts_for_no_policy_but_its_own(hub: HubHere, sidecar: Sidecar) -> None:
    """B4: what it says of policies that it was not given, of other namespaces or of none, is not counted."""
    for name in ("AgentPolicy/bank/transfers", "ClusterAgentPolicy/base", "", "x" * 5000):
        await sidecar.say(usage=rows(name, 5))
    await sidecar.say(usage=rows(POLICY, 2**60))
    await sidecar.say(usage=rows(POLICY, 1))
    await counted(hub, {POLICY: Used(calls=1)})


async def test_requests_count_for_every_policy_that_had_a_part(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """Held when opened; decided where people decided, in time or not; expired where they did not; nothing withdrawn."""
    refs = (PolicyRef("AgentPolicy", "shop", "support"), PolicyRef("ClusterAgentPolicy", "", "base"))
    policies = (*refs, PolicyRef("BuiltIn", "", "default"))
    specs = [a_spec(timeout=60, policies=policies) for _ in range(4)]
    consumed, denied, expired, withdrawn = [await sidecar.open(spec) for spec in specs]
    await world.decide(consumed.handle, "ana")
    await consumed.ready()
    await sidecar.consume(consumed.handle, specs[0].digest)
    await world.decide(denied.handle, "ana", DecisionKind.DENIED)
    await denied.end()
    await sidecar.cancel(withdrawn.handle)
    world.clock.advance(61)
    hub.tick()
    await world.state_of(expired.handle, State.EXPIRED)
    wanted = Used(held=4, decided=2, expired=1)
    await counted(hub, {str(ref): wanted for ref in refs})


def test_a_policy_made_anew_starts_from_nothing() -> None:
    """Counts belong to the policy that is there, not to one of the same name before it."""
    usage = Usage()
    usage.follow({POLICY: "first", "AgentPolicy/shop/other": "other"})
    usage.called(rows(POLICY, 3), {POLICY})
    usage.called(rows("AgentPolicy/shop/other", 2), {"AgentPolicy/shop/other"})
    usage.follow({POLICY: "first", "AgentPolicy/shop/other": "other"})
    assert usage.by_policy[POLICY].calls == 3
    usage.follow({POLICY: "second", "AgentPolicy/shop/other": "other"})
    assert usage.by_policy == {"AgentPolicy/shop/other": Used(calls=2)}


async def test_the_age_of_the_config_goes_down_with_it(world: World, hub: HubHere) -> None:
    """A sidecar that connects to a hub that lost its source is told how old what it gets is."""
    hub.book.measure_age = lambda: 321.9
    sidecar = await world.sidecar(hub)
    await sidecar.sync()
    assert sidecar.config is not None
    assert sidecar.config.age_seconds == 321
