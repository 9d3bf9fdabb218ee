"""RabbitMQ as a broker: pushes, ties acknowledgements to a channel, has no lease and counts no starts of its own.

The worker's process owns the only connection (`watch`), with one channel for each child (`seat`); the children's lanes
(`lane`) talk to it through socket pairs. What is published goes out through an `outbox` that has every message
confirmed; `topology` says which queues and exchanges there are.
"""

from multi.brokers.amqp.broker import AMQPBroker

__all__ = ["AMQPBroker"]
