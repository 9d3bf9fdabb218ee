"""What a broker or a backend promises of remote control: what is said to all, and which tasks are revoked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

import pytest

from multi.agreements import Agreements
from multi.brokers.base import Broker, Watch, WatchEvents
from multi.loop import Loop
from multi.message import Message
from multi.testing.rig import QUEUE, Make, Rig, in_child, needs_agreements

#: Seconds that what was said may take.
PATIENCE = 15.0


class Marks:
    """Tests of `keep_revoked`; the contract suites of brokers and backends give the fixture `keeper`."""

    @pytest.fixture
    def keeper(self) -> Agreements:
        """What keeps marks; skips where that is not promised."""
        raise NotImplementedError

    @pytest.fixture
    def in_common(self) -> bool:
        """Whether another process sees the same marks."""
        raise NotImplementedError

    def test_marks_are_kept_until_their_end(self, keeper: Agreements) -> None:
        now = time.time()
        assert keeper.revoked() == {}
        keeper.keep_revoked(["id:a", "stamp:k=ü"], now + 60, 100)
        keeper.keep_revoked(["id:over"], now - 1, 100)
        assert keeper.revoked() == pytest.approx({"id:a": now + 60, "stamp:k=ü": now + 60}, abs=0.01)

    def test_a_mark_that_is_kept_again_ends_later(self, keeper: Agreements) -> None:
        now = time.time()
        keeper.keep_revoked(["id:a", "id:b"], now + 60, 100)
        keeper.keep_revoked(["id:a"], now + 90, 100)
        assert keeper.revoked() == pytest.approx({"id:a": now + 90, "id:b": now + 60}, abs=0.01)

    def test_of_too_many_marks_the_oldest_are_forgotten(self, keeper: Agreements) -> None:
        now = time.time()
        for number in range(6):
            keeper.keep_revoked([f"id:{number}"], now + 60 + number, 4)
        assert sorted(keeper.revoked()) == ["id:2", "id:3", "id:4", "id:5"]

    def test_all_processes_see_the_marks(self, keeper: Agreements, in_common: bool) -> None:
        if not in_common:
            pytest.skip("another process has marks of its own")
        in_child(lambda: keeper.keep_revoked(["id:there"], time.time() + 60, 100))
        assert list(keeper.revoked()) == ["id:there"]


class Hearing(Rig, Marks):
    """What is said to all workers is heard by those that are there."""

    @pytest.fixture
    def keeper(self, broker: Broker) -> Agreements:
        return needs_agreements(broker)

    @pytest.fixture
    def in_common(self, broker: Broker) -> bool:
        return broker.abilities.shared

    @pytest.fixture
    def ears(self, make: Make) -> Iterator[Ears]:
        made = Ears(make)
        yield made
        made.close()

    def test_what_is_said_to_all_is_heard_by_each_and_once(self, broker: Broker, ears: Ears) -> None:
        one, other, elsewhere = ears.add("talk"), ears.add("talk"), ears.add("other")
        for number in range(3):
            broker.say(ears.exchange("talk"), Message({"number": number}, b"{}"))
        broker.say(ears.exchange("other"), Message({"number": 9}, b"[1]"))
        ears.turn_until(lambda: len(one) == len(other) == 3 and len(elsewhere) == 1)
        for heard in (one, other):
            assert [message.headers["number"] for message in heard] == [0, 1, 2]
            assert heard[0].body == b"{}"
        assert elsewhere[0].body == b"[1]"

    def test_what_was_said_before_is_not_heard(self, broker: Broker, ears: Ears) -> None:
        broker.say(ears.exchange("talk"), Message({"number": 1}, b"{}"))
        heard = ears.add("talk")
        broker.say(ears.exchange("talk"), Message({"number": 2}, b"{}"))
        ears.turn_until(lambda: bool(heard))
        assert [message.headers["number"] for message in heard] == [2]


class Ears:
    """Watches in this process, each with an ear."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._names = uuid.uuid4().hex
        self._loops: list[Loop] = []
        self._watches: list[Watch] = []

    def exchange(self, name: str) -> str:
        """An exchange that nobody else speaks on."""
        return f"{name}-{self._names}.pidbox"

    def add(self, name: str) -> list[Message]:
        """One more that hears this exchange; what it hears comes into the list."""
        heard: list[Message] = []
        self.listen(self.exchange(name), lambda message, watch: heard.append(message))
        return heard

    def listen(self, exchange: str, heard: Callable[[Message, Watch], None]) -> Watch:
        """One more whose watch hears this exchange, connected."""
        loop, up = Loop(), []
        events = WatchEvents(
            on_up=lambda: up.append(True),
            on_down=lambda why: None,
            on_refused=lambda error: None,
            on_message=lambda count: None,
            claims=lambda: (),
        )
        owner = f"ear/{uuid.uuid4().hex[:8]}"
        watch = self._make().watch(loop, [QUEUE], None, owner, events)
        watch.hear(exchange, f"{owner}.{exchange}", lambda message: heard(message, watch))
        self._loops.append(loop)
        self._watches.append(watch)
        watch.start()
        self.turn_until(lambda: bool(up))
        return watch

    def turn_until(self, fact: object) -> None:
        """Let all of them work until it is so."""
        assert callable(fact)
        deadline = time.monotonic() + PATIENCE
        while not fact():
            assert time.monotonic() < deadline, "not everything was heard"
            for loop in self._loops:
                loop.turn(0.005)

    def close(self) -> None:
        for watch in self._watches:
            watch.stop()
        for loop in self._loops:
            loop.close()
