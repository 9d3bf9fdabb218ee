"""The event that a task was sent, told by who has sent it (`task_send_sent_event`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.events.event import MANY, Event, routing_key, utcoffset
from multi.errors import MultiError
from multi.log import get_logger

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.outcome import Publication
    from multi.topology import Topology

logger = get_logger("multi.events")

TYPE = "task-sent"
#: So many travel in one message.
TOGETHER = 100


def tell_sent(app: App, publications: Iterable[Publication]) -> None:
    """Tell that these messages are with the broker. What can't be told doesn't matter to what was sent."""
    origin, offset = identity.origin(), utcoffset()
    try:
        dispatcher = app.events.of_process()
        events = [
            Event(
                TYPE,
                hostname=origin,
                utcoffset=offset,
                pid=dispatcher.pid,
                clock=app.clock.forward(),
                **_fields(app.topology, publication),
            )
            for publication in publications
            if "id" in publication.message.headers
        ]
        if len(events) == 1:
            dispatcher.tell(events[0], routing_key(TYPE))
        else:
            for start in range(0, len(events), TOGETHER):
                dispatcher.tell(events[start : start + TOGETHER], MANY)
    except MultiError as error:
        logger.debug("That tasks were sent could not be told: %s", error)


def _fields(topology: Topology, publication: Publication) -> dict[str, Any]:
    headers = publication.message.headers
    return {
        "uuid": headers["id"],
        "root_id": headers.get("root_id"),
        "parent_id": headers.get("parent_id"),
        "name": headers.get("task"),
        "args": headers.get("argsrepr"),
        "kwargs": headers.get("kwargsrepr"),
        "retries": headers.get("retries") or 0,
        "eta": headers.get("eta"),
        "expires": headers.get("expires"),
        "queue": _queue(topology, publication),
        "exchange": publication.exchange,
        "routing_key": publication.queue,
    }


def _queue(topology: Topology, publication: Publication) -> str | None:
    """The queue that was named, or that is bound where the message went; what no one queue stands for has none."""
    if not publication.exchange:
        return publication.queue
    for queue in topology.queues.values():
        for bound in queue.all_bindings:
            if bound.exchange.name == publication.exchange and bound.routing_key == publication.queue:
                return queue.name
    return None
