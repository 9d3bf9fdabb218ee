"""Every setting that Celery's documentation names, and multi's own: type, default, and what becomes of it here.

The standing of a setting is one of

- acted: it does what its name says;
- noted: accepted, because this worker has no need of it or it speaks to another program (beat, monitors); the worker
  says so in one line at its start;
- refused: not acted upon yet; setting it to anything but its default is an error, so that nobody relies on it.
"""

from __future__ import annotations

from typing import Any

import msgspec

ACTED = "acted"
NOTED = "noted"
REFUSED = "refused"


class Setting(msgspec.Struct, frozen=True):
    """One setting. `kind` is the type of its values: bool, int, seconds, number, str, list, dict, zone, any."""

    name: str
    kind: str
    default: Any
    standing: str
    note: str = ""
    same: tuple[Any, ...] = ()
    """Other values that mean what happens here anyway: neither noted nor refused."""

    @property
    def usual(self) -> tuple[Any, ...]:
        return (self.default, *self.same)


TABLE: dict[str, Setting] = {}


def _add(standing: str, note: str, *rows: tuple[Any, ...]) -> None:
    for name, kind, default, *same in rows:
        TABLE[name] = Setting(name, kind, default, standing, note, tuple(same))


_add(
    ACTED,
    "",
    ("accept_content", "list", ("json",)),
    ("result_accept_content", "list", None),
    ("imports", "list", ()),
    ("include", "list", ()),
    ("broker_url", "str", None),
    ("broker_read_url", "str", None),
    ("broker_write_url", "str", None),
    ("broker_transport_options", "dict", {}),
    ("broker_connection_timeout", "seconds", 4),
    ("broker_heartbeat", "int", 120),
    ("broker_use_ssl", "any", False),
    ("result_backend", "str", None),
    ("result_backend_transport_options", "dict", {}),
    ("result_expires", "seconds", 86400),
    ("result_chord_expires", "seconds", None),
    ("result_chord_retry_interval", "seconds", 1.0),
    ("result_serializer", "str", "json"),
    ("result_extended", "bool", False),
    ("result_persistent", "bool", None),
    ("redis_socket_timeout", "seconds", 120),
    ("redis_socket_connect_timeout", "seconds", None),
    ("redis_backend_use_ssl", "any", None),
    ("task_serializer", "str", "json"),
    ("task_compression", "str", None),
    ("task_protocol", "int", 2),
    ("task_acks_late", "bool", None),
    ("task_always_eager", "bool", False),
    ("task_eager_propagates", "bool", False),
    ("task_store_eager_result", "bool", False),
    ("task_ignore_result", "bool", False),
    ("task_store_errors_even_if_ignored", "bool", False),
    ("task_track_started", "bool", False),
    ("task_time_limit", "seconds", None),
    ("task_soft_time_limit", "seconds", None),
    ("task_publish_retry", "bool", True),
    (
        "task_publish_retry_policy",
        "dict",
        {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 1},
    ),
    ("task_default_queue", "str", "celery"),
    ("task_default_queue_type", "str", "classic"),
    ("task_default_exchange", "str", None),
    ("task_default_exchange_type", "str", "direct"),
    ("task_default_routing_key", "str", None),
    ("task_default_delivery_mode", "any", 2),
    ("task_queues", "any", None),
    ("task_queue_max_priority", "int", None),
    ("task_routes", "any", None),
    ("task_create_missing_queues", "bool", True),
    ("task_create_missing_queue_type", "str", "classic"),
    ("task_create_missing_queue_exchange_type", "str", None),
    ("task_allow_error_cb_on_chord_header", "bool", False),
    ("task_default_priority", "int", None),
    ("task_inherit_parent_priority", "bool", False),
    ("task_repr_maxlevels", "int", 3),
    ("task_acks_on_failure_or_timeout", "bool", True),
    ("task_acks_on_failure", "bool", None),
    ("task_acks_on_timeout", "bool", None),
    ("task_annotations", "any", None),
    ("task_default_rate_limit", "any", None),
    ("task_reject_on_worker_lost", "bool", None),
    ("worker_disable_rate_limits", "bool", False),
    ("timezone", "zone", None),
    ("worker_concurrency", "int", None),
    ("worker_direct", "bool", False),
    ("worker_pool", "str", "prefork"),
    ("worker_max_tasks_per_child", "int", None),
    ("worker_max_memory_per_child", "int", None),
    ("worker_redirect_stdouts", "bool", True),
    ("worker_redirect_stdouts_level", "str", "WARNING"),
    ("worker_log_color", "bool", None),
    ("worker_hijack_root_logger", "bool", True),
    ("worker_log_datefmt", "str", None),
    ("worker_log_format", "str", "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"),
    ("worker_task_log_datefmt", "str", None),
    (
        "worker_task_log_format",
        "str",
        "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s",
    ),
)

