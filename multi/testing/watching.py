"""Contract: what a watch does for its lanes."""

from __future__ import annotations

import time

from multi.backends.base import Backend
from multi.brokers.base import Broker
from multi.outcome import Publication
from multi.testing.rig import QUEUE, Make, MakeNode, Rig, ended, id_of, message, names, needs, needs_pull, send, until
from multi.testing.settling import SUCCESS


class Watching(Rig):
    """What the watch does for the lanes."""

    def test_the_watch_rings_when_a_message_comes(self, broker: Broker, node: MakeNode) -> None:
        worker = node(broker)
        lane = worker.lane()
        lane.expect_nothing()
        worker.arm(1)
        if broker.abilities.push:
            send(broker, message("pushed"))
            assert names([lane.one()]) == ["pushed"]
            return
        for _ in range(3):
            rung = worker.rings()
            before = time.monotonic()
            send(broker, message())
            worker.await_ring(rung)
            assert time.monotonic() - before < 0.9, "it came with a look around, and not with the message"
            lane.settle(ended(lane.one()))
            worker.arm(1)

    def test_the_watch_counts_what_waits_in_the_queues_that_are_consumed(self, broker: Broker, node: MakeNode) -> None:
        worker = node(broker, ["first", "second"])
        assert worker.depth() == 0
        worker.consume()
        send(broker, message(), message(), queue="first")
        send(broker, message(), queue="second")
        assert worker.depth() == 0
        if broker.abilities.push:
            # nobody takes them, as there is no lane
            worker.consume("first", "second")
            until(lambda: worker.depth() == 3, "all are counted")
            return
        worker.consume("first", "second")
        assert worker.depth() == 3
        lane = worker.lane()
        lane.settle(ended(lane.one()))
        assert worker.depth() == 2
        worker.consume("second")
        assert worker.depth() == broker.depth("second")

    def test_the_watch_rings_for_what_was_there_before_it_was_armed(self, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        worker = node(broker)
        send(broker, message())
        rung = worker.rings()
        worker.arm(1)
        worker.await_ring(rung)

    def test_a_disarmed_watch_leaves_the_message_to_others(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        busy, idle = node(broker), node(make())
        lane = idle.lane()
        busy.arm(1)
        busy.arm(0)
        busy.quiet()
        idle.arm(1)
        rung = idle.rings()
        send(broker, message("for the idle one"))
        idle.await_ring(rung)
        assert names([lane.one()]) == ["for the idle one"]

    def test_a_message_that_is_given_back_rings(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        send(broker, message())
        busy, idle = node(broker), node(make())
        lane = busy.lane()
        delivery = lane.one()
        idle.arm(1)
        idle.quiet()
        rung = idle.rings()
        lane.settle(ended(delivery, "requeue", started=False))
        idle.await_ring(rung)

    def test_what_a_lane_publishes_rings(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        send(broker, message())
        busy, idle = node(broker), node(make(), ["next"])
        lane = busy.lane()
        delivery = lane.one()
        idle.arm(1)
        idle.quiet()
        rung = idle.rings()
        lane.settle(ended(delivery, publications=[Publication("next", message())]))
        idle.await_ring(rung)

    def test_the_watch_settles_for_a_child(self, broker: Broker, node: MakeNode, results: Backend | None) -> None:
        sent = send(broker, message("a"), message("b"), message("c"))
        worker = node(broker, [QUEUE, "next"], results)
        lane = worker.lane()
        first, second, third = lane.take(3)
        stores = [results.encode(sent[0], SUCCESS)] if results is not None else []
        worker.settle(
            ended(first, stores=stores, publications=[Publication("next", message("chained"))]),
            ended(second, "requeue", started=False),
            ended(third, "bury", reason="killed its process three times"),
        )
        if results is not None:
            until(lambda: results.fetch([sent[0]]) == [SUCCESS], "the result is stored")
        assert sorted(names(lane.take(2))) == ["b", "chained"]
        until(lambda: [letter.task_id for letter in broker.dead(QUEUE)] == [sent[2]], "the dead letter is there")
        lane.expect_nothing()

    def test_the_watch_settles_for_a_child_that_is_dead(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "shared")
        send(broker, message("begun"), message("not begun"))
        worker = node(broker)
        lane = worker.lane()
        begun, not_begun = lane.take(2)
        lane.kill()
        worker.settle(ended(begun, "requeue"), ended(not_begun, "requeue", started=False))
        again = {names([one])[0]: one.starts for one in worker.lane().take(2)}
        assert set(again) == {"begun", "not begun"}
        if broker.abilities.delivery_count:
            assert again == {"begun": 1, "not begun": 0}

    def test_a_claimed_message_can_be_read_again(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("claimed"))
        worker = node(broker)
        lane = worker.lane()
        delivery = lane.one()
        again = worker.recall(delivery.tag, delivery.fence)
        assert again is not None
        assert delivery.message is not None
        assert (again.headers["id"], again.body) == (id_of(delivery), delivery.message.body)
        lane.settle(ended(delivery))
        assert worker.recall(delivery.tag, delivery.fence) is None
