"""Policies that people apply reach every replica's config by themselves, and only if they compile (C5, C6, H1, A7)."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from cluster.gated_pods import until
from cluster.policy_replicas import ALLOW, DENY, TYPO, Author, Clock, Replicas
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.access import Access
from hitl.kube.api import KubeAPI
from hitl.kube.credentials import FixedToken
from hitl.kube.paths import path_of
from hitl.kube.policy_conditions import Accepted
from hitl.policy.settings import Settings
from hitl_operator.cluster.accepted_specs import LABEL, AcceptedSpecs

CODER = {"podSelector": {"matchLabels": {"app": "coder"}}}


async def test_a_policy_reaches_two_replicas_without_a_leader(replicas: Replicas, author: Author) -> None:
    """What kubectl applies is in the config of both within seconds, and so is its next version, and its end."""
    both = [await replicas.start(), await replicas.start()]
    steps: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (DENY, {"support": DENY}),
        (ALLOW, {"support": ALLOW}),
    ]
    for spec, wanted in steps:
        began = time.monotonic()
        await author.apply(spec)
        for replica in both:
            await until(lambda replica=replica, wanted=wanted: replica.policies(author.namespace) == wanted)
        print(f"kubectl apply to both configs: {time.monotonic() - began:.3f} s")  # noqa: T201 - for who reads -s
    await author.delete()
    for replica in both:
        await until(lambda replica=replica: replica.policies(author.namespace) == {})


async def test_the_first_config_is_complete(replicas: Replicas, author: Author) -> None:
    """H1: what was there before the replica is in the first generation that it serves, the baseline too."""
    await author.apply(DENY)
    await author.apply(
        {"rules": [{"action": "MultiFactor", "tools": ["pay_*"]}]}, name=author.baseline, kind="ClusterAgentPolicy"
    )
    replica = await replicas.prepare()
    await until(lambda: replica.book.version)
    document = replica.document(author.namespace)
    assert document["baseline"] == "present"
    assert {"support", author.baseline} <= {policy["name"] for policy in document["policies"]}


async def test_H1_nothing_is_served_before_everything_was_read(
    replicas: Replicas, author: Author, as_user: Callable[..., Access], caplog: pytest.LogCaptureFixture
) -> None:
    """H1: a replica that may not read what it must read has no config, rather than a part of one."""
    await author.apply(DENY)
    replica = await replicas.prepare(as_user(f"nobody-of-{author.namespace}"))
    await until(lambda: any(line.startswith("policies-unreadable") for line in caplog.messages))
    assert (replica.book.version, replica.source.synced.is_set()) == (0, False)


async def test_C6_what_only_the_compiler_refuses_keeps_the_last_good(replicas: Replicas, author: Author) -> None:
    """C6: the API server takes the typo, the config does not; the message names the field and what is in force."""
    replica = await replicas.start()
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    await author.apply(TYPO)
    outcome = await until(lambda: _refused(replica, author.namespace))
    assert outcome.reason is Accepted.INVALID
    assert "spec.rules[0].cel" in outcome.message
    assert "Generation 1 stays in force" in outcome.message
    assert replica.policies(author.namespace) == {"support": DENY}
    await author.apply(ALLOW)
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})


async def test_C6_left_standing_it_asks_for_its_own_pods(replicas: Replicas, author: Author) -> None:
    """C6: after invalidGrace the pods that the policy selects ask about everything, others do not; mending ends it."""
    replica = await replicas.start(settings=Settings(invalid_grace=60))
    await author.apply({**ALLOW, **CODER})
    await until(lambda: replica.policies(author.namespace, app="coder"))
    await author.apply({**TYPO, **CODER})
    await until(lambda: _refused(replica, author.namespace))
    assert "floor" not in replica.document(author.namespace, app="coder")
    replicas.clock.advance(61)
    await until(lambda: replica.document(author.namespace, app="coder").get("floor") == "Confirm")
    assert "floor" not in replica.document(author.namespace, app="other")

    def strict() -> float:  # of the whole cluster, so policies of other tests may count in it
        return replica.metrics.registry.get_sample_value("hitl_policies_strict") or 0

    await until(lambda: strict() >= 1)
    so_far = strict()
    await author.apply({**DENY, **CODER})
    await until(lambda: "floor" not in replica.document(author.namespace, app="coder"))
    await until(lambda: strict() == so_far - 1)


async def test_H1_a_replica_that_starts_beside_an_invalid_policy_serves_the_last_good(
    replicas: Replicas, author: Author
) -> None:
    """H1: it knows what the others accepted, and since when that was overtaken, from the operator's namespace."""
    first = await replicas.start(settings=Settings(invalid_grace=60))
    await author.apply(DENY)
    await until(lambda: first.policies(author.namespace) == {"support": DENY})
    await author.apply(TYPO)
    refused = await until(lambda: _refused(first, author.namespace))
    await until(lambda: _stored_since(first, refused.resource.uid))
    await first.stop()
    replicas.clock.advance(61)
    second = await replicas.start(settings=Settings(invalid_grace=60))
    assert second.policies(author.namespace) == {"support": DENY}
    assert second.document(author.namespace)["floor"] == "Confirm"


