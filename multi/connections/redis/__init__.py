"""Connections to Redis and Valkey: a blocking one for children and producers, one for the worker's loop.

They speak RESP through hiredis' reader. redis-py is not used: it costs 121 ms and 18 MB in every process, and its
connection pool does work per command that this package does once.
"""

from __future__ import annotations

from multi.connections.redis.address import Address
from multi.connections.redis.blocking import NOTHING, PerThread, Redis
from multi.connections.redis.stream import RedisStream
from multi.connections.redis.words import PushNotification, Reply, ReplyError, Word, pack

__all__ = [
    "NOTHING",
    "Address",
    "PerThread",
    "PushNotification",
    "Redis",
    "RedisStream",
    "Reply",
    "ReplyError",
    "Word",
    "pack",
]
