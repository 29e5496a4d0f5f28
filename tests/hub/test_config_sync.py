"""Config reaches every sidecar: first, whole, named, and at every change; a broken file changes nothing (C6, H1)."""

import asyncio
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hubs import POLICY, HubHere, Sidecar, World, counted, document_of, eventually, logged, within

from hitl.policy.config import COMPILER, compile_config, revision_of
from hitl.v1 import gate_pb2, hub_pb2

DENY = """\
apiVersion: hitl.dev/v1alpha1
kind: AgentPolicy
metadata: {name: more}
spec:
  rules:
  - {action: Deny, tools: ["delete_*"]}
"""
BROKEN = DENY.replace("Deny", "Denied")


def rules_in(config: hub_pb2.ConfigUpdate) -> list[str]:
    return sorted(policy["name"] for policy in document_of(config)["policies"])


async def test_H1_the_first_answer_is_a_config_that_compiles_to_its_name(world: World, sidecar: Sidecar) -> None:
    """H1: the document names its namespace and says that there is no baseline, and its revision can be recomputed."""
    assert sidecar.config is not None
    document = document_of(sidecar.config)
    assert (document["namespace"], document["namespaceUID"]) == ("shop", world.home.namespace_uid)
    assert document["baseline"] == "none"
    assert revision_of(document) == sidecar.config.revision
    assert compile_config(document).policies[0].ref.name == "support"
    assert document["keyID"] in {key.id for key in sidecar.config.keys}
    assert all(len(key.key) == 32 for key in sidecar.config.keys)
    identity = sidecar.config.identity
    assert (identity.cluster_uid, identity.workload) == (world.home.cluster_uid, "deploy/support")


