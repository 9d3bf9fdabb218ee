"""Every setting that Celery knows, and multi's own: type, default, and what becomes of it here.

A setting is acted upon, or accepted with a note that says why it has no meaning here; what Celery itself has removed is
refused with what has replaced it (`multi.config.removed`). The rows are in `multi.config.groups`.
"""

from __future__ import annotations

from multi.config.groups import SECTIONS
from multi.config.setting import ACTED, NOTED, Setting

__all__ = ["ACTED", "NOTED", "TABLE", "Setting", "old_name", "upper_names"]

TABLE: dict[str, Setting] = {row.name: row for _, rows in SECTIONS for row in rows}

#: Old names that don't follow from the new ones by their group's rule (`old_name`).
_ODD = {
    "beat_": "CELERYBEAT_",
    "worker_": "CELERYD_",
    "task_": "CELERY_",
    "broker_": "BROKER_",
}
#: Groups that came when names were lower-case already: the old form is the same in capitals.
_BARE = ("azureblockblob_", "cassandra_", "control_", "cosmosdbsql_", "gcs_", "s3_")
_ODD_NAMES = {
    "enable_utc": "ENABLE_UTC",
    "result_accept_content": "RESULT_ACCEPT_CONTENT",
    "database_create_tables_at_setup": "DATABASE_CREATE_TABLES_AT_SETUP",
    "database_engine_callback": "DATABASE_ENGINE_CALLBACK",
    "database_table_schemas": "DATABASE_TABLE_SCHEMAS",
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
    if name.startswith(_BARE):
        return name.upper()
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
