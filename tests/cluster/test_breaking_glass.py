"""Break-glass on a real API server: who may override, with what, when, and every way around it that was tried (D4)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cluster.voting import (
    AGENT,
    ANA,
    BO,
    JUNIOR,
    MASTER,
    OPERATOR,
    Court,
    Person,
    adding,
    ending,
    note_of,
    proof,
    refused,
    tries,
    vote_of,
)
from hitl.approvals.requests import Kind
from hitl.policy.verdicts import Requirement, SecondFactor
from stores.asking import a_spec

WORDS = "INC-88: the site is down, nobody else answers"
# On call: sees and overrides, and has no other right to decide.
OLA = Person("ola@example.com", ("oncall",), ("hitl-breakglass", "hitl-test-writes-anything"))
# A second entry of one name: a server-side apply cannot even say that, the list knows its entries by it.
UPDATES = ("replace", "merge patch", "JSON patch")
STAYS = ("never removed", "never changed", "you have voted on", "stays as it is", "this adds 0 decisions")
BESIDE = ("you have voted on", "Duplicate value")
STRICT = (
    Requirement("manager", 2, any_of=("managers",), second_factor=SecondFactor.HARDWARE),
    Requirement("lead", any_of=("support-leads",)),
)


@pytest.fixture(scope="module")
def court_with_ola(court: Court) -> Court:
    """The court, with somebody on call."""
    court.let_in(OLA, {})
    for tier in ("confirm", "multi-factor"):
        court.until_allowed(OLA, "override", "ar", f"--subresource={tier}")
    court.until_allowed(OLA, "delete", "ar")
    return court


def override_of(person: Person, request: dict[str, object], /, *factors: str, **changes: object) -> dict[str, object]:
    shown = {"proof": proof(*(factors or ("otp",)))}
    return vote_of(person, request, "Overridden", **{"reason": WORDS, **shown, **changes})


@pytest.mark.parametrize("tier", ["confirm", "multi-factor"])
async def test_D4_who_is_on_call_overrides_in_both_tiers_with_a_factor_and_a_reason(
    court_with_ola: Court, tier: str
) -> None:
    """D4: role hitl-breakglass is enough, and any second factor, whatever people and factors the request asks for."""
    court = court_with_ola
    request = await court.ask(a_spec(on_behalf_of="", tier=tier, requirements=STRICT))
    await court.vote(OLA.with_factors("otp"), request, override_of(OLA, request))
    (stored,) = (await court.look(request))["status"]["decisions"]
    assert (stored["reviewer"], stored["decision"], stored["reason"]) == (OLA.name, "Overridden", WORDS)


async def test_D4_can_i_answers_for_the_role(court_with_ola: Court) -> None:
    """`kubectl auth can-i override` says yes to who is on call and no to every other role; on call one may no more."""
    for person, verb, answer in (
        (OLA, "override", "yes"),
        (ANA, "override", "no"),
        (JUNIOR, "override", "no"),
        (OLA, "approve", "no"),
        (OLA, "deny", "no"),
        (OLA, "edit", "no"),
    ):
        who = [f"--as={person.name}", *(f"--as-group={group}" for group in person.groups)]
        said = court_with_ola.plane.kubectl(
            "auth",
            "can-i",
            verb,
            "approvalrequests",
            "--subresource=multi-factor",
            "-n",
            court_with_ola.namespace,
            *who,
        )
        assert said.stdout.strip() == answer, (person.name, verb)


@pytest.mark.parametrize("person", [JUNIOR, ANA], ids=["a junior", "a senior"])
async def test_D4_who_may_only_approve_does_not_override(court_with_ola: Court, person: Person) -> None:
    """D4: approve, in whatever tier, is not override; the message names the verb and the role that has it."""
    request = await court_with_ola.ask()
    words = "It needs verb override on approvalrequests/confirm; role hitl-breakglass has it"
    shown = person.with_factors("otp")
    await refused(court_with_ola, shown, request, adding(override_of(person, request)), words)


async def test_D4_an_override_never_goes_without_a_reason_and_a_factor_of_one_s_own_login(
    court_with_ola: Court,
) -> None:
    """D4, D5: without a reason, a factor, a current one, or with one that the login does not carry, it is refused."""
    court = court_with_ola
    request = await court.ask(a_spec(on_behalf_of="", reason_required=()))
    shown = OLA.with_factors("pwd", "otp")
    old = proof("otp", at=datetime.now(UTC) - timedelta(minutes=6))
    for person, entry, words in (
        (shown, override_of(OLA, request, reason=None), "wants a reason"),
        (shown, override_of(OLA, request, reason="  "), "wants a reason"),
        (OLA, override_of(OLA, request, proof=None), "An override needs a second factor"),
        (OLA, override_of(OLA, request), "your login does not carry otp"),
        (shown, override_of(OLA, request, "hwk"), "your login does not carry hwk"),
        (shown, override_of(OLA, request, "pwd"), "does not name a second factor that counts"),
        (shown, override_of(OLA, request, proof=proof()), "does not name a second factor that counts"),
        (shown, override_of(OLA, request, proof=old), "a proof is good for 5 min"),
    ):
        await refused(court, person, request, adding(entry), words)


async def test_I4_no_machine_and_no_administrator_overrides(court_with_ola: Court) -> None:
    """I4: the agent's ServiceAccount, the operator, system:masters and who is lent its groups are refused."""
    court = court_with_ola
    request = await court.ask()
    lent = replace(MASTER, name=OLA.name, groups=("system:masters",))
    for person in (AGENT, MASTER, lent, replace(lent, groups=("system:masters", "system:serviceaccounts"))):
        entry = override_of(person, request)
        await refused(court, person.with_factors("otp"), request, adding(entry), "Only people decide")
    entry = override_of(OPERATOR, request)
    await refused(court, OPERATOR.with_factors("otp"), request, adding(entry), "Decisions are people's")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"requester": "OLA@example.com"}, "you made this call"),
        ({"on_behalf_of": "Ola@example.com"}, "you asked for this call (on behalf of"),
        (
            {"on_behalf_of": OLA.name, "on_behalf_of_verified": True, "on_behalf_of_may_approve": True},
            "you asked for this call (on behalf of",
        ),
        ({"excluded": ("OLA@example.com",)}, "you changed this call"),
    ],
    ids=["the requester", "whom it claims to act for", "whom it acts for, in MultiFactor", "its editor"],
)
async def test_I4_nobody_overrides_in_his_own_matter(
    court_with_ola: Court, changes: dict[str, object], words: str
) -> None:
    """I4: who may not approve a call may not let it run by the other door either."""
    request = await court_with_ola.ask(a_spec(**{"on_behalf_of": "", "tier": "multi-factor", **changes}))
    await refused(court_with_ola, OLA.with_factors("otp"), request, adding(override_of(OLA, request)), words)