# multi's own
_add(
    ACTED,
    "",
    ("worker_lease", "seconds", 30.0),
    ("max_deliveries", "int", 3),
    ("delayed_delivery", "str", "worker"),
    ("drain_timeout", "seconds", None),
)

_add(
    NOTED,
    "this worker fetches as it has room: its batches adapt to how long the tasks take",
    ("worker_prefetch_multiplier", "int", 4),
    ("worker_disable_prefetch", "bool", False),
    ("worker_enable_prefetch_count_reduction", "bool", True),
    ("worker_eta_task_limit", "int", None),
)
_add(
    NOTED,
    "the part that completes a chord is given all results at once, so there is nothing to wait for",
    ("result_chord_join_timeout", "seconds", 3.0),
)
_add(
    NOTED,
    "this worker is built in another way and has no use for it",
    ("worker_consumer", "str", "celery.worker.consumer:Consumer"),
    ("worker_agent", "str", None),
    ("worker_timer", "str", None),
    ("worker_timer_precision", "seconds", 1.0),
    ("worker_pool_putlocks", "bool", True),
    ("worker_pool_start_method", "str", "fork"),
    ("worker_proc_alive_timeout", "seconds", 4.0),
    ("worker_lost_wait", "seconds", 10.0),
    ("worker_detect_quorum_queues", "bool", True),
    ("broker_pool_limit", "int", 10),
    ("broker_pool_acquire_timeout", "seconds", None),
    ("broker_heartbeat_checkrate", "number", 3.0),
    ("broker_channel_error_retry", "bool", False),
    ("broker_failover_strategy", "any", None),
    ("redis_max_connections", "int", None),
    ("redis_retry_on_timeout", "bool", False),
    ("redis_socket_keepalive", "bool", False),
    ("result_cache_max", "int", -1),
    ("result_backend_always_retry", "bool", False),
    ("result_backend_max_retries", "number", float("inf")),
    ("result_backend_base_sleep_between_retries_ms", "int", 10),
    ("result_backend_max_sleep_between_retries_ms", "int", 10000),
    ("result_exchange", "str", "celeryresults"),
    ("result_exchange_type", "str", "direct"),
    ("enable_utc", "bool", True),
)
_add(
    NOTED,
    "read by the scheduler: keep `celery beat` running for it, its tasks are run here",
    ("beat_schedule", "dict", {}),
    ("beat_scheduler", "str", "celery.beat:PersistentScheduler"),
    ("beat_schedule_filename", "str", "celerybeat-schedule"),
    ("beat_sync_every", "int", 0),
    ("beat_max_loop_interval", "seconds", 0),
    ("beat_cron_starting_deadline", "int", None),
    ("beat_enable_remote_control", "bool", False),
    ("beat_remote_control_max_tick_age", "seconds", None),
)
_add(
    NOTED,
    "this worker sends no events and answers no remote control yet; `multi status` shows what it does",
    ("worker_send_task_events", "bool", False),
    ("task_send_sent_event", "bool", False),
    ("worker_enable_remote_control", "bool", True),
    ("event_queue_expires", "seconds", 60.0),
    ("event_queue_ttl", "seconds", 5.0),
    ("event_queue_prefix", "str", "celeryev"),
    ("event_queue_exclusive", "bool", True),
    ("event_queue_durable", "bool", False),
    ("event_serializer", "str", "json"),
    ("event_exchange", "str", "celeryev"),
    ("control_queue_ttl", "seconds", 300.0),
    ("control_queue_expires", "seconds", 10.0),
    ("control_queue_exclusive", "bool", True),
    ("control_queue_durable", "bool", False),
    ("control_exchange", "str", "celery"),
)
_add(
    NOTED,
    "its backend is not among those of multi, so nothing reads it",
    ("cache_backend", "str", None),
    ("cache_backend_options", "dict", {}),
    ("cassandra_entry_ttl", "seconds", None),
    ("cassandra_keyspace", "str", None),
    ("cassandra_port", "int", None),
    ("cassandra_read_consistency", "str", None),
    ("cassandra_servers", "list", None),
    ("cassandra_bundle_path", "str", None),
    ("cassandra_table", "str", None),
    ("cassandra_write_consistency", "str", None),
    ("cassandra_auth_provider", "str", None),
    ("cassandra_auth_kwargs", "any", None),
    ("cassandra_options", "dict", {}),
    ("s3_access_key_id", "str", None),
    ("s3_secret_access_key", "str", None),
    ("s3_bucket", "str", None),
    ("s3_base_path", "str", None),
    ("s3_endpoint_url", "str", None),
    ("s3_region", "str", None),
    ("azureblockblob_container_name", "str", "celery"),
    ("azureblockblob_retry_initial_backoff_sec", "int", 2),
    ("azureblockblob_retry_increment_base", "int", 2),
    ("azureblockblob_retry_max_attempts", "int", 3),
    ("azureblockblob_base_path", "str", ""),
    ("azureblockblob_connection_timeout", "seconds", 20),
    ("azureblockblob_read_timeout", "seconds", 120),
    ("gcs_bucket", "str", None),
    ("gcs_project", "str", None),
    ("gcs_base_path", "str", ""),
    ("gcs_ttl", "seconds", 0),
    ("couchbase_backend_settings", "dict", None),
    ("arangodb_backend_settings", "dict", None),
    ("mongodb_backend_settings", "dict", None),
    ("cosmosdbsql_database_name", "str", "celerydb"),
    ("cosmosdbsql_collection_name", "str", "celerycol"),
    ("cosmosdbsql_consistency_level", "str", "Session"),
    ("cosmosdbsql_max_retry_attempts", "int", 9),
    ("cosmosdbsql_max_retry_wait_time", "int", 30),
    ("elasticsearch_retry_on_timeout", "bool", None),
    ("elasticsearch_max_retries", "int", None),
    ("elasticsearch_timeout", "seconds", None),
    ("elasticsearch_save_meta_as_text", "bool", True),
    ("database_url", "str", None),
    ("database_engine_options", "dict", {}),
    ("database_engine_callback", "any", None),
    ("database_short_lived_sessions", "bool", False),
    ("database_table_schemas", "dict", None),
    ("database_table_names", "dict", None),
    ("database_create_tables_at_setup", "bool", True),
    ("redis_db", "int", None),
    ("redis_host", "str", None),
    ("redis_username", "str", None),
    ("redis_password", "str", None),
    ("redis_port", "int", None),
)

