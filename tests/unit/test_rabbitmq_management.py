"""RabbitMQ's management plugin tells how many listen: its answers, as they come over HTTP, and what isn't one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from multi.brokers.amqp import AMQPBroker
from multi.connections.amqp import addresses
from multi.connections.amqp.management import Management
from multi.errors import BrokerUnavailable, ConfigurationError
from multi.log import get_logger

BOUND = [
    {"source": "celery.pidbox", "vhost": "my vhost", "destination": name, "destination_type": kind, "routing_key": ""}
    for name, kind in (
        ("w1@h.celery.pidbox", "queue"),
        ("w2@h.celery.pidbox", "queue"),
        ("w2@h.celery.pidbox", "queue"),
        ("recorder", "queue"),
        ("other.celery.pidbox", "exchange"),
    )
]


class Plugin(BaseHTTPRequestHandler):
    """Answers what is set."""

    status: ClassVar[int] = 200
    text: ClassVar[bytes] = b""
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Plugin, "asked", [])
    server = HTTPServer(("127.0.0.1", 0), Plugin)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def made(url: str, **options: Any) -> Management | None:
    return Management.of(url, options, addresses(url, {})[0])


def test_the_queues_of_listeners_are_counted_once(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plugin, "text", json.dumps(BOUND).encode())
    found = made("amqp://me:secret@h/my%20vhost", management=plugin)
    assert found is not None and found.listeners("celery.pidbox") == 2
    # the broker's user, as no other one is told
    assert Plugin.asked == [("/api/exchanges/my%20vhost/celery.pidbox/bindings/source", "Basic bWU6c2VjcmV0")]
    other = made("amqp://me:secret@h", management=plugin.replace("//", "//you:code@") + "/api/")
    assert other is not None and other.listeners("celery.pidbox") == 2
    assert Plugin.asked[1] == ("/api/exchanges/%2F/celery.pidbox/bindings/source", "Basic eW91OmNvZGU=")


def test_the_bindings_of_queues_are_told(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plugin, "text", json.dumps(BOUND).encode())
    found = made("amqp://me:secret@h/my%20vhost", management=plugin)
    assert found is not None
    assert ("celery.pidbox", "recorder", "") in found.bindings()
    assert "other.celery.pidbox" not in {queue for _, queue, _ in found.bindings()}
    assert Plugin.asked[0][0] == "/api/bindings/my%20vhost"
    rows = [
        *BOUND,
        *({**BOUND[0], "source": "", "destination": name} for name in ("mail", "multi.delay.3", "multi.dead.mail")),
    ]
    monkeypatch.setattr(Plugin, "text", json.dumps(rows).encode())
    broker = AMQPBroker("amqp://me:secret@h/my%20vhost", {"management": plugin})
    told = {each.queue for each in broker.bindings()}
    assert told == {
        "w1@h.celery.pidbox",
        "w2@h.celery.pidbox",
        "recorder",
        "mail",
    }  # what is ours alone is nobody's queue
    monkeypatch.setattr(Plugin, "status", 403)
    with pytest.raises(BrokerUnavailable, match="needs the tag"):
        found.bindings()


def test_an_exchange_that_there_is_not_has_no_listeners(plugin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plugin, "status", 404)
    found = made(f"amqp://h//?management={plugin}")
    assert found is not None and found.listeners("celery.pidbox") == 0


@pytest.mark.parametrize(
    ("status", "text", "told"), [(401, b"{}", "needs the tag"), (200, b"<html>", ""), (200, b"[1]", "")]
)
def test_what_is_no_answer_is_warned_of_once(
    plugin: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, status: int, text: bytes, told: str
) -> None:
    monkeypatch.setattr(Plugin, "status", status)
    monkeypatch.setattr(Plugin, "text", text)
    monkeypatch.setattr(get_logger("multi.broker"), "propagate", True)
    found = made("amqp://h", management=plugin)
    assert found is not None
    with caplog.at_level("WARNING"):
        counts = [found.listeners("celery.pidbox") for _ in range(2)]
    assert counts == [None, None]
    (record,) = caplog.records
    assert "doesn't tell how many listen" in record.getMessage() and told in record.getMessage()


def test_where_nobody_answers_it_is_not_known(caplog: pytest.LogCaptureFixture) -> None:
    found = made("amqp://h", management="http://127.0.0.1:1")
    assert found is not None and found.listeners("celery.pidbox") is None


def test_it_is_on_only_where_the_option_says_so() -> None:
    assert made("amqp://h") is made("amqp://h", management=False) is made("amqp://h//?management=0") is None
    for url, options in (("amqp://h//?management=true", {}), ("amqps://[::1]", {"management": True})):
        assert isinstance(made(url, **options), Management)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("amqp://h", {"management": "somewhere"}),
        ("amqp://h", {"management": "ftp://me:geheim@h"}),
        ("amqp://h//?management=http%3A%2F%2Fme%3Ageheim%40h", {}),
    ],
)
def test_another_value_is_refused_without_its_password(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        made(url, **options)
    assert "geheim" not in str(caught.value)