@pytest.mark.parametrize("state", ["Approved", "Denied", "Expired", "Cancelled", "Consumed"])
async def test_I5_nobody_overrides_what_has_ended(court_with_ola: Court, state: str) -> None:
    """I5: an outcome is the end of overriding, too."""
    court = court_with_ola
    request = await court.ask()
    await court.end(request, state)
    entry = override_of(OLA, request)
    await refused(court, OLA.with_factors("otp"), request, adding(entry), "is no longer pending")


async def test_I13_nobody_overrides_after_the_deadline(court_with_ola: Court) -> None:
    """I13: when its time is up it is too late, though nobody has written that yet."""
    request = await court_with_ola.ask(expires=-1)
    shown = OLA.with_factors("otp")
    await refused(court_with_ola, shown, request, adding(override_of(OLA, request)), "and is no longer pending")


async def test_I5_an_override_is_one_s_only_word_and_stays(court_with_ola: Court) -> None:
    """I5: no second override, no vote beside it, nobody changes or removes it, nor turns his own approval into one."""
    court, both = court_with_ola, replace(OLA, roles=())
    request = await court.ask(a_spec(on_behalf_of="", requirements=STRICT))
    shown = both.with_factors("otp")
    await court.vote(shown, request, override_of(OLA, request))
    again = {**override_of(OLA, request), "reviewer": "OLA@example.com"}
    await refused(court, shown, request, adding(again), "you have voted on")
    await refused(court, shown, request, adding(vote_of(OLA, request)), BESIDE, ways=UPDATES)
    for person in (shown, BO):
        for change in (
            lambda status, _: {**status, "decisions": []},
            lambda status, _: {**status, "decisions": [{**status["decisions"][0], "reason": "nothing happened"}]},
            lambda status, _: {**status, "decisions": [{**status["decisions"][0], "decision": "Approved"}]},
        ):
            await refused(court, person, request, change, STAYS)


