"""Who may not decide on a real API server: no machine, no administrator, nobody for another, nobody in his own matter.

Every attempt is made by every way of writing, with rights to write anything; what is stored afterwards is as before.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cluster.voting import (
    AGENT,
    ANA,
    BO,
    EDITOR,
    EVERYBODY,
    JUNIOR,
    MASTER,
    MIA,
    OPERATOR,
    Court,
    Person,
    adding,
    note_of,
    proof,
    refused,
    vote_of,
)
from hitl.policy.verdicts import Requirement, SecondFactor
from stores.asking import a_spec

PEOPLE_ONLY = "Only people decide"


@pytest.mark.parametrize(
    "person",
    [
        AGENT,
        MASTER,
        replace(ANA, groups=("system:masters", "support-leads")),
        replace(ANA, groups=("support-leads", "system:serviceaccounts:shop")),
        replace(ANA, groups=("system:nodes",)),
        Person("system:admin", ("support-leads",), ("hitl-senior-reviewer",)),
        Person("SYSTEM:serviceaccount:shop:support", ("support-leads",)),
        Person(" system:kube-scheduler", ("support-leads",)),
    ],
    ids=[
        "a ServiceAccount",
        "an administrator",
        "a reviewer in system:masters",
        "a reviewer in a group of ServiceAccounts",
        "a node",
        "a system user",
        "a ServiceAccount in capitals",
        "a system user behind a blank",
    ],
)
@pytest.mark.parametrize("decision", ["Approved", "Denied"])
async def test_I4_machines_and_administrators_never_decide(court: Court, person: Person, decision: str) -> None:
    """I4, C1: no ServiceAccount, node or member of system:masters approves or denies, whatever is bound to it."""
    request = await court.ask()
    if person in (AGENT, MASTER) or person.name == ANA.name:
        await refused(court, person, request, adding(vote_of(person, request, decision)), PEOPLE_ONLY)
    else:  # they have no right to write at all, so the administrator lends his
        lent = replace(MASTER, name=person.name, groups=(*person.groups, "system:masters"))
        await refused(court, lent, request, adding(vote_of(person, request, decision)), PEOPLE_ONLY)


async def test_I4_machines_leave_no_notes_either(court: Court) -> None:
    """I4: an agent can neither give itself more time nor call for other people."""
    request = await court.ask()
    for kind in ("Extend", "Escalate", "Feedback"):
        await refused(court, AGENT, request, adding(note_of(AGENT, request, kind), "notes"), PEOPLE_ONLY)


@pytest.mark.parametrize("decision", ["Approved", "Denied"])
async def test_C1_a_forged_reviewer_is_refused(court: Court, decision: str) -> None:
    """C1, I3: a decision in another person's name is refused, also with other capitals or blanks around one's own."""
    request = await court.ask()
    for forged in (BO.name, ANA.name.upper(), f"{ANA.name} ", "ana", "system:admin", ""):
        change = adding(vote_of(ANA, request, decision, reviewer=forged))
        words = "should be at least 1 chars long" if not forged else "speak for nobody else"
        await refused(court, ANA, request, change, words)


async def test_C1_a_note_in_another_name_is_refused(court: Court) -> None:
    """C1: notes are signed by the API server like decisions."""
    request = await court.ask()
    await refused(court, ANA, request, adding(note_of(BO, request), "notes"), "speak for nobody else")


async def test_C1_who_may_edit_the_namespace_may_not_decide(court: Court) -> None:
    """C1: role edit, and the bare right to write the status, give no verb on the tier."""
    request = await court.ask()
    await refused(court, EDITOR, request, adding(vote_of(EDITOR, request)), "you may not approve Confirm in namespace")
    await refused(court, EDITOR, request, adding(vote_of(EDITOR, request, "Denied")), "you may not deny Confirm")
    for kind in ("Extend", "Escalate", "Feedback"):
        change = adding(note_of(EDITOR, request, kind), "notes")
        await refused(court, EDITOR, request, change, f"you may not {kind.lower()} Confirm")


async def test_C1_a_junior_may_not_decide_in_the_other_tier(court: Court) -> None:
    """C1: approving, denying and remarking are rights per tier; the message names role and next step."""
    request = await court.ask(a_spec(tier="multi-factor"))
    name = request["metadata"]["name"]
    await refused(
        court,
        JUNIOR,
        request,
        adding(vote_of(JUNIOR, request)),
        f"you may not approve MultiFactor in namespace {court.namespace}. It needs verb approve on "
        "approvalrequests/multi-factor; role hitl-senior-reviewer has it. Who can: kubectl hitl show "
        f"{name}    Hand it on: kubectl hitl escalate {name}",
    )
    await refused(court, JUNIOR, request, adding(vote_of(JUNIOR, request, "Denied")), "you may not deny MultiFactor")


async def test_C1_a_junior_writes_himself_into_no_group(court: Court) -> None:
    """C1: groups are the caller's own: a junior is neither a manager nor, as one of several, a support lead."""
    request = await court.ask()
    for groups in (["managers"], ["juniors", "support-leads"], ["Juniors"], ["system:masters"], [""]):
        await refused(court, JUNIOR, request, adding(vote_of(JUNIOR, request, groups=groups)), "you are not in")


async def test_C1_no_reviewer_may_override(court: Court) -> None:
    """C1: override is a verb of its own, which only hitl-breakglass has, whatever else one may."""
    request = await court.ask()
    shown = ANA.with_factors("hwk")
    entry = vote_of(ANA, request, "Overridden", reason="production is down", proof=proof("hwk"))
    await refused(court, shown, request, adding(entry), "you may not override Confirm")