async def test_H1_a_generation_that_only_another_replica_saw_is_taken_over(
    replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """H1: of two accepted generations the newest that compiles counts, whoever saw it."""
    replica = await replicas.start()
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    specs = AcceptedSpecs(admin, replicas.operator_namespace)
    uid = replica.outcome(author.namespace, "support").resource.uid  # type: ignore[union-attr]  # it was seen
    await until(lambda: specs.read(uid))
    # Another replica sees generation 2, which is valid, before this one sees generation 3, which is not.
    await replica.stop()
    await author.apply(ALLOW)
    other = await replicas.start()
    await until(lambda: other.policies(author.namespace) == {"support": ALLOW})
    await until(lambda: _stored_generation(specs, uid, 2))
    await other.stop()
    await author.apply(TYPO)
    late = await replicas.start()
    assert late.policies(author.namespace) == {"support": ALLOW}


async def test_what_is_kept_of_a_policy_goes_with_it(replicas: Replicas, author: Author, admin: KubeAPI) -> None:
    """Its Secret is deleted with it, also where nobody was there to see it go; those of others stay."""
    replica = await replicas.start()
    await author.apply(DENY)
    await author.apply(DENY, name="other")
    specs = AcceptedSpecs(admin, replicas.operator_namespace)

    async def kept() -> set[str]:
        return {stored.key[2] for stored in (await specs.read_all()).values() if stored.key[1] == author.namespace}

    await until(lambda: _is(kept, {"support", "other"}))
    await author.delete()
    await until(lambda: _is(kept, {"other"}))
    await replica.stop()
    await author.delete("other")
    await replicas.start()
    await until(lambda: _is(kept, set()))


async def test_a_policy_that_never_was_valid_changes_nothing_at_first(replicas: Replicas, author: Author) -> None:
    """Whatever else speaks for its pods goes on; the message says that nothing of it is in force, and until when."""
    replica = await replicas.start(settings=Settings(invalid_grace=60))
    await author.apply(TYPO)
    outcome = await until(lambda: _refused(replica, author.namespace))
    assert "No generation was ever accepted" in outcome.message
    document = replica.document(author.namespace)
    assert (replica.policies(author.namespace), "floor" in document) == ({}, False)
    replicas.clock.advance(61)
    await until(lambda: replica.document(author.namespace).get("floor") == "Confirm")


async def test_a_pod_that_no_policy_selects_gets_the_built_in_one(replicas: Replicas, author: Author) -> None:
    """It is served a config without policies of its namespace, under which the built-in policy speaks."""
    replica = await replicas.start()
    await author.apply({**DENY, **CODER})
    await until(lambda: replica.policies(author.namespace, app="coder"))
    document = replica.document(author.namespace, app="other")
    assert [each for each in document["policies"] if each["kind"] == "AgentPolicy"] == []


async def test_a_tool_server_reaches_the_config(replicas: Replicas, author: Author) -> None:
    """Its declarations are in the config of every pod of its namespace, and of no other."""
    replica = await replicas.start()
    spec = {"tools": [{"name": "create_refund", "level": "high"}]}
    await author.apply(spec, name="stripe", kind="ToolServer")
    await until(lambda: [each["spec"] for each in replica.document(author.namespace)["toolServers"]] == [spec])
    assert replica.document("elsewhere")["toolServers"] == []


async def test_A7_a_new_baseline_takes_out_what_it_forbids(replicas: Replicas, author: Author) -> None:
    """A7: a policy in Monitor from before goes on binding, without Monitor, and is told who forbade it."""
    replica = await replicas.start()
    await author.apply({**DENY, "mode": "Monitor"})
    await until(lambda: replica.policies(author.namespace))
    await author.apply({"forbid": ["Monitor"]}, name=author.baseline, kind="ClusterAgentPolicy")
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    outcome = replica.outcome(author.namespace, "support")
    assert outcome is not None
    assert outcome.reason is Accepted.CONFLICTED
    assert f"forbidden by ClusterAgentPolicy {author.baseline}" in outcome.message
    await author.delete(author.baseline, kind="ClusterAgentPolicy")
    await until(lambda: replica.policies(author.namespace) == {"support": {**DENY, "mode": "Monitor"}})


async def test_an_api_server_that_is_frozen_is_noticed_and_caught_up_with(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """The age of the config grows while nothing can be confirmed; what was written right after the thaw arrives."""
    replica = await replicas.start()
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    control_plane.freeze()
    try:
        await until(lambda: replica.book.age > 4)
        assert replica.policies(author.namespace) == {"support": DENY}
    finally:
        control_plane.thaw()
    await author.apply(ALLOW)
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})
    await until(lambda: replica.book.age < 2)


