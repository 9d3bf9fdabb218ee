"""The examples of projects with Django and with Flask, run with the real ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.project import Project

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(project: Project, name: str) -> Project:
    pytest.importorskip(name)
    shutil.copytree(EXAMPLES / name, project.path, dirs_exist_ok=True)
    return project


@contextmanager
def node(project: Project) -> Iterator[None]:
    project.multi("start", "w1", "-A", "shop", "-c", "1", "-l", "INFO")
    try:
        yield
    finally:
        project.multi("stopwait", "w1")


PLACE = """
import django, os
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
django.setup()
from django.db import transaction
from orders.models import Order
from orders.tasks import confirm
"""


def test_with_django_tasks_are_found_see_what_was_committed_and_are_sent_only_then(project: Project) -> None:
    example(project, "django")
    project.python(
        "import sys, runpy; sys.argv = ['manage.py', 'migrate', '-v0']; runpy.run_path('manage.py', run_name='__main__')"
    )
    with node(project):
        project.python(
            PLACE
            + """
import time
try:
    with transaction.atomic():
        Order.place("Bob")
        raise KeyError
except KeyError:
    pass
ada = Order.place("Ada")
deadline = time.monotonic() + 30
while not Order.objects.get(pk=ada.pk).confirmed:
    assert time.monotonic() < deadline
    time.sleep(0.02)
assert confirm.delay(ada.pk).get(timeout=30) == "Ada"
"""
        )
    log = next((project.home / "state").glob("log/*/w1@*.log")).read_text()
    assert "the order of Ada is confirmed" in log
    assert "Bob" not in log
    assert "DoesNotExist" not in log, "nothing was run before it was committed"
    assert log.count("orders.tasks.confirm") >= 3, "found by autodiscover_tasks()"


def test_connections_that_are_too_old_are_closed_around_tasks(project: Project) -> None:
    example(project, "django")
    project.write(
        "orders/tasks.py",
        """
        from django.db import connection
        from multi import shared_task

        @shared_task
        def which():
            connection.ensure_connection()
            return id(connection.connection), str(type(connection.connection))
        """,
    )
    kept = project.path / "shop/settings.py"
    for age, more, expected in ((0, "", 3), (600, "", 1), (0, "CELERY_DB_REUSE_MAX = 100\n", 1)):
        kept.write_text(
            (EXAMPLES / "django/shop/settings.py").read_text()
            + more
            + f"DATABASES['default']['CONN_MAX_AGE'] = {age}\nDATABASES['default']['TEST'] = {{}}\n"
        )
        project.write(
            "count.py",
            """
            import os
            os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
            from shop import app
            app.import_modules()
            from django.db import connection
            from multi.testing import LocalWorker
            opened = []
            original = connection.connect
            def connect(*args, **kwargs):
                opened.append(1)
                return original(*args, **kwargs)
            connection.connect = connect
            app.conf.update(broker_url="memory://d", result_backend="memory://d")
            for _ in range(3):
                app.tasks["orders.tasks.which"].delay()
            assert [one.state for one in LocalWorker(app).drain()] == ["SUCCESS"] * 3
            print(len(opened))
            """,
        )
        done = project.python("import runpy; runpy.run_path('count.py')")
        assert done.stdout.split() == [str(expected)], (age, more)


BROKEN = """
from django.db import models

class Order(models.Model):
    paper = models.FileField(primary_key=True)
"""


def test_what_djangos_checks_find_ends_the_start(project: Project) -> None:
    example(project, "django")
    project.write("orders/models.py", BROKEN)
    done = project.multi("worker", "-A", "shop", code=2)
    assert "Django's system checks: " in done.stderr
    assert "fields.E" in done.stderr
    assert "Traceback" not in done.stderr


def test_djangos_checks_can_be_skipped(project: Project) -> None:
    example(project, "django")
    project.write("orders/models.py", BROKEN)
    beyond = "lives in a single process"  # what the worker says after it has imported everything
    assert beyond in project.multi("worker", "-A", "shop", "-b", "memory://x", "--skip-checks", code=2).stderr
    project.env["CELERY_SKIP_CHECKS"] = "true"
    assert beyond in project.multi("worker", "-A", "shop", "-b", "memory://x", code=2).stderr


def test_with_flask_tasks_run_in_the_application_context(project: Project) -> None:
    example(project, "flask")
    with node(project):
        done = project.python(
            """
            from shop import flask, queue
            client = flask.test_client()
            task_id = client.post("/greetings", json={"name": "Ada"}).json["id"]
            assert queue.AsyncResult(task_id).get(timeout=30) == "Hello, Ada"
            print(client.get(f"/greetings/{task_id}").json["greeting"])
            """
        )
    assert done.stdout == "Hello, Ada\n"


def test_a_project_without_django_may_say_autodiscover(project: Project) -> None:
    project.write(
        "proj.py", "from multi import Celery\napp = Celery('proj')\napp.autodiscover_tasks()\napp.import_modules()\n"
    )
    done = project.python("import logging; logging.basicConfig(); import proj")
    assert "there is no Django here" in done.stderr
