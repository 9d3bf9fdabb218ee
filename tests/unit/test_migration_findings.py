"""What `multi check --migration` says of settings that would end the start, and of tasks of all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from multi.app.migration.findings import DIFFERS, ERROR, OLD
from multi.app.migration.reading import read


def test_what_stands_under_the_prefix_for_others_is_no_setting(tmp_path: Path) -> None:
    text = "from celery import Celery\napp = Celery()\napp.config_from_object('django.conf:settings', namespace='CELERY')\n"
    (tmp_path / "celery.py").write_text(text)
    (tmp_path / "settings.py").write_text(
        "CELERY_TASK_ACKS_LATE = True\nCELERY_EMAIL_BACKEND = 'x'\nCELERY_EMAIL_TASK_CONFIG = {}\nCELERY_DB_REUSE_MAX = 5\n"
    )
    project = read(str(tmp_path))
    assert (project.settings, project.findings) == (1, [])


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("CELERY_ACKS_LATE = True\nCELERY_TASK_ACKS_LATE = False\n", ERROR),
        ("CELERY_ACKS_LATE = True\nCELERY_TASK_ACKS_LATE = 'yes'\n", None),
        ("CELERY_ACKS_LATE = True\nCELERY_ACKS_LATE = False\nCELERY_TASK_ACKS_LATE = False\n", None),
        ("CELERY_ACKS_LATE = env('A')\nCELERY_TASK_ACKS_LATE = True\n", DIFFERS),
        ("CELERY_ACKS_LATE = env('A')\nCELERY_TASK_ACKS_LATE = env('A')\n", None),
        ("app.conf.update(CELERYD_CONCURRENCY=2, worker_concurrency=3)\n", ERROR),
        ("app.conf.update({'CELERYD_CONCURRENCY': 2, 'worker_concurrency': '2'})\n", None),
        ("Celery(changes={'CELERYD_CONCURRENCY': 2}, worker_concurrency=3)\n", ERROR),
        ("app.conf.CELERYD_CONCURRENCY = 2\napp.conf.worker_concurrency = 3\n", None),
        ("class A:\n    worker_concurrency = 2\nclass B(A):\n    CELERYD_CONCURRENCY = 3\n", None),
        (
            "app.config_from_object('x', namespace='CELERY')\nBROKER_URL = 'redis://a'\nCELERY_BROKER_URL = 'redis://b'\n",
            None,
        ),
    ],
)
def test_two_names_of_one_setting_are_told_where_they_end_the_start(
    tmp_path: Path, text: str, level: str | None
) -> None:
    (tmp_path / "celeryconfig.py").write_text("from celery import Celery\n" + text)
    told = [each for each in read(str(tmp_path)).findings if "keep one" in each.text and each.level != OLD]
    assert [each.level for each in told] == ([] if level is None else [level])


def test_no_upgrade_is_advised_that_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("CELERYD_CONCURRENCY = 2\nworker_concurrency = 2\n")
    assert [each.text for each in read(str(tmp_path)).of(OLD)] == [
        "now worker_concurrency; worker_concurrency is here too: keep one"
    ]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("worker_concurrency = 'abc'", "should be a whole number, not 'abc'"),
        ("CELERYD_CONCURRENCY = 'abc'", "should be a whole number, not 'abc'"),
        ("result_expires = '1d'", "should be a number of seconds or a timedelta, not '1d'"),
        ("enable_utc = 'perhaps'", "should be True or False, not 'perhaps'"),
        ("timezone = 'Europe/Berlinn'", "no time zone is called 'Europe/Berlinn'; did you mean 'Europe/Berlin'?"),
        ("redis_password = 5", "should be a text, not a int"),
        ("task_default_queue = ''", "should be the name of a queue, and is empty"),
        (
            "task_routes = 5",
            "is no router: it should be a table, a function, the path of one, or a list of these, not 5",
        ),
        ("task_routes = [{'a': 5}]", "task_routes['a'] should be the name of a queue"),
        ("task_routes = {'a.*': {'queue': 'b'}}", ""),
        ("task_routes = 'somewhere.route'", ""),
        ("worker_concurrency = int(cpus())", ""),
        ("result_expires = None", ""),
        ("worker_concurrency = '4'", ""),
    ],
)
def test_values_that_would_end_the_start_are_told(tmp_path: Path, setting: str, told: str) -> None:
    (tmp_path / "celeryconfig.py").write_text(f"{setting}\n")
    errors = read(str(tmp_path)).of(ERROR)
    assert [each.what for each in errors] == ([setting.partition(" ")[0]] if told else [])
    assert all(each.text.startswith(told) for each in errors)


TASKS_OF_ALL_KINDS = """\
import celery
from celery import Celery, Task as CeleryTask, shared_task
from .base import Base as Ours
app = Celery("x")
class Add(app.Task):
    name = "shop.add"
    def run(self, x): ...
add = app.register_task(Add())
class Mul(celery.Task):
    queue = 5
    def run(self): ...
mul = Mul()
app.register_task(mul)
class Late(CeleryTask):
    acks_late = True
    tyme_limit = 3
    own = "whatever"
    def run(self): ...
app.tasks.register(Late())
class Early(Ours):
    def run(self): ...
app.register_task(Early)
f = app.task(lambda: 1, name="f")
g = shared_task(print)
h = app.task(acks_late=False)(print)
@app.task(base=Ours)
def i(): ...
class NoTask(dict):
    def run(self): ...
class Unregistered(CeleryTask):
    def run(self): ...
other.task(print)
"""


def test_tasks_are_found_however_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(TASKS_OF_ALL_KINDS)
    (tmp_path / "base.py").write_text("from celery import Task\nclass Base(Task):\n    acks_late = False\n")
    project = read(str(tmp_path))
    assert sorted(project.tasks) == sorted(
        f"proj.py:{each}"
        for each in ("5 shop.add", "9 Mul", "14 Late", "20 Early", "23 f", "24 print", "25 print", "27 i")
    )
    assert [(each.line, each.what) for each in project.of(ERROR)] == [(9, "Mul"), (14, "Late")]
    assert [(each.line, each.what) for each in project.of(DIFFERS) if each.line] == [
        (5, "shop.add"),
        (9, "Mul"),
        (14, "Late"),
        (23, "f"),
        (24, "print"),
    ]


def test_classes_that_a_loop_registers_are_tasks(tmp_path: Path) -> None:
    text = "from celery import Celery, Task\napp = Celery()\nclass Base(Task):\n    def run(self): ...\n"
    text += "class A(Base):\n    pass\nclass B(Base):\n    pass\nfor each in (A, B):\n    app.register_task(each())\n"
    (tmp_path / "proj.py").write_text(text)
    assert read(str(tmp_path)).tasks == ["proj.py:5 A", "proj.py:7 B"]


def test_a_setting_counts_for_tasks_that_stand_in_an_earlier_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from celery import shared_task\n@shared_task\ndef f(): ...\n")
    (tmp_path / "celeryconfig.py").write_text("task_acks_late = True\n")
    assert not read(str(tmp_path)).of(DIFFERS)
