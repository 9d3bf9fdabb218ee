"""What a broker promises of exchanges."""

from __future__ import annotations

import pytest

from multi.brokers.base import Broker
from multi.errors import Unroutable
from multi.outcome import Publication
from multi.testing.rig import Make, MakeNode, Rig, ended, message, name_of, names, needs, until
from multi.topology import FANOUT, TOPIC, Broadcast, Exchange, Queue, Topology, binding


def topology() -> Topology:
    """Queues of every kind; a new table, since nodes add their own to it."""
    media = Exchange("media", TOPIC)
    return Topology(
        [
            Queue("images", media, "media.image.*"),
            Queue("films", [binding(media, "media.film.#"), binding(media, "media.*.big")]),
            Queue("letters", Exchange("post"), "letter"),
            Queue("parcels", Exchange("post"), "parcel"),
            Queue("copies", Exchange("news", FANOUT)),
            Broadcast("reload"),
        ]
    )


class Routing(Rig):
    """Messages for exchanges reach the queues that are bound there, and no others."""

    @pytest.fixture
    def routed(self, make: Make) -> Broker:
        """A broker that knows the queues of `topology`."""
        broker = make()
        broker.topology = topology()
        return broker

    def test_a_direct_exchange_compares_the_routing_key(self, routed: Broker, node: MakeNode) -> None:
        lane = node(routed, ["letters", "parcels"]).lane()
        routed.publish([Publication("parcel", message("p"), exchange="post")])
        routed.publish([Publication("letter", message("l"), exchange="post")])
        found = {name_of(each): each.queue for each in lane.take(2)}
        assert found == {"p": "parcels", "l": "letters"}

    def test_a_topic_exchange_matches_words_and_gives_each_queue_one(self, routed: Broker, node: MakeNode) -> None:
        images = node(routed, ["images"]).lane()
        films = node(routed, ["films"]).lane()
        for key in ("media.image.big", "media.film", "media.film.short.old"):
            routed.publish([Publication(key, message(key.rpartition(".")[2]), exchange="media")])
        assert sorted(names(films.take(3))) == ["big", "film", "old"]
        assert names(images.take(1)) == ["big"]
        images.expect_nothing()

    def test_what_no_queue_takes_is_an_error_of_who_sends_it(self, routed: Broker) -> None:
        with pytest.raises(Unroutable, match=r"'post' with a key that matches 'nobody'.*task_queues"):
            routed.publish([Publication("nobody", message(), exchange="post")])

    def test_a_sender_that_knows_no_queue_finds_what_workers_have_bound(
        self, routed: Broker, make: Make, node: MakeNode
    ) -> None:
        lane = node(routed, ["images"]).lane()
        make().publish([Publication("media.image.png", message("png"), exchange="media")])
        assert names(lane.take(1)) == ["png"]

    def test_every_node_gets_what_is_sent_to_all(self, routed: Broker, make: Make, node: MakeNode) -> None:
        needs(routed, "fanout")
        lanes = []
        for name in ("w1@here", "w2@here"):
            broker = make()
            broker.topology = topology()
            own = broker.topology.add(broker.topology.get("reload").of_node(name))
            lanes.append(node(broker, [own.name]).lane())
        routed.publish([Publication("", message("all"), exchange="reload")])
        for lane in lanes:
            delivery = lane.one()
            assert (name_of(delivery), delivery.starts) == ("all", 0)
            lane.settle(ended(delivery))

    def test_what_is_sent_to_all_waits_where_a_node_is_paused(self, routed: Broker, node: MakeNode) -> None:
        needs(routed, "fanout")
        own = routed.topology.add(routed.topology.get("reload").of_node("w1@here"))
        worker = node(routed, [own.name, "letters"])
        lane = worker.lane()
        worker.consume("letters")
        routed.publish([Publication("", message("kept"), exchange="reload")])
        lane.expect_nothing()
        worker.consume(own.name, "letters")
        assert names(lane.take(1)) == ["kept"]

    def test_a_queue_that_several_share_gets_one_copy(self, routed: Broker, make: Make, node: MakeNode) -> None:
        needs(routed, "fanout")
        other = make()
        other.topology = topology()
        lanes = [node(broker, ["copies"]).lane() for broker in (routed, other)]
        routed.publish([Publication("", message("once"), exchange="news")])
        found: list[str] = []

        def came() -> bool:
            found.extend(name_of(each) for lane in lanes for each in lane.exchange([], 1))
            return bool(found)

        until(came, "a copy")
        for lane in lanes:
            lane.expect_nothing()
        assert found == ["once"]

    def test_nobody_need_hear_what_is_sent_to_all(self, routed: Broker) -> None:
        needs(routed, "fanout")
        routed.publish([Publication("", message(), exchange="reload")])

    def test_what_a_task_sends_goes_by_the_same_bindings(self, routed: Broker, node: MakeNode) -> None:
        lane = node(routed, ["letters", "parcels", "nobody"]).lane()
        routed.publish([Publication("letters", message("first"))])
        sent = [
            Publication("parcel", message("next"), exchange="post"),
            Publication("nobody", message("stray"), exchange="post"),
        ]
        lane.settle(ended(lane.one(), publications=sent))
        # what no queue takes isn't lost: it waits in the queue that its key names
        assert {name_of(each): each.queue for each in lane.take(2)} == {"next": "parcels", "stray": "nobody"}
