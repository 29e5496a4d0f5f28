"""What people said stays, by the admission policies alone: on an API server whose CRD would let it be changed."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.enforcing import eventually
from cluster.rewriting import WHERE, said_on, touches
from cluster.voting import ANA, BO, EDITOR, MASTER, OPERATOR, Court, Person, a_court, refused, tries
from control_plane.installing import applied, install
from control_plane.running import ControlPlane
from hitl.kube import shipped

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster-weakened")]

# How the rules of the whole status begin that say the same as the policies do.
STAY = {"decisions stay", "notes stay"}


@pytest.fixture(scope="module")
def unguarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    """A control plane of its own, whose CRD says nothing of entries that change or go."""
    with ControlPlane.start(tmp_path_factory.mktemp("no-rules")) as plane:
        install(plane)
        applied(plane, without_rules())
        yield a_court(plane)


def without_rules() -> dict[str, Any]:
    """The CRD of requests, without what it says of entries that change or go."""
    crd = copy.deepcopy(next(each for each in shipped.crds() if each["spec"]["names"]["plural"] == "approvalrequests"))
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    rules = status["x-kubernetes-validations"]
    status["x-kubernetes-validations"] = [rule for rule in rules if rule["message"].partition(":")[0] not in STAY]
    assert len(rules) == len(status["x-kubernetes-validations"]) + len(STAY)
    for where in WHERE:
        entries = status["properties"][where]
        del entries["x-kubernetes-validations"], entries["items"]["x-kubernetes-validations"]
    return crd


async def until_only_policies_act(court: Court) -> None:
    """Returns once the API server goes by the CRD without rules: then another voice says no."""
    request = await said_on(court, "notes")

    async def unheard() -> bool:
        found = await tries(court, MASTER, request, touches("notes")[0].change, ways=["merge patch"])
        return "Only people decide" in "".join(found.messages)

    await eventually(unheard)


@pytest.mark.parametrize(
    ("person", "words"),
    [
        (ANA, {"decisions": "you have voted on", "notes": "What was said before stays as it is"}),
        (BO, dict.fromkeys(WHERE, "What was said before stays as it is")),
        (EDITOR, dict.fromkeys(WHERE, "What was said before stays as it is")),
        (MASTER, dict.fromkeys(WHERE, "Only people decide")),
        (OPERATOR, {"decisions": "Decisions are people's", "notes": "Notes are people's"}),
    ],
    ids=["himself", "a reviewer", "an editor", "an admin", "the operator"],
)
@pytest.mark.parametrize("where", WHERE)
async def test_I5_the_policies_alone_keep_what_was_said(
    unguarded: Court, person: Person, words: dict[str, str], where: str
) -> None:
    """I5, C1, C3: every change and every removal, in every way, is refused by the policy that is there for it."""
    await until_only_policies_act(unguarded)
    request = await said_on(unguarded, where)
    for each in touches(where):
        if each.kind != "renamed":  # the CRD has nothing against it, so it is tried where the CRD stands
            await refused(unguarded, person, request, each.change, words[where], ways=each.ways)
