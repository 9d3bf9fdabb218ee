"""What a broker or a backend promises of locks, and of places under a limit."""

from __future__ import annotations

import time
import uuid

import pytest

from multi.agreements import Agreements
from multi.brokers.base import Broker
from multi.testing.rig import Rig, in_child, needs_agreements


class Locking:
    """Tests of them; the contract suites of brokers and backends give the fixture `locker`."""

    @pytest.fixture
    def locker(self) -> Agreements:
        """What keeps them; skips where that is not promised."""
        raise NotImplementedError

    @pytest.fixture
    def in_common(self) -> bool:
        """Whether another process sees the same locks."""
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> str:
        return f"task:{uuid.uuid4().hex}"

    def test_a_lock_is_one_holders_until_he_gives_it_back(self, locker: Agreements, name: str) -> None:
        assert locker.lock(name, "one", 60) == ""
        assert locker.lock(name, "other", 60) == "one"
        assert locker.lock(name, "one", 60) == ""
        assert locker.lock(f"{name}2", "other", 60) == ""
        locker.unlock(name, "other")
        assert locker.lock(name, "other", 60) == "one"
        locker.unlock(name, "one")
        assert locker.lock(name, "other", 60) == ""

    def test_a_lock_ends_by_itself(self, locker: Agreements, name: str) -> None:
        locker.lock(name, "one", 0.05)
        deadline = time.monotonic() + 10
        while locker.lock(name, "other", 60):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def test_a_lock_can_be_taken_over(self, locker: Agreements, name: str) -> None:
        locker.lock(name, "one", 60)
        assert locker.lock(name, "other", 60, take=True) == "one"
        locker.unlock(name, "one")
        assert locker.lock(name, "third", 60) == "other"

    def test_so_many_are_in_and_the_others_are_told_how_many_wait(self, locker: Agreements, name: str) -> None:
        assert [locker.enter(name, member, 2, 60) for member in "aab"] == [0, 0, 0]
        assert [locker.enter(name, member, 2, 60) for member in "cdc"] == [1, 2, 2]
        locker.leave(name, "c")
        locker.leave(name, "a")
        assert locker.enter(name, "d", 2, 60) == 0
        assert locker.enter(name, "c", 2, 60) == 1
        assert locker.enter(f"{name}2", "c", 2, 60) == 0

    def test_a_place_that_is_not_kept_comes_free(self, locker: Agreements, name: str) -> None:
        locker.enter(name, "dead", 1, 0.05)
        deadline = time.monotonic() + 10
        while locker.enter(name, "next", 1, 60):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert locker.enter(name, "dead", 1, 60) == 1

    def test_all_processes_share_locks_and_places(self, locker: Agreements, name: str, in_common: bool) -> None:
        if not in_common:
            pytest.skip("another process has locks of its own")

        def there() -> None:
            locker.lock(name, "there", 60)
            locker.enter(name, "there", 1, 60)

        in_child(there)
        assert locker.lock(name, "here", 60) == "there"
        assert locker.enter(name, "here", 1, 60) == 1


class BrokerLocking(Rig, Locking):
    """Those that a broker keeps."""

    @pytest.fixture
    def locker(self, broker: Broker) -> Agreements:
        return needs_agreements(broker)

    @pytest.fixture
    def in_common(self, broker: Broker) -> bool:
        return broker.abilities.shared
