"""Django: set up before tasks are imported, its connections closed around them. Active where DJANGO_SETTINGS_MODULE is set.

What happens when is what Celery does:

- before the worker imports its modules: `django.setup()` and the system checks, whose errors end the start;
- `autodiscover_tasks()` looks in the installed apps;
- in each new child, and around each task: connections of databases that are unusable or past their CONN_MAX_AGE are closed, and
  caches are; CELERY_DB_REUSE_MAX in Django's settings is how many tasks may use one in between;
- tasks have `delay_on_commit` and `apply_async_on_commit`.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import signals
from multi.app.frameworks import module
from multi.app.task import Task
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App

VARIABLE = "DJANGO_SETTINGS_MODULE"
#: Set by `--skip-checks`, or by whoever starts the worker, as for Celery's.
SKIP_CHECKS = "CELERY_SKIP_CHECKS"


class DjangoTask(Task):
    """A task that can be sent when Django's transaction commits, and only then. Without a transaction: at once."""

    abstract = True

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """`delay`, when the transaction of the default database commits."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        using: str | None = None,
        **options: Any,
    ) -> None:
        """`apply_async`, when the transaction of the database `using` (default: the default one) commits."""
        from multi.app.frameworks.commits import on_commit

        on_commit(lambda: self.apply_async(args, kwargs, **options), using=using)


def meet(app: App) -> None:
    """Prepare `app` for Django, if that is used here."""
    if not os.environ.get(VARIABLE):
        return
    from importlib.util import find_spec

    if find_spec("django") is None:
        warnings.warn(f"{VARIABLE} is set, and Django is not installed: it is not set up", RuntimeWarning, stacklevel=4)
        return
    Fixup(app)


class Fixup:
    """What an app has of Django."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._since = 0
        self._parents: list[Any] = []
        app.fixups.append(self)
        if app._task_cls is Task:
            app._task_cls = DjangoTask
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)  # where manage.py is
        signals.worker_process_init.connect(self.on_process)
        signals.task_prerun.connect(self.before_task)
        signals.task_postrun.connect(self.after_task)

    def packages(self) -> list[str]:
        """The packages of the installed apps."""
        self.set_up()
        return [config.name for config in module("django.apps").apps.get_app_configs()]

    def set_up(self) -> None:
        """`django.setup()`, which may be called again."""
        module("django").setup()

    def before_imports(self) -> None:
        """Before the worker's modules are imported. Raises `ConfigurationError` for what the system checks find, unless
        they are to be skipped."""
        self.set_up()
        if os.environ.get(SKIP_CHECKS):
            return
        checks = module("django.core.checks")
        errors = [one for one in checks.run_checks() if one.level >= checks.ERROR and not one.is_silenced()]
        if errors:
            raise ConfigurationError("Django's system checks: " + "; ".join(map(str, errors)))

    def on_process(self, **_: Any) -> None:
        """In a new child: what was opened before the fork belongs to its parent."""
        for connection in self._connections():
            if connection.connection is not None:
                # never closed here, nor thrown away: a farewell on the shared socket would end the parent's session
                self._parents.append(connection.connection)
                connection.connection = None
        self._close_caches()

    def before_task(self, sender: Any = None, task: Any = None, **_: Any) -> None:
        """Let go of connections that have become unusable."""
        if task.app is self.app and not task.request.is_eager:
            self._close_databases()

    def after_task(self, sender: Any = None, task: Any = None, **_: Any) -> None:
        """Let go of connections that are past their time, and of caches."""
        if task.app is self.app and not task.request.is_eager:
            self._close_databases()
            self._close_caches()

    def _connections(self) -> list[Any]:
        return list(module("django.db").connections.all(initialized_only=True))

    def _close_databases(self) -> None:
        reuse = getattr(module("django.conf").settings, "CELERY_DB_REUSE_MAX", None)
        if reuse:
            self._since += 1
            if self._since < 2 * reuse:  # it is counted before and after each task
                return
            self._since = 0
        for connection in self._connections():
            connection.close_if_unusable_or_obsolete()

    def _close_caches(self) -> None:
        module("django.core.cache").close_caches()