async def test_H1_a_baseline_is_said_to_be_there(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """H1: with a ClusterAgentPolicy the document says so, so that one that lost it on the way is refused."""
    baseline = DENY.replace("AgentPolicy", "ClusterAgentPolicy").replace("more", "baseline")
    (world.policies / "baseline.yaml").write_text(baseline)
    hub.look()
    assert document_of(await sidecar.next_config())["baseline"] == "present"


async def test_a_change_reaches_every_sidecar(world: World, hub: HubHere) -> None:
    """A new policy file is in the next config of every connected sidecar, under another revision."""
    sidecars = [await world.sidecar(hub) for _ in range(5)]
    for sidecar in sidecars:
        await sidecar.sync()
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    configs = [await sidecar.next_config() for sidecar in sidecars]
    assert all(rules_in(config) == ["more", "support"] for config in configs)
    assert len({config.revision for config in configs}) == 1
    await counted(hub, 5, "sidecars", current="true")


async def test_a_policy_is_only_for_the_pods_it_selects(world: World, hub: HubHere) -> None:
    """A podSelector decides by the labels of the pod behind the connection."""
    (world.policies / "more.yaml").write_text(
        DENY.replace("spec:", "spec:\n  podSelector: {matchLabels: {app: coder}}")
    )
    hub.look()
    for labels, wanted in (({"app": "coder"}, ["more", "support"]), ({"app": "other"}, ["support"]), ({}, ["support"])):
        sidecar = await world.sidecar(hub, labels=labels)
        await sidecar.sync()
        assert sidecar.config is not None
        assert rules_in(sidecar.config) == wanted


async def test_a_file_caught_half_written_is_not_obeyed(world: World, hub: HubHere) -> None:
    """What changes from one look to the next is left alone until it stands still."""
    before = hub.book.version
    file = world.policies / "more.yaml"
    file.write_text(DENY[: len(DENY) // 2])
    hub.files.look(world.clock())
    file.write_text(DENY)
    hub.files.look(world.clock())
    assert (hub.book.version, hub.files.troubles) == (before, ())
    hub.files.look(world.clock())
    assert hub.book.version == before + 1


async def test_a_change_that_leaves_no_trace_in_the_time_stamp_is_seen(world: World, hub: HubHere) -> None:
    """A file changed again within the clock tick of a look, to the same length, is read again."""
    file = world.policies / "more.yaml"
    file.write_text(DENY)
    hub.look()
    stamp = file.stat()
    with file.open("r+") as stream:
        stream.write(DENY.replace("delete_*", "remove_*"))
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    hub.look()
    assert hub.book.generation is not None
    assert any("remove_*" in str(entry.spec) for entry in hub.book.generation.entries)


async def test_C6_a_broken_file_keeps_the_last_good_generation_and_is_named(
    world: World, hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: sidecars go on with what they have, and every problem is reported with file and line."""
    before = hub.book.version
    (world.policies / "more.yaml").write_text(BROKEN)
    (world.policies / "worse.yaml").write_text("apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nkind: AgentPolicy\n")
    hub.look()
    assert hub.book.version == before
    assert [trouble.place for trouble in hub.files.troubles] == [
        f"{world.policies / 'worse.yaml'}:3",
        f"{world.policies / 'more.yaml'}:6",
    ]
    assert sum("config-refused" in line for line in caplog.messages) == 2
    (world.policies / "worse.yaml").unlink()
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    assert rules_in(await sidecar.next_config()) == ["more", "support"]
    assert hub.files.troubles == ()


async def test_C6_left_broken_for_the_grace_everything_that_ran_unasked_asks(
    world: World, hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: after invalidGrace the same generation comes once more with a floor of Confirm, and mended without it."""
    (world.policies / "more.yaml").write_text(BROKEN)
    hub.look()
    world.clock.advance(899)
    hub.look()
    version = hub.book.version
    world.clock.advance(2)
    hub.look()
    assert hub.book.version == version + 1
    strict = await sidecar.next_config()
    assert document_of(strict)["floor"] == "Confirm"
    assert rules_in(strict) == ["support"]
    assert compile_config(document_of(strict)).floor is not None
    assert any("config-strict" in line for line in caplog.messages)
    (world.policies / "more.yaml").unlink()
    hub.look()
    mended = await sidecar.next_config()
    assert "floor" not in document_of(mended)
    assert sidecar.config is not None
    assert mended.revision != strict.revision


async def test_C6_a_restart_beside_a_broken_file_still_has_the_last_good_generation(world: World, hub: HubHere) -> None:
    """C6: a hub that starts with a broken file serves what was good before, and its grace has not begun anew."""
    first = await world.sidecar(hub)
    await first.sync()
    (world.policies / "support.yaml").write_text(POLICY.replace("Allow", "Alow"))
    hub.look()
    world.clock.advance(600)
    await hub.stop()
    second = await world.hub()
    sidecar = await world.sidecar(second)
    await sidecar.sync()
    assert sidecar.config is not None
    assert first.config is not None
    assert sidecar.config.revision == first.config.revision
    world.clock.advance(301)
    second.look()
    assert document_of(await sidecar.next_config())["floor"] == "Confirm"


async def test_H1_a_hub_without_any_good_config_serves_nobody(folder: Path) -> None:
    """H1: with a broken file and nothing before it, health says NOT_SERVING, Sync waits and nothing can be opened."""
    world = World(folder, policy=BROKEN)
    try:
        hub = await world.hub()
        async with aio.insecure_channel(hub.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        sidecar = await world.sidecar(hub)
        waiting = asyncio.create_task(sidecar.sync())
        held = await sidecar.open_json(b"{}")
        assert (held.outcome, held.state.reason_code) == ("UNAVAILABLE", "NO_CONFIG")
        assert not waiting.done()
        (world.policies / "support.yaml").write_text(POLICY)
        hub.look()
        await within(waiting)
    finally:
        await world.aclose()


async def test_every_change_of_a_spec_counts_its_generation(world: World, hub: HubHere) -> None:
    """A resource keeps its uid; its generation counts changes of its spec, not of its neighbours or comments."""

    def generation_of(name: str) -> tuple[str, int]:
        assert hub.book.generation is not None
        return next((entry.uid, entry.generation) for entry in hub.book.generation.entries if entry.name == name)

    uid, first = generation_of("support")
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    (world.policies / "more.yaml").write_text("# louder\n" + DENY)
    hub.look()
    assert (generation_of("support"), generation_of("more")[1]) == ((uid, first), 1)
    (world.policies / "more.yaml").write_text(DENY.replace("delete_*", "drop_*"))
    hub.look()
    assert (generation_of("support"), generation_of("more")[1]) == ((uid, first), 2)


async def test_a_refused_config_is_seen(
    world: World, hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """A NACK is logged with its reason, and the sidecar counts as behind until it takes a config."""
    await counted(hub, 1, "sidecars", current="true")
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    await sidecar.next_config(reason="no such key: delete_*")
    await logged(caplog, "config-nacked", "no such key")
    await counted(hub, 1, "sidecars", current="false")
    (world.policies / "more.yaml").write_text(DENY.replace("delete_*", "drop_*"))
    hub.look()
    await sidecar.next_config()
    await counted(hub, 1, "sidecars", current="true")


async def test_a_revision_is_named_under_the_sidecars_own_compiler(world: World, hub: HubHere) -> None:
    """A sidecar of another release gets a revision that it can recompute itself."""
    sidecar = await world.sidecar(hub)
    await sidecar.sync(compiler="hitl-0.0.9")
    assert sidecar.config is not None
    document = document_of(sidecar.config)
    assert sidecar.config.revision == revision_of(document, "hitl-0.0.9") != revision_of(document, COMPILER)


async def test_a_sidecar_that_knows_no_schema_of_ours_is_told_so(world: World, hub: HubHere) -> None:
    """A Sync from a sidecar that could only misread the document ends with words, not with a config."""
    sidecar = await world.sidecar(hub)
    with pytest.raises(aio.AioRpcError, match="upgrade the sidecar") as caught:
        await sidecar.sync(schemas=[999])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("settings", "place", "said"),
    [
        ("maxPending: {workload: 0}\n", "settings.yaml", "maxPending.workload"),
        ("maxPending: {workload: 5}\nmaxPending: {}\n", "settings.yaml:2", "already on line 1"),
        ("colour: red\n", "settings.yaml", "colour"),
        ("releaseWindow: 5m\n---\nreleaseWindow: 1m\n", "settings.yaml:3", "one document"),
    ],
)
async def test_settings_are_read_as_strictly_as_policies(folder: Path, settings: str, place: str, said: str) -> None:
    """A mistake in the settings file is named and keeps the hub from serving."""
    world = World(folder, settings=settings)
    try:
        hub = await world.hub()
        (trouble,) = hub.files.troubles
        assert trouble.place.endswith(place)
        assert said in trouble.message
        assert hub.book.version == 0
    finally:
        await world.aclose()


async def test_settings_travel_with_the_config(folder: Path) -> None:
    """What an operator set is in the document of every sidecar."""
    world = World(folder, settings="maxPending: {workload: 3}\nreleaseWindow: 1m\n")
    try:
        sidecar = await world.sidecar(await world.hub())
        await sidecar.sync()
        assert sidecar.config is not None
        settings = document_of(sidecar.config)["settings"]
        assert (settings["maxPending"]["workload"], settings["releaseWindow"]) == (3, "60s")
    finally:
        await world.aclose()


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("approval: {multiFactor: {secondFactor: Hardware, satisfiedBy: [SecondFactor]}}", "spec.approval.multiFactor"),
        (
            "approval: {requirements: [{name: ops, anyOf: [ops], secondFactor: Any}]}",
            "wants a second factor (Any)",
        ),
        (
            "rules: [{action: Confirm, tools: ['*'], requirements: [{name: ops, secondFactor: Hardware}]}]",
            "spec.rules[0]",
        ),
    ],
)
async def test_a_requirement_that_only_a_second_factor_meets_is_not_accepted(
    world: World, hub: HubHere, policy: str, said: str
) -> None:
    """FactorUnavailable: standalone has no second factor, so such a policy is refused instead of never decidable."""
    (world.policies / "more.yaml").write_text(
        f"apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: more}}\nspec:\n  {policy}\n"
    )
    hub.look()
    (trouble,) = hub.files.troubles
    assert "FactorUnavailable" in trouble.message
    assert said in trouble.message


async def test_a_requirement_that_a_second_person_meets_is_accepted(world: World, hub: HubHere) -> None:
    """Two people in place of a second factor can be had here, so such a policy is fine."""
    (world.policies / "more.yaml").write_text(
        "apiVersion: hitl.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: more}\nspec:\n"
        "  approval: {multiFactor: {secondFactor: Any, satisfiedBy: [SecondFactor, SecondPerson]}}\n"
    )
    hub.look()
    assert hub.files.troubles == ()


@pytest.mark.parametrize(
    ("content", "place", "said"),
    [
        (POLICY, "z.yaml:3", "is there twice"),
        (DENY.replace("{name: more}", "{name: more, namespace: bank}"), "z.yaml:3", "serves shop"),
        ("\udcff", "z.yaml", "not UTF-8"),
    ],
)
async def test_what_cannot_be_served_here_is_refused_at_its_place(
    world: World, hub: HubHere, content: str, place: str, said: str
) -> None:
    """A resource twice, one of another namespace, and a file in another encoding are each named."""
    (world.policies / "z.yaml").write_text(content, errors="surrogateescape")
    hub.look()
    places = [(trouble.place.rpartition("/")[2], trouble.message) for trouble in hub.files.troubles]
    assert len(places) == 1
    assert places[0][0] == place
    assert said in places[0][1]


async def test_C6_files_that_vanish_altogether_are_no_empty_policy(world: World, hub: HubHere) -> None:
    """C6: a folder that is gone or empty and an emptied file keep the last good generation, and turn it strict."""
    version = hub.book.version
    world.policies.rename(world.folder / "away")
    hub.look()
    assert "cannot be read" in hub.files.troubles[0].message
    world.policies.mkdir()
    hub.look()
    assert "AgentPolicy/shop/support was in force" in hub.files.troubles[0].message
    (world.policies / "support.yaml").write_text("")
    hub.look()
    assert "put its file back" in hub.files.troubles[0].message
    assert hub.book.version == version
    world.clock.advance(901)
    hub.look()
    assert hub.book.generation is not None
    assert hub.book.generation.floors


async def test_A7_a_policy_that_is_removed_beside_others_is_named(
    world: World, hub: HubHere, caplog: pytest.LogCaptureFixture
) -> None:
    """A7: to delete one policy of several relaxes at once, and a warning names it."""
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    (world.policies / "more.yaml").unlink()
    hub.look()
    assert hub.book.generation is not None
    assert [entry.name for entry in hub.book.generation.entries] == ["support"]
    (warned,) = [line for line in caplog.messages if "policy-removed" in line]
    assert "policy=AgentPolicy/shop/more" in warned


SERVER = "apiVersion: hitl.dev/v1alpha1\nkind: ToolServer\nmetadata: {name: stripe}\nspec: {}\n"


async def test_C6_a_home_may_begin_without_a_policy_but_not_lose_its_last(folder: Path) -> None:
    """C6: tools declared and no policy is a beginning; nothing at all is not, and says how to begin."""
    world = World(folder, policy=SERVER)
    try:
        hub = await world.hub()
        assert hub.book.version == 1
        (world.policies / "support.yaml").write_text(SERVER + "---\n" + POLICY)
        hub.look()
        (world.policies / "support.yaml").write_text(SERVER)
        hub.look()
        assert "no policy is left" in hub.files.troubles[0].message
    finally:
        await world.aclose()


async def test_C6_a_restart_on_other_broken_files_does_not_run_the_old_ones(
    world: World, hub: HubHere, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: what a home accepted from one folder is not in force for another one that does not compile."""
    await hub.stop()
    world.policies = world.folder / "elsewhere"
    world.policies.mkdir()
    (world.policies / "support.yaml").write_text(BROKEN)
    other = await world.hub()
    assert other.book.generation is None
    (said,) = [line for line in caplog.messages if "last-good-of-other-files" in line]
    assert str(world.folder / "policies") in said


async def test_C6_a_restart_from_the_last_good_generation_says_so(
    world: World, hub: HubHere, caplog: pytest.LogCaptureFixture
) -> None:
    """C6: the warning names the files that are not in force, and which generation is."""
    (world.policies / "more.yaml").write_text(DENY)
    hub.look()
    (world.policies / "more.yaml").write_text(BROKEN)
    await hub.stop()
    again = await world.hub()
    assert again.book.generation == hub.book.generation
    (said,) = [line for line in caplog.messages if "config-from-last-good" in line]
    assert f"NOT these files: {world.policies}, running generation 2 of 20" in said


async def test_activity_is_counted_by_action(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """What ran unasked is counted by its action, an unknown one too, and nothing else of it is kept."""
    records = [hub_pb2.ActivityRecord(action=action) for action in (gate_pb2.ACTION_NOTIFY, gate_pb2.ACTION_NOTIFY, 99)]
    await sidecar.say(activity=hub_pb2.Activity(records=records))
    await counted(hub, 2, "activity_records_total", action="Notify")
    await counted(hub, 1, "activity_records_total", action="unknown")


async def test_H2_audit_heads_are_kept_and_one_that_goes_back_is_reported(
    world: World, hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """H2: the newest head of each epoch is on disk, survives a restart, and a chain that shrank is an error."""
    for sequence in (3, 7):
        await sidecar.say(audit_head=hub_pb2.AuditHead(epoch=sidecar.epoch, sequence=sequence, head=f"{sequence:064x}"))
    await noted(hub, sidecar, 7)
    hub.hub.heads.flush()
    await hub.stop()
    second = await world.hub()
    again = await world.sidecar(second, epoch=sidecar.epoch, pod=sidecar.agent.pod_uid)
    await again.sync()
    await again.say(audit_head=hub_pb2.AuditHead(epoch=sidecar.epoch, sequence=5, head="0" * 64))
    await again.say(audit_head=hub_pb2.AuditHead(epoch=sidecar.epoch, sequence=8, head="8" * 64))
    await noted(second, sidecar, 8)
    assert any("audit-chain-went-back" in line and "known=7" in line for line in caplog.messages)


async def noted(hub: HubHere, sidecar: Sidecar, sequence: int) -> None:
    """Returns once the hub knows this head; nothing answers on that stream."""

    async def look() -> int:
        head = hub.hub.heads.newest(sidecar.agent.pod_uid, sidecar.epoch)
        return head.sequence if head is not None else 0

    await eventually(look, lambda found: found == sequence)


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("hitl-agent-bin", b"not json"),),
        (("hitl-agent-bin", b"{}"),),
        (("hitl-agent-bin", b'{"namespace":"bank","serviceAccount":"a","workload":"w","podName":"p","podUID":"u"}'),),
        (("hitl-agent-bin", b'{"namespace":"shop","serviceAccount":"","workload":"w","podName":"p","podUID":"u"}'),),
        (
            (
                "hitl-agent-bin",
                b'{"namespace":"shop","serviceAccount":"a\\n","workload":"w","podName":"p","podUID":"u"}',
            ),
        ),
        (("hitl-agent-bin", b"x" * 20000),),
    ],
)
async def test_B4_who_does_not_say_who_it_is_gets_no_answer(world: World, hub: HubHere, metadata: Any) -> None:
    """B4: every method refuses a connection whose identity is missing, malformed, oversized or of another namespace."""
    sidecar = await world.sidecar(hub)
    sidecar.metadata = metadata
    with pytest.raises(aio.AioRpcError):  # which code, depends on whether the refusal or the greeting is faster
        await sidecar.sync()
    with pytest.raises(aio.AioRpcError) as cancelled:
        await sidecar.cancel("shop/x")
    with pytest.raises(aio.AioRpcError) as reported:
        await sidecar.report("shop/x", gate_pb2.RESULT_FAILED)
    assert {cancelled.value.code(), reported.value.code()} == {grpc.StatusCode.UNAUTHENTICATED}
    assert hub.count("sidecars", current="false") + hub.count("sidecars", current="true") == 0
