"""The worker's ear for remote control: what Celery's programs and ours say to workers, in the form of kombu's pidbox.

A request is a text on the fanout exchange `<control_exchange>.pidbox`: a method, its arguments, to whom it is said, and where
the reply goes. Whatever a stranger says, the worker goes on, with one line in its log.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from multi import control_key
from multi.app.panel import Later, Panel
from multi.codecs import CODECS, Codec, accepted
from multi.errors import ConfigurationError, EncodeError, MultiError
from multi.log import get_logger, mask_passwords
from multi.message import Message
from multi.worker.panel import NoReply, State
from multi.worker.panel.held import HeldTasks
from multi.worker.panel.matching import NoPattern, matches
from multi.worker.panel.shown import shown

if TYPE_CHECKING:
    from multi.worker.worker import Worker

logger = get_logger("multi.worker")

#: A longer request (bytes) is not read: all ids that a worker keeps as revoked fit into it.
LONGEST = 4 * 1024 * 1024
#: What is heeded, without a reply, by a worker that isn't ready yet or is about to end: which tasks are not to run, or no more.
ALWAYS = frozenset(("revoke", "terminate", "revoke_by_stamped_headers"))


#: So many lines about requests that aren't heeded, within so many seconds.
_LINES, _SPAN = 100, 10.0
#: A clock beyond it is no clock.
_LATEST = 1 << 53


class _Address(msgspec.Struct):
    exchange: str
    routing_key: str


class _Request(msgspec.Struct):
    method: str
    arguments: dict[str, Any] | None = None
    destination: list[str] | None = None
    pattern: str | None = None
    matcher: str | None = None
    ticket: str | None = None
    reply_to: _Address | None = None


class Ear:
    """Hears for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._complaints = 0
        self._hostname = worker.options.hostname
        self.state = State(worker, HeldTasks(worker))
        conf = worker.app.conf
        key = control_key.secret(conf.control_key)
        self._guard = None if key is None else control_key.Guard(key)
        self._unsigned = frozenset(conf.control_unsigned or ())
        if unknown := sorted(self._unsigned - set(Panel.data)):
            raise ConfigurationError(f"control_unsigned: there is no command {unknown[0]!r}")
        self._codecs: dict[str, Codec] = accepted(conf.accept_content)
        if "application/data" not in self._codecs:
            # harmless to read; where everything has to be signed, nothing else is taken
            self._codecs.setdefault("application/json", CODECS["json"])
        self._replies = f"reply.{conf.control_exchange}.pidbox"
        if conf.worker_enable_remote_control:
            exchange = f"{conf.control_exchange}.pidbox"
            worker.watch.hear(exchange, f"{worker.owner}.{exchange}", self.heard)

    def heard(self, message: Message) -> None:
        """Somebody has said something to workers."""
        request = self._read(message)
        if request is None or self._is_over(message.headers) or not self._meant(request):
            return
        if self._guard is not None and request.method not in self._unsigned:
            if why := self._guard.check(message.headers, message.body):
                self._complain("The request %s of remote control is not heeded: %s", shown(request.method), why)
                self._reply(request, message, {"error": f"not heeded: {why}"})
                return
        clock = message.headers.get("clock")
        if type(clock) is int and 0 < clock < _LATEST:
            self._worker.clock.adjust(clock)
        else:
            self._worker.clock.forward()
        if self._speaks or request.method in ALWAYS:
            self._carry_out(request, message)
        if not self._speaks:
            self._decline(request, message)

    @property
    def _speaks(self) -> bool:
        """Whether this process is the node: not before it is ready (its predecessor is until then), and not when it stops."""
        return self._worker.said_ready and not self._worker.stopping

    def _read(self, message: Message) -> _Request | None:
        if len(message.body) > LONGEST:
            self._refuse(f"it has {len(message.body)} bytes, and {LONGEST} are the limit")
            return None
        codec = self._codecs.get(message.content_type or "application/json")
        if codec is None:
            allowed = ", ".join(each.name for each in self._codecs.values())
            self._refuse(f"it is written in {shown(message.content_type)}, and here is read {allowed}")
            return None
        try:
            return msgspec.convert(codec.loads(message.body), _Request)
        except (MultiError, msgspec.ValidationError, RecursionError) as error:
            self._refuse(shown(str(error)))
            return None

    def _refuse(self, why: str) -> None:
        self._complain("A request of remote control is not heeded: %s", why)

    def _complain(self, text: str, *words: object) -> None:
        """A line in the log; of a flood of requests a hundred, and then how many there were."""
        self._complaints += 1
        if self._complaints == 1:
            self._worker.loop.later(_SPAN, self._sum_up)
        if self._complaints <= _LINES:
            logger.error(text, *words)

    def _sum_up(self) -> None:
        if self._complaints > _LINES:
            logger.error("%d more requests of remote control were not heeded", self._complaints - _LINES)
        self._complaints = 0

    def _is_over(self, headers: Mapping[str, Any]) -> bool:
        expires = headers.get("expires")
        return isinstance(expires, int | float) and 0 < expires < time()

    def _meant(self, request: _Request) -> bool:
        if request.destination:
            return self._hostname in request.destination
        if not request.pattern or not request.matcher:
            return True
        try:
            return matches(self._hostname, request.pattern, request.matcher)
        except NoPattern as error:
            self._refuse(shown(str(error)))
            return False

    # -- what is asked for ------------------------------------------------------------------------------------------------

    def _carry_out(self, request: _Request, message: Message) -> None:
        command = Panel.data.get(request.method)
        if command is None:
            self._complain("No such control command: %s", shown(request.method))
            self._reply(request, message, {"error": repr(KeyError(request.method))})
            return
        self.state.headers = message.headers
        try:
            found = command(self.state, **(request.arguments or {}))
        except Exception as error:  # of whatever kind: the worker goes on, and who has asked is told
            self._complain("The control command %s has failed: %s", shown(request.method), shown(error))
            found = {"error": mask_passwords(repr(error))}
        if isinstance(found, Later):
            found.then(lambda value: self._reply(request, message, value))
        elif found is not NoReply:
            self._reply(request, message, found)

    def _decline(self, request: _Request, message: Message) -> None:
        """Let a client that knows of it (multi's does) not wait for a process that doesn't answer."""
        if message.headers.get("declines"):
            reason = "stopping" if self._worker.stopping else "starting"
            self._send(request, message, None, {"declined": reason})

    def _reply(self, request: _Request, message: Message, value: Any) -> None:
        if self._speaks:
            self._send(request, message, value, {})

    def _send(self, request: _Request, message: Message, value: Any, more: Mapping[str, Any]) -> None:
        address = request.reply_to
        if address is None:
            return
        if address.exchange != self._replies:
            # whatever lies on another exchange is no mailbox: tasks, say
            self._refuse(f"its reply is to go to {shown(address.exchange)}, and replies go to {self._replies}")
            return
        codec = self._codecs.get(message.content_type or "application/json") or CODECS["json"]
        try:
            body = codec.dumps({self._hostname: value})
        except EncodeError as error:
            logger.error("The reply to %s can't be sent: %s", request.method, error)
            body = codec.dumps({self._hostname: {"error": str(error)}})
        headers = {"ticket": request.ticket, "clock": self._worker.clock.forward(), **more}
        reply = Message(headers, body, codec.content_type, codec.content_encoding, {"delivery_mode": 1})
        self._worker.watch.say(address.exchange, reply, key=address.routing_key, kind="direct")
