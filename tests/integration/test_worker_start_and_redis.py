"""`multi worker` and a Redis that refuses, is away, or comes back."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator

import pytest
from support.project import Project
from support.servers import Redis
from support.wait import until


@pytest.fixture
def guarded(redis_server: Redis) -> Iterator[Redis]:
    """A Redis that asks for a password; the shared one has told whether Redis is installed."""
    server = Redis("--requirepass", "s3cret")
    server.start()
    yield server
    server.stop()


def test_a_wrong_password_ends_the_start_and_is_not_printed(project: Project, guarded: Redis) -> None:
    url = f"redis://:wr0ng@127.0.0.1:{guarded.port}/0"
    done = project.quickstart().multi("worker", "-A", "proj", "-l", "INFO", "-c", "1", "-b", url, code=2)
    said = done.stdout + done.stderr
    assert f"redis://:**@127.0.0.1:{guarded.port}/0: the server refused the connection" in said
    assert "check user and password in the URL" in said
    assert "wr0ng" not in said
    assert "Traceback" not in said


def test_a_missing_password_is_told(project: Project, guarded: Redis) -> None:
    done = project.quickstart().multi("worker", "-A", "proj", "-c", "1", "-b", guarded.url(), code=2)
    assert "the server refused the connection: NOAUTH" in done.stderr


def test_the_right_password_is_masked_wherever_it_would_show(project: Project, guarded: Redis) -> None:
    url = f"redis://:s3cret@127.0.0.1:{guarded.port}"
    words = ("worker", "-A", "proj", "-l", "DEBUG", "-c", "1", "-b", f"{url}/0", "--result-backend", f"{url}/1")
    output = project.quickstart().path / "output"
    with output.open("w") as file:
        process = project.popen(*words, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: " ready." in output.read_text(), 20)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    text = output.read_text()
    assert f".> transport:   redis://:**@127.0.0.1:{guarded.port}/0" in text
    assert f".> results:     redis://:**@127.0.0.1:{guarded.port}/1" in text
    assert f"Connected to redis://:**@127.0.0.1:{guarded.port}/0" in text
    assert "s3cret" not in text


def test_a_broker_that_is_down_is_waited_for(project: Project, redis_server: Redis) -> None:
    server = Redis()
    server.start()
    server.kill()
    output = project.quickstart().path / "output"
    with output.open("w") as file:
        process = project.popen(
            *("worker", "-A", "proj", "-l", "INFO", "-c", "1", "-b", server.url()),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "trying again in" in output.read_text(), 20)
        assert f"Cannot connect to {server.url()}: Connection refused" in output.read_text()
        server.start()
        until(lambda: " ready." in output.read_text(), 20)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        server.stop()
    assert "Traceback" not in output.read_text()
