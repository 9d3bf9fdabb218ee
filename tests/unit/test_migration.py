"""Coming from Celery: `multi check --migration`, `multi upgrade settings`, `multi report`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from multi.app.migration.findings import DIFFERS, ERROR, NOTE, OLD
from multi.app.migration.reading import read
from multi.app.migration.rewriting import rewrite
from multi.cli.group import run
from multi.config.table import TABLE, old_name

CONFIG = """\
# our settings
BROKER_URL = "redis://localhost"  # the broker
CELERY_RESULT_BACKEND = "redis://localhost/1"
CELERYD_CONCURRENCY = 4
CELERYD_FORCE_EXECV = True
CELERYD_PREFETCH_MULTIPLIER = 1
CELERY_CONCURENCY = 3
broker_transport_options = {"visibility_timeout": 3600}
worker_pool = "gevent"
task_protocol = 2
"""
APP = """\
import os
from celery import Celery, bootsteps
from kombu import Queue
CELERY_ROOT = 1
app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"], backend="amqp")
app.config_from_object("shop.celeryconfig")
app.conf.update(CELERY_TASK_SERIALIZER="json", **{"CELERY_DEFAULT_QUEUE": "x"})
run(env={"CELERY_BROKER_URL": "u"}, CELERY_BROKER_URL="v")
app.conf["CELERY_TIMEZONE"] = "UTC"
"""
TASKS = """\
from celery import shared_task
from celery.task import periodic_task
from .celery import app
@app.task(bind=True, acks_late=True)
def late(self): ...
@shared_task(name="shop.early")
def early(): ...
@app.task(tyme_limit=3)
async def odd(): ...
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name, text in (("celeryconfig", CONFIG), ("celery", APP), ("tasks", TASKS), ("__init__", "")):
        (folder / f"{name}.py").write_text(text)
    venv = tmp_path / "env"
    venv.mkdir()
    (venv / "pyvenv.cfg").write_text("")
    (venv / "other.py").write_text("from celery.task import x")
    return tmp_path


def test_a_project_is_read_without_being_imported(shop: Path) -> None:
    project = read(str(shop))
    assert (project.files, project.settings, len(project.tasks)) == (4, 14, 3)
    found = {
        level: [(each.file, each.line, each.what) for each in project.of(level)]
        for level in (ERROR, DIFFERS, NOTE, OLD)
    }
    assert found[ERROR] == [
        ("shop/celery.py", 2, "celery.bootsteps"),
        ("shop/celery.py", 5, "result_backend"),
        ("shop/celeryconfig.py", 5, "CELERYD_FORCE_EXECV"),
        ("shop/celeryconfig.py", 7, "CELERY_CONCURENCY"),
        ("shop/celeryconfig.py", 9, "worker_pool"),
        ("shop/tasks.py", 2, "celery.task"),
        ("shop/tasks.py", 9, "odd"),
    ]
    assert found[DIFFERS] == [
        ("", 0, "task_acks_late"),
        ("shop/celeryconfig.py", 8, "broker_transport_options"),
        ("shop/tasks.py", 5, "late"),
        ("shop/tasks.py", 7, "shop.early"),
        ("shop/tasks.py", 9, "odd"),
        ("shop/tasks.py", 9, "odd"),
    ]
    assert found[NOTE] == [("shop/celeryconfig.py", 6, "CELERYD_PREFETCH_MULTIPLIER")]
    assert [what for *_, what in found[OLD]] == [
        "CELERY_DEFAULT_QUEUE",
        "CELERY_TASK_SERIALIZER",
        "CELERY_TIMEZONE",
        "BROKER_URL",
        "CELERY_RESULT_BACKEND",
        "CELERYD_CONCURRENCY",
        "CELERYD_PREFETCH_MULTIPLIER",
    ]


def test_early_acknowledgement_that_is_asked_for_is_told_once(shop: Path) -> None:
    with (shop / "shop/celeryconfig.py").open("a") as file:
        file.write("CELERY_ACKS_LATE = False\n")
    whats = [each.what for each in read(str(shop)).of(DIFFERS)]
    assert "CELERY_ACKS_LATE" in whats
    assert "task_acks_late" not in whats and "shop.early" not in whats


