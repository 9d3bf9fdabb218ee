"""Settings of the broker and of results."""

from __future__ import annotations

from multi.config.setting import acted, noted

BROKER = (
    acted(
        "broker_url", "str", None, "where messages are: redis://, amqp://, sqlite:///; unset: a file of the project's"
    ),
    acted("broker_read_url", "str", None, "another one for workers"),
    acted("broker_write_url", "str", None, "another one for senders"),
    acted("broker_transport", "str", None, "with those below an old way to say the URL; amqp if only these are set"),
    acted("broker_host", "str", None, "its host"),
    acted("broker_port", "int", None, "its port"),
    acted("broker_user", "str", None, "its user"),
    acted("broker_password", "str", None, "its password"),
    acted("broker_vhost", "str", None, "its virtual host, or the number of the database"),
    acted("broker_use_ssl", "any", False, "True, or a dictionary of options as the ssl module has them"),
    acted(
        "broker_transport_options",
        "dict",
        {},
        "options of the broker: global_keyprefix, priority_steps, max_priority, …",
    ),
    acted("broker_connection_timeout", "seconds", 4, "how long a connection may take to be made"),
    acted(
        "broker_connection_retry", "bool", True, "False: a worker that loses its broker ends instead of waiting for it"
    ),
    acted(
        "broker_connection_retry_on_startup", "bool", None, "the same at its start; unset: as broker_connection_retry"
    ),
    acted(
        "broker_connection_max_retries", "int", None, "a worker ends after so many failures in a row; 0 or unset: never"
    ),
    acted("broker_heartbeat", "int", 120, "seconds between signs of life (RabbitMQ)"),
    acted("broker_native_delayed_delivery_queue_type", "str", "quorum", "the type of the queues that delay (RabbitMQ)"),
    *noted("RabbitMQ is always spoken to by PLAIN", ("broker_login_method", "str", None, "PLAIN", "AMQPLAIN")),
    *noted(
        "a process has one connection and no pool of them",
        ("broker_pool_limit", "int", 10),
        ("broker_pool_acquire_timeout", "seconds", None),
    ),
    *noted("twice in each interval is looked for signs of life", ("broker_heartbeat_checkrate", "number", 3.0)),
    *noted("a channel that the server closes is always opened again", ("broker_channel_error_retry", "bool", False)),
    *noted("several URLs are tried one after the other, in their order", ("broker_failover_strategy", "any", None)),
)

RESULTS = (
    acted(
        "result_backend", "str", None, "where results are: redis://, rpc://, sqlite:///; unset: nowhere, or that file"
    ),
    acted("result_backend_transport_options", "dict", {}, "options of the backend: global_keyprefix, …"),
    acted("result_expires", "seconds", 86400, "how long results are kept; 0 or None: for ever"),
    acted("result_failure_expires", "seconds", None, "how long failures are kept; unset: as other results"),
    acted("result_chord_expires", "seconds", None, "how long the parts of a chord are kept; unset: as results"),
    acted(
        "result_chord_retry_interval",
        "seconds",
        1.0,
        "how often a chord of Celery's that waits for parts looks for them",
    ),
    acted("result_serializer", "str", "json", "how results are written"),
    acted("result_accept_content", "list", None, "the serializers that results are read in; unset: as accept_content"),
    acted("result_extended", "bool", False, "name, arguments, worker, retries and queue are stored with a result"),
    acted("result_persistent", "bool", None, "messages of rpc:// outlive a restart of RabbitMQ"),
    acted("redis_host", "str", None, "with those below an old way to say the URL of result_backend = 'redis'"),
    acted("redis_port", "int", None, "its port"),
    acted("redis_db", "int", None, "its database"),
    acted("redis_username", "str", None, "its user"),
    acted("redis_password", "str", None, "its password"),
    acted("redis_backend_use_ssl", "any", None, "options of TLS for the backend"),
    acted("redis_socket_timeout", "seconds", 120, "how long the backend may take to answer"),
    acted("redis_socket_connect_timeout", "seconds", None, "how long a connection may take to be made"),
    *noted(
        "a process has one connection to its backend, kept alive, and takes up a lost one by itself",
        ("redis_max_connections", "int", None),
        ("redis_retry_on_timeout", "bool", False),
        ("redis_socket_keepalive", "bool", False),
    ),
    *noted(
        "results are stored as they are; leave it out where Celery's workers write results that are read here, too",
        ("result_compression", "str", None),
    ),
    *noted("results aren't kept in the memory of who has read them", ("result_cache_max", "int", -1)),
    *noted(
        "a worker whose backend is away keeps its outcomes and stores them, unacknowledged until then, when it is back",
        ("result_backend_always_retry", "bool", False),
        ("result_backend_max_retries", "number", float("inf")),
        ("result_backend_base_sleep_between_retries_ms", "int", 10),
        ("result_backend_max_sleep_between_retries_ms", "int", 10000),
    ),
    *noted(
        "results of rpc:// go straight to the queue of who waits for them",
        ("result_exchange", "str", "celeryresults"),
        ("result_exchange_type", "str", "direct"),
    ),
    *noted(
        "the part that completes a chord is given all results at once, so there is nothing to wait for",
        ("result_chord_join_timeout", "seconds", 3.0),
    ),
)
