"""One request as it travels, and the replies that come back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from multi.message import Message

NAMESPACE = "celery"


class Request:
    """A command for workers. `reply_key` is where replies are sent to, `ticket` marks those that belong to this one."""

    def __init__(
        self,
        method: str,
        arguments: Mapping[str, Any] | None,
        destination: Sequence[str] | None,
        timeout: float,
        namespace: str = NAMESPACE,
        key: bytes | None = None,
    ) -> None:
        self.reply_key = _uuid()
        self.ticket = _uuid()
        self.timeout = timeout
        self.exchange = f"{namespace}.pidbox"
        self.reply_exchange = f"reply.{namespace}.pidbox"
        self.destination = None if destination is None else list(destination)
        body = json.dumps(
            {
                "method": method,
                "arguments": dict(arguments or {}),
                "destination": self.destination,
                "pattern": None,
                "matcher": None,
                "ticket": self.ticket,
                "reply_to": {"exchange": self.reply_exchange, "routing_key": self.reply_key},
            }
        ).encode()
        headers: dict[str, Any] = {"clock": 1, "expires": time.time() + timeout}
        if key is not None:
            from multi.control_key import sign

            headers.update(sign(key, body, timeout))
        self.message = Message(headers, body, properties={"delivery_mode": 1})
        self.replies: dict[str, Any] = {}

    @property
    def reply_queue(self) -> str:
        """The queue that takes the replies; it exists for this request alone."""
        return f"{self.reply_key}.{self.reply_exchange}"

    @property
    def is_answered(self) -> bool:
        """Whether everybody has answered, as far as it is known who that is."""
        return self.destination is not None and all(name in self.replies for name in self.destination)

    def take(self, message: Message) -> None:
        """One message of the reply queue; what isn't ours or can't be read is passed over."""
        if message.headers.get("ticket") != self.ticket:
            return
        try:
            found = json.loads(message.body)
        except ValueError:
            return
        if isinstance(found, dict):
            self.replies.update(found)


def _uuid() -> str:
    # as uuid.uuid4() makes them; the module costs more than what it does here
    text = os.urandom(16).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
