"""What the tests of RabbitMQ share."""

from __future__ import annotations

import os
import subprocess

import amqp

from multi.brokers.amqp import AMQPBroker
from support.servers import RabbitMQ, program


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
