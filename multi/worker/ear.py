"""The worker's ear for remote control: what Celery's programs and ours say to all workers, in the form of kombu's pidbox.

A request is a JSON text on the fanout exchange `<control_exchange>.pidbox`: a method, its arguments, and to whom it is said.
`METHODS` holds what is understood; all else is left alone, as it is meant for workers that know it.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from multi.log import get_logger
from multi.message import Message

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: What carries out a request: given its arguments and the headers of its message.
Method = Callable[[Mapping[str, Any], Mapping[str, Any]], None]


class _Request(msgspec.Struct):
    method: str
    arguments: dict[str, Any] = {}
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None


_request = msgspec.json.Decoder(_Request)


class Ear:
    """Hears for one worker; `methods` are filled by the parts of it that can be steered."""

    def __init__(self, worker: Worker) -> None:
        self._hostname = worker.options.hostname
        self.methods: dict[str, Method] = {}
        conf = worker.app.conf
        if conf.worker_enable_remote_control:
            exchange = f"{conf.control_exchange}.pidbox"
            worker.watch.hear(exchange, f"{worker.owner}.{exchange}", self.heard)

    def heard(self, message: Message) -> None:
        """Somebody has said something to all workers."""
        if message.content_type not in ("application/json", ""):
            logger.error(
                "A request of remote control is not heeded: it is written in %s, not in JSON", message.content_type
            )
            return
        try:
            request = _request.decode(message.body)
        except msgspec.DecodeError as error:
            logger.error("A request of remote control is not heeded: %s", error)
            return
        expires = message.headers.get("expires")
        if isinstance(expires, int | float) and expires and expires < time():
            return
        if not self._meant(request):
            return
        method = self.methods.get(request.method)
        if method is None:
            logger.debug("The request %r of remote control is not known here", request.method)
            return
        try:
            method(request.arguments, message.headers)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            logger.error("The request %r of remote control can't be understood: %r", request.method, error)

    def _meant(self, request: _Request) -> bool:
        if request.destination:
            return self._hostname in request.destination
        if not request.pattern or not request.matcher:
            return True
        if request.matcher == "glob":
            return fnmatch.fnmatchcase(self._hostname, request.pattern)
        try:
            return re.search(request.pattern, self._hostname) is not None
        except re.error as error:
            logger.error("A request of remote control is meant for nobody: %s", error)
            return False