def test_settings_of_django_are_read_under_their_prefix(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text(
        "from celery import Celery\napp = Celery('x')\napp.config_from_object('django.conf:settings', namespace='CELERY')\n"
    )
    (tmp_path / "settings.py").write_text(
        "DEBUG = True\nCELERY_TASK_ACKS_LATE = True\nCELERY_TASK_SERIALISER = 'json'\nEMAIL_HOST = 'h'\n"
    )
    project = read(str(tmp_path))
    assert [each.what for each in project.of(ERROR)] == ["CELERY_TASK_SERIALISER"]
    assert "did you mean" in project.of(ERROR)[0].text
    assert not project.of(DIFFERS)


def findings(tmp_path: Path, text: str, *levels: str) -> list[tuple[int, str]]:
    """Line and subject of what is found in a file, but that late acknowledgement differs."""
    (tmp_path / "proj.py").write_text(text)
    found = [each for each in read(str(tmp_path)).findings if each.line and each.what != "task_acks_late"]
    return [(each.line, each.what) for each in found if not levels or each.level in levels]


def test_what_is_lacking_here_is_named_where_it_is_used(tmp_path: Path) -> None:
    text = """\
from celery import Celery, current_app
app = Celery("x", loader="my:Loader", task_acks_late=False)
@app.task(bind=True, Strategy="my:x")
def u(self):
    u.apply_async(producer=1, tag="x", args=(), countdown=3)
    app.control.inspect()
    app.control.revoke("x")
    app.AsyncResult("x").get()
    self.send_event("x")
    current_app.connection_or_acquire()
    self.app.pool.acquire()
    redis.connection(), self.pool, other.control.ping(), u.apply_async(producer=None)
app.add_periodic_task(10.0, u.s())
app.steps["worker"].add(object)
@app.on_after_configure.connect
def setup(sender, **kwargs):
    sender.add_periodic_task(1, u.s())
"""
    assert findings(tmp_path, text, ERROR) == [
        (2, "Celery(loader=…)"),
        (4, "u"),
        (5, "apply_async(producer=…)"),
        (5, "apply_async(tag=…)"),
        (10, "app.connection_or_acquire"),
        (11, "app.pool"),
        (14, "app.steps"),
    ]


def test_every_old_name_is_told_as_one(tmp_path: Path) -> None:
    names = sorted({old_name(name) for name in TABLE} - {"CELERY_TASK_PROTOCOL"})
    (tmp_path / "celeryconfig.py").write_text("".join(f"{name} = None\n" for name in names))
    assert [each.what for each in read(str(tmp_path)).of(OLD)] == names


def test_under_a_prefix_new_names_are_told_with_it(tmp_path: Path) -> None:
    text = "from celery import Celery\napp = Celery()\napp.config_from_object('proj', namespace='CELERY')\n"
    text += "CELERY_TASK_ACKS_LATE = True\nCELERY_ALWAYS_EAGER = True\napp.conf.CELERY_TASK_SERIALIZER = 'json'\n"
    (tmp_path / "proj.py").write_text(text)
    told = [f"{each.what}: {each.text}" for each in read(str(tmp_path)).of(OLD)]
    assert told == [
        "CELERY_ALWAYS_EAGER: now CELERY_TASK_ALWAYS_EAGER; `multi upgrade settings --django proj.py` rewrites it",
        "CELERY_TASK_SERIALIZER: now task_serializer; `multi upgrade settings proj.py` rewrites it",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "class C:\n    {}\napp.config_from_object(C)\n",
        "class C:\n    {}\nclass D(C):\n    pass\napp.config_from_object(D())\n",
        "class C:\n    {}\napp.config_from_object('proj:C')\n",
        "class C:\n    {}\napp.config_from_object('proj.C')\n",
        "\nconf = dict({})\napp.conf.update(conf)\n",
        "\nconf = dict({})\napp.conf.update(**conf)\n",
        "\napp.conf.update(dict({}))\n",
        "\napp.config_from_object(dict({}))\n",
        "\nconf = dict({})\napp.config_from_object(conf)\n",
        "\nCelery(changes=dict({}))\n",
    ],
)
def test_settings_are_read_wherever_the_app_is_given_them(tmp_path: Path, text: str) -> None:
    given = 'task_acks_late=False; worker_pool="gevent"; task_serialzer="json"; broker_url="nonsense://"'
    text = text.format(given if "class" in text else given.replace(";", ","))
    found = findings(tmp_path, text + "from celery import Celery\napp = Celery()\n", ERROR)
    assert [what for _, what in found] == ["worker_pool", "task_serialzer", "broker_url"]
    assert not any("not set" in each.text for each in read(str(tmp_path)).findings)


