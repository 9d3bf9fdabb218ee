"""What is promised of documents: each is changed by who knows it only, and what a change publishes goes out with it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from multi.brokers.base import Broker
from multi.documents import Change, Keeps
from multi.errors import Unroutable
from multi.outcome import Publication
from multi.testing.rig import QUEUE, Make, MakeNode, Rig, in_child, message, names, needs
from multi.testing.routing import topology

SHELF = "proj"


class Keeping:
    """Tests of documents; the contract suites of brokers and backends give the fixture `shelves`."""

    @pytest.fixture
    def shelves(self) -> Keeps:
        """What keeps documents; skips where that is not promised."""
        raise NotImplementedError

    @pytest.fixture
    def in_common(self) -> bool:
        """Whether another process sees the same documents."""
        raise NotImplementedError

    def test_a_document_is_made_changed_and_removed_by_who_knows_it(self, shelves: Keeps) -> None:
        assert shelves.documents(SHELF) == (0, {})
        (made,) = shelves.change(SHELF, [Change("ü", None, b"1\x00")])
        assert (made.done, made.found) == (True, b"1\x00")
        (again,) = shelves.change(SHELF, [Change("ü", None, b"2")])
        assert (again.done, again.found) == (False, b"1\x00")
        (changed,) = shelves.change(SHELF, [Change("ü", b"1\x00", b"")])
        assert changed.done
        assert shelves.documents(SHELF)[1] == {"ü": b""}
        (wrong,) = shelves.change(SHELF, [Change("ü", b"1\x00", None)])
        assert (wrong.done, wrong.found) == (False, b"")
        (gone,) = shelves.change(SHELF, [Change("ü", b"", None)])
        assert gone.done
        assert shelves.documents(SHELF) == (0, {})

    def test_what_is_done_already_counts_as_done(self, shelves: Keeps) -> None:
        shelves.change(SHELF, [Change("a", None, b"1")])
        answers = shelves.change(SHELF, [Change("a", None, b"1"), Change("gone", b"1", None)])
        assert [answer.done for answer in answers] == [True, True]

    def test_each_change_is_for_itself(self, shelves: Keeps) -> None:
        many = [Change(f"n{n}", b"x" if n % 3 == 0 else None, b"%d" % n) for n in range(250)]
        answers = shelves.change(SHELF, many)
        assert [answer.done for answer in answers] == [n % 3 != 0 for n in range(250)]
        assert shelves.documents(SHELF)[1] == {f"n{n}": b"%d" % n for n in range(250) if n % 3}

    def test_some_documents_are_read_by_name(self, shelves: Keeps) -> None:
        shelves.change(SHELF, [Change(name, None, name.encode()) for name in "abc"])
        shelves.change("other", [Change("a", None, b"other's")])
        assert shelves.documents(SHELF, ["a", "x", "c"])[1] == {"a": b"a", "c": b"c"}
        assert shelves.documents(SHELF, [])[1] == {}
        assert shelves.documents("other")[1] == {"a": b"other's"}

    def test_the_shelves_that_have_documents_are_told(self, shelves: Keeps) -> None:
        assert shelves.shelves() == []
        for name in ("beat:b", SHELF, "beat:ü"):
            shelves.change(name, [Change("a", None, b"1")])
        shelves.change(SHELF, [Change("a", b"1", None)])
        assert shelves.shelves() == ["beat:b", "beat:ü"]

    def test_the_revision_counts_what_was_told_and_made(self, shelves: Keeps) -> None:
        shelves.change(SHELF, [Change("a", None, b"1")])
        assert shelves.revision(SHELF) == 0
        shelves.change(SHELF, [Change("a", b"1", b"2"), Change("b", b"no", b"2")], tell=True)
        assert shelves.revision(SHELF) == shelves.documents(SHELF)[0] == 1
        assert shelves.revision("other") == 0

    def test_of_many_who_change_one_document_at_once_one_does(self, shelves: Keeps) -> None:
        shelves.change(SHELF, [Change("a", None, b"0")])

        def climb(who: int) -> int:
            won = 0
            for step in range(20):
                known = shelves.documents(SHELF, ["a"])[1]["a"]
                value = b"%d/%d/%d" % (int(known.split(b"/")[0]) + 1, who, step)
                won += shelves.change(SHELF, [Change("a", known, value)])[0].done
            return won

        with ThreadPoolExecutor(4) as threads:
            won = sum(threads.map(climb, range(4)))
        assert int(shelves.documents(SHELF)[1]["a"].split(b"/")[0]) == won

    def test_all_processes_see_the_documents(self, shelves: Keeps, in_common: bool) -> None:
        if not in_common:
            pytest.skip("another process has documents of its own")
        in_child(lambda: shelves.change(SHELF, [Change("there", None, b"%d" % os.getppid())], tell=True))
        assert shelves.documents(SHELF) == (1, {"there": b"%d" % os.getpid()})


class BrokerKeeping(Rig, Keeping):
    """Tests of `publish_once`, where a broker declares it."""

    @pytest.fixture
    def shelves(self, broker: Broker) -> Keeps:
        needs(broker, "once")
        return broker

    @pytest.fixture
    def in_common(self, broker: Broker) -> bool:
        return broker.abilities.shared

    def test_what_a_change_publishes_is_sent_if_the_change_is_made(self, broker: Broker, node: MakeNode) -> None:
        needs(broker, "once")
        change = Change("a", None, b"1", [Publication(QUEUE, message("first")), Publication(QUEUE, message("second"))])
        assert broker.publish_once(SHELF, [change])[0].done
        late = Change("a", None, b"2", [Publication(QUEUE, message("late"))])
        assert not broker.publish_once(SHELF, [late])[0].done
        lane = node(broker, [QUEUE]).lane()
        assert names(lane.take(2)) == ["first", "second"]
        assert broker.depth(QUEUE) == 0

    def test_an_answer_that_was_lost_sends_nothing_twice(self, broker: Broker) -> None:
        needs(broker, "once")
        change = Change("a", None, b"mine", [Publication(QUEUE, message())])
        assert [broker.publish_once(SHELF, [change])[0].done for _ in range(2)] == [True, True]
        assert broker.depth(QUEUE) == 1

    def test_a_node_that_waits_is_woken_and_gets_the_highest_priority_first(
        self, broker: Broker, node: MakeNode
    ) -> None:
        needs(broker, "once", "priority")
        worker = node(broker, [QUEUE])
        made = [Publication(QUEUE, message(f"p{priority}", priority=priority)) for priority in (0, 9)]
        broker.publish_once(SHELF, [Change("a", None, b"1", made)])
        assert names(worker.lane().take(2)) == ["p9", "p0"]

    def test_what_is_due_later_is_parked_with_it(self, broker: Broker) -> None:
        needs(broker, "once", "delay")
        broker.publish_once(SHELF, [Change("a", None, b"1", [Publication(QUEUE, message(), 4e9)])])
        assert broker.depth(QUEUE) == 0
        assert broker.counts([QUEUE])[0].parked == 1

    def test_exchanges_lead_to_the_queues_that_are_bound(self, make: Make, node: MakeNode) -> None:
        broker = make()
        needs(broker, "once")
        broker.topology = topology()
        lane = node(broker, ["images"]).lane()
        sent = Publication("media.image.big", message("big"), exchange="media")
        broker.publish_once(SHELF, [Change("a", None, b"1", [sent])])
        assert names(lane.take(1)) == ["big"]
        assert broker.depth("films") == 1

    def test_nothing_is_changed_where_no_queue_takes_the_message(self, make: Make) -> None:
        broker = make()
        needs(broker, "once")
        broker.topology = topology()
        with pytest.raises(Unroutable):
            broker.publish_once(SHELF, [Change("a", None, b"1", [Publication("nobody", message(), exchange="post")])])
        assert broker.documents(SHELF)[1] == {}

    def test_what_is_for_all_reaches_who_is_there(self, make: Make, node: MakeNode) -> None:
        broker = make()
        needs(broker, "once", "fanout")
        broker.topology = topology()
        lane = node(broker, ["copies"]).lane()
        broker.publish_once(SHELF, [Change("a", None, b"1", [Publication("", message("all"), exchange="news")])])
        assert names(lane.take(1)) == ["all"]
