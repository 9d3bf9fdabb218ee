"""What Celery's app, task and remote control have and ours don't: asking for it is an error that says what to use instead.

It is an `AttributeError` like that of any other name, so `hasattr` and `getattr` with a default tell as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from multi.errors import Lacking

_BEAT = (
    "`multi beat` runs the schedulers, `multi worker -B` one inside a worker, and app.schedule changes what they send"
)
_CONNECTIONS = (
    "the app holds its connections itself, as app.broker; kombu.Connection(app.conf.broker_url) is one of your own"
)
_PARTS = "the parts of a worker can't be replaced; use multi.signals, middleware, or a task's own handlers"
_COMMAND = "the command line is `multi`; app.worker_main([...]) runs a worker, and `-P solo` one in this process"
_QUEUES = "queues are named by the settings task_queues and task_routes; app.topology holds them"

#: Name -> what to use instead. `multi check --migration` names those that a project uses.
APP: dict[str, str] = {
    "Beat": _BEAT,
    **dict.fromkeys(
        ("steps", "events_cls", "registry_cls", "backend_cls", "control_cls", "log_cls", "loader_cls", "amqp_cls"),
        _PARTS,
    ),
    "user_options": "options of a project's own aren't there; give the worker an environment variable",
    **dict.fromkeys(("Worker", "WorkController", "config_from_cmdline"), _COMMAND),
    **dict.fromkeys(
        (
            *("pool", "producer_pool", "producer_or_acquire", "default_producer"),
            *("connection_or_acquire", "default_connection"),
        ),
        _CONNECTIONS,
    ),
    **dict.fromkeys(("amqp", "select_queues"), _QUEUES),
    "loader": "modules are named by `include`, `imports` and app.autodiscover_tasks",
    "log": "logging is set up by the settings worker_*_log_format, and by the signal setup_logging",
    "annotations": "what the setting task_annotations says is in each task; app.conf.task_annotations is its text",
    **dict.fromkeys(("create_task_cls", "subclass_with_self"), "make a class with app.Task as its base"),
    "prepare_config": "the signal app.on_configure comes before the settings are read, app.on_after_configure after that",
}
#: Of what `app.connection()` gives.
OF_CONNECTIONS: dict[str, str] = dict.fromkeys(
    (
        *("channel", "default_channel", "Producer", "Consumer", "SimpleQueue", "SimpleBuffer", "drain_events", "clone"),
        *("transport", "Pool", "ChannelPool", "ensure", "autoretry", "info", "connection", "heartbeat_check"),
    ),
    _CONNECTIONS,
)
TASK: dict[str, str] = {
    "add_around": "use a base class with a __call__ of its own, or middleware",
    "from_config": "an attribute that is None has the value of its setting",
    "request_stack": "push_request and pop_request set the request, for tests of a task's body",
    "start_strategy": _PARTS,
}
CONTROL: dict[str, str] = {
    "Mailbox": "requests travel over the app's own broker; app.control.broadcast(…, reply=True) sends one and takes replies",
}


class Lacks:
    """A base that tells of what is lacking; a class says what in `_lacking`, and how it is called in `_called`."""

    __slots__ = ()
    _lacking: ClassVar[Mapping[str, str]] = {}
    _called: ClassVar[str] = ""

    if not TYPE_CHECKING:  # type checkers shall find that it isn't there

        def __getattr__(self, name: str) -> object:
            instead = self._lacking.get(name)
            if instead is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            raise Lacking(f"{self._called}.{name} isn't here: {instead}")