async def test_I5_an_approval_is_not_turned_into_an_override(court_with_ola: Court) -> None:
    """I5: who approved, in vain, overrides neither by a second entry nor by changing the first."""
    court = court_with_ola
    both = Person(
        "uma@example.com", ("support-leads",), ("hitl-reviewer", "hitl-breakglass", "hitl-test-writes-anything")
    )
    court.let_in(both, {})
    for verb in ("approve", "override"):
        court.until_allowed(both, verb, "ar", "--subresource=confirm")
    court.until_allowed(both, "delete", "ar")
    request = await court.ask(a_spec(on_behalf_of="", requirements=(Requirement("leads", 2),)))
    await court.vote(both, request)
    entry = override_of(both, request)
    shown = both.with_factors("otp")
    await refused(court, shown, request, adding(entry), BESIDE, ways=UPDATES)
    turned = {"decision": "Overridden", "reason": WORDS, "proof": entry["proof"]}
    change = lambda status, _: {**status, "decisions": [{**status["decisions"][0], **turned}]}  # noqa: E731
    await refused(court, shown, request, change, ("never changed", "stays as it is", "you have voted on"))


async def test_C1_an_override_carries_nothing_but_itself(court_with_ola: Court) -> None:
    """C1, D3: no edit, answer, category, foreign group or other name; no outcome and no word of the hub beside it."""
    court = court_with_ola
    request = await court.ask()
    shown = OLA.with_factors("otp")
    for changes, words in (
        ({"argumentsPatch": {"amount": 1}}, ("you may not edit", "An edit belongs to an approval")),
        ({"category": "Other"}, "A category says why a call was denied"),
        ({"answer": "yes"}, "asks no question"),
        ({"groups": ["managers"]}, "you are not in managers"),
        ({"reviewer": ANA.name}, "speak for nobody else"),
        ({"digest": "77" * 32}, "this answers another call"),
        ({"requestUID": "another"}, "this answers another request"),
        ({"override": True}, "unknown field in the entry: override"),
    ):
        await refused(court, shown, request, adding(override_of(OLA, request, **changes)), words)
    entry = override_of(OLA, request)
    for beside in (
        {"verified": [{"reviewer": OLA.name, "secondFactor": "oidc:otp", "note": 0}]},
        ending("Approved"),
        {"notes": [note_of(OLA, request)]},
    ):
        change = lambda status, _, beside=beside: {**adding(entry)(status, _), **beside}  # noqa: E731
        await refused(court, shown, request, change, ("nothing in status is yours", "write exactly one"))


@pytest.mark.parametrize("kind", [Kind.QUESTION, Kind.SUGGESTION])
async def test_D4_only_a_tool_call_is_overridden(court_with_ola: Court, kind: Kind) -> None:
    """D4: an override lets a call run; where nothing runs there is nothing to override."""
    request = await court_with_ola.ask(a_spec(on_behalf_of="", kind=kind))
    shown = OLA.with_factors("otp")
    await refused(court_with_ola, shown, request, adding(override_of(OLA, request)), "nothing can be overridden")


async def test_D4_the_right_is_asked_for_where_the_request_is(court_with_ola: Court) -> None:
    """D4: on call for one tier, somebody overrides nothing in the other."""
    court = court_with_ola
    half = Person("pat@example.com", ("oncall",), ("hitl-test-overrides-confirm", "hitl-test-writes-anything"))
    court.let_in(half, {"hitl-test-overrides-confirm": ("approvalrequests/confirm", "override")})
    court.until_allowed(half, "delete", "ar")
    shown = half.with_factors("otp")
    request = await court.ask(a_spec(on_behalf_of="", tier="multi-factor"))
    await refused(court, shown, request, adding(override_of(half, request)), "you may not override MultiFactor")
    request = await court.ask()
    await court.vote(shown, request, override_of(half, request))


async def test_C1_the_operator_approves_on_a_verified_override_and_on_nothing_less(court_with_ola: Court) -> None:
    """C1, I3: a stolen operator token makes an approval of no override: none, unverified, refused or without factor."""
    court = court_with_ola
    word = {"reviewer": OLA.name, "note": 0}
    good = {**word, "secondFactor": "oidc:otp"}
    bare = await court.ask(a_spec(on_behalf_of="", requirements=STRICT))
    request = await court.ask(a_spec(on_behalf_of="", requirements=STRICT))
    await court.vote(OLA.with_factors("otp"), request, override_of(OLA, request))
    for asked, words in ((bare, []), (request, []), (request, [word]), (request, [{**good, "refused": "no"}])):
        change = lambda status, _, words=words: {**status, **ending("Approved"), "verified": words}  # noqa: E731
        await refused(court, OPERATOR, asked, change, "Approved needs the approvals")
    change = lambda status, _: {**status, **ending("Approved"), "verified": [good]}  # noqa: E731
    assert (await tries(court, OPERATOR, request, change, ways=("merge patch",))).went_through == ["merge patch"]
