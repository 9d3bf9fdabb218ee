"""Settings of the app, of tasks, and of where they go."""

from __future__ import annotations

from multi.config.setting import acted, noted

GENERAL = (
    acted("imports", "list", (), "modules that a worker imports at its start"),
    acted("include", "list", (), "the same, after `imports`; also the argument `include` of `App`"),
    acted("accept_content", "list", ("json",), "the serializers that a worker takes messages in, by name or MIME type"),
    acted("timezone", "zone", None, "the zone of naive times in messages of protocol 1 and of crontabs; UTC if unset"),
    acted(
        "enable_utc", "bool", True, "False: without `timezone`, the machine's own zone; times travel in UTC in any case"
    ),
)

TASKS = (
    acted(
        "task_serializer", "str", "json", "how arguments are written: json, pickle, yaml, msgpack or one of your own"
    ),
    acted("task_compression", "str", None, "how messages are compressed: zlib, gzip, bzip2, lzma, brotli, zstd"),
    acted("task_protocol", "int", 2, "the form of messages; 2 is the only one that is sent, 1 is understood too"),
    acted(
        "task_acks_late", "bool", None, "unset or True: acknowledged after the outcome is stored; False: before the run"
    ),
    acted(
        "task_acks_on_failure_or_timeout", "bool", True, "whether late tasks that fail or take too long are done with"
    ),
    acted("task_acks_on_failure", "bool", None, "the same for failures alone"),
    acted("task_acks_on_timeout", "bool", None, "the same for time limits alone"),
    acted(
        "task_reject_on_worker_lost", "bool", None, "False: a late task whose process dies has failed; else it returns"
    ),
    acted("task_always_eager", "bool", False, "run tasks at the call, in the calling process; for tests"),
    acted("task_eager_propagates", "bool", False, "eager tasks raise their exceptions"),
    acted("task_store_eager_result", "bool", False, "eager tasks store their results"),
    acted("task_ignore_result", "bool", False, "no results are stored, unless a task says so"),
    acted("task_store_errors_even_if_ignored", "bool", False, "failures are stored even so"),
    acted("task_track_started", "bool", False, "the state STARTED is stored when a task begins"),
    acted("task_time_limit", "seconds", None, "after so long the process of a task is killed, and the task has failed"),
    acted("task_soft_time_limit", "seconds", None, "after so long SoftTimeLimitExceeded is raised in the task"),
    acted("task_default_rate_limit", "any", None, "the rate limit of tasks that have none of their own, as in '10/m'"),
    acted(
        "task_annotations", "any", None, "attributes that are changed in tasks of other people: {'*': {…}, 'name': {…}}"
    ),
    acted("task_publish_retry", "bool", True, "a message that the broker didn't take is sent again"),
    acted(
        "task_publish_retry_policy",
        "dict",
        {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
        "how often, and after which pauses",
    ),
    acted("task_repr_maxlevels", "int", 3, "how deep arguments are shown in logs and on status pages"),
    acted("task_default_priority", "int", None, "the priority of tasks that have none: 0 to 9, 9 is served first"),
    acted("task_inherit_parent_priority", "bool", False, "a task sent by a task gets its priority"),
    acted(
        "task_allow_error_cb_on_chord_header", "bool", False, "the error callback of a chord hangs on its parts, too"
    ),
    *noted(
        "a message whose worker dies always returns here, and is set aside after max_deliveries",
        ("task_retry_on_worker_lost", "bool", False, True),
    ),
    *noted(
        "the traceback of the worker is the text `result.traceback`; it isn't joined to the exception that get() raises",
        ("task_remote_tracebacks", "bool", False),
    ),
)

ROUTING = (
    acted("task_routes", "any", None, "where tasks go: a table, a function, or a list of them"),
    acted("task_queues", "any", None, "the queues that there are, and how they are bound; a worker consumes from all"),
    acted("task_default_queue", "str", "celery", "where tasks go that nothing is said of"),
    acted("task_default_queue_type", "str", "classic", "'quorum' declares the default queue as one (RabbitMQ)"),
    acted(
        "task_default_exchange", "str", None, "the exchange of queues that name none; the default queue's name if unset"
    ),
    acted("task_default_exchange_type", "str", "direct", "its type: direct, topic or fanout"),
    acted(
        "task_default_routing_key", "str", None, "the key of queues that name none; the default queue's name if unset"
    ),
    acted("task_default_delivery_mode", "any", 2, "2 or 'persistent', 1 or 'transient' (RabbitMQ)"),
    acted("task_create_missing_queues", "bool", True, "False: a queue that isn't in task_queues is an error"),
    acted("task_create_missing_queue_type", "str", "classic", "'quorum' declares missing queues as such (RabbitMQ)"),
    acted("task_create_missing_queue_exchange_type", "str", None, "the type of their exchanges"),
    acted("task_queue_max_priority", "int", None, "x-max-priority of queues that have none of their own (RabbitMQ)"),
    acted("worker_direct", "bool", False, "every worker has a queue of its own, <node>.dq2; see multi.worker_direct"),
)
