"""Contract: which queues are consumed may change while the lanes run."""

from __future__ import annotations

import time
from collections.abc import Sequence

from multi.brokers.base import Broker
from multi.outcome import Publication
from multi.testing.nodes import LaneHandle
from multi.testing.rig import (
    Make,
    MakeNode,
    Rig,
    claim_of,
    ended,
    message,
    names,
    needs,
    needs_pull,
    send,
    until,
)

QUEUES = ["images", "mails"]


def collect(lanes: Sequence[LaneHandle], count: int) -> list[str]:
    """The names of so many messages, whichever of the lanes they come to."""
    found: list[str] = []

    def all_came() -> bool:
        for lane in lanes:
            found.extend(names(lane.exchange([], 1)))
        return len(found) >= count

    until(all_came, f"{count} messages have come")
    return found


class Consuming(Rig):
    """Taking up and leaving queues."""

    def test_nothing_is_claimed_from_a_queue_that_is_left_and_the_others_go_on(
        self, broker: Broker, node: MakeNode
    ) -> None:
        worker = node(broker, QUEUES)
        lanes = [worker.lane(), worker.lane()]
        for lane in lanes:
            lane.expect_nothing()
        worker.consume("mails")
        send(broker, message("image"), queue="images")
        send(broker, *[message("mail") for _ in range(4)], queue="mails")
        found = collect(lanes, 4)
        assert found == ["mail"] * 4
        for lane in lanes:
            lane.expect_nothing()
        until(lambda: broker.depth("images") == 1, "the image waits in its queue")

    def test_what_has_waited_comes_when_its_queue_is_taken_up_again(self, broker: Broker, node: MakeNode) -> None:
        worker = node(broker, QUEUES)
        lane = worker.lane()
        worker.consume()
        send(broker, *[message(f"image{i}") for i in range(3)], queue="images")
        lane.expect_nothing()
        worker.consume(*QUEUES)
        assert names(lane.take(3)) == ["image0", "image1", "image2"]

    def test_a_queue_that_was_not_there_at_the_start_can_be_taken_up(self, broker: Broker, node: MakeNode) -> None:
        worker = node(broker, ["images"])
        lane = worker.lane()
        lane.expect_nothing()
        worker.consume("images", "later")
        send(broker, message("late"), queue="later")
        send(broker, message("image"), queue="images")
        assert sorted(names(lane.take(2))) == ["image", "late"]
        worker.consume("later")
        send(broker, message("image"), queue="images")
        send(broker, message("later"), queue="later")
        assert names([lane.one()]) == ["later"]
        lane.expect_nothing()

    def test_a_worker_may_begin_without_any_queue(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("image"), queue="images")
        worker = node(broker, [])
        lanes = [worker.lane(), worker.lane()]
        for lane in lanes:
            lane.expect_nothing()
        worker.consume("images")
        found = collect(lanes, 1)
        assert found == ["image"]

    def test_a_lane_of_a_child_that_is_forked_later_goes_by_the_change(self, broker: Broker, node: MakeNode) -> None:
        worker = node(broker, QUEUES)
        worker.consume("mails")
        send(broker, message("image"), queue="images")
        send(broker, message("mail"), queue="mails")
        lane = worker.lane()
        assert names([lane.one()]) == ["mail"]
        lane.expect_nothing()

    def test_what_is_held_of_a_queue_that_is_left_stays_held_and_is_settled(
        self, broker: Broker, node: MakeNode
    ) -> None:
        send(broker, message("begun"), message("waits"), queue="images")
        worker = node(broker, QUEUES)
        lane = worker.lane()
        first, second = lane.take(2)
        worker.hold(claim_of(first, started=True), claim_of(second))
        worker.consume("mails")
        worker.settle(ended(second, "requeue", started=False))
        until(lambda: broker.depth("images") == 1, "what was not begun is back in its queue")
        again = worker.recall(first.tag, first.fence)
        assert again is not None
        lane.settle(ended(first, publications=[Publication("mails", message("chained"))]))
        assert names([lane.one()]) == ["chained"]
        lane.expect_nothing()
        worker.consume(*QUEUES)
        left = lane.one()
        assert (names([left]), left.starts) == (["waits"], 0)

    def test_what_runs_keeps_its_lease_while_nothing_is_consumed(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=0.6)
        needs(broker, "lease")
        send(broker, message("long"), queue="images")
        worker, other = node(broker, QUEUES), node(make(lease=0.6), QUEUES)
        lane = worker.lane()
        delivery = lane.one()
        worker.hold(claim_of(delivery, started=True))
        worker.consume()
        lane_of_other = other.lane()
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            lane_of_other.expect_nothing()
        assert worker.recall(delivery.tag, delivery.fence) is not None

    def test_priorities_hold_among_the_queues_that_are_left(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "priority")
        worker = node(broker, ["images", "mails", "news"])
        lane = worker.lane()
        worker.consume("mails", "news")
        send(broker, message("low", priority=0), queue="mails")
        send(broker, message("image", priority=9), queue="images")
        send(broker, message("high", priority=9), queue="mails")
        assert names(lane.take(1)) == ["high"]
        worker.consume("images")
        assert names(lane.take(1)) == ["image"]

    def test_a_ring_is_not_lost_with_a_queue_that_is_left(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        leaving, staying = node(broker, QUEUES), node(make(), QUEUES)
        lane = staying.lane()
        leaving.arm(1)
        leaving.quiet()
        rung = leaving.rings()
        send(broker, message("image"), queue="images")
        leaving.await_ring(rung)
        # now it was chosen, and does not come for it
        staying.arm(1)
        staying.quiet()
        leaving.consume("mails", idle=1)
        assert names([lane.one()]) == ["image"]

    def test_the_watch_rings_only_for_what_is_consumed(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        paused, idle = node(broker, QUEUES), node(make(), QUEUES)
        paused.consume("mails", idle=1)
        paused.quiet()
        rung = paused.rings()
        lane = idle.lane()
        for _ in range(3):
            idle.arm(1)
            idle.quiet(0.1)
            before = idle.rings()
            send(broker, message("image"), queue="images")
            idle.await_ring(before)
            lane.settle(ended(lane.one()))
        assert paused.rings() == rung
        send(broker, message("mail"), queue="mails")
        paused.await_ring(rung)

    def test_taking_a_queue_up_rings_for_what_is_there(self, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        worker = node(broker, QUEUES)
        worker.consume("mails", idle=1)
        send(broker, message("image"), queue="images")
        worker.quiet()
        rung = worker.rings()
        worker.consume(*QUEUES, idle=1)
        worker.await_ring(rung)