def test_a_file_of_settings_is_enough(tmp_path: Path) -> None:
    for name, text in (("celeryconfig", "CELERYD_CONCURRENCY = 3\n"), ("conf", 'worker_pool = "gevent"\n')):
        (tmp_path / f"{name}.py").write_text(text)
        assert read(str(tmp_path / f"{name}.py")).settings == 1
    (tmp_path / "conf.py").unlink()
    assert read(str(tmp_path)).settings == 1


def test_the_check_of_a_migration_tells_by_its_exit_code(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop)
    assert run(["check", "--migration", "."]) == 2
    told = capsys.readouterr().out
    assert "Would not work as it is (7):" in told
    assert "shop/tasks.py:7: shop.early: is acknowledged late here" in told
    assert run(["check", "--migration", ".", "--json"]) == 2
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (shown["ok"], shown["settings"], len(shown["findings"])) == (False, 14, 21)
    (shop / "fine.py").write_text("from celery import Celery\napp = Celery()\napp.conf.task_acks_late = True\n")
    assert run(["check", "--migration", "fine.py"]) == 0


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("from celery import Celery, group, shared_task", None),
        ("from celery.exceptions import Ignore, Reject", None),
        ("from celery.signals import task_failure", None),
        ("from celery.utils.log import get_task_logger", None),
        ("from kombu import Queue, Exchange", None),
        ("from kombu.serialization import register", None),
        ("from celery.worker.consumer import Consumer", ERROR),
        ("import celery.bin.base", ERROR),
        ("from celery.utils import uuid", None),
        ("from celery.utils import gen_unique_id", NOTE),
        ("from celery.exceptions import CeleryError", None),
        ("from celery.states import SUCCESS", None),
        ("from . import celery", None),
    ],
)
def test_imports_are_looked_up_where_they_are_here(tmp_path: Path, line: str, level: str | None) -> None:
    (tmp_path / "tasks.py").write_text(f"import celery\n{line}\n")
    found = [each.level for each in read(str(tmp_path)).findings if each.line == 2]
    assert found == ([] if level is None else [level])


def test_priorities_are_told_of_wherever_they_are_said(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from celery import Celery\napp = Celery()\napp.conf.update(task_acks_late=False, task_default_priority=5)\n"
        "@app.task(priority=3)\ndef first(): ...\nfirst.apply_async(priority=9)\nfirst.s().set(priority=1)\nother(priority=2)\n"
    )
    found = read(str(tmp_path)).of(DIFFERS)
    assert [each.line for each in found if "0 first" in each.text] == [3, 5, 6, 7]


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [("nowhere", None, "there is no nowhere"), ("plain.py", "x = 1", "is no project of Celery's")],
)
def test_what_is_no_project_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    path: str,
    text: str | None,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path(path).write_text(text)
    assert run(["check", "--migration", path]) == 2
    assert message in capsys.readouterr().err
    assert run(["check", "--migration", path, "--json"]) == 2
    assert message in json.loads(capsys.readouterr().out)["error"]


def test_old_names_become_new_ones_and_all_else_stays() -> None:
    found = rewrite(CONFIG.encode(), "celeryconfig.py")
    assert found.text == (
        CONFIG.replace("BROKER_URL", "broker_url")
        .replace("CELERY_RESULT_BACKEND", "result_backend")
        .replace("CELERYD_CONCURRENCY", "worker_concurrency")
        .replace("CELERYD_PREFETCH_MULTIPLIER", "worker_prefetch_multiplier")
    )
    assert [line for line, _ in found.left] == [5]
    assert rewrite(found.text.encode(), "celeryconfig.py").renamed == []


def test_only_settings_are_renamed() -> None:
    found = rewrite(APP.encode(), "celery.py")
    assert [(line, new) for line, _, new in found.renamed] == [
        (7, "task_serializer"),
        (7, "task_default_queue"),
        (9, "timezone"),
    ]
    assert 'os.environ["CELERY_BROKER_URL"]' in found.text
    assert 'run(env={"CELERY_BROKER_URL": "u"}, CELERY_BROKER_URL="v")' in found.text


