"""The names of what lies in Redis: Celery's own, beside which Celery's workers work, and those of multi."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from multi.errors import ConfigurationError

#: Between the name of a queue and its priority step, and between the parts of a binding.
SEPARATOR = "\x06\x16"
STEPS = (0, 3, 6, 9)
INBOX = "multi:inbox:"


def turned(priority: int | None) -> int:
    """A priority of ours as Celery's on Redis, or one of Celery's as ours.

    Celery's numbers and lists run from 0 (served first) to 9 (last) here; multi's run the other way, as on every other
    broker. A message without a priority goes where Celery puts it: to the first list.
    """
    return 0 if priority is None else 9 - min(9, max(0, priority))


class Keys(msgspec.Struct, frozen=True):
    """All keys of one broker; `prefix` is Celery's `global_keyprefix`."""

    prefix: str = ""
    separator: str = SEPARATOR
    steps: tuple[int, ...] = STEPS
    unacked: str = "unacked"
    unacked_index: str = "unacked_index"
    leases: str = "multi:leases"
    claims: str = "multi:claims"
    starts: str = "multi:starts"
    parked: str = "multi:parked"
    delayed: str = "multi:delayed"
    inboxes: str = "multi:inboxes"
    dead: str = "multi:dead:"
    fanout_prefix: str = "/{db}."
    fanout_patterns: bool = True

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Keys:
        """Read `broker_transport_options`: global_keyprefix, priority_steps, sep, unacked_key, unacked_index_key,
        fanout_prefix, fanout_patterns."""
        prefix = str(options.get("global_keyprefix") or "")
        steps = tuple(options.get("priority_steps") or STEPS)
        if not all(isinstance(step, int) and 0 <= step <= 9 for step in steps) or list(steps) != sorted(set(steps)):
            raise ConfigurationError(
                f"broker_transport_options['priority_steps'] is a rising list of numbers from 0 to 9, not {steps!r}"
            )
        names = {
            "unacked": str(options.get("unacked_key") or "unacked"),
            "unacked_index": str(options.get("unacked_index_key") or "unacked_index"),
        }
        for field in ("leases", "claims", "starts", "parked", "delayed", "inboxes"):
            names[field] = f"multi:{field}"
        names["dead"] = "multi:dead:"
        return cls(
            prefix=prefix,
            separator=str(options.get("sep") or SEPARATOR),
            fanout_prefix=_fanout_prefix(options.get("fanout_prefix", True)),
            fanout_patterns=bool(options.get("fanout_patterns", True)),
            steps=steps,
            **{field: prefix + name for field, name in names.items()},
        )

    def queue(self, name: str, priority: int | None = None) -> str:
        """The list of a queue that takes messages of this priority."""
        wanted = turned(priority)
        step = max((step for step in self.steps if step <= wanted), default=self.steps[0])
        return self.step(name, step)

    def step(self, name: str, step: int) -> str:
        """The list of one priority step of a queue."""
        return f"{self.prefix}{name}{self.separator}{step}" if step else f"{self.prefix}{name}"

    def lists(self, name: str) -> list[str]:
        """All lists of a queue, the one to be served first at the head."""
        return [self.step(name, step) for step in self.steps]

    def queue_of(self, key: str) -> str:
        """The queue that a list belongs to."""
        name = key.removeprefix(self.prefix)
        head, separator, step = name.rpartition(self.separator)
        return head if separator and step.isdecimal() else name

    def table(self, exchange: str) -> str:
        """The set that tells how queues are bound to an exchange."""
        return f"{self.prefix}_kombu.binding.{exchange}"

    @property
    def deadlines(self) -> str:
        """When kombu's sweepers may drop those sets."""
        return f"{self.prefix}_kombu.binding_deadlines"

    def inbox(self, owner: str, queue_key: str) -> str:
        """Where a worker's waiter puts the message that woke it; the name tells where it came from."""
        return f"{self.prefix}{INBOX}{owner.replace('|', '_')}|{queue_key}"


def _fanout_prefix(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "/{db}." if value else ""
