"""Contract: messages are looked at where they lie, and brought to other queues by hand."""

from __future__ import annotations

import os
import threading
import time

import pytest

from multi.brokers.base import Broker
from multi.brokers.looking import BATCH, CLAIMED, PARKED, WAITING, Seen
from multi.message import Message
from multi.outcome import Publication
from multi.testing.rig import QUEUE, MakeNode, Rig, ended, in_child, message, names, needs, send, until


def called(found: list[Seen]) -> list[str]:
    """What the messages were called when they were made."""
    return [str(each.message.headers["id"]).partition("-")[0] for each in found if each.message is not None]


class Looking(Rig):
    """Peeking, moving, what waits for its time, bindings."""

    def test_a_look_takes_nothing(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "peeks")
        send(broker, message("a"), message("b"), message("c"))
        assert called(broker.peek(QUEUE, 2)) == ["a", "b"]
        assert called(broker.peek(QUEUE, 10)) == ["a", "b", "c"]
        assert broker.peek("nobody's", 10) == []
        until(lambda: broker.depth(QUEUE) == 3, "all of them wait again")
        found = node(broker).lane().take(3)
        assert names(found) == ["a", "b", "c"]
        assert [each.starts for each in found] == [0, 0, 0]

    def test_a_look_shows_what_the_worker_would_get_first(self, broker: Broker) -> None:
        needs(broker, "peeks", "priority")
        send(broker, message("low", priority=0), message("high", priority=9), message("mid", priority=5))
        assert called(broker.peek(QUEUE, 10)) == ["high", "mid", "low"]
        (found, *_) = broker.peek(QUEUE, 1)
        assert found.message is not None
        assert found.message.properties["priority"] == 9

    def test_what_is_no_message_is_seen_with_its_fault(self, broker: Broker) -> None:
        needs(broker, "peeks")
        self.plant(broker, QUEUE, b"\xff no message")
        (found,) = broker.peek(QUEUE, 10)
        assert found.message is None
        assert found.fault

    def test_what_is_parked_or_held_is_seen_there(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "peeks")
        if PARKED not in broker.abilities.peeks:
            assert broker.abilities.peeks == (WAITING,)
            return
        due = time.time() + 100
        broker.publish([Publication(QUEUE, message("later"), due + 5), Publication(QUEUE, message("soon"), due)])
        broker.publish([Publication("other", message("elsewhere"), due)])
        parked = broker.peek(QUEUE, 10, PARKED)
        assert called(parked) == ["soon", "later"]
        assert [round(each.due - due) for each in parked] == [0, 5]
        assert called(broker.peek(QUEUE, 1, PARKED)) == ["soon"]
        send(broker, message("held"), message("waiting"))
        lane = node(broker).lane()
        delivery = lane.one()
        assert called(broker.peek(QUEUE, 10, CLAIMED)) == ["held"]
        assert called(broker.peek(QUEUE, 10)) == ["waiting"]
        lane.settle(ended(delivery))
        assert broker.peek(QUEUE, 10, CLAIMED) == []

    def test_the_age_of_the_oldest_is_known(self, broker: Broker) -> None:
        needs(broker, "peeks")
        before = time.time()
        send(broker, message("a"), message("b"))
        found = broker.oldest([QUEUE, "nobody's"])
        if broker.abilities.push:
            assert found == {}
            return
        assert list(found) == [QUEUE]
        assert before - 1 <= found[QUEUE] <= time.time() + 1  # some count in whole seconds
        assert broker.peek(QUEUE, 1)[0].since == found[QUEUE]

    def test_messages_move_to_another_queue_in_their_order(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "moves")
        send(broker, message("there"), queue="other")
        sent = send(broker, *[message(f"m{number}") for number in range(7)])
        assert broker.move(QUEUE, "other", limit=3) == 3
        assert broker.move("nobody's", "other") == 0
        until(lambda: (broker.depth(QUEUE), broker.depth("other")) == (4, 4), "three have moved")
        assert called(broker.peek("other", 10)) == ["there", "m0", "m1", "m2"]
        assert broker.move(QUEUE, "other") == 4
        until(lambda: (broker.depth(QUEUE), broker.depth("other")) == (0, 8), "all have moved")
        lane = node(broker, ["other"]).lane()
        found = lane.take(8)
        assert names(found) == ["there", *(f"m{number}" for number in range(7))]
        assert {each.queue for each in found} == {"other"}
        assert [each.message.headers["id"] for each in found if each.message is not None][1:] == sent

    def test_only_what_is_wanted_moves(self, broker: Broker) -> None:
        needs(broker, "moves")
        send(broker, *[message(name) for name in ("a", "b", "a", "b", "a")])

        def wanted(one: Message) -> bool:
            return str(one.headers["id"]).startswith("a-")

        assert broker.move(QUEUE, "other", limit=2, wanted=wanted) == 2
        until(lambda: broker.depth(QUEUE) == 3, "two have moved")
        assert called(broker.peek(QUEUE, 10)) == ["b", "b", "a"]
        assert broker.move(QUEUE, "other", wanted=wanted) == 1
        until(lambda: broker.depth(QUEUE) == 2, "the third has moved")
        assert called(broker.peek("other", 10)) == ["a", "a", "a"]

    def test_a_moved_message_keeps_priority_headers_and_body(self, broker: Broker) -> None:
        needs(broker, "moves", "priority")
        sent = message("kept", b'[["\xc3\xa9"], {}, {"callbacks": null}]', priority=7)
        sent.headers["stamps"] = {"tenant": ["a", 1.5, None, []], "none": {}}
        send(broker, message("low", priority=2), sent)
        assert broker.move(QUEUE, "other") == 2
        until(lambda: broker.depth("other") == 2, "both have moved")
        found = broker.peek("other", 10)
        assert called(found) == ["kept", "low"]
        moved = found[0].message
        assert moved is not None
        assert moved.headers["stamps"] == sent.headers["stamps"]
        assert (moved.body, moved.properties["priority"]) == (sent.body, 7)
        assert (moved.content_type, moved.content_encoding) == (sent.content_type, sent.content_encoding)

    def test_runs_that_were_begun_still_count_after_a_move(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "moves", "delivery_count")
        send(broker, message("again"))
        first = node(broker)
        lane = first.lane()
        lane.settle(ended(lane.one(), "requeue", started=True))
        first.stop()
        until(lambda: broker.depth(QUEUE) == 1, "it waits again")
        assert broker.move(QUEUE, "other") == 1
        assert node(broker, ["other"]).lane().one().starts == 1

    def test_two_moves_at_once_move_each_message_once(self, broker: Broker) -> None:
        needs(broker, "moves")
        sent = send(broker, *[message() for _ in range(60)])
        counts: list[int] = []
        threads = [threading.Thread(target=lambda: counts.append(broker.move(QUEUE, "other"))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sum(counts) == 60
        until(lambda: broker.depth("other") == 60, "all have moved")
        found = [each.message.headers["id"] for each in broker.peek("other", 100) if each.message is not None]
        assert sorted(found) == sorted(sent)

    def test_who_waits_for_messages_of_the_other_queue_is_rung(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "moves")
        send(broker, message("moved"))
        waiting = node(broker, ["other"])
        lane = waiting.lane()
        waiting.arm(1)
        assert broker.move(QUEUE, "other") == 1
        assert names([lane.one()]) == ["moved"]

    def test_messages_are_handed_over_and_forgotten(self, broker: Broker) -> None:
        needs(broker, "moves")
        sent = send(broker, *[message(f"m{number}") for number in range(BATCH + 3)])
        there: list[Message] = []
        assert broker.hand_over(QUEUE, there.extend, limit=2) == 2
        assert [each.headers["id"] for each in there] == sent[:2]
        assert broker.hand_over(QUEUE, there.extend, wanted=lambda one: one.headers["id"] != sent[-2]) == BATCH
        assert [each.headers["id"] for each in there] == [*sent[:-2], sent[-1]]
        until(lambda: broker.depth(QUEUE) == 1, "the other one is left")
        assert called(broker.peek(QUEUE, 10)) == [sent[-2].partition("-")[0]]
        if CLAIMED in broker.abilities.peeks:
            assert broker.peek(QUEUE, 10, CLAIMED) == []
        assert there[0].body == message().body

    def test_what_could_not_be_handed_over_returns_to_its_place(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "moves")
        send(broker, message("a"), message("b"), message("c"))

        def refuse(messages: list[Message]) -> None:
            raise RuntimeError("the other place is away")

        with pytest.raises(RuntimeError, match="away"):
            broker.hand_over(QUEUE, refuse)
        until(lambda: broker.depth(QUEUE) == 3, "all of them wait again")
        found = node(broker).lane().take(3)
        assert names(found) == ["a", "b", "c"]
        assert [each.starts for each in found] == [0, 0, 0]

    def test_what_is_being_handed_over_is_no_workers(self, broker: Broker) -> None:
        needs(broker, "moves", "shared")
        send(broker, message("a"), message("b"))
        seen = []

        def look(messages: list[Message]) -> None:
            count, seconds = broker.unfinished([QUEUE])
            seen.append((count, 0 < seconds <= broker.hold, broker.unfinished(["other"])))
            assert broker.counts([QUEUE])[0].consumers in (0, None)
            assert not broker.abilities.foreign or broker.consumers() == []

        assert broker.hand_over(QUEUE, look) == 2
        # a server that gives back what dead ones held at once has nothing to tell
        assert seen == [(2, True, (0, 0.0)) if CLAIMED in broker.abilities.peeks else (0, False, (0, 0.0))]
        assert broker.unfinished([QUEUE]) == (0, 0.0)

    def test_what_a_dead_process_was_handing_over_is_not_lost(self, broker: Broker) -> None:
        needs(broker, "moves", "shared")
        sent = send(broker, *[message() for _ in range(5)])

        def die() -> None:
            broker.hold = 0.2
            broker.hand_over(QUEUE, lambda messages: os._exit(0))

        broker.close()
        in_child(die)
        there: list[Message] = []
        until(lambda: broker.hand_over(QUEUE, there.extend) or len(there) == 5, "all have been handed over")
        assert sorted(str(each.headers["id"]) for each in there) == sorted(sent)

    def test_what_is_no_message_is_not_handed_over(self, broker: Broker) -> None:
        needs(broker, "moves")
        self.plant(broker, QUEUE, b"\xff no message")
        there: list[Message] = []
        assert broker.hand_over(QUEUE, there.extend) == 0
        assert there == []
        until(lambda: broker.depth(QUEUE) == 1, "it is where it was")

    def test_what_is_parked_comes_to_its_queue_when_asked(self, broker: Broker) -> None:
        needs(broker, "delay")
        due = time.time() + 100
        for queue, name in ((QUEUE, "a"), ("dotted.other", "b"), (QUEUE, "c")):
            broker.publish([Publication(queue, message(name), due)])
        assert broker.unpark(["nobody's"]) == 0
        assert broker.unpark([QUEUE]) == 2
        if not broker.abilities.peeks:
            return
        until(lambda: broker.depth(QUEUE) == 2, "both wait")
        assert called(broker.peek(QUEUE, 10)) == ["a", "c"]
        if PARKED in broker.abilities.peeks:
            assert called(broker.peek("dotted.other", 10, PARKED)) == ["b"]
        assert broker.unpark() == 1
        assert broker.unpark() == 0

    def test_bindings_are_told(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "bindings")
        from multi.topology import Exchange, Queue, Topology

        broker.topology = Topology([Queue("pictures", Exchange("media", "topic"), "image.#")])
        broker.publish([Publication("image.png", message(), exchange="media")])
        assert ("media", "pictures", "image.#") in [(each.exchange, each.queue, each.key) for each in broker.bindings()]