def test_django_keeps_its_prefix() -> None:
    found = rewrite(
        b"BROKER_URL = 'x'\nCELERY_ALWAYS_EAGER = True\nCELERY_TIMEZONE = 'UTC'\n", "settings.py", django=True
    )
    assert found.text == "CELERY_BROKER_URL = 'x'\nCELERY_TASK_ALWAYS_EAGER = True\nCELERY_TIMEZONE = 'UTC'\n"


def test_a_file_is_upgraded_in_place_or_shown_as_a_diff(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shop / "shop")
    os.chmod("celeryconfig.py", 0o640)
    assert run(["upgrade", "settings", "celeryconfig.py", "--dry-run"]) == 0
    assert "-CELERYD_CONCURRENCY = 4\n" in capsys.readouterr().out
    assert Path("celeryconfig.py").read_text() == CONFIG
    assert run(["upgrade", "settings", "celeryconfig.py"]) == 0
    told = capsys.readouterr()
    assert "celeryconfig.py:4: CELERYD_CONCURRENCY -> worker_concurrency" in told.out
    assert "Celery has removed the setting CELERYD_FORCE_EXECV" in told.err
    assert Path("celeryconfig.py.orig").read_text() == CONFIG
    assert Path("celeryconfig.py").stat().st_mode & 0o777 == 0o640
    assert run(["upgrade", "settings", "celeryconfig.py"]) == 0
    assert "nothing was renamed" in capsys.readouterr().out
    Path("celeryconfig.py").write_text(CONFIG)
    assert run(["upgrade", "settings", "celeryconfig.py"]) == 2
    assert "celeryconfig.py.orig exists" in capsys.readouterr().err
    assert Path("celeryconfig.py").read_text() == CONFIG


@pytest.mark.parametrize(("text", "message"), [(None, "No such file"), ("x = = 1", "broken.py:1 is no Python")])
def test_a_file_that_is_none_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("broken.py").write_text(text)
    assert run(["upgrade", "settings", "broken.py"]) == 2
    assert message in capsys.readouterr().err


def test_a_report_tells_versions_and_settings_without_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reported_app.py").write_text(
        "from multi import App\n"
        "app = App('shop', broker='redis://:geheim@h', backend='redis://:geheim@h/1', s3_secret_access_key='geheim',\n"
        "          task_annotations={'*': {'password': 'geheim'}}, task_default_routing_key='seen', redis_password='geheim',\n"
        "          worker_prefetch_multiplier=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert run(["report", "-A", "reported_app", "--json"]) == 0
    text = capsys.readouterr().out
    told: dict[str, Any] = json.loads(text)
    assert "geheim" not in text
    assert told["app"]["broker"] == "redis://:**@h"
    assert told["settings"]["task_default_routing_key"] == "'seen'"
    assert "worker_prefetch_multiplier" in told["notes"][0]
    assert "python" in told["software"]
    assert run(["report", "-A", "reported_app"]) == 0
    assert "geheim" not in capsys.readouterr().out
    assert run(["report"]) == 0


def test_a_report_has_the_configuration_that_is_given_before_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "reported_bare.py").write_text("from multi import App\napp = App('shop', broker='memory://')\n")
    (tmp_path / "reported_conf.py").write_text("worker_concurrency = 3\n")
    (tmp_path / "reported_plain.py").write_text("from multi import App\napp = App('plain')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("CELERY_CONFIG_MODULE", "CELERY_BROKER_URL"):
        monkeypatch.setenv(name, "")
    assert run(["--config", "reported_conf", "report", "-A", "reported_plain", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {"worker_concurrency": "3"}
    sys.modules.pop("reported_plain")
    assert run(["--config", "nope", "report", "-A", "reported_plain", "--json"]) == 2
    assert "'nope' can't be loaded" in json.loads(capsys.readouterr().out)["app"]["error"]
    assert run(["-b", "memory://other", "report", "-A", "reported_bare"]) == 0
    assert "memory://other" in capsys.readouterr().out


def test_programs_that_watch_events_find_their_classes_here(tmp_path: Path) -> None:
    text = """\
from celery.events import Event, EventDispatcher, EventReceiver
from celery.events.state import State, Task, Worker
from celery.events.snapshot import Polaroid
from celery.events.receiver import EventReceiver as Receiver
from celery.events.cursesmon import CursesMonitor
from celery.events.state import heartbeat_expires_never
"""
    assert findings(tmp_path, text, ERROR) == [
        (5, "celery.events.cursesmon"),
        (6, "celery.events.state.heartbeat_expires_never"),
    ]
