"""Settings of events, of remote control, and of what workers keep of it."""

from __future__ import annotations

from multi.config.setting import acted, noted

CONTROL = (
    acted(
        "worker_enable_remote_control",
        "bool",
        True,
        "workers hear remote control and answer it; without it they learn at their start what is revoked",
    ),
    acted(
        "control_key",
        "str",
        None,
        "the key by which requests of remote control are signed, or `file:` and the path of the file that holds it; with one a "
        "worker heeds nothing that isn't signed",
    ),
    acted("control_unsigned", "list", (), "the commands that are heeded unsigned all the same, as ping"),
    acted("control_exchange", "str", "celery", "remote control is said on the exchange of this name and `.pidbox`"),
    acted("worker_send_task_events", "bool", False, "workers send events of every task, as with `-E`"),
    acted("task_send_sent_event", "bool", False, "whoever sends a task tells so by an event"),
    acted("event_exchange", "str", "celeryev", "events are said on the exchange of this name"),
    acted("event_serializer", "str", "json", "how events are written"),
    acted("event_queue_expires", "seconds", 60.0, "what waits for a receiver that is gone is dropped after this time"),
    acted("event_queue_ttl", "seconds", 5.0, "an event that a receiver hasn't fetched within this time is dropped"),
    acted(
        "event_queue_prefix", "str", "celeryev", "the queues of receivers are named so, a dot and a name of their own"
    ),
    *noted(
        "the queue of a receiver is its connection's own, and ends with it",
        ("event_queue_exclusive", "bool", True),
        ("event_queue_durable", "bool", False),
    ),
    acted(
        "worker_pool_restarts", "bool", False, "remote control may have a worker import modules and renew its children"
    ),
    *noted(
        "the queue on which a worker hears remote control is its connection's own, and ends with it",
        ("control_queue_ttl", "seconds", 300.0),
        ("control_queue_expires", "seconds", 10.0),
        ("control_queue_exclusive", "bool", True),
        ("control_queue_durable", "bool", False),
    ),
    *noted("a worker keeps nothing in a file of its own", ("worker_state_db", "str", None)),
)
