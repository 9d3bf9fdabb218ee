"""Settings of the scheduler."""

from __future__ import annotations

from multi.config.setting import acted, noted

BEAT = (
    acted("beat_schedule", "dict", {}, "the entries of the schedule by name: task, schedule, args, kwargs, options, …"),
    acted(
        "beat_cron_starting_deadline", "int", None, "a crontab's run that is later (s) than this is not sent any more"
    ),
    acted(
        "beat_max_loop_interval", "seconds", 0, "the scheduler looks at the clock at least so often; 0: every second"
    ),
    acted(
        "beat_schedule_filename",
        "str",
        "celerybeat-schedule",
        "the file of Celery's beat, whose last runs are taken over once",
    ),
    acted(
        "beat_scheduler",
        "str",
        "celery.beat:PersistentScheduler",
        "another program's scheduler (django-celery-beat, RedBeat) is refused: nobody would send its entries",
    ),
    *noted("every run is written down when it is sent", ("beat_sync_every", "int", 0)),
    *noted(
        "schedulers need no remote control: `multi schedule` and app.schedule change what they do",
        ("beat_enable_remote_control", "bool", False),
        ("beat_remote_control_max_tick_age", "seconds", None),
    ),
)

OWN = (
    acted(
        "beat_missed_after", "seconds", 60, "a run that is later than this was missed: what missed= of its entry is for"
    ),
    acted(
        "beat_schedule_name",
        "str",
        None,
        "of the schedule in the broker; unset: the app's name. Schedulers of one name share it",
    ),
)
