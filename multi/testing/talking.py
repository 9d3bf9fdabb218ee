"""Contract: what is said reaches those who listen at that moment, and nobody else."""

from __future__ import annotations

import select
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest

from multi.brokers.base import Broker, Watch
from multi.errors import ConfigurationError
from multi.message import Message
from multi.talk import Subscription
from multi.testing.revoking import PATIENCE, Ears
from multi.testing.rig import Make, Rig, in_child, until

#: Seconds in which nothing must come.
QUIET = 0.1

Listen = Callable[..., Subscription]


def said(text: str, **headers: object) -> Message:
    return Message(dict(headers), text.encode(), properties={"delivery_mode": 1})


def texts(subscription: Subscription, count: int) -> list[str]:
    """So many messages, and then no more."""
    deadline = time.monotonic() + PATIENCE
    found: list[str] = []
    while len(found) < count:
        message = subscription.get(max(0.0, deadline - time.monotonic()))
        assert message is not None, f"after {PATIENCE:g} s there is only {found}"
        found.append(message.body.decode())
    more = subscription.get(QUIET)
    assert more is None, f"{more} came, too"
    return found


class Talking(Rig):
    """`Broker.say`, `Broker.subscribe` and `Watch.say`."""

    @pytest.fixture
    def exchange(self) -> str:
        """The name of an exchange that no other test uses."""
        return uuid.uuid4().hex[:12]

    @pytest.fixture
    def listen(self, make: Make) -> Iterator[Listen]:
        """`listen(exchange, ...)` subscribes by a broker object of its own; all are closed after the test."""
        made: list[Subscription] = []

        def subscribe(name: str, **options: object) -> Subscription:
            made.append(make().subscribe(name, **options))  # type: ignore[arg-type]
            return made[-1]

        yield subscribe
        for each in made:
            each.close()

    def test_all_who_listen_hear_what_is_said_whole_in_order_and_once(
        self, broker: Broker, listen: Listen, exchange: str
    ) -> None:
        one, other, elsewhere = listen(f"{exchange}.a"), listen(f"{exchange}.a"), listen(f"{exchange}.b")
        broker.say(f"{exchange}.a", Message({"clock": 3, "who": "ü"}, b"\xff\x00", "application/x-some", "binary"))
        for number in range(3):
            broker.say(f"{exchange}.a", said(str(number)), key="a.key" if number else "")
        for subscription in (one, other):
            first = subscription.get(PATIENCE)
            assert first is not None
            assert (first.headers["clock"], first.headers["who"]) == (3, "ü")
            assert (first.body, first.content_type, first.content_encoding) == (
                b"\xff\x00",
                "application/x-some",
                "binary",
            )
            assert texts(subscription, 3) == ["0", "1", "2"]
        assert elsewhere.get(QUIET) is None

    def test_who_says_something_learns_how_many_listen_where_the_broker_knows(
        self, broker: Broker, listen: Listen, exchange: str
    ) -> None:
        nobody = broker.say(exchange, said("0"))
        subscriptions = [listen(exchange) for _ in range(3)]
        others = [listen(f"{exchange}.other")]
        told = [broker.say(exchange, said("1"))]
        subscriptions.pop().close()
        told.append(broker.say(exchange, said("2")))
        assert [nobody, *told] in ([0, 3, 2], [0, None, None], [None] * 3)
        assert texts(others[0], 0) == []

    def test_what_was_said_before_somebody_listened_he_does_not_hear(
        self, broker: Broker, listen: Listen, exchange: str
    ) -> None:
        for kind in ("fanout", "topic", "direct"):
            here = f"{exchange}.{kind}"
            broker.say(here, said("before"), key="me", kind=kind)
            subscription = listen(here, keys=["me"], kind=kind)
            broker.say(here, said("after"), key="me", kind=kind)
            assert texts(subscription, 1) == ["after"]

    @pytest.mark.parametrize(
        ("keys", "heard"),
        [
            (["#"], ["", "worker", "worker.heartbeat", "task.multi", "workers.x", "task.a.b"]),
            (["worker.#"], ["worker", "worker.heartbeat"]),
            (["task.*"], ["task.multi"]),
            (["*.multi", "task.#", "task.multi"], ["task.multi", "task.a.b"]),
            (["#.b", "worker"], ["worker", "task.a.b"]),
        ],
        ids=["all", "words", "one word", "several", "ends"],
    )
    def test_of_a_topic_is_heard_what_matches_a_key_and_once(
        self, broker: Broker, listen: Listen, exchange: str, keys: Sequence[str], heard: Sequence[str]
    ) -> None:
        subscription = listen(exchange, keys=keys, kind="topic")
        for key in ("", "worker", "worker.heartbeat", "task.multi", "workers.x", "task.a.b"):
            broker.say(exchange, said(key), key=key, kind="topic")
        assert texts(subscription, len(heard)) == heard

    def test_a_reply_reaches_only_who_has_its_key(self, broker: Broker, listen: Listen, exchange: str) -> None:
        one = listen(exchange, keys=["one"], kind="direct", queue=f"one.{exchange}", expires=10.0)
        other = listen(exchange, keys=["other", "third"], kind="direct")
        for key in ("one", "other", "nobody", "third", "one"):
            broker.say(exchange, said(key), key=key, kind="direct")
        assert texts(one, 2) == ["one", "one"]
        assert texts(other, 2) == ["other", "third"]

    def test_who_asks_gets_the_replies_of_all_who_hear(
        self, make: Make, broker: Broker, listen: Listen, exchange: str
    ) -> None:
        def answer(number: int, request: Message, watch: Watch) -> None:
            reply = said(f"{number} {request.body.decode()}")
            watch.say(f"reply.{exchange}", reply, key="me", kind="direct")
            assert watch.unsaid == 0

        ears = Ears(make)
        try:
            for number in range(2):
                ears.listen(f"{exchange}.pidbox", partial(answer, number))
            replies = listen(f"reply.{exchange}", keys=["me"], kind="direct")
            broker.say(f"{exchange}.pidbox", said("ping"))
            found: list[str] = []

            def collected() -> bool:
                message = replies.get(0)
                if message is not None:
                    found.append(message.body.decode())
                return len(found) == 2

            ears.turn_until(collected)
            assert sorted(found) == ["0 ping", "1 ping"]
        finally:
            ears.close()

    def test_a_watch_says_events_by_their_keys(self, make: Make, listen: Listen, exchange: str) -> None:
        ears = Ears(make)
        try:
            watch = ears.listen(f"{exchange}.pidbox", lambda request, watch: None)
            tasks = listen(exchange, keys=["task.#"], kind="topic")
            everything = listen(exchange, keys=["#"], kind="topic")
            for number in range(5):
                watch.say(exchange, said(f"w{number}"), key="worker.heartbeat", kind="topic")
                watch.say(exchange, said(f"t{number}"), key="task.multi", kind="topic")
            found: list[str] = []

            def collected() -> bool:
                message = everything.get(0)
                if message is not None:
                    found.append(message.body.decode())
                return len(found) == 10

            ears.turn_until(collected)
            assert found == [f"{kind}{number}" for number in range(5) for kind in "wt"]
            assert texts(tasks, 5) == [f"t{number}" for number in range(5)]
            assert watch.unsaid == 0
        finally:
            ears.close()

    def test_what_a_watch_says_at_last_is_heard(self, make: Make, listen: Listen, exchange: str) -> None:
        subscription = listen(exchange, keys=["#"], kind="topic")
        ears = Ears(make)
        try:
            watch = ears.listen(f"{exchange}.pidbox", lambda request, watch: None)
            watch.say(exchange, said("offline"), key="worker.offline", kind="topic")
            watch.stop()
            watch.say(exchange, said("too late"), key="worker.offline", kind="topic")
        finally:
            ears.close()
        assert texts(subscription, 1) == ["offline"]

    def test_what_another_process_says_is_heard(self, make: Make, listen: Listen, exchange: str) -> None:
        broker = make()
        if not broker.abilities.shared:
            pytest.skip("another process has a broker of its own")
        subscription = listen(exchange, keys=["#"], kind="topic")

        def speak() -> None:
            mine = make()
            mine.say(exchange, said("from there"), key="task.multi", kind="topic")
            mine.close()

        in_child(speak)
        assert texts(subscription, 1) == ["from there"]

    @pytest.mark.parametrize("kind", ["fanout", "topic", "direct"])
    def test_waiting_ends_when_its_time_is_over_and_its_descriptor_tells_of_what_comes(
        self, broker: Broker, listen: Listen, exchange: str, kind: str
    ) -> None:
        subscription = listen(exchange, keys=["me"], kind=kind)
        began = time.monotonic()
        assert subscription.get(0.3) is None
        assert 0.25 < time.monotonic() - began < PATIENCE
        assert subscription.get(0) is None
        poll = select.poll()
        poll.register(subscription.fileno(), select.POLLIN)
        assert not poll.poll(0)
        broker.say(exchange, said("now"), key="me", kind=kind)
        assert poll.poll(PATIENCE * 1000)
        assert texts(subscription, 1) == ["now"]

    @pytest.mark.parametrize("kind", ["fanout", "topic", "direct"])
    def test_who_says_something_is_told_that_nobody_listens_where_that_is_known(
        self, broker: Broker, listen: Listen, exchange: str, kind: str
    ) -> None:
        assert broker.say(exchange, said("alone"), key="me", kind=kind) in (0, None)
        one, other = listen(exchange, keys=["me"], kind=kind), listen(exchange, keys=["me"], kind=kind)
        assert broker.say(exchange, said("heard"), key="me", kind=kind) in (2, None)
        assert texts(one, 1) == texts(other, 1) == ["heard"]
        one.close()
        other.close()
        until(lambda: broker.say(exchange, said("alone"), key="me", kind=kind) in (0, None), "nobody listens")

    @pytest.mark.parametrize("kind", ["fanout", "topic", "direct"])
    def test_who_has_closed_hears_nothing_and_disturbs_nobody(
        self, broker: Broker, listen: Listen, exchange: str, kind: str
    ) -> None:
        subscription, other = listen(exchange, keys=["me"], kind=kind), listen(exchange, keys=["me"], kind=kind)
        subscription.close()
        subscription.close()
        broker.say(exchange, said("now"), key="me", kind=kind)
        assert texts(other, 1) == ["now"]
        with pytest.raises(ValueError, match="closed"):
            subscription.get(0)

    def test_a_kind_that_there_is_not_is_refused(self, broker: Broker, exchange: str) -> None:
        with pytest.raises(ConfigurationError, match="'headers' is no kind of exchange"):
            broker.say(exchange, said("now"), kind="headers")
        with pytest.raises(ConfigurationError, match="'headers' is no kind of exchange"):
            broker.subscribe(exchange, kind="headers")
