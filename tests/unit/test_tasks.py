"""Tasks and apps: making them, naming them, calling them here."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest
from support.inline import make_app, work

import multi
from multi import App, Celery, EagerResult, Ignore, NotRegistered, Task, current_app, current_task, shared_task
from multi.app import current
from multi.app.request import current_name_and_id
from multi.errors import AlreadyRegistered, ConfigurationError, UnknownSetting


@pytest.fixture
def app() -> App:
    return make_app()


def test_celery_is_the_app() -> None:
    assert Celery is App
    assert set(multi.__all__) <= set(dir(multi))
    for name in multi.__all__:
        assert getattr(multi, name) is not None


def test_importing_multi_loads_nothing_of_it() -> None:
    code = "import sys, multi; print([m for m in sys.modules if m.startswith(('multi.', 'msgspec', 'asyncio', 'logging'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_unknown_name_is_no_attribute_of_multi() -> None:
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = multi.nothing_of_this_name


def test_an_app_shows_its_name(app: App) -> None:
    assert repr(app).startswith("<App proj at 0x")
    assert repr(App(set_as_current=False)).startswith("<App __main__ at 0x")


def test_the_decorator_comes_with_and_without_options(app: App) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        """Adds."""
        return x + y

    @app.task(name="sum-of-two-numbers", max_retries=5)
    def other(x: int, y: int) -> int:
        return x + y

    @app.task()
    def third() -> None: ...

    assert add.name == f"{__name__}.add"
    assert add.__name__ == "add"  # type: ignore[attr-defined]
    assert add.__doc__ == "Adds."
    assert other.name == "sum-of-two-numbers"
    assert other.max_retries == 5
    assert app.tasks["sum-of-two-numbers"] is other
    assert isinstance(third, Task)


def test_a_task_called_as_a_function_is_the_function(app: App) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add(2, y=3) == 5
    with pytest.raises(TypeError):
        add(2)  # type: ignore[call-arg]


def test_a_module_run_as_a_script_bears_the_apps_name(app: App) -> None:
    assert app.gen_task_name("add", "__main__") == "proj.add"
    assert App(set_as_current=False).gen_task_name("add", "__main__") == "__main__.add"
    assert app.gen_task_name("add", "proj.tasks") == "proj.tasks.add"


def test_a_bound_task_gets_itself(app: App) -> None:
    @app.task(bind=True)
    def who(self: Task, x: int) -> Any:
        return self.name, self.request.called_directly, self.request.args, x

    assert who(3) == (who.name, True, (3,), 3)


def test_every_attribute_has_celerys_default(app: App) -> None:
    @app.task
    def task() -> None: ...

    defaults: dict[str, Any] = {
        "typing": True, "max_retries": 3, "default_retry_delay": 180, "rate_limit": None, "trail": True,
        "send_events": True, "serializer": None, "time_limit": None, "soft_time_limit": None, "backend": None,
        "acks_on_failure_or_timeout": None, "throws": (), "expires": None, "priority": None,
        "resultrepr_maxsize": 1024, "Strategy": None, "Request": None, "autoretry_for": (), "dont_autoretry_for": (),
        "retry_backoff_max": 600, "retry_jitter": True, "pydantic": False, "retry_kwargs": {}, "abstract": False,
    }  # fmt: skip
    for name, value in defaults.items():
        assert getattr(task, name) == value, name
    assert task.effective("ignore_result") is False
    assert task.effective("store_errors_even_if_ignored") is False
    assert task.effective("track_started") is False
    assert task.acks_early is False


def test_only_an_explicit_false_means_acknowledge_early(app: App) -> None:
    @app.task(acks_late=False)
    def early() -> None: ...

    @app.task(acks_late=True)
    def late() -> None: ...

    @app.task
    def unset() -> None: ...

    assert (early.acks_early, late.acks_early, unset.acks_early) == (True, False, False)
    app.conf.task_acks_late = False
    assert (early.acks_early, late.acks_early, unset.acks_early) == (True, False, True)


def test_a_misspelt_attribute_is_answered_with_the_right_one(app: App) -> None:
    with pytest.raises(UnknownSetting, match=r"ignore_results.*ignore_result"):
        app.task(ignore_results=True)(lambda: None)


@pytest.mark.parametrize("options", [{"time_limit": "5"}, {"queue": 5}, {"max_retries": "many"}], ids=str)
def test_an_attribute_of_the_wrong_type_is_told(app: App, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        app.task(**options)(lambda: None)


def test_an_attribute_of_the_projects_own_is_kept(app: App) -> None:
    assert getattr(app.task(team="blue")(lambda: None), "team", None) == "blue"


def test_two_functions_of_one_name_are_told_apart(app: App) -> None:
    @app.task(name="same")
    def one() -> None: ...

    with pytest.raises(AlreadyRegistered, match=r"'same'.*one.*two"):

        @app.task(name="same")
        def two() -> None: ...


def test_one_function_made_twice_stays_the_first(app: App) -> None:
    def body() -> None: ...

    assert app.task(body) is app.task(body)


def test_an_unknown_task_is_not_registered(app: App) -> None:
    with pytest.raises(NotRegistered, match="nope"):
        _ = app.tasks["nope"]


def test_a_class_of_ones_own_is_registered_as_an_instance(app: App) -> None:
    class Add(app.Task):  # type: ignore[name-defined, misc]
        def run(self, x: int, y: int) -> int:
            return x + y

    add = app.register_task(Add())
    assert add.name == f"{__name__}.Add"
    assert add(1, 2) == 3
    assert app.tasks[add.name].app is app


def test_a_class_of_ones_own_is_sent_and_checked_too(app: App) -> None:
    class Add(app.Task):  # type: ignore[name-defined, misc]
        def run(self, x: int, y: int) -> int:
            return x + y

    add = app.register_task(Add)
    result = add.delay(1, 2)
    work(app)
    assert result.get(timeout=1) == 3
    with pytest.raises(TypeError, match="positional"):
        add.delay(1)


def test_a_class_of_ones_own_is_checked_like_a_decorated_function(app: App) -> None:
    class Limited(app.Task):  # type: ignore[name-defined, misc]
        rate_limit = "1 a second"

    with pytest.raises(ConfigurationError, match="rate_limit should be"):
        app.register_task(Limited)


def test_an_app_may_have_a_base_class_for_all_its_tasks() -> None:
    class Base(Task):
        max_retries = 9

    app = make_app(task_cls=Base)
    assert app.task(lambda: None).max_retries == 9


def test_the_check_of_arguments_can_be_switched_off_for_all() -> None:
    app = make_app(strict_typing=False)
    app.task(lambda: None).delay(1, 2, 3)  # type: ignore[call-arg]
    assert app.broker.depth("celery") == 1


def test_a_base_class_gives_its_methods_and_attributes(app: App) -> None:
    class Base(Task):
        max_retries = 7

        def greeting(self) -> str:
            return "hello"

    @app.task(base=Base, bind=True)
    def task(self: Any) -> str:
        return str(self.greeting())

    assert task() == "hello"
    assert task.max_retries == 7


@pytest.fixture
def no_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test shares reaches its own apps only, and is forgotten after it."""
    monkeypatch.setattr(current, "_shared", [])
    monkeypatch.setattr(current, "_apps", weakref.WeakSet())


