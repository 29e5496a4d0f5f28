"""The status that whoever leads writes on policies of a real API server, from what all replicas report (DESIGN 6)."""

from collections.abc import Callable
from typing import Any

from cluster.gated_pods import until
from cluster.policy_replicas import ALLOW, DENY, TYPO, Author, Replica, Replicas
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.marks import SILENT_AFTER
from hitl.kube.paths import path_of
from hitl.v1 import gate_pb2, hub_pb2
from hitl_operator.cluster.policy_resources import REVIEWED
from hitl_operator.cluster.replica_reports import report_from_json
from hitl_operator.cluster.replicas import GONE_AFTER, Reports

ASKING = {"rules": [{"action": "Confirm", "tools": ["pay_*"], "reviewers": ["leads"]}]}


def usage(author: Author, calls: int) -> hub_pb2.Usage:
    row = hub_pb2.PolicyUsage(
        policy=f"AgentPolicy/{author.namespace}/support", action=gate_pb2.ACTION_ALLOW, calls=calls
    )
    return hub_pb2.Usage(policies=[row])


def calls(replica: Replica, author: Author, count: int) -> None:
    """A sidecar of this replica reports so many."""
    replica.hub.usage.called(usage(author, count), {f"AgentPolicy/{author.namespace}/support"})


async def has(author: Author, **wanted: tuple[str, str]) -> dict[str, Any] | None:
    """The status once its conditions have this status and reason."""
    status = await author.status()
    found = {kind: (each["status"], each["reason"]) for kind, each in status["conditions"].items()}
    return status if wanted.items() <= found.items() else None


async def test_an_accepted_policy_says_what_its_rules_match(replicas: Replicas, author: Author) -> None:
    """C5: Accepted is True for the generation that is written, and names each rule's tools."""
    await replicas.start_whole("one", leads=True)
    await author.apply(DENY)
    status = await until(lambda: has(author, Accepted=("True", "Valid"), Programmed=("Unknown", "Unmatched")))
    assert status["observedGeneration"] == 1
    assert (await author.row())[:4] == ["support", "Enforce", "ReadOnly", "True"]
    assert status["conditions"]["Accepted"]["message"] == "1 rule: [1] Deny delete_*"
    assert status["conditions"]["Accepted"]["observedGeneration"] == 1


async def test_C6_an_invalid_policy_says_where_and_what_is_in_force(replicas: Replicas, author: Author) -> None:
    """C6: what only the compiler refuses stands in status with its path, and the time since when it is so."""
    replica = await replicas.start_whole("one", leads=True)
    await author.apply(DENY)
    await until(lambda: has(author, Accepted=("True", "Valid")))
    await author.apply(TYPO)
    status = await until(lambda: has(author, Accepted=("False", "Invalid")))
    accepted = status["conditions"]["Accepted"]
    assert (accepted["observedGeneration"], status["observedGeneration"]) == (2, 2)
    assert accepted["message"].startswith("spec.rules[0].cel: ")
    assert "Generation 1 stays in force" in accepted["message"]
    await until(lambda: ("support", "Invalid", accepted["message"]) in replica.announced)
    since = accepted["lastTransitionTime"]
    replica.clock.advance(3600)
    strict = await until(lambda: _says(author, "Accepted", "every call that ran unasked asks a person"))
    assert strict["lastTransitionTime"] == since