async def test_I2_config_that_cannot_be_decided_anew_gets_old(replicas: Replicas, author: Author) -> None:
    """I2: looks that find everything as it is known make nothing fresh that is not in force: sidecars are told its age,
    and refuse past `maxStaleness`. Once it can be decided again it is, and is fresh.
    """
    replicas.clock = clock = _Stopped()
    replica = await replicas.start()
    await author.apply(ALLOW)
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})
    clock.is_broken = True
    await author.apply(DENY)
    await until(lambda: replica.book.age > 4)
    assert replica.source.written.age < replica.book.age
    assert replica.policies(author.namespace) == {"support": ALLOW}
    clock.is_broken = False
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    await until(lambda: replica.book.age < 2)


async def test_config_does_not_go_stale_where_kopf_is_deaf(
    replicas: Replicas, author: Author, as_user: Callable[..., Access], caplog: pytest.LogCaptureFixture
) -> None:
    """Changes and deletions of which kopf hears nothing are found by looking, and kopf is started anew."""
    await author.apply(DENY)
    await author.apply(DENY, name="other")
    replica = await replicas.start(kopf=as_user(f"deaf-in-{author.namespace}"))
    assert replica.policies(author.namespace).keys() == {"support", "other"}
    await author.apply(ALLOW)
    await author.delete("other")
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})
    await until(lambda: any(line.startswith("kopf-deaf") for line in caplog.messages))
    await until(lambda: replica.book.age < 2)


async def test_kopf_is_begun_again_when_it_ends(replicas: Replicas, author: Author) -> None:
    """Its end takes nothing with it; the next one reports what was written in between."""
    replica = await replicas.start(look_every=600)
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    replica.source.written._kopf.restart()
    await author.apply(ALLOW)
    await until(lambda: replica.policies(author.namespace) == {"support": ALLOW})
    assert replica.is_running