_add(
    REFUSED,
    "a worker waits for its broker, at its start and later, and goes on when it is there",
    ("broker_connection_retry", "bool", True),
    ("broker_connection_retry_on_startup", "bool", None, True),
)
_add(
    NOTED,
    "a worker waits for its broker as long as it takes",
    ("broker_connection_max_retries", "int", 100, None, 0),
)
_add(
    REFUSED,
    "write one broker_url instead, as in redis://user:password@host:port/0",
    ("broker_transport", "str", None),
    ("broker_host", "str", None),
    ("broker_port", "int", None),
    ("broker_user", "str", None),
    ("broker_password", "str", None),
    ("broker_vhost", "str", None),
)
_add(
    REFUSED,
    "",
    ("broker_login_method", "str", None),
    ("broker_native_delayed_delivery_queue_type", "str", "quorum"),
    ("result_compression", "str", None),
    ("result_failure_expires", "seconds", None),
    ("security_certificate", "str", None),
    ("security_cert_store", "str", None),
    ("security_key", "str", None),
    ("security_key_password", "any", None),
    ("security_digest", "str", "sha256"),
    ("task_remote_tracebacks", "bool", False),
    ("worker_autoscaler", "str", "celery.worker.autoscale:Autoscaler"),
    ("worker_cancel_long_running_tasks_on_connection_loss", "bool", False),
    ("worker_soft_shutdown_timeout", "seconds", 0.0),
    ("worker_enable_soft_shutdown_on_idle", "bool", False),
    ("worker_deduplicate_successful_tasks", "bool", False),
    ("worker_pool_restarts", "bool", False),
    ("worker_state_db", "str", None),
)
_add(
    NOTED,
    "a message whose worker dies always returns here, and is set aside after max_deliveries",
    ("task_retry_on_worker_lost", "bool", False, True),
)

