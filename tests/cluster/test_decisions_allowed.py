"""What people may do on a real API server: decide, remark, show a second factor, and ask whether they may."""

import asyncio
import json
from typing import Any

import pytest

from cluster.voting import (
    ANA,
    BO,
    JUNIOR,
    MIA,
    WAYS,
    Court,
    Person,
    adding,
    applies,
    note_of,
    proof,
    tries,
    vote_of,
)
from control_plane.running import ControlPlane
from hitl.approvals.requests import Kind, Note, NoteType
from hitl.kube.access import Access
from hitl.kube.requests import served_request
from hitl.policy.verdicts import Requirement, SecondFactor
from hitl.stores.kubernetes import KubernetesStore
from stores.asking import a_decision, a_spec

MULTI = a_spec(tier="multi-factor", requirements=(Requirement("leads", approvals=2, any_of=("support-leads",)),))


@pytest.mark.parametrize("way", sorted(WAYS))
async def test_I3_a_reviewer_decides_in_every_way_of_writing(court: Court, way: str) -> None:
    """I3: one's own vote is taken, whether put, patched or applied, and stands there as written."""
    request = await court.ask()
    vote = vote_of(ANA, request, groups=["support-leads"])
    found = await tries(court, ANA, request, adding(vote), ways=[way])
    assert found.messages == []
    assert (await court.look(request))["status"]["decisions"] == [vote]


async def test_C2_reviewers_with_field_managers_of_their_own_stand_side_by_side(court: Court) -> None:
    """C2: everybody applies his own entry alone; each vote is stamped by the server under its own manager."""
    request = await court.ask(MULTI)
    for person in (ANA, BO):
        await court.vote(person, request, manager=f"hitl-{person.name}")
    live = await court.look(request)
    assert [each["reviewer"] for each in live["status"]["decisions"]] == [ANA.name, BO.name]
    assert {each["manager"] for each in live["metadata"]["managedFields"]} >= {f"hitl-{ANA.name}", f"hitl-{BO.name}"}


@pytest.mark.parametrize(
    ("person", "decision", "changes"),
    [
        (ANA, "Denied", {"category": "MissingContext"}),
        (ANA, "Approved", {"argumentsPatch": {"amount": 12000}, "reason": "store credit covers the rest"}),
        (ANA.with_factors("pwd", "hwk"), "Approved", {"proof": ["hwk"]}),
        (ANA.with_factors("mfa", "otp"), "Denied", {"proof": ["otp", "mfa"]}),
        (JUNIOR, "Approved", {}),
        (MIA, "Approved", {"groups": ["managers"]}),
    ],
    ids=["a denial", "an edit", "a hardware key", "a factor beside a denial", "a junior in Confirm", "another group"],
)
async def test_C1_what_a_decision_may_say_is_taken(
    court: Court, person: Person, decision: str, changes: dict[str, Any]
) -> None:
    """C1: every field that a decision may have is kept exactly as written."""
    request = await court.ask()
    if "proof" in changes:  # good for five minutes, so it is shown now and not when the tests were collected
        changes = {**changes, "proof": proof(*changes["proof"])}
    vote = vote_of(person, request, decision, **changes)
    await court.vote(person, request, vote)
    assert (await court.look(request))["status"]["decisions"] == [vote]


async def test_C1_an_edit_may_remove_an_argument(court: Court) -> None:
    """C1, D3: null in a merge patch means removal, and is not lost on the way into the store."""
    request = await court.ask(a_spec(patchable=("/amount", "/a~1b~0c")))
    vote = vote_of(ANA, request, argumentsPatch={"amount": {"cents": [1, None]}, "a/b~c": None})
    await court.vote(ANA, request, vote)
    assert (await court.look(request))["status"]["decisions"] == [vote]


async def test_C1_a_question_is_answered(court: Court) -> None:
    """C1: on a Question Approved carries the answer, of whatever shape."""
    request = await court.ask(a_spec(kind=Kind.QUESTION))
    vote = vote_of(ANA, request, answer={"options": ["b"], "text": "the (b) one, [sic] {really}"})
    await court.vote(ANA, request, vote)
    assert (await court.look(request))["status"]["decisions"] == [vote]


async def test_C1_notes_stand_beside_the_vote(court: Court) -> None:
    """DESIGN 6: a reviewer extends, escalates and votes, each under a field manager of its own."""
    request = await court.ask()
    path = court.path(request["metadata"]["name"], "status")
    async with court.api(ANA) as api:
        for n, kind in enumerate(("Extend", "Escalate", "Feedback"), start=1):
            entry = note_of(ANA, request, kind, n, **({"category": "Other"} if kind == "Feedback" else {}))
            await applies(api, path, request, [entry], manager=f"hitl-{ANA.name}-{n}", where="notes")
    await court.vote(ANA, request)
    assert [each["n"] for each in (await court.look(request))["status"]["notes"]] == [1, 2, 3]


async def test_I4_whom_the_agent_acts_for_may_approve_where_the_policy_says_so(court: Court) -> None:
    """I4: mayApprove with a verified user in tier confirm is the one exception."""
    spec = a_spec(on_behalf_of=ANA.name.upper(), on_behalf_of_verified=True, on_behalf_of_may_approve=True)
    request = await court.ask(spec)
    await court.vote(ANA, request)
    assert len((await court.look(request))["status"]["decisions"]) == 1


