"""Votes from the API server to the count: whose they are, with which second factor, and nobody else's (I3, I4, D5)."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from cluster.enforcing import Cluster, Replica
from cluster.voting import AGENT, ANA, BO, Court, Person, adding, applies, note_of, proof, tries, vote_of
from hitl.approvals.conditions import OVERRIDDEN
from hitl.approvals.requests import State, Verified
from hitl.policy.verdicts import Requirement, SecondFactor
from stores.asking import a_spec

LEADS = {"groups": ["support-leads"]}


@pytest.fixture
async def replica(court: Court) -> AsyncIterator[Replica]:
    """A replica for which votes count, on the shared control plane: nothing is weakened here."""
    async with AsyncExitStack() as stack:
        yield await Cluster(court.plane, court, stack).standing()


async def test_I3_the_reviewer_is_who_the_api_server_says(court: Court, replica: Replica) -> None:
    """I3: a vote counts under the name that the server authenticated, in the groups that it found there."""
    request = await court.ask()
    await court.vote(ANA, request, vote_of(ANA, request, **LEADS))
    found = await replica.settle(request)
    assert found.status.state is State.APPROVED
    assert found.status.verified == (Verified(ANA.name, groups=("support-leads",)),)


async def test_I4_neither_agent_nor_forger_brings_a_vote_to_the_count(court: Court, replica: Replica) -> None:
    """I4, I3: what the agent votes, or somebody in ana's name, is refused in every way; the request stays as it is."""
    request = await court.ask()
    for who, entry in ((AGENT, vote_of(AGENT, request)), (BO, vote_of(ANA, request))):
        assert (await tries(court, who, request, adding(entry))).went_through == []
    found = await replica.settle(request)
    assert found.status.state is State.PENDING
    assert found.status.verified == ()


@pytest.mark.parametrize(
    ("factors", "state", "verified"),
    [
        (("hwk",), State.APPROVED, Verified(ANA.name, second_factor="oidc:hwk", hardware=True)),
        (("otp",), State.PENDING, Verified(ANA.name, second_factor="oidc:otp")),
    ],
)
async def test_D5_the_second_factor_is_that_of_the_login(
    court: Court, replica: Replica, factors: tuple[str, ...], state: State, verified: Verified
) -> None:
    """D5: a hardware key in the login's amr satisfies Hardware, a one-time password is recorded and does not."""
    spec = a_spec(
        on_behalf_of="",
        tier="multi-factor",
        requirements=(Requirement("key", second_factor=SecondFactor.HARDWARE, or_second_person=True),),
    )
    request = await court.ask(spec)
    person: Person = ANA.with_factors("pwd", *factors)
    await court.vote(person, request, vote_of(person, request, reason="CHG-4411, staging green", proof=proof(*factors)))
    found = await replica.settle(request)
    assert found.status.verified == (verified,)
    assert found.status.state is state


async def test_D4_an_override_is_counted_alone(court: Court, replica: Replica) -> None:
    """D4: one word, let in for its verb, factor and reason, is Approved with reason Overridden."""
    ola = Person("ola@example.com", ("oncall",), ("hitl-breakglass", "hitl-test-writes-anything"))
    court.let_in(ola, {})
    court.until_allowed(ola, "override", "ar", "--subresource=multi-factor")
    court.until_allowed(ola, "delete", "ar")
    two = (Requirement("managers", 2, any_of=("managers",), second_factor=SecondFactor.HARDWARE),)
    request = await court.ask(a_spec(on_behalf_of="", tier="multi-factor", requirements=two))
    entry = vote_of(ola, request, "Overridden", reason="INC-88", proof=proof("otp"))
    await court.vote(ola.with_factors("otp"), request, entry)
    found = await replica.settle(request)
    assert found.status.verified == (Verified(ola.name, second_factor="oidc:otp"),)
    assert found.status.state is State.APPROVED
    (condition,) = found.status.conditions
    assert (condition.reason, condition.message) == (OVERRIDDEN, f'overridden by {ola.name} (break-glass): "INC-88"')


async def test_D5_a_factor_that_the_login_lacks_is_not_believed(court: Court, replica: Replica) -> None:
    """D5: who only says that he used a hardware key is refused by the server itself."""
    request = await court.ask(a_spec(on_behalf_of="", tier="multi-factor", requirements=(Requirement("any"),)))
    person = ANA.with_factors("pwd")
    entry = vote_of(person, request, reason="CHG-4411, staging green", proof=proof("hwk"))
    assert (await tries(court, person, request, adding(entry))).went_through == []
    assert (await replica.settle(request)).status.verified == ()


async def test_I3_a_note_moves_the_deadline_once_it_is_verified(court: Court, replica: Replica) -> None:
    """I3: an extension by a person whom the server let in moves the deadline; the hub says so in `verified`."""
    request = await court.ask()
    before = await replica.settle(request)
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        await applies(api, path, request, [note_of(ANA, request)], manager="hitl-ana-note", where="notes")
    await replica.settle(request)
    after = await replica.settle(request)
    assert after.status.verified == (Verified(ANA.name, note=1),)
    assert before.status.expiration_time is not None
    assert after.status.expiration_time is not None
    assert after.status.expiration_time > before.status.expiration_time


async def test_C4_a_release_costs_no_look_beside_its_own(court: Court, replica: Replica) -> None:
    """C4: a picture that was vouched for when the vote came is not asked for again when the call is released."""
    request = await court.ask()
    await court.vote(ANA, request, vote_of(ANA, request, **LEADS))
    found = await replica.settle(request)
    assert await replica.enforcement.vouch(found) is None
    looks = replica.enforcement.confirmations
    assert await replica.enforcement.vouch(found) is None
    assert replica.enforcement.confirmations == looks
