"""A freeze that people press reaches the config of every replica by itself, and is never ignored (DESIGN 7)."""

import time
from datetime import timedelta
from typing import Any

from cluster.freezing import a_freeze, freeze, thaw
from cluster.gated_pods import until
from cluster.policy_replicas import ALLOW, Author, Replica, Replicas
from control_plane.running import ControlPlane
from hitl.errors import ApiError
from hitl.kube.api import KubeAPI
from hitl.kube.paths import path_of


def frozen(replica: Replica, namespace: str, **labels: str) -> list[str]:
    """The reasons of the freezes in a pod's config."""
    return [each["reason"] for each in replica.document(namespace, **labels).get("overrides", ())]


async def test_a_freeze_reaches_two_replicas_without_a_leader(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """Pressed and thawed with kubectl, it is in and out of both configs; the policies stand as they were."""
    both = [await replicas.start(), await replicas.start()]
    await author.apply(ALLOW)
    for replica in both:
        await until(lambda replica=replica: replica.policies(author.namespace))
    took = []
    for _ in range(3):
        began = time.monotonic()
        freeze(control_plane, author.namespace, "stop", reason="INC-1")
        for replica in both:
            await until(lambda replica=replica: frozen(replica, author.namespace) == ["INC-1"])
        took.append(time.monotonic() - began)
        assert both[0].policies(author.namespace) == {"support": ALLOW}
        thaw(control_plane, author.namespace, "stop")
        for replica in both:
            await until(lambda replica=replica: frozen(replica, author.namespace) == [])
    print(f"kubectl create to both configs: {max(took):.3f} s at worst")  # noqa: T201 - for who reads -s


async def test_B2_it_is_for_its_pods_by_both_labels(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """B2: only the selected pods of its own namespace are stopped."""
    replica = await replicas.start()
    freeze(control_plane, author.namespace, "coder", podSelector={"matchLabels": {"app": "coder"}})
    await until(lambda: frozen(replica, author.namespace, app="coder"))
    assert frozen(replica, author.namespace, app="other") == []
    assert frozen(replica, "elsewhere", app="coder") == []
    thaw(control_plane, author.namespace, "coder")


async def test_one_in_the_operators_namespace_is_for_every_namespace(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """The platform's on-call stops a tool everywhere with one object; another namespace's freezes stay its own."""
    replica = await replicas.start()
    freeze(control_plane, replicas.operator_namespace, "all", tools=["payments/*"])
    await until(lambda: frozen(replica, author.namespace) and frozen(replica, "elsewhere"))
    assert replica.document(author.namespace)["overrides"][0]["tools"] == ["payments/*"]
    thaw(control_plane, replicas.operator_namespace, "all")
    await until(lambda: not frozen(replica, author.namespace))


async def test_it_ends_by_the_operators_clock(replicas: Replicas, author: Author, control_plane: ControlPlane) -> None:
    """Once `until` is over the next config has it no more, though nobody wrote anything; before it, it stands."""
    replica = await replicas.start()
    until_when = (replicas.clock() + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    freeze(control_plane, author.namespace, "short", until=until_when)
    await until(lambda: frozen(replica, author.namespace))
    replicas.clock.advance(7000)
    freeze(control_plane, author.namespace, "other", reason="another")
    await until(lambda: set(frozen(replica, author.namespace)) == {"another"})  # the one without an end is told
    thaw(control_plane, author.namespace, "other")
    await until(lambda: frozen(replica, author.namespace) == ["INC-88"])
    replicas.clock.advance(300)
    await until(lambda: frozen(replica, author.namespace) == [])
    thaw(control_plane, author.namespace, "short")


async def test_what_cannot_be_read_stops_everything(
    replicas: Replicas, author: Author, control_plane: ControlPlane, admin: KubeAPI
) -> None:
    """A freeze that only the compiler refuses is not ignored: its namespace stands still, and its status says why."""
    replica = await replicas.start_whole("one", leads=True)
    # This letter passes the schema, and is in no glob.
    wrong = a_freeze(author.namespace, "odd", tools=["pay/é*"])
    path = path_of("hitl.dev/v1alpha1", "policyoverrides", author.namespace)
    await admin.create(path, wrong)
    await until(lambda: frozen(replica, author.namespace, app="any"))
    override = replica.document(author.namespace)["overrides"][0]
    assert "tools" not in override
    assert override["by"] == f"PolicyOverride {author.namespace}/odd"
    status = await until(lambda: _status(admin, path, "odd"))
    assert (status["state"], status["conditions"][0]["status"]) == ("Frozen", "False")
    assert "spec.tools[0]" in status["conditions"][0]["message"]
    thaw(control_plane, author.namespace, "odd")
    await until(lambda: not frozen(replica, author.namespace))


async def test_a_replica_that_starts_later_is_frozen_from_its_first_config(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """H1: a replica killed meanwhile comes back with the freeze in the first generation that it serves."""
    first = await replicas.start()
    freeze(control_plane, author.namespace, "stop")
    await until(lambda: frozen(first, author.namespace))
    await first.stop()
    second = await replicas.prepare()
    await until(lambda: second.book.version)
    assert frozen(second, author.namespace)
    thaw(control_plane, author.namespace, "stop")


async def test_I2_one_until_the_end_of_all_times_ends_no_replica(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """I2: the API server takes it; replicas that run and such that start freeze by it, and go on deciding."""
    first = await replicas.start()
    freeze(control_plane, author.namespace, "ever", until="9999-12-31T23:59:59Z", tools=["pay/*"])
    await until(lambda: frozen(first, author.namespace))
    second = await replicas.start()
    freeze(control_plane, author.namespace, "more", reason="INC-89", tools=["crm/*"])
    for replica in (first, second):
        await until(lambda replica=replica: set(frozen(replica, author.namespace)) == {"INC-88", "INC-89"})
    for name in ("ever", "more"):
        thaw(control_plane, author.namespace, name)
    await until(lambda: not frozen(second, author.namespace))


async def test_a_replica_that_stumbles_as_it_starts_looks_again(
    replicas: Replicas, author: Author, control_plane: ControlPlane
) -> None:
    """I2: whatever it stumbled over may be mended meanwhile; until then it serves nothing that was not seen whole."""
    freeze(control_plane, author.namespace, "stop")
    replica = await replicas.prepare()
    looks: list[int] = []

    def stumble_once() -> None:
        looks.append(len(looks))
        if len(looks) == 1:
            raise ZeroDivisionError

    replica.source.listeners.append(stumble_once)
    await until(replica.source.synced.is_set)
    assert replica.is_running
    assert len(looks) > 1
    assert frozen(replica, author.namespace)
    thaw(control_plane, author.namespace, "stop")


async def _status(admin: KubeAPI, path: str, name: str) -> dict[str, Any] | None:
    try:
        status: dict[str, Any] = (await admin.get(f"{path}/{name}")).get("status") or {}
    except ApiError:
        return None
    return status if status.get("conditions") else None