async def test_B3_whom_the_agent_claims_to_act_for_may_deny(court: Court) -> None:
    """B3: a claim blocks approving, never denying."""
    request = await court.ask(a_spec(on_behalf_of=ANA.name))
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    assert len((await court.look(request))["status"]["decisions"]) == 1


async def test_D5_a_denial_needs_no_second_factor(court: Court) -> None:
    """D5: where every approval needs a hardware key, no is still said with a password."""
    key = Requirement("leads", second_factor=SecondFactor.HARDWARE)
    request = await court.ask(a_spec(tier="multi-factor", requirements=(key,)))
    await court.vote(ANA, request, vote_of(ANA, request, "Denied"))
    assert len((await court.look(request))["status"]["decisions"]) == 1


async def test_D5_a_second_person_may_stand_in_for_a_second_factor(court: Court) -> None:
    """D5: an approval without proof is taken where one person more is as good, or another place needs none."""
    either = Requirement("leads", second_factor=SecondFactor.ANY, or_second_person=True)
    for requirements in ((either,), (Requirement("a", second_factor=SecondFactor.ANY), Requirement("b")), ()):
        request = await court.ask(a_spec(tier="multi-factor", requirements=requirements))
        await court.vote(ANA, request)
        assert len((await court.look(request))["status"]["decisions"]) == 1


def test_a_vote_of_the_shipped_role_alone_is_taken_from_kubectl(control_plane: ControlPlane, namespace: str) -> None:
    """Who has hitl-reviewer and nothing more applies a vote, or patches one in, with plain kubectl."""
    court = Court(control_plane, namespace)
    amy = Person("amy@example.com", ("support-leads",), ("hitl-reviewer",))
    court.let_in(amy, {})
    court.until_allowed(amy, "approve", "ar", "--subresource=confirm")
    kubeconfig = control_plane.kubeconfig(amy.name, amy.groups)
    for how in ("patch", "apply"):
        request = asyncio.run(court.ask())
        name = request["metadata"]["name"]
        status = {"status": {"decisions": [vote_of(amy, request)]}}
        whole = {"apiVersion": request["apiVersion"], "kind": request["kind"], "metadata": {"name": name}, **status}
        words = {
            "patch": ("patch", "ar", name, "--type=merge", "-p", json.dumps(status)),
            "apply": ("apply", "--server-side", "--field-manager=amy", "-f", "-"),
        }[how]
        done = control_plane.kubectl(
            *words, "--subresource=status", "-n", namespace, kubeconfig=kubeconfig, stdin=json.dumps(whole)
        )
        assert done.returncode == 0, done.stderr
        assert len(asyncio.run(court.look(request))["status"]["decisions"]) == 1


@pytest.mark.parametrize(
    ("person", "tier", "may"),
    [(ANA, "multi-factor", "yes"), (JUNIOR, "confirm", "yes"), (JUNIOR, "multi-factor", "no")],
    ids=["senior", "junior in Confirm", "junior in MultiFactor"],
)
def test_can_i_answers_before_the_vote(court: Court, person: Person, tier: str, may: str) -> None:
    """DESIGN 11: `kubectl auth can-i approve ar --subresource=TIER` says what the policy will say."""
    kubeconfig = court.plane.kubeconfig(person.name, person.groups)
    asked = court.plane.kubectl(
        "auth", "can-i", "approve", "ar", f"--subresource={tier}", "-n", court.namespace, kubeconfig=kubeconfig
    )
    assert asked.stdout.strip() == may, asked.stderr


def test_no_role_of_ours_is_part_of_edit_or_admin(court: Court) -> None:
    """DESIGN 11: whoever may edit or administer a namespace may not therefore decide for its agents."""
    listed = court.plane.kubectl("get", "clusterroles", "-o", "jsonpath={range .items[*]}{.metadata}{'\\n'}{end}")
    ours = [line for line in listed.stdout.splitlines() if '"name":"hitl-' in line]
    assert len(ours) >= 6
    assert not [line for line in ours if "aggregate-to" in line]


@pytest.mark.parametrize(
    "name", ["a" * 130 + "@example.com", "\u0105na@example.com", "a:b:ana"], ids=["long", "not ASCII", "with colons"]
)
async def test_C2_everybody_has_a_field_manager_of_his_own(court: Court, name: str) -> None:
    """C2: what `kubectl hitl` writes is taken under the manager it makes of any name: a vote, a note, a second note."""
    person = Person(name, ("support-leads",), ("hitl-senior-reviewer",))
    court.let_in(person, {})
    court.until_allowed(person, "approve", "ar", "--subresource=confirm")
    request = served_request(await court.ask())
    access = Access.from_kubeconfig(court.plane.admin, as_user=name, as_groups=person.groups)
    async with KubernetesStore.open(access) as store:
        for n in (1, 2):
            note = Note(name, n, request.uid, NoteType.FEEDBACK, reason="as it should be")
            await store.note(request.namespace, request.name, note)
        decided = await store.decide(request.namespace, request.name, a_decision(request, name))
    assert [each.reviewer for each in decided.status.decisions] == [name]
