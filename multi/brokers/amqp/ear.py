"""What is sent to all on a fanout exchange, as kombu's pidbox declares it: heard on a queue of the connection's own."""

from __future__ import annotations

from collections.abc import Callable

from multi.connections.amqp import Lost, Session, Steps, spec
from multi.connections.amqp.content import message
from multi.connections.amqp.session import Arrival
from multi.connections.amqp.talk import declare
from multi.message import Message
from multi.talk import FANOUT, MOST_WAITING

#: What nobody has fetched is dropped after so many milliseconds.
_TTL = 300_000


class Ear:
    """One exchange, and who is told of what comes on it. What is sent while there is no connection isn't heard."""

    def __init__(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        self.exchange = exchange
        self.queue = queue
        self.heard = heard

    def open(self, session: Session, done: Callable[[str], None]) -> None:
        """Hear over a new connection; `done` is told "" or why it can't."""

        def ended(_: None, failure: Lost | None) -> None:
            done("" if failure is None else str(failure))

        session.run(self._steps(session), ended)

    def _steps(self, session: Session) -> Steps[None]:
        yield from declare(session, self.exchange, FANOUT)
        channel = session.channel()
        # exclusive: it ends with the connection, whatever becomes of us
        kind = (0, self.queue, False, False, True, True, False)
        yield channel.request(
            spec.Queue.Declare, "BsbbbbbF", (*kind, {"x-message-ttl": _TTL, "x-max-length": MOST_WAITING})
        )
        yield channel.request(spec.Queue.Bind, "BsssbF", (0, self.queue, self.exchange, "", False, {}))
        channel.on_deliver = self._arrived
        yield channel.request(spec.Basic.Consume, "BssbbbbF", (0, self.queue, "", False, True, False, False, {}))

    def _arrived(self, arrival: Arrival) -> None:
        if not arrival.fault:
            self.heard(message(arrival.properties, arrival.body))
