"""How the brokers of this machine write a message down, and in what order they hand it out."""

from __future__ import annotations

from multi.connections.packing import pack, unpack
from multi.message import Message

__all__ = ["pack", "rank", "unpack"]


def rank(message: Message) -> int:
    """Its place among others: lower comes first, which is the higher priority."""
    priority = message.properties.get("priority")
    return -max(-255, min(255, priority)) if isinstance(priority, int) else 0
