"""The log of a worker: set up as options and settings say, or left to the project, which signals tell of it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from multi import log, signals

if TYPE_CHECKING:
    from multi.worker.options import WorkerOptions


def set_up(conf: Any, options: WorkerOptions) -> None:
    """Have everything that is logged from here on go where it is to go. Raises `OSError` for a file that can't be opened."""
    log.setup(
        options.loglevel,
        options.logfile,
        color=options.color,
        format=log.JSON if os.environ.get("MULTI_LOG_FORMAT") == "json" else conf.worker_log_format,
        task_format=conf.worker_task_log_format,
        times=conf.worker_log_datefmt,
        task_times=conf.worker_task_log_datefmt,
        hijack=conf.worker_hijack_root_logger,
    )


def announce(conf: Any, options: WorkerOptions) -> None:
    """Tell the project, now that it is imported, of its log: a receiver of `setup_logging` has it to itself."""
    told = {
        "loglevel": options.loglevel,
        "logfile": options.logfile,
        "format": conf.worker_log_format,
        "colorize": options.color,
    }
    if signals.setup_logging.receivers:
        log.give_up()
        signals.setup_logging.send(None, **told)
        return
    signals.after_setup_logger.send(None, logger=logging.getLogger(), **told)
    told["format"] = conf.worker_task_log_format
    signals.after_setup_task_logger.send(None, logger=logging.getLogger(log.TASKS), **told)
