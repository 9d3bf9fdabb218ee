"""Contract: what people are told of queues, and do to them by hand."""

from __future__ import annotations

import time

from multi.brokers.base import Broker, QueueCounts
from multi.outcome import Publication
from multi.testing.leases import LEASE
from multi.testing.rig import QUEUE, Make, MakeNode, Rig, ended, message, names, needs, send, until


class Overview(Rig):
    """Counts, the end of dead letters, and the way back to Celery's workers."""

    def test_dead_letters_can_be_dropped(self, broker: Broker, node: MakeNode) -> None:
        sent = send(broker, *[message() for _ in range(4)])
        lane = node(broker).lane()
        for delivery in lane.take(4):
            lane.settle(ended(delivery, "bury", reason="test"))
        letters = broker.dead(QUEUE)
        assert broker.purge_dead("other") == 0
        assert broker.purge_dead(QUEUE, []) == 0
        assert broker.purge_dead(QUEUE, ["no such letter"]) == 0
        assert broker.purge_dead(QUEUE, [letters[0].id, letters[2].id, "no such letter"]) == 2
        assert [letter.task_id for letter in broker.dead(QUEUE)] == [sent[1], sent[3]]
        assert broker.purge_dead(QUEUE) == 2
        assert broker.dead(QUEUE) == []
        assert broker.purge_dead(QUEUE) == 0
        lane.expect_nothing()

    def test_messages_are_counted_where_they_are(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delay")
        worker = node(broker)
        send(broker, *[message() for _ in range(4)])
        broker.publish([Publication(QUEUE, message("later"), time.time() + 100) for _ in range(3)])
        lane = worker.lane()
        taken = lane.take(3)
        lane.settle(ended(taken[0], "bury", reason="test"))

        def found() -> QueueCounts:
            return broker.counts([QUEUE])[0]

        # a server that pushes tells a moment later
        until(lambda: (found().waiting, found().dead) == (1, 1), "one waits, one is dead")
        counts = found()
        assert counts.name == QUEUE
        assert counts.parked in (3, None)
        assert counts.claimed in (2, None)
        if not broker.abilities.push:
            assert (counts.parked, counts.claimed) == (3, 2)

    def test_queues_are_counted_in_the_order_in_which_they_were_named(self, broker: Broker) -> None:
        send(broker, message(), queue="second")
        found = broker.counts(["third", "second", "first", "third"])
        assert [(each.name, each.waiting, each.dead) for each in found][:3] == [
            ("third", 0, 0),
            ("second", 1, 0),
            ("first", 0, 0),
        ]

    def test_queues_that_nobody_named_are_found_by_what_lies_in_them(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message(priority=9), queue="elsewhere")
        waiting = {each.name: each.waiting for each in broker.counts([])}
        assert waiting == ({} if broker.abilities.push else {"elsewhere": 1})
        worker = node(broker, ["elsewhere"])
        lane = worker.lane()
        lane.settle(ended(lane.one(), "bury", reason="test"))
        found = {each.name: each.dead for each in broker.counts([])}
        if broker.abilities.push:
            assert found == {}
        else:
            assert found == {"elsewhere": 1}

    def test_what_only_our_workers_reach_is_handed_back(self, make: Make, node: MakeNode) -> None:
        broker = make(lease=LEASE)
        needs(broker, "foreign", "lease")
        send(broker, message("a"), message("b"), message("c"), message("waiting"))
        broker.publish([Publication(QUEUE, message("parked"), time.time() + 100)])
        broker.publish([Publication("other", message("elsewhere"), time.time() + 100)])
        dying = node(broker)
        lane = dying.lane()
        claimed = lane.take(3)
        lane.settle(ended(claimed[0], "bury", reason="test"))
        assert {(each.queue, each.left > 0) for each in broker.consumers([QUEUE])} == {(QUEUE, True)}
        assert broker.consumers(["other"]) == []
        held = broker.hand_back(["nobody's"], dead=True)
        assert (held.parked, held.claimed, held.dead, held.held) == (0, 0, 0, 0)
        dying.kill()
        until(lambda: not broker.consumers(), "its leases are over")
        found = broker.hand_back([QUEUE])
        assert (found.parked, found.claimed, found.dead, found.held) == (1, 2, 0, 0)
        assert broker.depth(QUEUE) == 4
        found = broker.hand_back(dead=True)
        assert (found.parked, found.claimed, found.dead, found.held) == (1, 0, 1, 0)
        assert broker.depth("other") == 1
        assert broker.purge("other") == 1
        assert [(each.name, each.parked, each.claimed, each.dead) for each in broker.counts([QUEUE])] == [
            (QUEUE, 0, 0, 0)
        ]
        again = node(make(lease=LEASE)).lane().take(5)
        assert sorted(names(again)) == ["a", "b", "c", "parked", "waiting"]

    def test_what_a_worker_holds_is_not_handed_back(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "foreign", "lease")
        send(broker, message("held"))
        worker = node(broker)
        lane = worker.lane()
        delivery = lane.one()
        found = broker.hand_back()
        assert (found.claimed, found.held) == (0, 1)
        lane.expect_nothing()
        lane.settle(ended(delivery))
        assert broker.depth(QUEUE) == 0

    def test_dead_letters_are_handed_back_by_name(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "foreign")
        send(broker, message("dead"))
        lane = node(broker).lane()
        lane.settle(ended(lane.one(), "bury", reason="test"))
        assert broker.hand_back([QUEUE]).dead == 0
        assert broker.hand_back([QUEUE], dead=True).dead == 1
        assert names([lane.one()]) == ["dead"]