async def test_programmed_adds_up_the_sidecars_of_all_replicas(replicas: Replicas, author: Author) -> None:
    """Two replicas' sidecars are one count; who is behind is named with what it runs and why."""
    leader = await replicas.start_whole("one", leads=True)
    other = await replicas.start_whole("two", leads=False)
    await author.apply(DENY)
    await until(lambda: leader.policies(author.namespace) and other.policies(author.namespace))
    first, second = leader.sidecar(author.namespace, "a"), other.sidecar(author.namespace, "b")
    for replica, sidecar in ((leader, first), (other, second)):
        replica.answer(sidecar)

    async def both() -> bool:
        return bool((await author.status()).get("sidecars") == {"total": 2, "current": 2})

    await until(both)
    assert await has(author, Programmed=("True", "Current"))
    await author.apply(ALLOW)
    for replica in (leader, other):
        await until(lambda replica=replica: replica.policies(author.namespace) == {"support": ALLOW})
    await until(lambda: has(author, Programmed=("False", "Pending")))
    leader.answer(first)
    other.answer(second, reason="schema 2 is unknown here")
    # Each replica's word comes by itself: the refusal may be known before the answer of the other sidecar, or after.
    refused = f"1 of 2 connected sidecars run generation 2; {author.namespace}/b refused the config"
    assert (await until(lambda: _says(author, "Programmed", refused)))["reason"] == "Rejected"
    status = await author.status()
    (behind,) = status["sidecars"]["behind"]
    assert (behind["pod"], behind["reason"]) == ("b", "schema 2 is unknown here")
    assert behind["revision"] == second.running
    other.answer(second)
    await until(lambda: has(author, Programmed=("True", "Current")))


async def test_a_silent_replica_does_not_count(replicas: Replicas, author: Author) -> None:
    """Sidecars of a replica that has said nothing for long are not counted; they are somewhere else by now."""
    leader = await replicas.start_whole("one", leads=True)
    other = await replicas.start_whole("two", leads=False)
    await author.apply(DENY)
    await until(lambda: other.policies(author.namespace))
    other.answer(other.sidecar(author.namespace))
    await until(lambda: has(author, Programmed=("True", "Current")))

    async def unmatched() -> Any:
        leader.idle += SILENT_AFTER  # since its last word: it says that it is still there only every 15 s
        return await has(author, Programmed=("Unknown", "Unmatched"))

    await until(unmatched)


async def test_a_replica_that_was_stopped_does_not_count_at_once(
    replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """A clean stop: its sidecars count no more, its report is deleted, and what it counted stays counted."""
    leader = await replicas.start_whole("one", leads=True)
    other = await replicas.start_whole("two", leads=False)
    await author.apply(DENY)
    await until(lambda: leader.policies(author.namespace) and other.policies(author.namespace))
    other.answer(other.sidecar(author.namespace))
    calls(other, author, 5)
    await until(lambda: has(author, Programmed=("True", "Current")))
    await other.stop()
    # They are with the other replica by now, and counted there alone.
    leader.answer(leader.sidecar(author.namespace))
    place = path_of("v1", "configmaps", replicas.operator_namespace)

    async def reporting() -> list[str]:
        found = [each async for each in admin.list(place, {"labelSelector": "hitl.dev/replica=report"})]
        return [report_from_json(each["data"]["report"]).replica for each in found]

    async def alone() -> bool:
        return await reporting() == ["one"] and (await author.status())["sidecars"] == {"total": 1, "current": 1}

    await until(alone)
    await until(lambda: _used(leader, author, 5))


async def test_only_who_leads_writes(replicas: Replicas, author: Author) -> None:
    """A replica that does not lead writes no status; once it leads it does, and the other stops."""
    first = await replicas.start_whole("one", leads=False)
    second = await replicas.start_whole("two", leads=False)
    await author.apply(DENY)
    await until(lambda: first.policies(author.namespace) and second.policies(author.namespace))
    await until(lambda: _told(first) and _told(second))
    assert (await author.read()).get("status", {}) == {}
    second.leads = True
    await until(lambda: has(author, Accepted=("True", "Valid")))
    managers = {each["manager"] for each in (await author.read())["metadata"]["managedFields"]}
    assert managers == {"kubectl-client-side-apply", "hitl-operator-policies"}


async def test_an_unchanged_status_is_not_written_again(replicas: Replicas, author: Author) -> None:
    """Looking costs no write: the resource's version stays as it is, under the same leader and under the next one."""
    first = await replicas.start_whole("one", leads=True)
    await author.apply(DENY)
    await until(lambda: has(author, Accepted=("True", "Valid"), ReviewersAvailable=("Unknown", "Unnamed")))
    version = (await author.read())["metadata"]["resourceVersion"]
    first.leads = False
    second = await replicas.start_whole("two", leads=True)
    await until(lambda: second.source.written.resources[("AgentPolicy", author.namespace, "support")].status)
    looks = second.metrics.unmanned
    await until(lambda: next(iter(looks.collect())).samples)  # it has asked about reviewers, and written what it would
    assert (await author.read())["metadata"]["resourceVersion"] == version


async def test_reviewers_are_asked_for_at_the_api_server(replicas: Replicas, author: Author, admin: KubeAPI) -> None:
    """A group without the right is named with the role that it lacks; once it is bound, the condition is True."""
    replica = await replicas.start_whole("one", leads=True)
    await author.apply(ASKING)
    status = await until(lambda: has(author, ReviewersAvailable=("False", "Unbound")))
    said = status["conditions"]["ReviewersAvailable"]["message"]
    assert said == (
        f"No approval can be given: no binding lets group leads approve confirm in {author.namespace}, and nobody is "
        "bound by name there. Bind ClusterRole hitl-reviewer to the group"
    )
    labels = {"policy": f"AgentPolicy/{author.namespace}/support"}
    await until(lambda: replica.metrics.registry.get_sample_value("hitl_policy_unmanned", labels) == 1)
    binding = {
        "metadata": {"name": "leads"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "hitl-reviewer"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "leads"}],
    }
    await admin.create(path_of("rbac.authorization.k8s.io/v1", "rolebindings", author.namespace), binding)
    await until(lambda: _may_approve(admin, author, user="anybody", groups=["leads"]))
    replica.idle += 61
    await author.apply({**ASKING, "posture": "Conservative"})
    await until(lambda: has(author, ReviewersAvailable=("True", "Bound")))
    await until(lambda: replica.metrics.registry.get_sample_value("hitl_policy_unmanned", labels) == 0)


