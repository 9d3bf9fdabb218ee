"""Settings of the scheduler."""

from __future__ import annotations

from multi.config.setting import noted

BEAT = noted(
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
