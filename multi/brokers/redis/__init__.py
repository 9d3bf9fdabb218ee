"""Redis and Valkey as a broker, on Celery's own keys."""

from __future__ import annotations

from multi.brokers.redis.broker import RedisBroker

__all__ = ["RedisBroker"]
