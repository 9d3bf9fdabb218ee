"""The channels by which Redis sends to all who listen, named as kombu names them."""

from __future__ import annotations

from multi.connections.redis.keys import Keys
from multi.topology import FANOUT, TOPIC, matches


class Channels:
    """Those of one database, whose number is part of the names."""

    def __init__(self, keys: Keys, db: int) -> None:
        self._patterns = keys.fanout_patterns
        self._before = keys.prefix + keys.fanout_prefix.replace("{db}", str(db))

    def name(self, exchange: str, key: str = "") -> str:
        """Where something is said."""
        tail = f"/{key}" if key and self._patterns else ""
        return f"{self._before}{exchange}{tail}"

    def heard(self, exchange: str, kind: str, bound: str) -> list[str]:
        """The patterns by which all that is for the key `bound` is heard; of a topic more than that may come.

        Without `fanout_patterns` all that is said on an exchange comes on one channel.
        """
        plain = escaped(self.name(exchange))
        if not self._patterns:
            return [plain]
        if kind == FANOUT:
            return [plain, f"{plain}/*"]
        found = [plain] if matches(TOPIC, bound, "") else []
        return [*found, f"{plain}/{_glob(bound)}"]

    def key(self, exchange: str, channel: str) -> str | None:
        """The routing key that a channel's name tells; None where the message itself has to."""
        if not self._patterns:
            return None
        return channel[len(self._before) + len(exchange) + 1 :]


def _glob(bound: str) -> str:
    """A pattern of Redis that takes at least what a topic's key takes; its `*` doesn't end at a dot."""
    found = ""
    for word in bound.split("."):
        if word == "#":
            found += "*"
        else:
            found += ("" if not found or found.endswith("*") else ".") + ("*" if word == "*" else escaped(word))
    return found


def escaped(channel: str) -> str:
    """A channel's name as a pattern that only it matches."""
    return "".join(f"\\{sign}" if sign in "\\*?[]" else sign for sign in channel)
