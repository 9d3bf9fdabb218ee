"""The private servers that all other tests here stand on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import amqp
import pytest
import redis
from support.servers import NotInstalled, RabbitMQ, Redis, program
from support.wait import until


@pytest.fixture
def own_redis(redis_server: Redis) -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.stop()


def test_each_test_gets_an_empty_redis_database(redis_server: Redis, redis_url: str) -> None:
    other = redis_server.fresh()
    assert other != redis_url
    with redis.Redis.from_url(redis_url) as mine, redis.Redis.from_url(other) as theirs:
        mine.set("key", "value")
        assert theirs.dbsize() == 0


def test_a_killed_redis_comes_back_with_its_data(own_redis: Redis) -> None:
    with redis.Redis.from_url(own_redis.url()) as client:
        client.set("key", "value")
        own_redis.kill()
        assert not own_redis.answers()
        own_redis.start()
        assert client.get("key") == b"value"


def test_a_frozen_redis_accepts_connections_and_says_nothing(own_redis: Redis) -> None:
    own_redis.freeze()
    with (
        pytest.raises(redis.TimeoutError),
        redis.Redis.from_url(own_redis.url(), socket_timeout=0.1, retry=None) as client,
    ):
        client.ping()
    own_redis.thaw()
    until(own_redis.answers)


def test_a_redis_ends_with_the_process_that_started_it() -> None:
    program_ = """
        import os, sys
        sys.path[:0] = sys.argv[1:]
        from support.servers import Redis
        server = Redis()
        server.start()
        print(server.port, server.folder, flush=True)
        os.kill(os.getpid(), 9)
    """
    here = [path for path in sys.path if path.endswith("tests")]
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program_), *here],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    port, folder = said.stdout.split()
    shutil.rmtree(folder)
    server = Redis()
    server.port = int(port)
    until(lambda: not server.answers(), what="the end of the server whose starter was killed")
    server.stop()


def test_each_test_gets_an_empty_rabbitmq_host(rabbitmq_server: RabbitMQ, rabbitmq_url: str) -> None:
    host = rabbitmq_url.rpartition("/")[2]
    with amqp.Connection(f"127.0.0.1:{rabbitmq_server.port}", "guest", "guest", virtual_host=host) as connection:
        channel = connection.channel()
        with pytest.raises(amqp.NotFound):
            channel.queue_declare("celery", passive=True)


def test_a_missing_program_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(NotInstalled, match="apt-get install no-such-server"):
        program("no-such-server", "no-such-server")
