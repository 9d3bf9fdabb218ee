"""AMQP 0-9-1 as RabbitMQ speaks it: the protocol without a socket, the socket without waiting, and a link that waits.

Frames are put together and taken apart with py-amqp; its own connection is not used because every one of its calls
waits for an answer, which the worker's process must never do.
"""

from multi.errors import MissingExtra

try:
    from amqp import spec
except ModuleNotFoundError as exc:
    raise MissingExtra("amqp", "multi-workers[rabbitmq]", "RabbitMQ") from exc

from multi.connections.amqp.address import Address, addresses
from multi.connections.amqp.link import Link, Unreachable
from multi.connections.amqp.session import Channel, Closed, Lost, Request, Session, Steps
from multi.connections.amqp.wire import Wire, explain, refuses

__all__ = [
    "Address",
    "Channel",
    "Closed",
    "Link",
    "Lost",
    "Request",
    "Session",
    "Steps",
    "Unreachable",
    "Wire",
    "addresses",
    "explain",
    "refuses",
    "spec",
]