@pytest.mark.parametrize("name", ["ana@example.com", "Ana@Example.COM", " ana@example.com "])
async def test_B3_whom_the_agent_claims_to_act_for_cannot_approve(court: Court, name: str) -> None:
    """B3, I4: a claimed user is barred from approving, in whatever capitals the claim was written."""
    request = await court.ask(a_spec(on_behalf_of=name, on_behalf_of_may_approve=True))
    await refused(court, ANA, request, adding(vote_of(ANA, request)), "you asked for this call (on behalf of")


@pytest.mark.parametrize(
    "changes",
    [
        {"on_behalf_of_verified": True},
        {"on_behalf_of_verified": True, "on_behalf_of_may_approve": True, "tier": "multi-factor"},
    ],
    ids=["the policy does not let him", "never in MultiFactor"],
)
async def test_I4_a_verified_user_approves_only_where_the_policy_says_so(
    court: Court, changes: dict[str, object]
) -> None:
    """I4: a proven user is barred unless the policy lets him approve, and always in MultiFactor."""
    request = await court.ask(a_spec(on_behalf_of="ana@example.com", **changes))
    await refused(court, ANA, request, adding(vote_of(ANA, request)), "another person must approve")


async def test_I4_the_requester_neither_approves_nor_denies(court: Court) -> None:
    """I4: a person whose name stands as requester cannot decide, in whatever capitals."""
    request = await court.ask(a_spec(requester="ANA@example.com"))
    for decision in ("Approved", "Denied"):
        await refused(court, ANA, request, adding(vote_of(ANA, request, decision)), "you made this call")


async def test_D3_the_editor_of_a_call_cannot_approve_it(court: Court) -> None:
    """D3: whoever is excluded may still deny, and cannot approve."""
    request = await court.ask(a_spec(excluded=("x@example.com", "ANA@example.com")))
    await refused(court, ANA, request, adding(vote_of(ANA, request)), "you changed this call")
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))


async def test_C1_the_operator_casts_no_votes(court: Court) -> None:
    """C1, I3: the one who writes outcomes cannot write a decision or a note, in his own name or another."""
    request = await court.ask()
    for reviewer in (OPERATOR, ANA):
        await refused(court, OPERATOR, request, adding(vote_of(reviewer, request)), "Decisions are people's")
        await refused(court, OPERATOR, request, adding(note_of(reviewer, request), "notes"), "Notes are people's")


async def test_I3_a_stolen_kubeconfig_is_one_person(court: Court) -> None:
    """I3: whoever holds one reviewer's login still cannot fill a second place, under any name or manager."""
    request = await court.ask(a_spec(requirements=(Requirement("leads", approvals=2),)))
    await court.vote(ANA, request)
    await refused(court, ANA, request, adding(vote_of(BO, request)), "you have voted on")
    await refused(court, ANA, request, adding(vote_of(ANA, request, reviewer="Ana@example.com")), "you have voted on")


async def test_D5_a_second_factor_is_one_s_own_login_s(court: Court) -> None:
    """D5: a factor that the token does not carry, or that is none, is not believed."""
    request = await court.ask()
    for person, shown, words in (
        (ANA, ["hwk"], "your login does not carry hwk"),
        (ANA.with_factors("pwd", "otp"), ["otp", "hwk"], "your login does not carry hwk"),
        (ANA.with_factors("pwd"), ["pwd"], "does not name a second factor that counts"),
        (ANA.with_factors("hwk"), [], "does not name a second factor that counts"),
        (ANA.with_factors("HWK"), ["HWK"], "does not name a second factor that counts"),
    ):
        await refused(court, person, request, adding(vote_of(ANA, request, proof=proof(*shown))), words)


@pytest.mark.parametrize(
    ("factor", "shown", "words"),
    [
        (SecondFactor.ANY, [], "needs a second factor"),
        (SecondFactor.HARDWARE, [], "needs a second factor"),
        (SecondFactor.HARDWARE, ["otp", "mfa"], "needs a hardware key"),
    ],
)
async def test_D5_an_approval_that_fills_no_place_is_refused(
    court: Court, factor: SecondFactor, shown: list[str], words: str
) -> None:
    """D5: where every place needs a factor, an approval without it is refused at once; TOTP is no hardware key."""
    request = await court.ask(a_spec(tier="multi-factor", requirements=(Requirement("leads", second_factor=factor),)))
    person = ANA.with_factors("pwd", *shown)
    entry = vote_of(ANA, request, **({"proof": proof(*shown)} if shown else {}))
    await refused(court, person, request, adding(entry), words)


async def test_D5_an_old_or_future_proof_is_refused(court: Court) -> None:
    """D5: a proof is at most five minutes old by the server's own clock, and not of tomorrow."""
    request = await court.ask()
    for age in (timedelta(minutes=6), timedelta(minutes=-3)):
        entry = vote_of(ANA, request, proof=proof("hwk", at=datetime.now(UTC) - age))
        await refused(court, ANA.with_factors("hwk"), request, adding(entry), "a proof is good for 5 min")


async def test_everybody_who_tries_here_could_write_but_for_admission(court: Court) -> None:
    """The people of these stories hold every right on requests that RBAC knows: it is admission that stops them."""
    for person in (*EVERYBODY, MIA):
        court.until_allowed(person, "update", "ar", "--subresource=status")
