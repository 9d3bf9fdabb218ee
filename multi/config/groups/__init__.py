"""The rows of the settings table, a file for each group; the sections are those of docs/settings.md, in that order."""

from __future__ import annotations

from multi.config.groups import control, foreign, places, scheduler, security, tasks, worker
from multi.config.setting import Setting

SECTIONS: tuple[tuple[str, tuple[Setting, ...]], ...] = (
    ("General", tasks.GENERAL),
    ("Tasks", tasks.TASKS),
    ("Routing", tasks.ROUTING),
    ("Broker", places.BROKER),
    ("Results", places.RESULTS),
    ("Worker", worker.WORKER),
    ("Log of the worker", worker.LOG),
    ("multi's own", (*worker.OWN, *scheduler.OWN)),
    ("Security", security.SECURITY),
    ("Events and remote control", control.CONTROL),
    ("Scheduler", scheduler.BEAT),
    ("Result backends that multi doesn't have", foreign.FOREIGN),
)
