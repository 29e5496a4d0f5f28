"""What a store keeps: creating, reading, counting and removing requests."""

from dataclasses import replace

import pytest

from hitl.approvals.requests import ApprovalRequest, State
from hitl.errors import AlreadyExists, InvalidDecision, NotFound, Refused
from stores.asking import NAME, NAMESPACE, a_decision, a_note, a_spec, approved_by, cancelled, ended, opening
from stores.contract.world import OUTCOMES, Store, StoreTests, World, decided, opened


class Keeping(StoreTests):
    """Requests stay as they were given, until they are removed."""

    async def test_a_created_request_is_read_back_as_it_was_given(self, world: World, store: Store) -> None:
        """`create` returns what `get` reads: the same question and status, with uid, version and the store's time."""
        created = await opened(world, store)
        assert created == await store.get(NAMESPACE, NAME)
        assert (created.spec, created.status) == (a_spec(), opening(lambda: created.created))
        assert world.is_now(created.created)
        assert created.uid
        assert created.version
        assert created.handle == f"{NAMESPACE}/{NAME}"

    async def test_a_taken_name_is_refused_and_what_stands_there_stays(self, world: World, store: Store) -> None:
        """AlreadyExists for a second request of one name; the first is untouched."""
        first = await opened(world, store)
        with pytest.raises(AlreadyExists, match=f"{NAMESPACE}/{NAME}"):
            await opened(world, store, spec=a_spec(summary="another"))
        assert await store.get(NAMESPACE, NAME) == first

    async def test_namespaces_do_not_share_names(self, world: World, store: Store) -> None:
        """One name in two namespaces is two requests with uids of their own."""
        here, there = await opened(world, store), await opened(world, store, namespace="bank")
        assert here.uid != there.uid
        assert await store.get("bank", NAME) == there

    @pytest.mark.parametrize("born", ["approved", "voted", "verified"])
    async def test_I5_a_request_is_born_pending(self, world: World, store: Store, born: str) -> None:
        """I5: nobody creates a request that has votes or an outcome already; nothing is stored."""
        model = ApprovalRequest(NAMESPACE, NAME, "u", "1", world.clock(), a_spec(), opening(world.clock))
        voted = approved_by(model, world.clock(), "ana")
        status = {
            "approved": ended(voted, State.APPROVED, world.clock),
            "voted": replace(voted.status, verified=()),
            "verified": replace(voted.status, decisions=()),
        }[born]
        with pytest.raises(Refused):
            await store.create(NAMESPACE, NAME, a_spec(), status)
        with pytest.raises(NotFound):
            await store.get(NAMESPACE, NAME)

    async def test_a_request_that_is_not_there_is_not_found(self, store: Store) -> None:
        """NotFound names the request and what to type next."""
        with pytest.raises(NotFound, match="shop/nothing-here"):
            await store.get(NAMESPACE, "nothing-here")

    async def test_list_has_the_oldest_first(self, world: World, store: Store) -> None:
        """`list` orders by age, then by namespace and name, and keeps to a namespace where one is given."""
        made = [await opened(world, store, name, namespace=where) for where, name in (("shop", "b"), ("shop", "a"))]
        made.append(await opened(world, store, "c", namespace="bank"))
        await world.later()
        made.append(await opened(world, store, "0"))
        found = await store.list()
        assert found == sorted(made, key=lambda each: (each.created, each.namespace, each.name))
        assert found[-1] == made[-1]
        assert await store.list(NAMESPACE) == [request for request in found if request.namespace == NAMESPACE]
        assert await store.list("elsewhere") == []

    async def test_list_of_pending_leaves_out_what_has_ended(self, world: World, store: Store) -> None:
        """pending_only lists Pending and Approved requests, everything else has ended."""
        await opened(world, store, "waits")
        for state in OUTCOMES:
            await decided(world, store, state, state.value.lower())
        assert {request.name for request in await store.list(pending_only=True)} == {"waits", "approved"}
        assert {request.name for request in await store.list(NAMESPACE, pending_only=True)} == {"waits", "approved"}
        assert await store.list("bank", pending_only=True) == []
        assert len(await store.list()) == 6

    async def test_whatever_was_acknowledged_is_read_by_everybody(self, world: World, store: Store) -> None:
        """A read is live: another store on the same requests sees a write as soon as it was acknowledged."""
        other = await world.open()
        request = await opened(world, store)
        assert await other.get(NAMESPACE, NAME) == request
        voted = await other.decide(NAMESPACE, NAME, a_decision(request))
        assert await store.get(NAMESPACE, NAME) == voted
        assert await store.list() == [voted]

    async def test_B4_denials_of_a_workload_are_found_by_their_time(self, world: World, store: Store) -> None:
        """B4: denied_since finds one workload's denials at or after a moment, oldest first, and nothing else."""
        await decided(world, store, State.DENIED, "too-early")
        await world.later()
        since = world.clock()
        first = await decided(world, store, State.DENIED, "z-first")
        await world.later()
        second = await decided(world, store, State.DENIED, "a-second")
        await decided(world, store, State.DENIED, "of-another", spec=a_spec(workload="deploy/billing"))
        await decided(world, store, State.DENIED, "elsewhere", namespace="bank")
        await decided(world, store, State.CANCELLED, "cancelled")
        assert await store.denied_since(NAMESPACE, "deploy/support", since) == [first, second]

    async def test_B5_what_a_workload_has_open_is_counted_whoever_opened_it(self, world: World, store: Store) -> None:
        """B5: open_of finds one workload's pending and approved requests, also another store's, and nothing else."""
        other = await world.open()
        first = await opened(world, store, "z-first")
        await world.later()
        second = await decided(world, other, State.APPROVED, "a-second")
        await opened(world, store, "of-another", spec=a_spec(workload="deploy/billing"))
        await opened(world, store, "elsewhere", namespace="bank")
        await decided(world, store, State.DENIED, "denied")
        assert await store.open_of(NAMESPACE, "deploy/support") == [first, second]

    async def test_a_deleted_request_is_gone(self, world: World, store: Store) -> None:
        """After `delete` nothing finds it; whoever still holds it gets NotFound."""
        request = await decided(world, store, State.DENIED)
        await store.delete(request)
        assert await store.list() == []
        for attempt in (
            store.get(NAMESPACE, NAME),
            store.delete(request),
            store.write_status(request, request.status),
            store.decide(NAMESPACE, NAME, a_decision(request)),
            store.note(NAMESPACE, NAME, a_note(request)),
        ):
            with pytest.raises(NotFound):
                await attempt

    async def test_a_name_that_was_given_again_is_another_request(self, world: World, store: Store) -> None:
        """A request under a reused name has a uid of its own; holders of the old one cannot write or delete it."""
        old = await opened(world, store)
        await store.delete(old)
        new = await opened(world, store)
        assert new.uid != old.uid
        with pytest.raises(NotFound, match=old.uid):
            await store.write_status(old, cancelled(old, world.clock()))
        with pytest.raises(NotFound, match=old.uid):
            await store.delete(old)
        with pytest.raises(InvalidDecision, match=old.uid):
            await store.decide(NAMESPACE, NAME, a_decision(old))
        assert await store.get(NAMESPACE, NAME) == new

    async def test_a_change_meanwhile_does_not_save_a_request_from_deletion(self, world: World, store: Store) -> None:
        """`delete` goes by uid, not by version."""
        request = await opened(world, store)
        await store.decide(NAMESPACE, NAME, a_decision(request))
        await store.delete(request)
        assert await store.list() == []
