"""What tutorials about Celery have their readers write, with its import lines and URLs changed, and run as they say."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.project import Project
from support.wait import until


@contextmanager
def worker(project: Project, *words: str) -> Iterator[None]:
    """A worker in the foreground, until Control-C."""
    output = project.path / "worker.log"
    with output.open("w") as file:
        process = project.popen("-A", *words, stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: " ready." in output.read_text() or process.poll() is not None, 30, what="the worker is ready")
        assert process.poll() is None, output.read_text()
        yield
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, output.read_text()


@contextmanager
def scheduler(project: Project, *words: str) -> Iterator[None]:
    """A scheduler in the foreground, until Control-C."""
    output = project.path / "beat.log"
    with output.open("w") as file:
        process = project.popen("-A", *words, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.poll() is None, output.read_text()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0, output.read_text()


def log(project: Project) -> str:
    return (project.path / "worker.log").read_text()


def test_first_steps_with_a_module_of_tasks(project: Project, redis_url: str) -> None:
    """A module, a worker at loglevel info, `delay`, and what can be asked of the result."""
    project.write(
        "tasks.py",
        f"""
        from multi import Celery

        app = Celery("tasks", broker="{redis_url}", backend="{redis_url}")

        @app.task
        def add(x, y):
            return x + y

        @app.task
        def fail():
            raise KeyError("nothing")
        """,
    )
    with worker(project, "tasks", "worker", "--loglevel=info", "-c", "2"):
        project.python(
            """
            from tasks import add, fail
            result = add.delay(4, 4)
            assert result.ready() in (True, False)
            assert result.get(timeout=10) == 8
            assert result.ready()
            result = fail.delay()
            assert isinstance(result.get(propagate=False), KeyError)
            assert 'raise KeyError("nothing")' in result.traceback
            try:
                result.get(timeout=1)
            except KeyError:
                pass
            else:
                raise SystemExit("the task's exception was not raised")
            """
        )
    said = log(project)
    for line in (
        r"\.> app: +tasks:0x[0-9a-f]+",
        r"\.> transport: +redis://127\.0\.0\.1:\d+/\d+",
        r"\.> concurrency: 2 \(prefork\)",
        r"\.> celery +exchange=celery\(direct\) key=celery",
        r"  \. tasks\.add",
        r"INFO/MainProcess\] celery@\S+ ready\.",
        r"Task tasks\.add\[[0-9a-f-]{36}\] received",
        r"INFO/ForkPoolWorker-\d\] Task tasks\.add\[[0-9a-f-]{36}\] succeeded in \S+s: 8",
    ):
        assert re.search(line, said), line


NEXT_STEPS = {
    "proj/__init__.py": "",
    "proj/celery.py": """
        from multi import Celery

        app = Celery('proj', broker='{broker}', backend='rpc://', include=['proj.tasks'])

        # Optional configuration, see the application user guide.
        app.conf.update(
            result_expires=3600,
        )

        if __name__ == '__main__':
            app.start()
        """,
    "proj/tasks.py": """
        from .celery import app

        @app.task
        def add(x, y):
            return x + y

        @app.task
        def mul(x, y):
            return x * y

        @app.task
        def xsum(numbers):
            return sum(numbers)
        """,
}

CALLS = """
from proj.tasks import add, mul, xsum
assert add.delay(2, 2).get(timeout=20) == 4
assert mul.apply_async((3, 4)).get(timeout=20) == 12
assert xsum.delay([1, 2, 3]).get(timeout=20) == 6
"""


def test_next_steps_with_a_package_and_nodes_in_the_background(project: Project, rabbitmq_url: str) -> None:
    """RabbitMQ with results by rpc; `multi start`, `restart`, `stop` and `stopwait` with the words of `celery multi`."""
    for name, text in NEXT_STEPS.items():
        project.write(name, text.replace("{broker}", rabbitmq_url))
    with worker(project, "proj", "worker", "-l", "INFO", "-c", "1"):
        project.python(CALLS)
    assert all(f"  . proj.tasks.{name}\n" in log(project) for name in ("add", "mul", "xsum"))
    words = ("w1", "-A", "proj", "-l", "INFO", "-c", "1")
    started = project.multi("start", *words).stdout
    assert re.search(r"> Starting nodes\.\.\.\n\s+> w1@\S+: OK", started)
    restarted = project.multi("restart", *words).stdout
    assert re.search(r"> Stopping nodes\.\.\.[\s\S]*w1@\S+: TERM -> \d+[\s\S]*w1@\S+: OK", restarted)
    project.python(CALLS)
    assert re.search(r"w1@\S+: TERM -> \d+", project.multi("stop", *words).stdout)
    project.multi("stopwait", *words)
    project.multi("start", *words)
    project.multi("stopwait", *words)


@pytest.mark.parametrize(
    ("module", "given"),
    [
        ("app = Celery('a')", "proj"),
        ("celery = Celery('a')", "proj"),
        ("anything = Celery('a')", "proj"),
        ("app = Celery('a')", "proj:app"),
    ],
)
@pytest.mark.parametrize("where", ["proj/__init__.py", "proj/celery.py"])
def test_where_an_app_is_found(project: Project, module: str, given: str, where: str) -> None:
    project.write("proj/__init__.py", "")
    project.write(where, f"from multi import Celery\n{module}\n")
    if where == "proj/celery.py" and given == "proj:app":
        given = "proj.celery:app"
    found = project.python(f"from multi.app.find import find; print(find({given!r}).main)")
    assert found.stdout == "a\n"


def test_a_configuration_module_and_several_modules_of_tasks(project: Project, redis_url: str) -> None:
    """Settings in proj/config.py, a time zone, tasks that are delayed; the result is looked at by another program, by its id.
    Then tasks that are sent every minute and every so many seconds."""
    project.write(
        "proj/celery.py",
        """
        from multi import Celery

        app = Celery(__name__)
        app.config_from_object('proj.config')
        """,
    )
    project.write(
        "proj/config.py",
        f"""
        from multi import crontab
        from datetime import timedelta

        broker_url = "{redis_url}"
        result_backend = "{redis_url}"
        timezone = 'Asia/Shanghai'
        imports = ['proj.task1', 'proj.task2']
        beat_schedule = {{
            '随意命名1': {{'task': 'proj.task1.add', 'schedule': crontab(minute='*/1'), 'args': (10, 20)}},
            '随意命名2': {{'task': 'proj.task2.mut', 'schedule': timedelta(seconds=0.5), 'args': (20, 30)}},
        }}
        """,
    )
    project.write("proj/task1.py", "from .celery import app\n@app.task\ndef add(a, b):\n    return a + b\n")
    project.write("proj/task2.py", "from .celery import app\n@app.task\ndef mut(a, b):\n    return a * b\n")
    project.write(
        "send.py",
        """
        from proj.task1 import add
        from proj.task2 import mut
        print(add.delay(10, 20).id, mut.apply_async(args=(10, 20), countdown=1).id)
        """,
    )
    project.write(
        "result.py",
        """
        import sys
        from multi import AsyncResult
        from proj.celery import app

        async_ = AsyncResult(id=sys.argv[1], app=app)
        if async_.successful():
            print(async_.get())
            async_.forget()
        elif async_.failed():
            print('failed')
        elif async_.status == 'PENDING':
            print('waits')
        elif async_.status == 'RETRY':
            print('is tried again')
        elif async_.status == 'STARTED':
            print('has begun')
        """,
    )

    def asked(task_id: str) -> str:
        return project.python(
            f"import sys, runpy; sys.argv = ['result.py', {task_id!r}]; runpy.run_path('result.py')"
        ).stdout

    with worker(project, "proj", "worker", "-l", "info", "-c", "1"):
        first, second = project.python("import runpy; runpy.run_path('send.py')").stdout.split()
        assert asked(second) in ("waits\n", "200\n")
        until(lambda: log(project).count("succeeded in") == 2, 20, what="both have run")
        assert asked(first) == "30\n"
        assert asked(first) == "waits\n", "a result that was forgotten is that of a task nobody knows"
        assert asked(second) in ("200\n", "waits\n")
        with scheduler(project, "proj", "beat", "-l", "info"):
            until(lambda: log(project).count("s: 600") >= 2, 30, what="what is due every half second has run")
            shown = project.multi("schedule", "list", "-A", "proj", "--json").stdout
    entries = {entry["name"]: entry for entry in json.loads(shown)}
    assert entries["随意命名1"]["task"] == "proj.task1.add" and entries["随意命名1"]["schedule"] == "every minute"
    assert entries["随意命名2"]["count"] >= 2 and entries["随意命名2"]["args"] == [20, 30]


def test_celeryconfig_is_read_where_no_app_is_made(project: Project, rabbitmq_url: str) -> None:
    """Old names in celeryconfig.py, tasks of no app, the command line without -A."""
    project.write(
        "celeryconfig.py",
        f"""
        BROKER_URL = "{rabbitmq_url}"
        CELERY_RESULT_BACKEND = "rpc"
        CELERY_TASK_RESULT_EXPIRES = 300
        CELERYD_CONCURRENCY = 1
        CELERY_IMPORTS = ("tasks", )
        """,
    )
    project.write("tasks.py", "from multi import shared_task as task\n\n@task\ndef add(x, y):\n    return x + y\n")
    output = project.path / "worker.log"
    with output.open("w") as file:
        process = project.popen("worker", "--loglevel=INFO", stdout=file, stderr=subprocess.STDOUT)
    try:
        until(lambda: " ready." in log(project) or process.poll() is not None, 30, what="the worker is ready")
        project.python(
            """
            from tasks import add
            result = add.delay(4, 4)
            assert "AsyncResult: " in repr(result)
            assert result.get(timeout=20) == 8
            assert result.result == 8 and result.successful() is True
            """
        )
    finally:
        process.terminate()
        assert process.wait(30) == 0, log(project)
    assert ".> concurrency: 1 (prefork)" in log(project)


def test_everything_of_a_user_s_guide_to_tasks(project: Project, redis_url: str) -> None:
    """Settings in a class, options of tasks, handlers, own states, calls with all their options."""
    project.write(
        "shop.py",
        f"""
        from multi import AsyncResult, Celery, get_task_logger

        class Config:
            CELERY_BROKER_URL = '{redis_url}'
            CELERY_RESULT_BACKEND = '{redis_url}'
            CELERY_WORKER_DISABLE_RATE_LIMITS = True

        app = Celery("shop")
        app.config_from_object(Config, namespace="CELERY")
        logger = get_task_logger(__name__)

        class Noted(app.Task):
            abstract = True

            def after_return(self, status, retval, task_id, args, kwargs, einfo):
                logger.warning("after_return %s %r", status, retval)

            def on_failure(self, exc, task_id, args, kwargs, einfo):
                logger.warning("on_failure %r", exc)

            def on_retry(self, exc, task_id, args, kwargs, einfo):
                logger.warning("on_retry %r", exc)

            def on_success(self, retval, task_id, args, kwargs):
                logger.warning("on_success %r", retval)

        @app.task(name='sum-of-two-numbers', base=Noted)
        def add(x, y, **kwargs):
            logger.info('Adding {{0}} + {{1}}'.format(x, y))
            return x + y

        @app.task(bind=True, base=Noted, max_retries=1, default_retry_delay=0)
        def stubborn(self):
            raise self.retry(exc=ValueError("no"))

        @app.task(throws=(KeyError,))
        def expected():
            raise KeyError("expected")

        @app.task(ignore_result=True, store_errors_even_if_ignored=True)
        def silent(fail):
            if fail:
                raise ValueError("not silent")

        @app.task(bind=True, track_started=True, serializer="json", compression="gzip", time_limit=30, soft_time_limit=20)
        def upload_files(self, filenames):
            started = AsyncResult(self.request.id, app=app).info
            assert set(started) == {{"pid", "hostname"}}, started
            for i, file in enumerate(filenames):
                self.update_state(state='PROGRESS', meta={{'current': i, 'total': len(filenames)}})
            return AsyncResult(self.request.id, app=app).state

        class _AddTask(app.Task):
            name = "custom"

            def run(self, x, y):
                return x + y

        custom = app.register_task(_AddTask())

        @app.task
        def error_handler(uuid):
            result = AsyncResult(uuid, app=app)
            exc = result.get(propagate=False)
            print('Task {{0}} raised exception: {{1!r}}\\n{{2!r}}'.format(uuid, exc, result.traceback))
        """,
    )
    with worker(project, "shop", "worker", "-l", "INFO", "-c", "2"):
        project.python(
            """
            from datetime import datetime, timedelta, timezone
            import time
            from shop import add, app, custom, error_handler, expected, silent, stubborn, upload_files

            assert add(1, 2) == 3
            assert add.delay(1, 2, kwarg1='x', kwarg2='y').get(timeout=20) == 3
            assert add.apply_async(args=[1, 2], kwargs={'kwarg1': 'x', 'kwarg2': 'y'}).get(timeout=20) == 3
            assert add.s(1, 2, kwarg1='x').apply_async().get(timeout=20) == 3
            assert custom.delay(3, 4).get(timeout=20) == 7
            assert upload_files.delay(["a", "b"]).get(timeout=20) == "PROGRESS"

            linked = add.apply_async((2, 2), link=add.s(16))
            assert linked.get(timeout=20) == 4
            assert linked.children[0].get(timeout=20) == 20
            for failing in (stubborn, expected):
                result = failing.apply_async(link_error=error_handler.s())
                assert isinstance(result.get(timeout=20, propagate=False), (ValueError, KeyError))
            several = add.apply_async((2, 2), link=[add.s(16), add.s(1)])
            several.get(timeout=20)
            assert sorted(child.get(timeout=20) for child in several.children) == [5, 20]

            begun = time.monotonic()
            assert add.apply_async((2, 2), countdown=1).get(timeout=20) == 4
            assert time.monotonic() - begun >= 1
            soon = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(seconds=1)
            assert add.apply_async((2, 2), eta=soon).get(timeout=20) == 4
            tomorrow = add.apply_async((2, 2), eta=soon + timedelta(days=1))
            assert add.apply_async((10, 10), expires=60).get(timeout=20) == 20
            assert add.apply_async((10, 10), {}, expires=datetime.now() + timedelta(days=1)).get(timeout=20) == 20
            late = add.apply_async((1, 1), expires=datetime.now(timezone.utc) - timedelta(seconds=1))
            late.get(timeout=20, propagate=False)
            assert late.state == "REVOKED"
            assert tomorrow.state == "PENDING"

            assert add.apply_async((2, 2), retry=False).get(timeout=20) == 4
            policy = {'max_retries': 3, 'interval_start': 0, 'interval_step': 0.2, 'interval_max': 0.2}
            assert add.apply_async((2, 2), retry=True, retry_policy=policy).get(timeout=20) == 4
            assert add.apply_async((10, 10), serializer='json').get(timeout=20) == 20
            assert add.apply_async((2, 2), compression='zlib').get(timeout=20) == 4

            assert silent.delay(False).ignored
            bad = silent.delay(True)
            deadline = time.monotonic() + 20
            while app.AsyncResult(bad.id).state != "FAILURE":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            """
        )
        until(lambda: log(project).count("raised exception: ") == 2, 20, what="errbacks have run")
    said = log(project)
    assert "sum-of-two-numbers" in said
    assert "Adding 1 + 2" in said
    for line in ("on_success 3", "after_return SUCCESS 3", "on_retry ValueError('no')", "on_failure ValueError('no')"):
        assert line in said, line
    assert re.search(r"INFO\S+\] Task shop\.expected\[\S+\] raised expected: KeyError\('expected'\)", said)