@pytest.mark.usefixtures("no_shared_tasks")
def test_a_shared_task_belongs_to_every_app() -> None:
    @shared_task(name="everywhere")
    def everywhere(x: int) -> int:
        return x + 1

    first, second = make_app("a"), make_app("b")
    assert first.tasks["everywhere"] is not second.tasks["everywhere"]
    first.set_current()
    try:
        assert everywhere.app is first
        assert everywhere(1) == 2
        assert isinstance(everywhere, Task)
        second.set_current()
        assert everywhere.app is second
        assert current_app.main == "b"
    finally:
        current.set_current(None)


@pytest.mark.usefixtures("no_shared_tasks")
def test_a_shared_task_made_after_an_app_is_complete_joins_it_too() -> None:
    app = make_app()
    app.finalize()

    @shared_task(name="latecomer")
    def latecomer() -> None: ...

    assert "latecomer" in app.tasks


def test_an_app_that_is_not_to_complete_itself_says_so() -> None:
    app = App("x", autofinalize=False, set_as_current=False)
    with pytest.raises(RuntimeError, match="finalize"):
        _ = app.tasks
    app.finalize()
    assert "task" not in app.tasks


def test_the_running_task_is_known_to_what_it_calls(app: App) -> None:
    seen: list[Any] = []

    def helper() -> None:
        seen.append((current_task.name, app.current_task, current_name_and_id()))

    @app.task(name="outer")
    def outer() -> None:
        helper()
        inner()
        helper()

    @app.task(name="inner")
    def inner() -> None:
        helper()

    outer.apply(task_id="1")
    assert [name for name, _, _ in seen] == ["outer", "inner", "outer"]
    assert seen[0][2] == ("outer", "1")
    assert app.current_task is None
    assert not current_task


