"""The contracts on Redis."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from multi.backends.redis import RedisBackend
from multi.brokers.base import Broker
from multi.brokers.redis import RedisBroker
from multi.brokers.redis.counting import Search
from multi.cli.group import run
from multi.connections.redis import Address, Redis
from multi.testing import BackendContract, BrokerContract


class TestBroker(BrokerContract):
    @pytest.fixture
    def factory(self, redis_url: str) -> Callable[[float], RedisBroker]:
        return lambda lease: RedisBroker(redis_url, lease=lease)

    @pytest.fixture
    def results(self, redis_url: str) -> Iterator[RedisBackend]:
        backend = RedisBackend(redis_url)
        yield backend
        backend.close()

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        redis = Redis(Address.from_url(broker.url, {}))
        redis.connect()
        redis.call("LPUSH", queue, raw)
        redis.close()

    def test_what_is_no_message_is_left_by_a_migration_and_told(
        self, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        redis = Redis(Address.from_url(redis_url, {}))
        redis.connect()
        redis.call("RPUSH", "ugly", "garbage", '{"body": 1}')
        redis.close()
        words = ["migrate", "-a", "-Q", "ugly", redis_url, f"sqlite:///{tmp_path}/there.db"]
        assert run(words) == 0
        out, err = capsys.readouterr()
        assert out.startswith("0 went from")
        assert "2 in ugly can't be read and stay there: no message envelope" in err
        assert run([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["unreadable"] == {"ugly": 2}

    def test_lists_of_others_in_the_same_database_are_no_queues(self, broker: Broker, redis_url: str) -> None:
        old = {"body": '{"task": "t", "id": "1", "args": [], "kwargs": {}}', "properties": {"delivery_tag": "1"}}
        reply = {"body": '{"ok": "pong"}', "headers": {"clock": 1}, "properties": {"delivery_tag": "2"}}
        redis = Redis(Address.from_url(redis_url, {}))
        redis.connect()
        for name, text in (
            ("protocol 1", json.dumps(old)),
            ("1.reply.celery.pidbox", json.dumps(reply)),
            ("mails", '{"body": "x"}'),
            ("texts", "\0"),
            (b"\xff", json.dumps(old)),
        ):
            redis.call("LPUSH", name, text)
        redis.call("HSET", "hash", "a", json.dumps(old))
        redis.close()
        assert [(each.name, each.waiting) for each in broker.counts(["celery"])] == [("celery", 0), ("protocol 1", 1)]


class TestBackend(BackendContract):
    @pytest.fixture
    def factory(self, redis_url: str) -> Callable[[int], RedisBackend]:
        return lambda expires: RedisBackend(redis_url, expires=expires)


def test_who_counts_again_and_again_does_not_search_all_the_time() -> None:
    search = Search()
    assert search.due()
    search.done({"found"}, monotonic() - 10.0)  # it took ten seconds
    assert not search.due()
    assert search.queues == {"found"}
    search.done({"again"}, monotonic())
    assert search.due()
