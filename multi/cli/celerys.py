"""An app of Celery's own stands for its workers, queues and results: its settings say where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.app import App

#: What an app says of its broker, its queues, remote control and results.
_SETTINGS = (
    *("broker_transport_options", "broker_use_ssl", "control_exchange"),
    *("task_queues", "task_default_queue", "task_default_exchange", "task_default_exchange_type"),
    *("task_default_routing_key", "task_queue_max_priority"),
    *("result_backend", "result_backend_transport_options", "redis_backend_use_ssl"),
)


def stand_in(theirs: Any) -> App:
    """An app of ours with the broker, queues and results of one of Celery's; its tasks stay unknown."""
    from multi.app.app import App

    conf = theirs.conf
    url = conf.broker_read_url or conf.broker_url or theirs.connection_for_read().as_uri(include_password=True)
    app = App("multi", broker=url if isinstance(url, str) else ";".join(url), set_as_current=False)
    for name in _SETTINGS:
        value = conf.get(name)
        if value not in (None, "", {}, False):
            app.conf[name] = value
    return app
