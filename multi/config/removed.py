"""Settings that Celery itself has removed, and what has taken their place; setting one is an error that says so."""

from __future__ import annotations

_MAIL = "workers send no mail: log handlers do, or a task's on_failure"
_EXECV = "children are forked from the loaded app (the pool 'prefork')"
_LOG = "the options --loglevel and --logfile of the worker"
_AMQP = "the backend that kept results in queues is gone: result_backend = 'rpc://', and result_expires"
_RIAK = "there is no Riak backend any more: result_backend = 'redis://…'"
_MONITOR = "celerymon is gone: `multi status`, `multi top`, or Flower"
_BROADCAST = "control_exchange"

#: Old name -> what to do instead.
REMOVED: dict[str, str] = {
    "CELERY_SEND_TASK_ERROR_EMAILS": _MAIL,
    "CELERY_TASK_ERROR_WHITELIST": _MAIL,
    "ADMINS": _MAIL,
    "SERVER_EMAIL": _MAIL,
    "EMAIL_HOST": _MAIL,
    "EMAIL_HOST_USER": _MAIL,
    "EMAIL_HOST_PASSWORD": _MAIL,
    "EMAIL_PORT": _MAIL,
    "EMAIL_USE_SSL": _MAIL,
    "EMAIL_USE_TLS": _MAIL,
    "EMAIL_TIMEOUT": _MAIL,
    "EMAIL_CHARSET": _MAIL,
    "CELERYD_FORCE_EXECV": _EXECV,
    "CELERY_FORCE_EXECV": _EXECV,
    "CELERYD_LOG_LEVEL": _LOG,
    "CELERYD_LOG_FILE": _LOG,
    "CELERYBEAT_LOG_LEVEL": _LOG,
    "CELERYBEAT_LOG_FILE": _LOG,
    "CELERYMON_LOG_FILE": _MONITOR,
    "CELERYMON_LOG_LEVEL": _MONITOR,
    "CELERYMON_LOG_FORMAT": _MONITOR,
    "CELERY_BROADCAST_QUEUE": _BROADCAST,
    "CELERY_BROADCAST_EXCHANGE": _BROADCAST,
    "CELERY_BROADCAST_EXCHANGE_TYPE": _BROADCAST,
    "CELERY_AMQP_TASK_RESULT_EXPIRES": _AMQP,
    "CELERY_AMQP_TASK_RESULT_CONNECTION_MAX": _AMQP,
    "CELERY_RIAK_BACKEND_SETTINGS": _RIAK,
    "RIAK_BACKEND_SETTINGS": _RIAK,
    "CELERYD_AUTORELOADER": "`multi reload`, or `multi start --watch`",
    "CELERYD_BOOT_STEPS": "nothing: the parts of a worker can't be replaced",
    "CELERYD_ETA_SCHEDULER": "nothing: tasks that are not due yet wait in the broker",
    "CELERYD_ETA_SCHEDULER_PRECISION": "nothing: timers are exact",
    "CELERYD_MEDIATOR": "nothing: there is no such part any more",
    "CELERY_CHORD_PROPAGATES": "nothing: a chord whose part fails has failed",
    "BROKER_INSIST": "nothing: RabbitMQ no longer redirects connections",
    "CASSANDRA_COLUMN_FAMILY": "cassandra_table",
    "CASSANDRA_DETAILED_MODE": "result_extended",
}

#: Names that a project may have for itself (Django does), so that only `multi check --migration` speaks of them.
OTHERS_TOO = frozenset(name for name in REMOVED if not name.startswith(("CELERY", "BROKER_", "CASSANDRA_", "RIAK_")))


def why(key: str) -> str:
    """What to say to whoever sets `key`; "" for what was not removed."""
    found = REMOVED.get(key)
    if found is None:
        return ""
    return f"Celery has removed the setting {key} and does nothing with it; in its place: {found}"
