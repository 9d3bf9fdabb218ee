"""Contract: what becomes of claimed messages."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from multi.backends.base import Backend
from multi.brokers.base import Broker, Settlement
from multi.errors import BrokerLost
from multi.outcome import Publication
from multi.store import Store
from multi.testing.rig import (
    QUEUE,
    Elsewhere,
    Make,
    MakeNode,
    Rig,
    ended,
    id_of,
    ids,
    message,
    name_of,
    names,
    needs,
    needs_pull,
    send,
)

SUCCESS = b'{"status": "SUCCESS", "result": 3, "traceback": null, "children": []}'
FAILURE = b'{"status": "FAILURE", "result": null, "traceback": null, "children": []}'


class Settling(Rig):
    """Acknowledging, giving back, parking, burying, storing."""

    def test_an_acknowledged_message_is_gone(self, make: Make, broker: Broker, node: MakeNode) -> None:
        send(broker, message())
        worker = node(broker)
        lane = worker.lane()
        lane.settle(ended(lane.one()))
        lane.expect_nothing()
        worker.stop()
        node(make()).lane().expect_nothing()
        assert broker.depth(QUEUE) == 0
        assert broker.dead(QUEUE) == []

    def test_one_exchange_settles_and_claims_the_next(self, broker: Broker, node: MakeNode) -> None:
        needs_pull(broker)
        send(broker, message("a"), message("b"), message("c"))
        lane = node(broker).lane()
        found = lane.exchange([], 1)
        assert names(found) == ["a"]
        found = lane.exchange(list(map(ended, found)), 2)
        assert names(found) == ["b", "c"]
        assert lane.exchange(list(map(ended, found)), 1) == []

    def test_an_unstarted_message_goes_back_to_the_front_and_doesnt_count(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("a"), message("b"), message("c"))
        lane = node(broker).lane()
        batch = lane.take(2)
        lane.settle(*[ended(one, "requeue", started=False) for one in batch])
        again = lane.take(3)
        if not broker.abilities.push:
            assert names(again) == ["a", "b", "c"]
        assert sorted(names(again)) == ["a", "b", "c"]
        assert {one.starts for one in again} == {0}

    def test_a_message_that_asks_for_another_run_counts_and_goes_behind_the_others(
        self, broker: Broker, node: MakeNode
    ) -> None:
        needs_pull(broker)
        send(broker, message("a"), message("b"))
        lane = node(broker).lane()
        lane.settle(ended(lane.one(), "requeue"))
        lane.settle(ended(first := lane.one()))
        assert names([first]) == ["b"]
        again = lane.one()
        assert names([again]) == ["a"]
        assert again.redelivered
        if broker.abilities.delivery_count:
            assert again.starts == 1

    def test_starts_are_counted_over_many_deliveries(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delivery_count")
        send(broker, message())
        lane = node(broker).lane()
        for starts in range(4):
            delivery = lane.one()
            assert (delivery.starts, delivery.redelivered) == (starts, starts > 0)
            lane.settle(ended(delivery, "requeue"))
        delivery = lane.one()
        lane.settle(ended(delivery, "requeue", started=False))
        assert lane.one().starts == 4

    def test_what_was_started_before_is_claimed_alone(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delivery_count")
        needs_pull(broker)
        send(broker, message("bad"))
        lane = node(broker).lane()
        lane.settle(ended(lane.one(), "requeue"))
        send(broker, *[message("good") for _ in range(3)])
        lane.settle(ended(lane.take(1)[0], "requeue", started=False))  # whichever it was: to the front again
        batches = []
        while batch := lane.exchange([], 10):
            batches.append(batch)
            lane.settle(*map(ended, batch))
        assert sorted(name for batch in batches for name in names(batch)) == ["bad", "good", "good", "good"]
        assert [names(batch) for batch in batches if "bad" in names(batch)] == [["bad"]]

    def test_what_was_started_before_in_the_middle_is_claimed_alone_too(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delivery_count")
        needs_pull(broker)
        send(broker, message("bad"))
        lane = node(broker).lane()
        bad = lane.one()
        send(broker, message("good"), message("good"))
        lane.settle(ended(bad, "requeue"))
        send(broker, message("good"), message("good"))
        batches = []
        while batch := lane.exchange([], 10):
            batches.append(batch)
            lane.settle(*map(ended, batch))
        assert sorted(name for batch in batches for name in names(batch)) == ["bad", "good", "good", "good", "good"]
        assert [names(batch) for batch in batches if "bad" in names(batch)] == [["bad"]]

    def test_a_settlement_with_a_wrong_fence_does_nothing(
        self, broker: Broker, node: MakeNode, results: Backend | None
    ) -> None:
        needs_pull(broker)
        send(broker, message())
        lane = node(broker, [QUEUE, "next"], results).lane()
        delivery = lane.one()
        wrong = ended(delivery, publications=[Publication("next", message("chained"))])
        wrong.fence = "somebody else's"
        wrong.tag = delivery.tag if delivery.tag != delivery.fence else wrong.fence
        key = id_of(delivery)
        if results is not None:
            wrong.stores = [results.encode(key, SUCCESS)]
        lane.settle(wrong)
        lane.settle(Settlement("no tag at all", "no fence", QUEUE), Settlement("", "", QUEUE, "requeue"))
        lane.expect_nothing()
        if results is not None:
            assert results.fetch([key]) == [None]
        lane.settle(ended(delivery, "requeue", started=False))
        assert ids([lane.one()]) == [key]

    def test_settling_twice_is_settling_once(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("first"))
        lane = node(broker, [QUEUE, "next"]).lane()
        done = ended(lane.one(), publications=[Publication("next", message("chained"))])
        lane.settle(done)
        lane.settle(done)  # as after a lost connection, when nobody knows what became of it
        assert names([lane.one()]) == ["chained"]
        lane.expect_nothing()

    def test_some_settlements_of_a_batch_may_have_lost_their_claim(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("a"), message("b"), message("c"))
        lane = node(broker, [QUEUE, "next"]).lane()
        batch = lane.take(3)
        lane.settle(ended(batch[1]))
        lane.settle(
            *[ended(one, publications=[Publication("next", message(f"after {name_of(one)}"))]) for one in batch]
        )
        assert sorted(names(lane.take(2))) == ["after a", "after c"]
        lane.expect_nothing()

    def test_publications_go_out_with_the_settlement(self, broker: Broker, node: MakeNode) -> None:
        send(broker, message("first"))
        lane = node(broker, [QUEUE, "next"]).lane()
        first = lane.one()
        publications = [Publication("next", message("second")), Publication("next", message("third"))]
        lane.settle(ended(first, publications=publications))
        assert names(lane.take(2)) == ["second", "third"]

    def test_a_parked_message_comes_when_it_is_due(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delay")
        send(broker, message("parked"))
        worker = node(broker)
        lane = worker.lane()
        due = time.time() + 1.0
        lane.settle(ended(lane.one(), "park", due=due, started=False))
        lane.expect_nothing()
        assert broker.depth(QUEUE) == 0
        if not broker.abilities.push:
            rung = worker.rings()
            worker.arm(1)
            worker.await_ring(rung)
        delivery = lane.one()
        assert due <= time.time() < due + 5.0
        assert (names([delivery]), delivery.starts) == (["parked"], 0)

    def test_a_parked_message_outlives_its_worker(self, make: Make, broker: Broker, node: MakeNode) -> None:
        needs(broker, "delay")
        send(broker, message("parked"))
        first = node(broker)
        lane = first.lane()
        lane.settle(ended(lane.one(), "park", due=time.time() + 0.5, started=False))
        first.stop()
        # put back by the last worker, or still parked: either way the next one gets it, at the latest when it is due
        assert names([node(make()).lane().one()]) == ["parked"]

    def test_dead_letters_have_a_history_and_can_be_replayed(self, broker: Broker, node: MakeNode) -> None:
        sent = send(broker, message("a"), message("b"), message("c"))
        lane = node(broker).lane()
        before = time.time()
        for delivery in lane.take(3):
            lane.settle(ended(delivery, "bury", reason=f"reason {name_of(delivery)}", detail="Traceback\n  ümlaut"))
        assert broker.depth(QUEUE) == 0
        lane.expect_nothing()
        letters = broker.dead(QUEUE)
        assert [letter.task_id for letter in letters] == sent
        assert [letter.reason for letter in letters] == ["reason a", "reason b", "reason c"]
        for letter in letters:
            assert (letter.queue, letter.task, letter.detail) == (QUEUE, "contract.task", "Traceback\n  ümlaut")
            assert before - 2 <= letter.time <= time.time() + 2
            assert letter.message is not None
            assert letter.message.body == b'[[], {}, {"callbacks": null}]'
            if broker.abilities.delivery_count:
                assert letter.starts == 1
        assert broker.dead("other") == []
        assert broker.replay(QUEUE, [letters[1].id]) == 1
        again = lane.one()
        assert (names([again]), again.starts) == (["b"], 0)
        lane.settle(ended(again))
        assert [letter.task_id for letter in broker.dead(QUEUE)] == [sent[0], sent[2]]
        assert broker.replay(QUEUE, ["no such letter"]) == 0
        assert broker.replay(QUEUE) == 2
        assert sorted(names(lane.take(2))) == ["a", "c"]
        assert broker.dead(QUEUE) == []
        assert broker.replay(QUEUE) == 0

    def test_replayed_messages_come_in_the_order_in_which_they_died(self, broker: Broker, node: MakeNode) -> None:
        sent = send(broker, *[message() for _ in range(5)])
        lane = node(broker).lane()
        for delivery in lane.take(5):
            lane.settle(ended(delivery, "bury", reason="test"))
        assert broker.replay(QUEUE) == 5
        assert ids(lane.take(5)) == sent

    def test_results_at_the_same_place_are_stored_with_the_acknowledgement(
        self, broker: Broker, node: MakeNode, results: Backend | None
    ) -> None:
        if results is None:
            pytest.skip("no backend is at the broker's place")
        sent = send(broker, *[message() for _ in range(3)])
        lane = node(broker, [QUEUE], results).lane()
        batch = lane.take(3)
        lane.settle(*[ended(one, stores=[results.encode(id_of(one), SUCCESS)]) for one in batch])
        assert results.fetch(sent) == [SUCCESS] * 3
        assert broker.depth(QUEUE) == 0

    def test_a_lane_overwrites_no_success(self, broker: Broker, node: MakeNode, results: Backend | None) -> None:
        if results is None:
            pytest.skip("no backend is at the broker's place")
        (key,) = send(broker, message())
        lane = node(broker, [QUEUE], results).lane()
        results.store([results.encode(key, SUCCESS)])
        lane.settle(ended(lane.one(), stores=[results.encode(key, FAILURE)]))
        assert results.fetch([key]) == [SUCCESS]

    def test_results_elsewhere_are_stored_before_the_acknowledgement(
        self, broker: Broker, node: MakeNode, tmp_path: Path
    ) -> None:
        elsewhere = Elsewhere(tmp_path)
        send(broker, message("first"))
        lane = node(broker, [QUEUE, "next"], elsewhere).lane()
        done = ended(
            lane.one(), stores=[Store("result", SUCCESS)], publications=[Publication("next", message("chained"))]
        )
        (tmp_path / "down").touch()
        with pytest.raises(BrokerLost):
            lane.settle(done)
        lane.expect_nothing()  # neither given back, nor gone on
        (tmp_path / "down").unlink()
        lane.settle(done)
        assert elsewhere.value("result") == SUCCESS
        assert names([lane.one()]) == ["chained"]

    def test_nothing_is_stored_elsewhere_for_a_lost_claim(self, broker: Broker, node: MakeNode, tmp_path: Path) -> None:
        needs_pull(broker)
        elsewhere = Elsewhere(tmp_path)
        send(broker, message())
        lane = node(broker, [QUEUE], elsewhere).lane()
        first = lane.one()
        lane.settle(ended(first, "requeue", started=False))
        second = lane.one()
        lane.settle(ended(first, stores=[Store("late", SUCCESS)]))
        assert elsewhere.value("late") is None
        lane.settle(ended(second, stores=[Store("right", SUCCESS)]))
        assert elsewhere.value("right") == SUCCESS
