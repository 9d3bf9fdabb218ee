"""What the tests of RabbitMQ share."""

from __future__ import annotations

import os
import subprocess

import amqp

from multi.brokers.amqp import AMQPBroker
from support.servers import RabbitMQ, free_port, program


class Fragile(RabbitMQ):
    """One that tests crash, freeze and starve; it listens with TLS as well."""

    def renew(self) -> None:
        super().renew()
        self.secure_port = free_port()
        self.certificate = self.folder / "certificate.pem"

    def command(self) -> tuple[list[str], dict[str, str]]:
        command, environment = super().command()
        key = self.folder / "key.pem"
        if not key.exists():
            subprocess.run(
                [
                    *(program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                    *("-keyout", str(key), "-out", str(self.certificate), "-subj", "/CN=localhost"),
                    *("-addext", "subjectAltName=DNS:localhost"),
                ],
                check=True,
                capture_output=True,
            )
        lines = [f"listeners.ssl.1 = 127.0.0.1:{self.secure_port}"]
        lines += [f"ssl_options.{name}file = {self.certificate}" for name in ("cacert", "cert")]
        lines += [f"ssl_options.keyfile = {key}", "ssl_options.verify = verify_none"]
        with (self.folder / "rabbitmq.conf").open("a") as file:
            file.write("\n".join(lines) + "\n")
        return command, environment

    def secured(self, url: str) -> str:
        """The same place, by TLS."""
        return f"amqps://guest:guest@localhost:{self.secure_port}/{url.rpartition('/')[2]}"


def connect(broker: AMQPBroker) -> amqp.Connection:
    """Somebody else's connection to the same place."""
    address = broker.addresses[0]
    connection = amqp.Connection(f"{address.host}:{address.port}", virtual_host=address.vhost)
    connection.connect()
    return connection


def control(server: RabbitMQ, *words: str) -> str:
    """Run rabbitmqctl on the server."""
    environment = {**os.environ, **server.command()[1], "LC_ALL": "C.UTF-8"}
    command = [
        program("rabbitmqctl", "rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmqctl"),
        "-n",
        environment["RABBITMQ_NODENAME"],
        *words,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
