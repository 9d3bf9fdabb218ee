"""Contract: claims end with those who hold them, and with nobody else."""

from __future__ import annotations

import time

from multi.backends.base import Backend
from multi.brokers.base import Broker
from multi.outcome import Publication
from multi.testing.rig import (
    QUEUE,
    Make,
    MakeNode,
    Rig,
    claim_of,
    ended,
    id_of,
    message,
    names,
    needs,
    needs_pull,
    send,
    until,
)
from multi.testing.settling import SUCCESS

LEASE = 0.6


class Leases(Rig):
    """Leases, fences, and what the death of a worker leaves."""

    def test_what_a_dead_worker_held_comes_back(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "shared")
        send(broker, message("a"), message("b"))
        dying = node(broker)
        dying.lane().take(2)
        dying.kill()
        again = node(make(lease=LEASE)).lane().take(2)
        assert sorted(names(again)) == ["a", "b"]
        assert all(one.redelivered for one in again)

    def test_what_is_not_renewed_comes_back_in_order(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease")
        send(broker, message("a"), message("b"), message("c"))
        silent, other = node(broker), node(make(lease=LEASE))
        claimed = silent.lane().take(2)
        assert names(claimed) == ["a", "b"]
        lane = other.lane()
        last = lane.one()
        other.hold(claim_of(last))
        assert names([last]) == ["c"]
        until(lambda: broker.depth(QUEUE) == 2, "both are back")
        again = lane.take(2)
        assert names(again) == ["a", "b"]
        assert all(one.redelivered for one in again)

    def test_a_claim_that_comes_back_rings(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease")
        send(broker, message())
        silent, other = node(broker), node(make(lease=LEASE))
        silent.lane().one()
        other.arm(1)
        rung = other.rings()
        other.await_ring(rung)

    def test_what_is_renewed_stays_claimed(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease")
        send(broker, message())
        working, other = node(broker), node(make(lease=LEASE))
        lane = working.lane()
        delivery = lane.one()
        working.hold(claim_of(delivery, started=True))
        lanes = other.lane()
        deadline = time.monotonic() + 4 * LEASE
        while time.monotonic() < deadline:
            working.quiet(0.05)
            assert lanes.exchange([], 1) == []
        lane.settle(ended(delivery))
        working.hold()
        lanes.expect_nothing()

    def test_nobody_judges_others_before_he_was_there_for_a_whole_lease(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=2 * LEASE)
        needs(broker, "lease", "shared")
        send(broker, message())
        silent = node(broker)
        silent.lane().one()
        silent.kill()
        # the lease runs out long before the next one has been there for as long
        time.sleep(2 * LEASE)
        come = time.monotonic()
        node(make(lease=2 * LEASE)).lane().one()
        assert time.monotonic() - come >= 2 * LEASE * 0.95

    def test_only_the_first_of_a_batch_counts_as_started(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease", "delivery_count")
        needs_pull(broker)
        send(broker, message("a"), message("b"), message("c"))
        silent = node(broker)
        lane = silent.lane()
        assert len(lane.exchange([], 3)) == 3
        again = node(make(lease=LEASE)).lane().take(3)
        assert sorted((*names([one]), one.starts) for one in again) == [("a", 1), ("b", 0), ("c", 0)]

    def test_what_the_watch_says_is_running_counts_as_started(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease", "delivery_count")
        needs_pull(broker)
        send(broker, message("a"), message("b"), message("c"))
        silent = node(broker)
        batch = silent.lane().exchange([], 3)
        silent.hold(claim_of(batch[1], started=True), claim_of(batch[2], started=False))
        silent.renew()
        silent.quiet()
        silent.hold()
        again = node(make(lease=LEASE)).lane().take(3)
        assert sorted((*names([one]), one.starts) for one in again) == [("a", 1), ("b", 1), ("c", 0)]

    def test_who_has_lost_a_claim_settles_nothing(self, make: Make, node: MakeNode, results: Backend | None) -> None:
        broker = make(lease=LEASE)
        needs(broker, "lease")
        (key,) = send(broker, message())
        slow, quick = node(broker, [QUEUE], results), node(make(lease=LEASE), [QUEUE, "next"], results)
        slow_lane = slow.lane()
        lost = slow_lane.one()
        lane = quick.lane()
        held = lane.one()
        quick.hold(claim_of(held, started=True))
        assert id_of(held) == key
        assert (held.tag, held.fence) != (lost.tag, lost.fence)
        late = ended(lost, publications=[Publication("next", message("late"))])
        if results is not None:
            late.stores = [results.encode(key, SUCCESS)]
        slow_lane.settle(late)
        slow.settle(late)
        slow_lane.settle(ended(lost, "requeue", started=False))
        slow_lane.settle(ended(lost, "bury", reason="late"))
        assert slow.recall(lost.tag, lost.fence) is None
        lane.expect_nothing()
        assert broker.dead(QUEUE) == []
        if results is not None:
            assert results.fetch([key]) == [None]
        again = quick.recall(held.tag, held.fence)
        assert again is not None
        lane.settle(ended(held))
        quick.hold()
        lane.expect_nothing()

    def test_a_stopped_worker_leaves_nothing_behind_that_stops_others(
        self, make: Make, broker: Broker, node: MakeNode
    ) -> None:
        gone, staying = node(broker), node(make())
        lane = staying.lane()
        gone.arm(3)
        staying.arm(1)
        gone.stop()
        rung = staying.rings()
        send(broker, message("one"))
        if not broker.abilities.push:
            staying.await_ring(rung)
        assert names([lane.one()]) == ["one"]

    def test_a_killed_worker_leaves_nothing_behind_that_stops_others(
        self, make: Make, broker: Broker, node: MakeNode
    ) -> None:
        needs(broker, "shared")
        gone, staying = node(broker), node(make())
        lane = staying.lane()
        gone.arm(3)
        staying.arm(1)
        gone.quiet()
        gone.kill()
        send(broker, message("one"), message("two"))
        if not broker.abilities.push:
            staying.await_ring()
        assert sorted(names(lane.take(2, 45.0))) == ["one", "two"]