async def test_nothing_is_written_to_what_people_wrote(replicas: Replicas, author: Author) -> None:
    """No annotation, finalizer or label of kopf or ours, and nobody but the author manages the object."""
    replica = await replicas.start()
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    await author.apply(TYPO)
    await until(lambda: _refused(replica, author.namespace))
    found = (await author.read())["metadata"]
    assert found["annotations"].keys() == {"kubectl.kubernetes.io/last-applied-configuration"}
    assert {manager["manager"] for manager in found["managedFields"]} == {"kubectl-client-side-apply"}
    assert "finalizers" not in found
    assert "labels" not in found


async def test_the_shipped_role_is_all_that_it_takes(
    replicas: Replicas, author: Author, as_user: Callable[..., Access], admin: KubeAPI
) -> None:
    """As the operator's own ServiceAccount, with the roles of an installation: reads policies, keeps accepted specs."""
    replicas.operator_namespace = "hitl-system"
    account = as_user("system:serviceaccount:hitl-system:hitl-operator", ["system:serviceaccounts"])
    replica = await replicas.start(account)
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})
    uid = replica.outcome(author.namespace, "support").resource.uid  # type: ignore[union-attr]  # it was seen
    await until(lambda: AcceptedSpecs(admin, "hitl-system").read(uid))


@pytest.mark.parametrize("way", ["token", "impersonation"])
async def test_kopf_knows_every_way_to_the_api_server(
    replicas: Replicas, author: Author, as_user: Callable[..., Access], admin: KubeAPI, way: str
) -> None:
    """With the token of a ServiceAccount, and in the name of somebody else, it reports what is written."""
    account = "system:serviceaccount:hitl-system:hitl-operator"
    access = as_user(account, ["system:serviceaccounts"], {"example.com/why": ["test"]})
    if way == "token":
        access = replace(access, impersonate=None, certificate=lambda: None, bearer=FixedToken(await _token(admin)))
    replica = await replicas.start(kopf=access, look_every=600)
    await author.apply(DENY)
    await until(lambda: replica.policies(author.namespace) == {"support": DENY})


async def test_a_secret_that_nobody_of_ours_wrote_is_not_believed(
    replicas: Replicas, author: Author, admin: KubeAPI
) -> None:
    """Whatever stands in the operator's namespace under that label, a replica starts, and goes by what is written."""
    for name, data in (("hitl-accepted-x", {"accepted": "bm90IHppcHBlZA=="}), ("hitl-accepted-y", {})):
        manifest = {"metadata": {"name": name, "labels": {LABEL: "agentpolicies"}}, "data": data}
        await admin.create(path_of("v1", "secrets", replicas.operator_namespace), manifest)
    await author.apply(DENY)
    replica = await replicas.start()
    assert replica.policies(author.namespace) == {"support": DENY}


class _Stopped(Clock):
    """A clock that can break, and with it every decision."""

    is_broken = False

    def __call__(self) -> datetime:
        if self.is_broken:
            raise OSError("the clock does not answer")
        return super().__call__()


async def _token(admin: KubeAPI) -> str:
    """Of the operator's ServiceAccount, which is made if it is not there."""
    accounts = path_of("v1", "serviceaccounts", "hitl-system")
    with suppress(ApiError):
        await admin.create(accounts, {"metadata": {"name": "hitl-operator"}})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    return str((await admin.create(f"{accounts}/hitl-operator/token", body))["status"]["token"])


def _refused(replica: Any, namespace: str, name: str = "support") -> Any:
    outcome = replica.outcome(namespace, name)
    return outcome if outcome is not None and not outcome.is_accepted else None


async def _stored_since(replica: Any, uid: str) -> bool:
    stored = await AcceptedSpecs(replica.api, replica.source._specs._namespace).read(uid)
    return stored is not None and stored.good.invalid_since is not None


async def _stored_generation(specs: AcceptedSpecs, uid: str, generation: int) -> bool:
    stored = await specs.read(uid)
    return stored is not None and stored.good.generation == generation


async def _is(look: Callable[[], Any], wanted: Any) -> bool:
    return bool(await look() == wanted)