async def test_people_who_are_bound_by_name_may_be_in_the_group(
    replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """Whoever is bound by name to a role that may approve makes it Unknown, not False; another role does not count."""
    path = path_of("rbac.authorization.k8s.io/v1", "rolebindings", author.namespace)

    def bound(name: str, role: str) -> dict[str, Any]:
        return {
            "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}],
        }

    await admin.create(path, bound("vi@example.com", "hitl-viewer"))
    replica = await replicas.start_whole("one", leads=True)
    await author.apply(ASKING)
    await until(lambda: has(author, ReviewersAvailable=("False", "Unbound")))
    await admin.create(path, bound("ana@example.com", "hitl-reviewer"))
    await until(lambda: _may_approve(admin, author, user="ana@example.com"))
    replica.idle += 61
    await author.apply({**ASKING, "posture": "Conservative"})
    status = await until(lambda: has(author, ReviewersAvailable=("Unknown", "BoundByName")))
    said = status["conditions"]["ReviewersAvailable"]["message"]
    assert said.startswith(f"No binding lets group leads approve confirm in {author.namespace}. People who are bound")
    labels = {"policy": f"AgentPolicy/{author.namespace}/support"}
    await until(lambda: replica.metrics.registry.get_sample_value("hitl_policy_unmanned", labels) == 0)


async def test_a_review_is_due_until_somebody_marks_it(replicas: Replicas, author: Author) -> None:
    """Counted from the last change of the spec, or from the annotation of whoever read it again."""
    replica = await replicas.start_whole("one", leads=True)
    await author.apply({**DENY, "review": {"every": "30d"}})
    status = await until(lambda: has(author, ReviewDue=("False", "Reviewed")))
    replica.clock.advance(31 * 86400)
    status = await until(lambda: has(author, ReviewDue=("True", "Overdue")))
    assert f"{REVIEWED}=" in status["conditions"]["ReviewDue"]["message"]
    await author.annotate(f"{REVIEWED}={replica.clock().isoformat()}")
    await until(lambda: has(author, ReviewDue=("False", "Reviewed")))


async def test_usage_is_neither_lost_nor_counted_twice(replicas: Replicas, author: Author, admin: KubeAPI) -> None:
    """What replicas counted adds up: also of those that are gone, and of one taken for gone too early."""
    first = await replicas.start_whole("one", leads=True)
    second = await replicas.start_whole("two", leads=False)
    await author.apply(DENY)
    await until(lambda: first.policies(author.namespace) and second.policies(author.namespace))
    calls(first, author, 3)
    calls(second, author, 4)
    reports = Reports(admin, replicas.operator_namespace, monotonic=first.monotonic)
    uid = (await author.read())["metadata"]["uid"]

    async def counted() -> int:
        await reports.read()
        return reports.usage[uid].calls if uid in reports.usage else 0

    await until(lambda: _equals(counted, 7))
    await second.stop()

    async def is_forgotten() -> bool:
        # Time flies for the leader: the other one is gone, and it takes itself for gone again and again.
        first.idle += GONE_AFTER / 20
        return "two" not in await _reporting(admin, replicas.operator_namespace)

    await until(is_forgotten)
    calls(first, author, 5)
    await until(lambda: _equals(counted, 12))
    third = await replicas.start_whole("three", leads=False)
    await until(lambda: third.policies(author.namespace))
    calls(third, author, 1)
    await until(lambda: _equals(counted, 13))
    await until(lambda: _used(first, author, 13))


async def test_the_shipped_role_is_enough_for_all_of_it(
    replicas: Replicas, author: Author, as_user: Callable[..., Access]
) -> None:
    """As the operator's own ServiceAccount: reports, statuses and questions about reviewers."""
    replicas.operator_namespace = "hitl-system"
    account = as_user("system:serviceaccount:hitl-system:hitl-operator", ["system:serviceaccounts"])
    replica = await replicas.start_whole("one", leads=True, access=account)
    await author.apply(ASKING)
    await until(lambda: replica.policies(author.namespace))
    replica.answer(replica.sidecar(author.namespace))
    await until(lambda: has(author, Programmed=("True", "Current"), ReviewersAvailable=("False", "Unbound")))


async def test_tool_servers_and_baselines_have_a_status_too(replicas: Replicas, author: Author) -> None:
    """A ToolServer says whether it was accepted; a baseline counts the sidecars of every namespace."""
    replica = await replicas.start_whole("one", leads=True)
    await author.apply({"tools": [{"name": "query"}]}, name="db", kind="ToolServer")
    baseline = {"rules": [{"action": "MultiFactor", "tools": ["wire_*"]}]}
    await author.apply(baseline, name=author.baseline, kind="ClusterAgentPolicy")
    replica.sidecar(author.namespace, "a")

    async def server() -> Any:
        return (await author.status("db", kind="ToolServer"))["conditions"]

    async def base() -> Any:
        return (await author.status(author.baseline, kind="ClusterAgentPolicy")).get("sidecars", {}).get("behind")

    assert (await until(server)).keys() == {"Accepted"}
    assert [each["pod"] for each in await until(base)] == [f"{author.namespace}/a"]
    await author.delete("db", kind="ToolServer")


async def _says(author: Author, kind: str, text: str) -> dict[str, Any] | None:
    condition: dict[str, Any] = (await author.status())["conditions"][kind]
    return condition if text in condition["message"] else None


async def _used(leader: Replica, author: Author, count: int) -> bool:
    leader.idle += 61  # usage is said once a minute, as it was read at that moment
    return bool((await author.status()).get("usage", {}).get("calls") == count)


async def _may_approve(admin: KubeAPI, author: Author, **who: Any) -> bool:
    """Whether the API server goes by a binding already; what it says before is remembered for a minute."""
    wish = {"group": "hitl.dev", "resource": "approvalrequests", "subresource": "confirm", "verb": "approve"}
    review = {"spec": {**who, "resourceAttributes": {"namespace": author.namespace, **wish}}}
    answer = await admin.create(path_of("authorization.k8s.io/v1", "subjectaccessreviews"), review)
    return bool(answer["status"]["allowed"])


async def _equals(look: Callable[[], Any], wanted: object) -> bool:
    return bool(await look() == wanted)


async def _reporting(admin: KubeAPI, namespace: str) -> set[str]:
    """The replicas of which a report lies there."""
    path = path_of("v1", "configmaps", namespace)
    found = [each async for each in admin.list(path, {"labelSelector": "hitl.dev/replica"})]
    return {report_from_json(each["data"]["report"]).replica for each in found}


def _told(replica: Replica) -> bool:
    return bool(replica.reporter._version)
