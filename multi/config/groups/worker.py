"""Settings of the worker, of its log, and those that only multi has."""

from __future__ import annotations

from multi.config.setting import acted, noted

WORKER = (
    acted("worker_concurrency", "int", None, "how many tasks run at once; unset: the number of processors"),
    acted("worker_pool", "str", "prefork", "prefork, threads, asyncio or solo"),
    acted("worker_max_tasks_per_child", "int", None, "a child is replaced after so many tasks"),
    acted("worker_max_memory_per_child", "int", None, "a child is replaced when it takes so many KiB"),
    acted("worker_disable_rate_limits", "bool", False, "rate limits aren't applied"),
    acted("worker_soft_shutdown_timeout", "seconds", 0.0, "a cold shutdown (QUIT) lets tasks run on for so long first"),
    acted(
        "worker_deduplicate_successful_tasks",
        "bool",
        False,
        "a late task that is delivered again isn't run if the backend has its success",
    ),
    *noted(
        "an idle worker has nothing to wait for: tasks that are not due yet are the broker's",
        ("worker_enable_soft_shutdown_on_idle", "bool", False),
    ),
    *noted(
        "a run whose claim was lost with the connection can't settle any more, so that no result comes twice; it isn't ended",
        ("worker_cancel_long_running_tasks_on_connection_loss", "bool", False),
    ),
    *noted(
        "a worker fetches as it has room: its batches adapt to how long the tasks take",
        ("worker_prefetch_multiplier", "int", 4),
        ("worker_disable_prefetch", "bool", False),
        ("worker_enable_prefetch_count_reduction", "bool", True),
    ),
    *noted("tasks that are not due yet wait in the broker, in any number", ("worker_eta_task_limit", "int", None)),
    acted(
        "worker_autoscaler",
        "str",
        "celery.worker.autoscale:Autoscaler",
        "what --autoscale goes by: multi's own, or the path of a class that is made of multi.worker.autoscale:Autoscaler",
    ),
    *noted(
        "the parts of a worker can't be replaced by classes of a project's own",
        ("worker_consumer", "str", "celery.worker.consumer:Consumer"),
        ("worker_agent", "str", None),
        ("worker_timer", "str", None),
    ),
    *noted("timers are exact", ("worker_timer_precision", "seconds", 1.0)),
    *noted("no task is ever handed to a child that isn't free", ("worker_pool_putlocks", "bool", True)),
    *noted(
        "children are forked from the loaded app, whose memory is frozen before",
        ("worker_pool_start_method", "str", "fork"),
    ),
    *noted(
        "a child says that it is ready; one that dies is noticed at once, and its tasks are settled by the worker",
        ("worker_proc_alive_timeout", "seconds", 4.0),
        ("worker_lost_wait", "seconds", 10.0),
    ),
    *noted("a queue is used as what it is, quorum or classic", ("worker_detect_quorum_queues", "bool", True)),
)

_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] "

LOG = (
    acted("worker_hijack_root_logger", "bool", True, "the worker sets up the root logger; False leaves it as it is"),
    acted("worker_log_format", "str", _FORMAT + "%(message)s", "the form of its lines"),
    acted("worker_log_datefmt", "str", None, "the form of their times, as strftime has it"),
    acted(
        "worker_task_log_format",
        "str",
        _FORMAT + "%(task_name)s[%(task_id)s]: %(message)s",
        "the form of what tasks log with get_task_logger",
    ),
    acted("worker_task_log_datefmt", "str", None, "the form of their times"),
    acted("worker_log_color", "bool", None, "colours; unset: on a terminal"),
    acted("worker_redirect_stdouts", "bool", True, "what tasks print goes to the log"),
    acted("worker_redirect_stdouts_level", "str", "WARNING", "at this level"),
)

OWN = (
    acted("worker_lease", "seconds", 30.0, "a dead worker's tasks return after so long"),
    acted(
        "max_deliveries", "int", 3, "a task that was begun so often without an end goes to the dead letters; 0: never"
    ),
    acted(
        "drain_timeout", "seconds", None, "so long a warm shutdown waits for running tasks; unset: as long as it takes"
    ),
    acted(
        "delayed_delivery",
        "str",
        "worker",
        "where tasks with an ETA are sent: 'worker': to their queue (Celery's workers understand that), "
        "'broker': straight to where they wait",
    ),
)
