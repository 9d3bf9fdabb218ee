"""What is said over the SQLite file: bounded, and written only where somebody listens."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi.brokers.sqlite import SQLiteBroker
from multi.connections import sqlite_talk
from multi.connections.ring import Ring
from multi.errors import BrokerLost, BrokerUnavailable
from multi.message import Message
from multi.talk import open_talk
from multi.testing.revoking import Ears


def said(text: str) -> Message:
    return Message({}, text.encode())


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[SQLiteBroker]:
    broker = SQLiteBroker(f"sqlite:///{tmp_path}/q.db", {"create": "all"})
    broker.check()
    yield broker
    broker.close()


def kept(broker: SQLiteBroker) -> list[bytes]:
    connection = sqlite3.connect(broker.path)
    try:
        return [row[0] for row in connection.execute("SELECT envelope FROM said ORDER BY id")]
    finally:
        connection.close()


def version(broker: SQLiteBroker) -> int:
    """Changes with every transaction that writes."""
    connection = sqlite3.connect(broker.path)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return os.stat(broker.path).st_mtime_ns
    finally:
        connection.close()


def test_nothing_is_written_where_nobody_listens(broker: SQLiteBroker) -> None:
    other = broker.subscribe("elsewhere")
    tasks = broker.subscribe("some", keys=["task.#"], kind="topic")
    before = version(broker)
    broker.say("some", said("alone"), key="worker.heartbeat", kind="topic")
    broker.say("nowhere", said("alone"))
    assert version(broker) == before
    assert kept(broker) == []
    broker.say("some", said("heard"), key="task.multi", kind="topic")
    assert len(kept(broker)) == 1
    tasks.close()
    other.close()
    assert kept(broker) == []


def test_what_was_said_is_bounded_and_a_slow_listener_hears_the_newest(
    broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_talk, "MOST_KEPT", 20)
    subscription = broker.subscribe("some")
    for number in range(50):
        broker.say("some", said(str(number)))
    assert len(kept(broker)) == 20
    found = [subscription.get(0) for _ in range(21)]
    assert [message.body for message in found if message is not None] == [b"%d" % number for number in range(30, 50)]
    subscription.close()


def test_what_is_old_goes_and_is_not_heard_by_who_wants_it_fresh(
    broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription, fresh = broker.subscribe("some"), broker.subscribe("some", ttl=5.0)
    broker.say("some", said("old"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 6.0)
    assert fresh.get(0) is None
    old = subscription.get(0)
    assert old is not None
    assert old.body == b"old"
    monkeypatch.setattr(time, "time", lambda: now + 61.0)
    broker.say("some", said("new"))
    assert len(kept(broker)) == 1
    subscription.close()
    fresh.close()


def test_a_listener_that_has_died_is_forgotten_by_who_rings(broker: SQLiteBroker) -> None:
    ring = Ring()
    with broker._database.write() as connection:
        sqlite_talk.listen(connection, ring.path, "some", "fanout", ())
    broker.say("some", said("heard"))
    assert len(kept(broker)) == 1
    ring.close()
    broker.say("some", said("to nobody"))
    assert kept(broker) == []


def test_a_listener_is_told_when_the_file_was_replaced_and_hears_again(broker: SQLiteBroker) -> None:
    subscription = broker.subscribe("some")
    for name in ("q.db", "q.db-wal", "q.db-shm"):
        Path(broker.path).with_name(name).unlink(missing_ok=True)
    broker.check()
    with pytest.raises(BrokerLost, match="was forgotten"):
        subscription.get(15)
    assert subscription.fileno() == -1
    assert subscription.get(0) is None
    broker.say("some", said("again"))
    found = subscription.get(15)
    assert found is not None
    assert found.body == b"again"
    subscription.close()


def test_without_a_file_there_is_nobody_to_talk_to(tmp_path: Path) -> None:
    talk = open_talk(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(BrokerUnavailable, match="doesn't exist"):
        talk.say("some", said("x"))
    with pytest.raises(BrokerUnavailable, match="doesn't exist"):
        talk.subscribe("some")


def test_what_a_worker_says_waits_for_others_who_write_but_not_without_bound(
    broker: SQLiteBroker, tmp_path: Path
) -> None:
    subscription = broker.subscribe("some")
    ears = Ears(lambda: SQLiteBroker(f"sqlite:///{tmp_path}/q.db"))
    try:
        watch = ears.listen("asked.pidbox", lambda message, watch: None)
        with broker._database.write():
            began = time.monotonic()
            for number in range(1_100):
                watch.say("some", said(str(number)))
            assert time.monotonic() - began < 10
            assert watch.unsaid == 100
        found = []

        def all_heard() -> bool:
            while (message := subscription.get(0)) is not None:
                found.append(int(message.body))
            return len(found) >= 1_000

        ears.turn_until(all_heard)
        assert found == list(range(1_000))
    finally:
        ears.close()
        subscription.close()


def test_a_listener_is_rung(broker: SQLiteBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_talk, "_TICK", 120.0)
    subscription = broker.subscribe("some")
    speaker = threading.Timer(0.1, broker.say, ("some", said("heard")))
    speaker.start()
    found = subscription.get(60)
    speaker.join()
    assert found is not None
    subscription.close()
