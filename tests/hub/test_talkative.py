"""What one sidecar can cost a hub by talking on its Sync stream: bounded by message and pod (SECURITY B5)."""

import asyncio
from typing import Any

import grpc
import orjson
import pytest
from grpc import aio
from hubs import HubHere, Sidecar, World, counted, eventually, within

from hitl.errors import InvalidInput
from hitl.v1 import gate_pb2, hub_pb2
from hitl_operator.cluster.replica_reports import Report, Tally, added, report_to_json
from hitl_operator.pacing import Buckets
from hitl_operator.syncing import MOST_ROWS
from hitl_operator.usage import MOST, Usage, Used

POLICY = "AgentPolicy/shop/support"


def activity(records: int) -> hub_pb2.Activity:
    """A message of so many records, two bytes each."""
    one = hub_pb2.Activity(records=[hub_pb2.ActivityRecord()]).SerializeToString()
    return hub_pb2.Activity.FromString(one * records)


def usage(*calls: int, policy: str = POLICY, action: int = gate_pb2.ACTION_ALLOW) -> hub_pb2.Usage:
    return hub_pb2.Usage(
        policies=[hub_pb2.PolicyUsage(policy=policy, action=action, calls=each) for each in calls]  # type: ignore[arg-type]
    )


async def why_ended(sidecar: Sidecar) -> tuple[grpc.StatusCode, str]:
    """How the hub ended the Sync stream."""
    try:
        while await within(sidecar._sync.read()) is not aio.EOF:
            pass
    except aio.AioRpcError as error:
        return error.code(), str(error.details())
    raise AssertionError("the hub ended the stream as if all were well")


class Seconds:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    "message",
    [{"activity": activity(MOST_ROWS + 1)}, {"usage": usage(*range(MOST_ROWS + 1))}],
    ids=["activity", "usage"],
)
async def test_B5_a_message_of_more_rows_than_ours_ever_sends_is_refused_whole(
    hub: HubHere, sidecar: Sidecar, message: dict[str, Any]
) -> None:
    """B5: half a million records in one message would hold up everybody for seconds; none of it is counted."""
    await sidecar.say(**message)
    code, words = await why_ended(sidecar)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert f"has {MOST_ROWS + 1} entries, at most {MOST_ROWS} are read" in words
    assert hub.count("activity_records_total", action="unknown") == 0
    assert hub.hub.usage.by_policy == {}


async def test_B5_as_many_rows_as_may_be_are_counted(hub: HubHere, sidecar: Sidecar) -> None:
    """B5: the bound itself is lawful, and each record of it is counted."""
    await sidecar.say(activity=activity(MOST_ROWS))
    await counted(hub, MOST_ROWS, "activity_records_total", action="unknown")


async def test_B5_a_message_larger_than_any_lawful_one_is_not_read(hub: HubHere, sidecar: Sidecar) -> None:
    """B5: what comes in is read whole before anybody looks at it, so it may not be as large as a config."""
    await sidecar.say(activity=activity(2 << 20))
    code, words = await why_ended(sidecar)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in words
    assert hub.hub.is_ready


async def test_B5_a_sidecar_that_talks_without_end_is_read_slowly(world: World, hub: HubHere, sidecar: Sidecar) -> None:
    """B5: what it may say is used up for its pod, however often it connects; another one's is heard at once."""
    seconds = Seconds()
    hub.hub.uplink = Buckets(2 * MOST_ROWS, 1, monotonic=seconds)
    talks = asyncio.create_task(_talk(sidecar))
    try:
        await eventually(_counter(hub), lambda found: found >= MOST_ROWS)
        other = await world.sidecar(hub)
        await other.sync()
        await other.say(usage=usage(7))
        await eventually(_calls(hub), lambda found: found == 7)
        assert hub.hub.uplink.owe(sidecar.agent.pod_uid, 0) > 0, "it pays for what it said"
        # Of the bucket, and of what it is ahead by one message, never more: the clock stands.
        assert hub.count("activity_records_total", action="unknown") <= 3 * MOST_ROWS
    finally:
        talks.cancel()
        await asyncio.gather(talks, return_exceptions=True)


async def _talk(sidecar: Sidecar) -> None:
    while True:
        await sidecar.say(activity=activity(MOST_ROWS))


def _counter(hub: HubHere) -> Any:
    async def look() -> float:
        return hub.count("activity_records_total", action="unknown")

    return look


def _calls(hub: HubHere) -> Any:
    async def look() -> int:
        return hub.hub.usage.by_policy.get(POLICY, Used()).calls

    return look


async def test_B5_refused_configs_are_a_few_lines_however_often_it_says_so(
    hub: HubHere, sidecar: Sidecar, caplog: pytest.LogCaptureFixture
) -> None:
    """B5: each with a reason of its own, and a line that people have to read."""
    for number in range(20):
        hub.hub.sidecars.answered(next(iter(hub.hub.sidecars)), "r", accepted=False, reason=f"because of {number}")
    lines = [line for line in caplog.messages if "config-nacked" in line]
    assert len(lines) == 5
    assert "because of 0" in lines[0]


async def test_B5_a_second_stream_of_a_process_ends_the_first(hub: HubHere, sidecar: Sidecar) -> None:
    """B5: it takes its place, in the list and on the wire."""
    first = sidecar._sync
    await sidecar.sync()

    async def ended() -> bool:
        while await within(first.read()) is not aio.EOF:
            pass
        return True

    assert await ended()
    assert len(hub.hub.sidecars) == 1
    assert next(iter(hub.hub.sidecars)).epoch == sidecar.epoch


def test_B5_no_report_of_usage_adds_up_to_what_cannot_be_written() -> None:
    """B5: else the status of every policy would stay as it was for as long as the replica lives."""
    counted = Usage()
    for _ in range(3000):
        counted.called(usage(MOST - 1), {POLICY})
    assert counted.by_policy == {POLICY: Used(calls=MOST)}
    report = report_to_json(Report("run", "hub-1", {"other": Tally(3, 3)}, {"uid": counted.by_policy[POLICY]}))
    assert orjson.loads(report)["policies"]["uid"]["usage"][0] == MOST
    (total,) = added([{"uid": Used(calls=MOST)}] * 3000).values()
    assert total == Used(calls=MOST), "of many replicas, and of all that were there before"


def test_B5_a_report_names_each_policy_and_action_once() -> None:
    """B5: one that does not is refused and counts for nothing; the same policy with two actions is lawful."""
    counted = Usage()
    with pytest.raises(InvalidInput, match="twice"):
        counted.called(usage(1, 1), {POLICY})
    assert counted.by_policy == {}
    both = usage(1)
    both.policies.extend(usage(2, action=gate_pb2.ACTION_DENY).policies)
    counted.called(both, {POLICY})
    assert counted.by_policy == {POLICY: Used(calls=3)}


def test_B5_a_bucket_is_used_up_by_its_own_and_fills_again() -> None:
    """B5: nobody else's is touched by it, and of those kept the least recently asked goes."""
    seconds = Seconds()
    buckets: Buckets[str] = Buckets(2, 0.5, most=2, monotonic=seconds)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b")
    seconds.now += 2
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    assert [buckets.owe("a", 1) for _ in range(4)] == pytest.approx([2, 4, 4, 4]), "and never more than a bucket"
    buckets.take("c")
    assert buckets.take("b", 2), "forgotten, and so full again"
