"""Ways around the rules that Kubernetes itself seems to offer, each tried; docs/bypasses.md lists them all."""

from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from cluster.voting import (
    ANA,
    BO,
    EDITOR,
    JUNIOR,
    Court,
    Json,
    Person,
    a_court,
    adding,
    applies,
    proof,
    refused,
    vote_of,
)
from hitl.approvals.requests import Verified
from hitl.approvals.requirements import barred, met
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of
from hitl.kube.requests import API_VERSION, served_request
from hitl.kube.shipped import DEFAULT
from hitl.policy.verdicts import Requirement, SecondFactor
from stores.asking import a_spec

RBAC = "rbac.authorization.k8s.io/v1"
TWIN = Person("\uff41na@example.com", ("twins",))  # a full-width letter: another login, to a person the same name


def acting_as(court: Court, person: Person, *who: str) -> list[str]:
    """Kubectl's global flags of `person` acting as somebody else."""
    return [f"--kubeconfig={court.plane.kubeconfig(person.name, person.groups)}", *who]


async def test_an_editor_cannot_bind_himself_a_reviewer_s_role(court: Court) -> None:
    """Not even role admin binds hitl-reviewer, or makes a role of its verbs: one gives only what one has (RBAC)."""
    alma = Person("alma@example.com", ("developers",), ("system:aggregate-to-admin", "system:aggregate-to-edit"))
    court.let_in(alma, {})
    court.until_allowed(alma, "create", "rolebindings")
    subject = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": alma.name}
    binding = {
        "apiVersion": RBAC,
        "kind": "RoleBinding",
        "metadata": {"name": "me-too"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl-reviewer"},
        "subjects": [subject],
    }
    rule = {"apiGroups": ["hitl.dev"], "resources": ["approvalrequests/confirm"], "verbs": ["approve"]}
    role = {"apiVersion": RBAC, "kind": "Role", "metadata": {"name": "me-too"}, "rules": [rule]}
    async with court.api(alma) as api:
        for plural, body in (("rolebindings", binding), ("roles", role)):
            with pytest.raises(ApiError, match="attempting to grant RBAC permissions not currently held"):
                await api.create(path_of(RBAC, plural, court.namespace), body)


async def test_an_editor_who_acts_as_the_agent_s_serviceaccount_does_not_decide(court: Court) -> None:
    """Role edit may impersonate ServiceAccounts, and gains nothing by it: none of them decides, whatever is bound."""
    request = await court.ask()
    account = f"system:serviceaccount:{court.namespace}:support"
    court.let_in(Person(account, (), ("hitl-senior-reviewer", "hitl-test-writes-anything")), {})
    court.until_allowed(Person(account), "delete", "ar")
    body = orjson.dumps({"status": {"decisions": [vote_of(replace(ANA, name=account), request)]}}).decode()
    court.until_allowed(EDITOR, "impersonate", "serviceaccounts")
    tried = court.plane.kubectl(
        "patch", "ar", request["metadata"]["name"], "-n", court.namespace, "--subresource=status", "--type=merge",
        f"--patch={body}", *acting_as(court, EDITOR, f"--as={account}"),
    )  # fmt: skip
    assert tried.returncode == 1
    assert "Only people decide" in tried.stderr


async def test_a_stolen_kubeconfig_does_not_add_the_second_factor_itself(court: Court) -> None:
    """Extras are the authenticator's: claiming them by impersonation takes a right that no role of ours has."""
    key = Requirement("leads", second_factor=SecondFactor.HARDWARE)
    request = await court.ask(a_spec(tier="multi-factor", requirements=(key,)))
    own = court.plane.kubeconfig(ANA.name, ANA.groups)
    access = Access.from_kubeconfig(own, as_user=ANA.name, as_groups=ANA.groups)
    assert access.impersonate is not None
    claiming = replace(access, impersonate=replace(access.impersonate, extra={DEFAULT.factor_key: ("hwk",)}))
    async with KubeAPI.open(claiming) as api:
        path = court.path(request["metadata"]["name"], "status")
        with pytest.raises(ApiError, match="cannot impersonate"):
            await applies(api, path, request, [vote_of(ANA, request, proof=proof("hwk"))], manager="stolen")


async def test_nobody_writes_to_the_virtual_subresource(court: Court) -> None:
    """approvalrequests/confirm is a word in RBAC and no place in the API: nothing can be put there."""
    request = await court.ask()
    name = request["metadata"]["name"]
    async with court.api(ANA) as api:
        for part in ("confirm", "multi-factor", "approve"):
            for attempt in (
                api.create(court.path(name, part), {"decision": "Approved"}),
                api.merge_patch(court.path(name, part), {"status": {"decisions": [vote_of(ANA, request)]}}),
            ):
                with pytest.raises(ApiError) as raised:
                    await attempt
                assert raised.value.status in (403, 404, 405)


@pytest.mark.parametrize("step", ["copy", "move"])
async def test_a_json_patch_copies_nobody_s_vote(court: Court, step: str) -> None:
    """A vote copied from another's entry and renamed is judged as what it is, and moving one loses it: refused."""
    spec = a_spec(requirements=(Requirement("leads", approvals=3),))
    request = await court.ask(spec)
    await court.vote(ANA, request)
    path = court.path(request["metadata"]["name"], "status")
    start = {"op": step, "from": "/status/decisions/0", "path": "/status/decisions/-"}
    at, words = (1, "and speak for nobody else") if step == "copy" else (0, "a decision is never removed")
    for reviewer in (BO.name, "mia@example.com"):
        rename = {
            "op": "replace",
            "path": f"/status/decisions/{at}/reviewer",
            "value": reviewer,
        }
        async with court.api(JUNIOR) as api:
            with pytest.raises(ApiError, match=words):
                await api.json_patch(path, [start, rename], field_manager="copyist")


async def test_a_reviewer_of_one_namespace_decides_nothing_in_another(court: Court) -> None:
    """The verb is asked for in the request's namespace: a right elsewhere, with every right to write here, is none."""
    other = a_court(court.plane)
    stranger = Person("sam@example.com", ("support-leads",), ("hitl-test-writes-anything",))
    other.let_in(stranger, {})
    court.let_in(replace(stranger, roles=("hitl-senior-reviewer",)), {})
    court.until_allowed(stranger, "approve", "ar", "--subresource=confirm")
    other.until_allowed(stranger, "delete", "ar")
    request = await other.ask()
    await refused(other, stranger, request, adding(vote_of(stranger, request)), "you may not approve Confirm")


async def test_unvalidated_and_doubled_keys_are_judged_as_stored(court: Court) -> None:
    """Without field validation unknown keys are still refused by name, and of doubled keys the one that counts."""
    request = await court.ask()
    live = await court.look(request)
    name = request["metadata"]["name"]
    vote = orjson.dumps(vote_of(ANA, request)).decode()
    unknown = vote.replace('{"reviewer"', '{"time":"2020-01-01T00:00:00Z","reviewer"')
    doubled = vote.replace(f'{{"reviewer":"{ANA.name}"', f'{{"reviewer":"{ANA.name}","reviewer":"{BO.name}"')
    for entry, words in ((unknown, "unknown field in the entry: time"), (doubled, "speak for nobody else")):
        body = {**live, "status": {**live["status"], "decisions": "HERE"}}
        text = orjson.dumps(body).decode().replace('"HERE"', f"[{entry}]")
        tried = court.plane.kubectl(
            "replace", "--raw", court.path(name, "status"), "-f", "-", *acting_as(court, ANA), stdin=text
        )
        assert tried.returncode == 1
        assert words in tried.stderr
    assert await court.look(request) == live


async def test_kubectl_apply_takes_a_vote_and_refuses_a_forged_one(court: Court) -> None:
    """Who has only kubectl decides with it, and is told by it, as by kubectl hitl."""
    request = await court.ask()
    name = request["metadata"]["name"]

    def body(entry: Json) -> str:
        metadata = {"name": name, "namespace": court.namespace}
        whole = {"apiVersion": API_VERSION, "kind": "ApprovalRequest", "metadata": metadata}
        return orjson.dumps({**whole, "status": {"decisions": [entry]}}).decode()

    def tried(entry: Json) -> str:
        done = court.plane.kubectl(
            "apply", "--server-side", "--subresource=status", "--field-manager=ana", "-f", "-",
            *acting_as(court, ANA), stdin=body(entry),
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "exactly so, as reviewer" in tried(vote_of(BO, request))
    assert "serverside-applied" in tried(vote_of(ANA, request))


async def test_B3_a_name_that_only_looks_different_is_taken_and_never_counted(court: Court) -> None:
    """B3: CEL folds ASCII letters alone; a full-width twin is barred, or no second person, in counting."""
    court.let_in(replace(TWIN, roles=("hitl-reviewer",)), {})
    court.until_allowed(TWIN, "approve", "ar", "--subresource=confirm")
    asked = await court.ask(a_spec(on_behalf_of=ANA.name))
    await court.vote(TWIN, asked)
    acted_for = served_request(await court.look(asked))
    words = [Verified(each.reviewer, ("twins",)) for each in acted_for.status.decisions]
    excluded = barred(acted_for.spec)
    assert not met((), acted_for.status.decisions, words, excluded=excluded)

    pair = await court.ask(a_spec(requirements=(Requirement("leads", approvals=2),)))
    await court.vote(ANA, pair)
    await court.vote(TWIN, pair)
    twice = served_request(await court.look(pair))
    words = [Verified(each.reviewer) for each in twice.status.decisions]
    assert len(words) == 2
    assert not met(twice.spec.requirements, twice.status.decisions, words)


async def test_a_vote_that_the_operator_could_not_read_is_refused(court: Court) -> None:
    """I2: what would make a whole request unreadable, and so undecidable for everybody, is not taken."""
    request = await court.ask()
    person = ANA.with_factors("hwk")
    for time, words in {
        "2026-05-01T02:47:10.123456789Z": "in body should match",
        "now": "in body must be of type date-time",
        "0000-01-01T00:00:00Z": "resulted in error",
        "9999-12-31T23:59:59-23:59": "resulted in error",
    }.items():
        entry = vote_of(ANA, request, proof=proof("hwk", time=time))
        await refused(court, person, request, adding(entry), words)
    fine = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.123456789Z")
    entry = vote_of(ANA, request, proof=proof("hwk", time=fine))
    await refused(court, person, request, adding(entry), "in body should match")
