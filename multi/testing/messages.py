"""Contract: what is published arrives, whole, in order, and at one claimer."""

from __future__ import annotations

import threading
import time

import pytest

from multi.brokers.base import Broker
from multi.message import Message
from multi.outcome import Publication
from multi.testing.rig import (
    QUEUE,
    Make,
    MakeNode,
    Rig,
    ended,
    id_of,
    ids,
    in_child,
    message,
    names,
    needs,
    needs_pull,
    send,
    until,
)


class Messages(Rig):
    """Publishing and claiming."""

    def test_a_message_arrives_whole(self, broker: Broker, node: MakeNode) -> None:
        sent = Message(
            {
                "lang": "py",
                "task": "proj.tasks.ümlaut",
                "id": "0f0f",
                "retries": 2,
                "timelimit": [None, 1.5],
                "eta": None,
                "stamps": {"a": ["b", {"c": []}], "empty": {}},
                "big": 12345678901234567,
            },
            bytes(range(256)),
            "application/data",
            "binary",
            {"correlation_id": "0f0f", "reply_to": "somewhere", "delivery_mode": 2, "priority": 3},
        )
        send(broker, sent)
        delivery = node(broker).lane().one()
        got = delivery.message
        assert got is not None
        assert {name: got.headers.get(name) for name in sent.headers} == sent.headers
        assert got.body == sent.body
        assert (got.content_type, got.content_encoding) == ("application/data", "binary")
        assert {name: got.properties.get(name) for name in sent.properties} == sent.properties
        assert (delivery.queue, delivery.starts, delivery.redelivered) == (QUEUE, 0, False)
        assert delivery.tag
        assert delivery.fence

    @pytest.mark.parametrize("size", [0, 1, 300_000])
    def test_a_body_of_any_size_arrives(self, broker: Broker, node: MakeNode, size: int) -> None:
        send(broker, message(body=b"\x00\xff" * (size // 2) + b"x" * (size % 2)))
        delivery = node(broker).lane().one()
        assert delivery.message is not None
        assert len(delivery.message.body) == size

    def test_messages_come_in_the_order_in_which_they_were_published(self, broker: Broker, node: MakeNode) -> None:
        sent = send(broker, *[message() for _ in range(20)])
        for _ in range(10):
            sent += send(broker, message())
        lane = node(broker).lane()
        got: list[str] = []
        while len(got) < len(sent):
            batch = lane.take(min(7, len(sent) - len(got)))
            lane.settle(*map(ended, batch))
            got += ids(batch)
        assert got == sent

    def test_thousands_of_messages_go_in_one_call(self, broker: Broker, node: MakeNode) -> None:
        sent = send(broker, *[message() for _ in range(2500)])
        until(lambda: broker.depth(QUEUE) == 2500, "all messages are in the queue")
        lane = node(broker).lane()
        got: list[str] = []
        while len(got) < len(sent):
            batch = lane.take(min(100, len(sent) - len(got)))
            got += ids(batch)
            lane.settle(*map(ended, batch))
        assert got == sent
        lane.expect_nothing()

    def test_threads_may_publish_at_once(self, broker: Broker, node: MakeNode) -> None:
        sent: list[str] = []

        def publish() -> None:
            for _ in range(25):
                sent.extend(send(broker, message()))

        threads = [threading.Thread(target=publish) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        batch = node(broker).lane().take(200)
        assert sorted(ids(batch)) == sorted(sent)

    def test_a_broker_can_be_used_on_both_sides_of_a_fork(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "shared")
        sent = send(broker, message("before"))
        in_child(lambda: send(broker, message("inside")))
        sent += send(broker, message("after"))
        assert names(node(broker).lane().take(3)) == ["before", "inside", "after"]

    def test_a_broker_can_be_used_again_after_it_was_closed(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("first"))
        broker.close()
        send(broker, message("second"))
        assert names(node(broker).lane().take(2)) == ["first", "second"]

    def test_check_is_silent_when_all_is_well(self, broker: Broker) -> None:
        broker.check()

    def test_nobody_else_gets_a_claimed_message(self, make: Make, broker: Broker, node: MakeNode) -> None:
        send(broker, message())
        first = node(broker)
        first.lane().one()
        first.lane().expect_nothing()
        node(make()).lane().expect_nothing()

    def test_many_claim_at_once_and_each_message_has_one_claimer(
        self, make: Make, broker: Broker, node: MakeNode
    ) -> None:
        sent = send(broker, *[message() for _ in range(400)])
        workers = [node(broker), node(make())]
        lanes = [worker.lane() for worker in workers for _ in range(2)]
        got: list[str] = []
        waiting = {lane: lane.begin([], 7) for lane in lanes}
        deadline = time.monotonic() + 30
        while len(got) < len(sent):
            assert time.monotonic() < deadline, f"{len(got)} of {len(sent)} messages came"
            for lane, number in waiting.items():
                batch = lane.node.answer(number)
                got += ids(batch)
                waiting[lane] = lane.begin(list(map(ended, batch)), 7)
        for lane, number in waiting.items():
            assert lane.node.answer(number) == []
        assert sorted(got) == sorted(sent)

    def test_a_claim_gets_no_more_than_it_asked_for_and_doesnt_wait(self, broker: Broker, node: MakeNode) -> None:
        lane = node(broker).lane()
        lane.expect_nothing()
        before = time.monotonic()
        assert lane.exchange([], 10) == []
        assert time.monotonic() - before < 2.0
        send(broker, *[message() for _ in range(5)])
        lane.take(2)
        assert lane.exchange([], 0) == []
        assert len(lane.exchange([], 2)) <= 2

    def test_queues_are_kept_apart(self, make: Make, broker: Broker, node: MakeNode) -> None:
        send(broker, message("a"), queue="a")
        send(broker, message("b"), queue="b")
        send(broker, message("c"), queue="c")
        lane = node(broker, ["b"]).lane()
        delivery = lane.one()
        assert (names([delivery]), delivery.queue) == (["b"], "b")
        lane.expect_nothing()
        both = node(make(), ["c", "a"]).lane().take(2)
        assert sorted((*names([one]), one.queue) for one in both) == [("a", "a"), ("c", "c")]

    def test_a_long_queue_starves_no_other(self, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        send(broker, *[message("long", priority=0) for _ in range(50)], queue="long")
        send(broker, message("short", priority=0), queue="short")
        send(broker, *[message("long", priority=0) for _ in range(50)], queue="long")
        lane = node(broker, ["long", "short"]).lane()
        for _ in range(100):
            delivery = lane.one()
            lane.settle(ended(delivery))
            if names([delivery]) == ["short"]:
                return
        pytest.fail("the short queue had to wait for the whole of the long one")

    def test_higher_priorities_come_first_and_equal_ones_in_order(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "priority")
        needs_pull(broker)
        for priority in (1, 9, 5, 1, 9, 5):
            send(broker, message(f"p{priority}", priority=priority))
        batch = node(broker).lane().take(6)
        assert names(batch) == ["p9", "p9", "p5", "p5", "p1", "p1"]
        numbers = [int(id_of(one).rpartition("-")[2]) for one in batch]
        assert all(numbers[i] < numbers[i + 1] for i in (0, 2, 4))

    def test_depth_counts_what_waits_and_purge_drops_it(self, broker: Broker, node: MakeNode) -> None:
        assert broker.depth(QUEUE) == 0
        assert broker.purge(QUEUE) == 0
        send(broker, *[message() for _ in range(3)])
        send(broker, message("other"), queue="other")
        until(lambda: broker.depth(QUEUE) == 3, "three messages wait")
        assert broker.purge(QUEUE) == 3
        assert broker.depth(QUEUE) == 0
        worker = node(broker, [QUEUE, "other"])
        lane = worker.lane()
        assert names([lane.one()]) == ["other"]
        lane.expect_nothing()

    def test_a_purge_spares_what_is_claimed(self, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        send(broker, message("claimed"), message("waiting"))
        lane = node(broker).lane()
        claimed = lane.one()
        assert broker.depth(QUEUE) == 1
        assert broker.purge(QUEUE) == 1
        lane.settle(ended(claimed, "requeue", started=False))
        assert names([lane.one()]) == ["claimed"]

    def test_what_is_no_message_comes_as_a_delivery_without_one(self, broker: Broker, node: MakeNode) -> None:
        self.plant(broker, QUEUE, b"\xc1 no message at all")
        send(broker, message("good"))
        lane = node(broker).lane()
        bad = lane.one()
        assert bad.message is None
        assert b"no message at all" in bad.raw
        assert bad.fault
        lane.settle(ended(bad, "bury", reason="undecodable", detail=bad.fault))
        assert names([lane.one()]) == ["good"]
        (letter,) = broker.dead(QUEUE)
        assert (letter.message, letter.reason, letter.task) == (None, "undecodable", "")

    def test_a_message_that_must_wait_comes_when_it_is_due(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delay")
        due = time.time() + 1.0
        broker.publish([Publication(QUEUE, message("later"), due), Publication(QUEUE, message("now"))])
        worker = node(broker)
        lane = worker.lane()
        assert names([lane.one()]) == ["now"]
        lane.expect_nothing()
        assert broker.depth(QUEUE) == 0
        if not broker.abilities.push:
            rung = worker.rings()
            worker.arm(1)
            worker.await_ring(rung)
        delivery = lane.one()
        assert names([delivery]) == ["later"]
        assert due <= time.time() < due + 5.0
        assert delivery.starts == 0
