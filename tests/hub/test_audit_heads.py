"""What the hub keeps of where audit chains stand: by pod and epoch, bounded by pod (SECURITY H2, B4, B5)."""

from datetime import UTC, datetime
from functools import partial
from operator import eq
from pathlib import Path

from hubs import HubHere, Sidecar, World, eventually

from hitl.policy.calls import Agent
from hitl.v1 import hub_pb2
from hitl.wire.identity import Identity
from hitl_operator.heads import AuditHeads


async def said_by(hub: HubHere, sidecar: Sidecar) -> int:
    """The sequence that the hub knows of this sidecar; 0: none."""
    head = hub.hub.heads.newest(sidecar.agent.pod_uid, sidecar.epoch)
    return head.sequence if head is not None else 0


async def test_B4_no_pod_touches_what_is_known_of_anothers_chain(world: World, hub: HubHere) -> None:
    """B4: a pod that claims the epoch of another, further on and with another hash, changes nothing of that one's."""
    honest, liar = [await world.sidecar(hub, pod=uid, epoch="e-1") for uid in ("uid-honest", "uid-liar")]
    for each, sequence in ((honest, 3), (liar, 900), (honest, 4)):
        await each.sync()
        await each.say(audit_head=hub_pb2.AuditHead(epoch="e-1", sequence=sequence, head=f"{sequence:064x}"))
        await eventually(partial(said_by, hub, each), partial(eq, sequence))
    hub.hub.heads.flush()
    again = AuditHeads(world.home.audit_heads)
    known = [again.newest(uid, "e-1") for uid in ("uid-honest", "uid-liar")]
    assert [head.sequence for head in known if head is not None] == [4, 900]


def test_B5_a_pod_that_makes_up_epochs_crowds_out_nobody(tmp_path: Path) -> None:
    """B5: thousands of epochs of one pod cost it the memory of its own, and leave every other pod's head known."""
    heads = AuditHeads(tmp_path / "heads.jsonl")
    now = datetime(2026, 5, 1, tzinfo=UTC)
    honest, liar = [Identity(Agent("shop", pod_uid=uid), "ns", "cluster") for uid in ("uid-honest", "uid-liar")]
    heads.note(honest, hub_pb2.AuditHead(epoch="e-1", sequence=5, head="5" * 64), now)
    for number in range(20_000):
        heads.note(liar, hub_pb2.AuditHead(epoch=f"made-up-{number}", sequence=1, head="0" * 64), now)
    heads.flush()
    known = heads.newest("uid-honest", "e-1")
    assert known is not None
    assert known.sequence == 5
    assert len((tmp_path / "heads.jsonl").read_bytes().splitlines()) < 40