#: Old names that don't follow from the new ones by their group's rule (`old_name`).
_ODD = {
    "beat_": "CELERYBEAT_",
    "worker_": "CELERYD_",
    "task_": "CELERY_",
    "broker_": "BROKER_",
}
_ODD_NAMES = {
    "result_cache_max": "CELERY_MAX_CACHED_RESULTS",
    "result_expires": "CELERY_TASK_RESULT_EXPIRES",
    "database_url": "CELERY_RESULT_DBURI",
    "database_engine_options": "CELERY_RESULT_ENGINE_OPTIONS",
    "database_short_lived_sessions": "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS",
    "database_table_names": "CELERY_RESULT_DB_TABLENAMES",
    "task_compression": "CELERY_MESSAGE_COMPRESSION",
    "task_eager_propagates": "CELERY_EAGER_PROPAGATES_EXCEPTIONS",
    "task_protocol": "CELERY_TASK_PROTOCOL",
    "task_publish_retry": "CELERY_TASK_PUBLISH_RETRY",
    "task_publish_retry_policy": "CELERY_TASK_PUBLISH_RETRY_POLICY",
    "task_send_sent_event": "CELERY_SEND_TASK_SENT_EVENT",
    "task_serializer": "CELERY_TASK_SERIALIZER",
    "task_soft_time_limit": "CELERYD_TASK_SOFT_TIME_LIMIT",
    "task_time_limit": "CELERYD_TASK_TIME_LIMIT",
    "worker_direct": "CELERY_WORKER_DIRECT",
    "worker_disable_rate_limits": "CELERY_DISABLE_RATE_LIMITS",
    "worker_enable_remote_control": "CELERY_ENABLE_REMOTE_CONTROL",
    "worker_lost_wait": "CELERYD_WORKER_LOST_WAIT",
    "worker_redirect_stdouts": "CELERY_REDIRECT_STDOUTS",
    "worker_redirect_stdouts_level": "CELERY_REDIRECT_STDOUTS_LEVEL",
    "worker_send_task_events": "CELERY_SEND_EVENTS",
    "broker_connection_retry": "BROKER_CONNECTION_RETRY",
}


def old_name(name: str) -> str:
    """The upper-case name that a setting had before Celery 4."""
    if name in _ODD_NAMES:
        return _ODD_NAMES[name]
    for group, prefix in _ODD.items():
        if name.startswith(group):
            return prefix + name[len(group) :].upper()
    return "CELERY_" + name.upper()


def upper_names() -> dict[str, str]:
    """Upper-case name -> setting: the old name, and CELERY_<NAME>, which Celery knows with a namespace only.

    Celery reads `CELERY_BROKER_URL` in a configuration object only where it was told `namespace="CELERY"`, and
    otherwise drops it without a word. Nothing else can be meant by it, so here it is understood either way.
    """
    names = {"CELERY_" + name.upper(): name for name in TABLE}
    names.update((old_name(name), name) for name in TABLE)
    return names
