"""What a broker or a backend that keeps the turns of rate limits promises of them."""

from __future__ import annotations

import itertools
import time
import uuid

import pytest

from multi.agreements import Agreements
from multi.brokers.base import Broker
from multi.testing.rig import Rig, in_child, needs_agreements


class Pacing:
    """Tests of `reserve`; the contract suites of brokers and backends give the fixture `place`."""

    @pytest.fixture
    def place(self) -> Agreements:
        """What keeps turns; skips where that is not promised."""
        raise NotImplementedError

    @pytest.fixture
    def in_common(self) -> bool:
        """Whether another process sees the same turns."""
        raise NotImplementedError

    @pytest.fixture
    def limit(self) -> str:
        """The name of a rate limit that nobody else has."""
        return f"task-{uuid.uuid4().hex}"

    def test_the_first_turn_is_now_and_the_others_follow_in_the_order_of_asking(
        self, place: Agreements, limit: str
    ) -> None:
        turns = [place.reserve(limit, f"m{number}", 60.0) for number in range(4)]
        assert turns[0] == (0.0, 0.0)
        assert [wait for wait, _ in turns[1:]] == pytest.approx([60, 120, 180], abs=10)
        for (_, one), (_, other) in itertools.pairwise(turns[1:]):
            assert other - one == pytest.approx(60, abs=1)

    def test_who_asks_again_has_the_turn_that_it_was_given(self, place: Agreements, limit: str) -> None:
        place.reserve(limit, "first", 60.0)
        _, moment = place.reserve(limit, "second", 60.0)
        place.reserve(limit, "third", 60.0)
        assert place.reserve(limit, "second", 60.0)[1] == pytest.approx(moment, abs=1)

    def test_a_turn_that_has_come_is_taken_once(self, place: Agreements, limit: str) -> None:
        place.reserve(limit, "first", 0.03)
        assert place.reserve(limit, "second", 0.03)[0] > 0
        deadline = time.monotonic() + 10
        while place.reserve(limit, "second", 0.03)[0]:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        # it is used up: who asks once more is a new one
        again = place.reserve(limit, "second", 60.0)
        assert place.reserve(limit, "third", 60.0)[0] > again[0]

    def test_limits_of_other_names_are_other_limits(self, place: Agreements, limit: str) -> None:
        assert place.reserve(limit, "m", 60.0) == (0.0, 0.0)
        assert place.reserve(f"{limit}-other", "m", 60.0) == (0.0, 0.0)
        assert place.reserve(limit, "n", 60.0)[0] > 0

    def test_a_pause_without_an_asker_is_not_saved_up(self, place: Agreements, limit: str) -> None:
        place.reserve(limit, "first", 0.01)
        time.sleep(0.1)
        assert place.reserve(limit, "second", 0.01) == (0.0, 0.0)
        place.reserve(limit, "third", 60.0)
        assert place.reserve(limit, "fourth", 60.0)[0] > 50

    def test_all_processes_share_the_turns(self, place: Agreements, limit: str, in_common: bool) -> None:
        if not in_common:
            pytest.skip("another process has turns of its own")
        assert place.reserve(limit, "here", 60.0) == (0.0, 0.0)

        def there() -> None:
            assert place.reserve(limit, "there", 60.0)[0] > 0

        in_child(there)
        assert place.reserve(limit, "last", 60.0)[0] > 70


class BrokerPacing(Rig, Pacing):
    """The turns that a broker keeps."""

    @pytest.fixture
    def place(self, broker: Broker) -> Agreements:
        return needs_agreements(broker)

    @pytest.fixture
    def in_common(self, broker: Broker) -> bool:
        return broker.abilities.shared
