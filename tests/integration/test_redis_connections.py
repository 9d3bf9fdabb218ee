"""The ways to a Redis: TLS, a Unix socket, a user of its own, results on another database or server, idle connections."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.project import Project
from support.servers import Redis, free_port
from support.wait import until
from support.workers import bench

from multi.brokers.redis import RedisBroker
from multi.connections.redis import Address
from multi.connections.redis import Redis as Connection
from multi.errors import BrokerRefused, BrokerUnavailable, ConfigurationError


class Gates(Redis):
    """A Redis behind three doors: the usual port, TLS, and a Unix socket."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.tls_port = free_port()
        tls = f"--tls-port {self.tls_port} --tls-cert-file {certificate} --tls-key-file {key} --tls-auth-clients no"
        super().__init__(*tls.split(), "--tls-ca-cert-file", str(certificate))
        self.socket = self.folder / "redis.sock"
        self.options = (*self.options, "--unixsocket", str(self.socket))


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed; install it with: apt-get install openssl")
    certificate, key = tmp_path / "redis.crt", tmp_path / "redis.key"
    request = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *request.split(), *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def gates(redis_server: Redis, certificate: tuple[Path, Path]) -> Iterator[Gates]:
    server = Gates(*certificate)
    server.start()
    yield server
    server.stop()


def run_one(project: Project, broker: str, backend: str) -> None:
    with bench(project, broker, backend) as made:
        worker = made.start()
        assert made.tasks.add.delay(2, 3).get(timeout=10) == 5
        assert worker.stop() == 0


def test_over_tls_with_a_trusted_certificate(project: Project, gates: Gates, certificate: tuple[Path, Path]) -> None:
    url = f"rediss://localhost:{gates.tls_port}/0?ssl_ca_certs={certificate[0]}"
    run_one(project, url, url)


def test_over_tls_without_a_check_of_the_certificate(project: Project, gates: Gates) -> None:
    url = f"rediss://127.0.0.1:{gates.tls_port}/0?ssl_cert_reqs=none"
    run_one(project, url, url)


def test_an_untrusted_certificate_is_refused(gates: Gates) -> None:
    with pytest.raises(BrokerUnavailable, match="certificate"):
        RedisBroker(f"rediss://localhost:{gates.tls_port}/0").check()


def test_an_unknown_demand_on_certificates_is_told(gates: Gates) -> None:
    with pytest.raises(ConfigurationError, match="ssl_cert_reqs"):
        RedisBroker(f"rediss://localhost:{gates.tls_port}/0?ssl_cert_reqs=sometimes").check()


def test_a_certificate_file_that_is_not_there_is_named(gates: Gates) -> None:
    with pytest.raises(ConfigurationError, match="ssl_ca_certs=/no/such/file"):
        RedisBroker(f"rediss://localhost:{gates.tls_port}/0?ssl_ca_certs=/no/such/file").check()


def test_over_a_unix_socket(project: Project, gates: Gates) -> None:
    url = f"redis+socket://{gates.socket}?virtual_host=3"
    run_one(project, url, url)
    assert gates.ask(b"SELECT 3\r\nDBSIZE\r\n").count(b"\r\n:0") == 0


def test_as_a_user_with_a_password(project: Project, redis_server: Redis) -> None:
    server = Redis("--user", "worker", "on", ">s3c%ret", "~*", "&*", "+@all")
    server.start()
    try:
        url = f"redis://worker:s3c%25ret@127.0.0.1:{server.port}/0"
        run_one(project, url, url)
        with pytest.raises(BrokerRefused, match=r"redis://worker:\*\*@"):
            RedisBroker(url.replace("s3c", "other")).check()
    finally:
        server.stop()


def test_results_on_another_database_are_stored_with_the_acknowledgement(project: Project, redis_server: Redis) -> None:
    broker, backend = redis_server.fresh(), redis_server.fresh()
    with bench(project, broker, backend) as made:
        made.start()
        results = made.app.send_many([(made.tasks.add, (i, i), {}) for i in range(50)])
        assert [result.get(timeout=10) for result in results] == [2 * i for i in range(50)]
        stored = Connection(Address.from_url(backend))
        assert stored.call("DBSIZE") == 50
        stored.close()
        assert made.depth() == 0


def test_results_on_another_server(project: Project, redis_url: str) -> None:
    other = Redis()
    other.start()
    try:
        with bench(project, redis_url, other.url()) as made:
            worker = made.start()
            results = made.app.send_many([(made.tasks.add, (i, i), {}) for i in range(50)])
            assert [result.get(timeout=10) for result in results] == [2 * i for i in range(50)]
            # its results have nowhere to go for a while: the task is not acknowledged before they have
            other.kill()
            late = made.tasks.sleep.delay(0, "late")
            until(lambda: "end late" in made.notes())
            until(lambda: "result backend" in worker.said())
            other.start()
            assert late.get(timeout=20) == "late"
    finally:
        other.stop()


def test_a_database_that_is_not_there_is_told(redis_server: Redis) -> None:
    with pytest.raises(BrokerRefused, match="no database 99999"):
        RedisBroker(redis_server.url(99999)).check()


def test_a_database_that_is_no_number_is_told() -> None:
    with pytest.raises(ConfigurationError, match="'zero' is no number"):
        RedisBroker("redis://localhost/zero")


def test_a_server_that_is_not_there_is_named_with_cause_and_remedy() -> None:
    port = free_port()
    with pytest.raises(BrokerUnavailable) as caught:
        RedisBroker(f"redis://:s3cret@127.0.0.1:{port}/0").check()
    text = str(caught.value)
    assert f"redis://:**@127.0.0.1:{port}/0" in text
    assert "refused" in text
    assert "check that Redis runs" in text
    assert "s3cret" not in text


def test_a_producer_whose_idle_connection_was_closed_sends_all_the_same(redis_url: str) -> None:
    from multi.message import Message
    from multi.outcome import Publication

    broker = RedisBroker(redis_url)
    message = Publication("q", Message({"task": "t", "id": "1"}, b"[[],{},{}]"))
    broker.publish([message])
    admin = Connection(Address.from_url(redis_url))
    mine = [line for line in admin.call("CLIENT", "LIST").splitlines() if b"cmd=lpush" in line]
    for line in mine:
        admin.call("CLIENT", "KILL", "ID", dict(part.split(b"=", 1) for part in line.split())[b"id"])
    broker.publish([message])
    assert broker.depth("q") == 2
    admin.close()
    broker.close()