def test_a_task_travels_by_its_name() -> None:
    app = make_app()
    app.set_current()
    try:
        task = app.task(name="traveller")(lambda: None)
        assert pickle.loads(pickle.dumps(task)) is task
    finally:
        current.set_current(None)


def test_modules_of_tasks_are_imported_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(include=["json.tool"])
    app.conf.imports = ["json.encoder"]
    monkeypatch.delitem(sys.modules, "json.tool", raising=False)
    app.import_modules()
    assert "json.tool" in sys.modules


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"accept_content": ["jason"]}, "jason"),
        ({"result_serializer": "jason"}, "jason"),
        ({"timezone": "Moon/Crater"}, "Moon/Crater"),
        ({"task_compression": "rar"}, "rar"),
    ],
    ids=str,
)
def test_what_is_wrong_shows_when_the_worker_makes_the_app_ready(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make_app(**settings).import_modules()


def test_a_wrong_serializer_of_a_task_shows_then_too(app: App) -> None:
    app.task(serializer="jason")(lambda: None)
    with pytest.raises(ConfigurationError, match="jason"):
        app.import_modules()


def test_a_module_of_tasks_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigurationError, match="'no_such_tasks', which include or imports names, is not found"):
        make_app(include=["no_such_tasks"]).import_modules()


def test_tasks_are_discovered_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app()
    monkeypatch.delitem(sys.modules, "json.tool", raising=False)
    app.autodiscover_tasks(["json", "email"], related_name="tool")
    app.import_modules()
    assert "json.tool" in sys.modules


# here and now ----------------------------------------------------------------------------------------------------


def test_apply_runs_here_and_has_the_result(app: App) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    result = add.apply((2, 3))
    assert isinstance(result, EagerResult)
    assert (result.get(), result.state, result.successful(), result.ready()) == (5, "SUCCESS", True, True)
    assert app.broker.depth("celery") == 0


def test_apply_keeps_the_failure_for_get(app: App) -> None:
    @app.task
    def fail() -> None:
        raise ValueError("bad")

    result = fail.apply()
    assert result.state == "FAILURE"
    assert 'raise ValueError("bad")' in (result.traceback or "")
    assert isinstance(result.get(propagate=False), ValueError)
    with pytest.raises(ValueError, match="bad"):
        result.get()
    with pytest.raises(ValueError, match="bad"):
        fail.apply(throw=True)


def test_with_always_eager_everything_is_applied(app: App) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    app.conf.task_always_eager = True
    assert add.delay(1, 2).get() == 3
    assert add.apply_async((1, 2), countdown=100).get() == 3
    assert (add.s(1, 2) | add.s(4)).apply_async().get() == 7
    assert [result.get() for result in app.send_many([add.s(1, 2), (add, (3, 4)), (add.name, [5], {"y": 6})])] == [
        3,
        7,
        11,
    ]
    app.conf.task_eager_propagates = True
    with pytest.raises(TypeError):
        add.delay(1, "a")  # type: ignore[arg-type]


def test_an_eager_task_is_retried_at_once(app: App) -> None:
    @app.task(bind=True, max_retries=2)
    def retried(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=1000)
        return int(self.request.retries)

    assert retried.apply().get() == 2

    @app.task(bind=True, max_retries=2)
    def hopeless(self: Any) -> None:
        raise self.retry(exc=ValueError("never"), countdown=1000)

    result = hopeless.apply()
    assert result.state == "FAILURE"
    assert repr(result.result) == "ValueError('never')"


def test_eager_links_are_applied(app: App) -> None:
    seen: list[Any] = []

    @app.task
    def note(*args: Any) -> None:
        seen.append(args)

    @app.task
    def double(x: int) -> int:
        return 2 * x

    double.apply((2,), link=note.s("extra"))
    assert seen == [(4, "extra")]


def test_an_eager_ignore_is_no_result(app: App) -> None:
    @app.task
    def ignored() -> None:
        raise Ignore

    result = ignored.apply()
    assert (result.state, result.get()) == ("IGNORED", None)


def test_an_eager_result_can_be_stored(app: App) -> None:
    @app.task(store_eager_result=True)
    def add(x: int, y: int) -> int:
        return x + y

    result = add.apply((1, 2))
    assert app.AsyncResult(result.id).get(timeout=1) == 3


def test_an_async_task_is_applied_too(app: App) -> None:
    @app.task
    async def add(x: int, y: int) -> int:
        await asyncio.sleep(0)
        return x + y

    assert add.apply((1, 2)).get() == 3
