"""The app: settings, tasks, and the way to broker and backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import environ
from typing import TYPE_CHECKING, Any, Literal, overload

from multi.app import builtins, current
from multi.app.connected import Connected
from multi.app.events.sends import SendsEvents
from multi.app.likeness import Likeness
from multi.app.middleware import Hooked
from multi.app.moments import Moments
from multi.app.periodic import Periodic
from multi.app.publishing import Publisher
from multi.app.records import Recorder
from multi.app.registry import Registry, task_name
from multi.app.request import current_task
from multi.app.result import AsyncResult
from multi.app.sending import Sender
from multi.app.task import Task as BaseTask
from multi.config import TABLE, Settings
from multi.config.settings import refuse_near_miss
from multi.errors import ConfigurationError, UnsupportedOption

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from multi.app.canvas.signatures import Signature
    from multi.app.control import Control
    from multi.app.middleware import Middleware
    from multi.app.resultset import GroupResult, ResultSet
    from multi.app.task import CoroutineTask
    from multi.app.typed import BoundDecorator, Decorator, P, R
    from multi.revoking import RevokedTable
    from multi.topology import Topology

_CONNECTED = ("broker_", "result_", "redis_", "worker_lease")
#: Settings that say which queues there are and how they are bound.
_ROUTING = ("task_queue", "task_default_", "task_create_missing_", "task_routes")
_CONSTRUCTOR = ("main", "broker", "backend", "include", "config_source", "namespace", "changes", "task_cls", "set_as_current",
                "autofinalize", "strict_typing", "middleware")  # fmt: skip
CONSTRUCTOR_REFUSED = ("amqp", "events", "loader", "log", "control", "tasks", "fixups")


class App(Connected, Sender, SendsEvents, Periodic, Moments, Hooked, Likeness):
    """A program's task queue: `App("proj", broker="redis://localhost", backend="redis://localhost")`.

    Nothing is read, connected or imported when it is made; settings are read when the first one is asked for.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: str | Sequence[str] | None = None,
        config_source: Any = None,
        namespace: str | None = None,
        set_as_current: bool = True,
        autofinalize: bool = True,
        changes: Mapping[str, Any] | None = None,
        strict_typing: bool = True,
        task_cls: type[BaseTask] | None = None,
        middleware: Iterable[Middleware | type[Middleware] | str] = (),
        **settings: Any,
    ) -> None:
        self.main = main
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        for name in CONSTRUCTOR_REFUSED:
            if settings.pop(name, None) is not None:
                raise UnsupportedOption(f"App({name}=…): parts of the app can't be replaced by classes of your own yet")
        for name in settings:
            refuse_near_miss(name, _CONSTRUCTOR, TABLE)
        arguments = {**(changes or {}), **settings}
        named = {"broker_url": broker, "result_backend": backend, "include": include}
        arguments.update((name, value) for name, value in named.items() if value is not None)
        self.conf = Settings(arguments, _celeryconfig, self.tell)
        self.conf.watch(self._forget_derived)
        self._tasks = Registry()
        self._lock = threading.RLock()
        self._publisher: Publisher | None = None
        self._topology: Topology | None = None
        self._recorder: Recorder | None = None
        self.forget_connections()
        self.executor: Any = None
        self.turns: dict[tuple[str, float], Any] = {}
        #: in a worker: which tasks are revoked
        self.revoked: RevokedTable | None = None
        #: in a process that runs tasks: the places that they have under concurrency limits
        self.holder: Any = None
        self.finalized = False
        self._defined_in = _caller_file()
        self._task_cls: type[BaseTask] = task_cls or BaseTask
        self._task_base: type[BaseTask] | None = None
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        if middleware:
            self.add_middleware(*middleware)
        self.fixups: list[Any] = []
        if "DJANGO_SETTINGS_MODULE" in environ:
            from multi.app.frameworks.django import meet

            meet(self)
        current.enroll(self)
        if set_as_current:
            self.set_current()

    # settings --------------------------------------------------------------------------------------------------------

    def config_from_object(
        self, obj: Any, silent: bool = False, force: bool = False, namespace: str | None = None
    ) -> None:
        """Read settings from a module (object or dotted path), class, object or mapping; when first needed, or now
        with `force`. With `namespace="CELERY"` the settings are its names that begin with CELERY_."""
        from multi.config.sources import reader

        self.conf.load_with(reader(obj, namespace, silent))
        if force:
            self.conf.check()

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """Read settings from the module that an environment variable names."""
        import os

        module = os.environ.get(variable_name)
        if not module:
            if silent:
                return False
            raise ConfigurationError(
                f"the environment variable {variable_name!r} should name the configuration module, but is not set"
            )
        self.config_from_object(module, silent=silent, force=force)
        return True

    def setup_security(
        self,
        allowed_serializers: Iterable[str] | None = None,
        key: str | None = None,
        key_password: str | bytes | None = None,
        cert: str | None = None,
        store: str | None = None,
        digest: str | None = None,
        serializer: str = "json",
    ) -> None:
        """Sign every message, and take signed ones only; what isn't given is what the settings `security_*` say.

        Needs `task_serializer="auth"` and `accept_content=["auth"]`. `serializer` is that of what is signed. Serializers
        besides it are accepted if both `allowed_serializers` and `accept_content` name them. See `multi.security.setup`.
        """
        from multi.app.securing import set_up

        set_up(self, allowed_serializers or (), key, key_password, cert, store, digest, serializer)

    def add_defaults(self, mapping: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Set values where nothing else does."""
        for name, value in (mapping() if callable(mapping) else mapping).items():
            if not self.conf.is_set(name):
                self.conf[name] = value

    def _forget_derived(self, name: str | None) -> None:
        """Make anew, when next needed, what was made with the old value of the setting `name` (None: of any)."""
        self._publisher = None
        self._recorder = None
        self.executor = None
        if name is None or name.startswith(_ROUTING):
            self._topology = None
        if name is None or name.startswith(_CONNECTED):
            self.close()

    # tasks -----------------------------------------------------------------------------------------------------------

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> CoroutineTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> BaseTask[P, R]: ...
    @overload
    def task(self, function: None = None, /, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, function: None = None, /, *, bind: Literal[False] = False, **options: Any) -> Decorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a task of a function; as `@app.task` or `@app.task(name=..., bind=True, ...)`."""
        if function is not None and (not callable(function) or options):
            raise TypeError("@app.task takes one function, or options by name, as in @app.task(bind=True)")

        def decorate(body: Callable[..., Any]) -> BaseTask:
            return self._task_from(body, dict(options))

        return decorate if function is None else decorate(function)

    def _task_from(self, function: Callable[..., Any], options: dict[str, Any]) -> BaseTask:
        options.pop("lazy", None)
        options.pop("shared", None)
        if isinstance(function, BaseTask):
            raise TypeError(f"{function.name} is a task already; decorate it once")
        base = options.pop("base", None) or self.Task
        bind = options.pop("bind", base.bind)
        name = options.pop("name", None) or self.gen_task_name(function.__name__, function.__module__)
        from multi.app.making import make

        return self._joined(make(self, function, name, base, bool(bind), options))

    def _joined(self, task: BaseTask) -> BaseTask:
        registered = self._tasks.register(task)
        if registered is task:
            if self.finalized:
                task.annotate()
            task.on_bound(self)
        return registered

    def register_task(self, task: BaseTask | type[BaseTask]) -> BaseTask:
        """Register a task made of a class of your own: `app.register_task(AddTask())`."""
        if isinstance(task, type):
            task = task()
        kind = type(task)
        if not task.name:
            task.name = kind.name = self.gen_task_name(kind.__name__, kind.__module__)
        from multi.app.making import check_class

        check_class(self, task)
        task._app = self
        task.abstract = False
        return self._joined(task)

    def gen_task_name(self, name: str, module: str | None) -> str:
        return task_name(self.main, name, module)

    @property
    def Task(self) -> type[BaseTask]:  # noqa: N802 - Celery's name
        """The base class of this app's tasks."""
        if self._task_base is None:
            self._task_base = type("Task", (self._task_cls,), {"_app": self, "__module__": BaseTask.__module__})
        return self._task_base

    @property
    def tasks(self) -> Registry:
        if not self.finalized:
            self.finalize(auto=True)
        return self._tasks

    def finalize(self, auto: bool = False) -> None:
        """Complete the app: tasks that are shared by all apps join it."""
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError(
                    "this app was made with autofinalize=False: call app.finalize() before its tasks are used"
                )
            self.finalized = True
            builtins.register(self)
            for register in current.shared():
                register(self)
            for task in self._tasks.values():
                task.annotate()
            self.tell("on_after_finalize")

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Import `<package>.tasks` of each package when the worker loads its modules; now with `force`.

        Without `packages`: those of Django's installed apps.
        """
        self._discover.append((packages, related_name))
        if force:
            from multi.app.modules import discover

            discover(self)

    @property
    def _discover(self) -> list[tuple[Any, str | None]]:
        found: list[tuple[Any, str | None]] = self.__dict__.setdefault("_discoveries", [])
        return found

    def import_modules(self) -> None:
        """Make the app ready for work: import what `include` and `imports` name and what is to be discovered, have the
        shared tasks join, and look at every setting and task once, so that what is wrong shows now."""
        from multi.app.modules import import_all
        from multi.app.plan import executor

        self.conf.check()
        import_all(self)
        self.finalize()
        # made before the worker's children are forked, all of this is theirs for nothing
        executor(self).plan_all()
        self.publisher.template_all(self._tasks)
        _ = self.recorder

    # what is derived from the settings -------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """The queues that this app knows, and their exchanges."""
        found = self._topology
        if found is None:
            from multi.app.routes import topology_of

            found = self._topology = topology_of(self.conf)
            for broker in (self._broker, self._worker_broker):
                if broker is not None:
                    broker.topology = found
        return found

    @property
    def publisher(self) -> Publisher:
        """How messages are made."""
        found = self._publisher
        if found is None:
            found = self._publisher = Publisher(self)
        return found

    @property
    def recorder(self) -> Recorder:
        """How records are written and read."""
        found = self._recorder
        if found is None:
            found = self._recorder = Recorder(self)
        return found

    # results and calls -----------------------------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        """What can be said to all workers: `app.control.revoke(task_id)`."""
        from multi.app.control import Control

        return Control(self)

    def AsyncResult(self, task_id: str, parent: AsyncResult | None = None) -> AsyncResult:  # noqa: N802 - Celery's name
        """The result of a task that was sent, by its id."""
        return AsyncResult(task_id, self, parent)

    @property
    def GroupResult(self) -> type[GroupResult]:  # noqa: N802 - Celery's name
        """The class of this app's group results: `app.GroupResult.restore(id)`."""
        from multi.app.resultset import GroupResult

        return type("GroupResult", (GroupResult,), {"_app": self, "__module__": GroupResult.__module__})

    @property
    def ResultSet(self) -> type[ResultSet]:  # noqa: N802 - Celery's name
        """The class of this app's sets of results."""
        from multi.app.resultset import ResultSet

        return type("ResultSet", (ResultSet,), {"_app": self, "__module__": ResultSet.__module__})

    def signature(self, task: Any, args: Any = None, kwargs: Any = None, options: Any = None, **more: Any) -> Signature:
        """A call of a task, by its name or itself, to be made later."""
        from multi.app.canvas.signatures import signature

        return signature(task, args, kwargs, options, app=self, **more)

    def after_fork(self) -> None:
        """Let go of what must not be shared with the parent process; called in the child."""
        self.forget_connections()
        self._publisher = None
        self._recorder = None
        self.tell("on_after_fork")

    # the rest --------------------------------------------------------------------------------------------------------

    @property
    def current_task(self) -> BaseTask | None:
        """The task that is running in this thread or coroutine."""
        return current_task()

    current_worker_task = current_task

    def now(self) -> Any:
        from multi import clock

        return clock.now()

    def set_current(self) -> None:
        """Make this the app that is meant where none is named."""
        current.set_current(self)

    def set_default(self) -> None:
        current.set_current(self)

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run the command line on `argv`, as the command `multi` with this app would."""
        from multi.app.modules import run_command

        run_command(self, argv)

    def worker_main(self, argv: Sequence[str] | None = None) -> None:
        """Run a worker: `app.worker_main(["worker", "-l", "INFO"])`."""
        from multi.app.modules import run_command

        run_command(self, argv, worker=True)

    @property
    def embedded_path(self) -> str:
        """The SQLite file that serves this app where no broker is configured."""
        from multi.app.embedded import path

        return path(self._defined_in, self.main)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return _current_or_new, (self.main, dict(self.conf._arguments))

    def __repr__(self) -> str:
        return f"<App {self.main or '__main__'} at {id(self):#x}>"


def _current_or_new(main: str | None, arguments: dict[str, Any]) -> App:
    app = current.get()
    return app if app.main == main else App(main, changes=arguments, set_as_current=False)


def _celeryconfig() -> Any:
    """The reader of `celeryconfig.py`, for an app that nobody has configured; None if there is none."""
    from multi.config.sources import default_reader

    return default_reader()


def _caller_file() -> str | None:
    """The file of the program that makes an app: the first frame that is not ours."""
    import sys

    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("multi.app"):
        frame = frame.f_back  # type: ignore[assignment]
    return frame.f_globals.get("__file__") if frame is not None else None
