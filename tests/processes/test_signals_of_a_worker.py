"""The signals of a worker's life, each in the process where it happens, as a project hears them that was written for Celery."""

from __future__ import annotations

import json
import signal
import subprocess

from support.project import Project
from support.wait import until

PROJECT = """
import json, os
from multi import Celery, signals

app = Celery("proj")
app.conf.update(task_default_queue="jobs", result_expires=60)
FILE = os.path.join(os.path.dirname(__file__), "told")

def note(signal, sender=None, **kwargs):
    more = {name: kwargs[name] for name in ("sig", "how", "exitcode", "state", "expired", "id", "loglevel") if name in kwargs}
    with open(FILE, "a") as file:
        name = getattr(sender, "name", sender) if isinstance(sender, str) or hasattr(sender, "name") else None
        file.write(json.dumps([signal.name, os.getpid(), name, more]) + "\\n")

for one in signals.SIGNALS.values():
    if one.name != "setup_logging":
        one.connect(note)

@signals.celeryd_init.connect(sender="w1@here")
def fewer(instance, conf, options, **kwargs):
    instance.concurrency = 1
    assert conf.task_default_queue == "jobs" and options["loglevel"] is not None
    conf.task_queues = ["jobs", "more"]
    conf.task_time_limit = 77
    conf.task_soft_time_limit = 66

@signals.after_setup_logger.connect
def marked(logger, **kwargs):
    logger.warning("the root logger is ours too")

@app.task
def add(x, y):
    return x + y

@app.task
def fail():
    raise KeyError("no")

@app.task(name="limits")
def limits():
    return app.conf.task_time_limit, app.conf.task_soft_time_limit
"""


def told(project: Project) -> list[tuple[str, int, str | None, dict[str, object]]]:
    file = project.path / "told"
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_worker_and_its_tasks_are_told_of_in_celerys_words(project: Project) -> None:
    project.write("proj.py", PROJECT)
    output = (project.path / "output").open("w")
    words = ("-n", "w1@here", "-l", "INFO", "-c", "3", "--soft-time-limit", "50")
    process = project.popen("worker", "-A", "proj", *words, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: any(name == "worker_ready" for name, *_ in told(project)), 30, what="the worker is ready")
        project.python(
            """
            import datetime, proj
            assert proj.add.delay(1, 2).get(timeout=30) == 3
            assert proj.fail.delay().get(timeout=30, propagate=False).args == ("no",)
            past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=5)
            late = proj.add.apply_async((1, 2), expires=past)
            assert late.get(timeout=30, propagate=False)
            assert proj.limits.apply_async(queue="more").get(timeout=30) == [77, 50], "the command line says 50"
            assert proj.app.send_task("proj.nothing").get(timeout=30, propagate=False)
            """
        )
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        output.close()
    found = told(project)
    here = process.pid
    main = [name for name, pid, _, _ in found if pid == here]
    assert main.count("heartbeat_sent") >= 2  # it is online, and it goes offline
    assert [name for name in main if name != "heartbeat_sent"] == [
        *("import_modules", "after_setup_logger", "after_setup_task_logger", "celeryd_init", "celeryd_after_setup"),
        *("worker_init", "worker_before_create_process", "worker_ready", "worker_shutting_down", "worker_shutdown"),
    ]
    (stopping,) = (more for name, _, _, more in found if name == "worker_shutting_down")
    assert stopping == {"sig": "SIGTERM", "how": "Warm", "exitcode": 0}
    child = next(pid for name, pid, _, _ in found if name == "worker_process_init")
    life = [(name, sender, more) for name, pid, sender, more in found if pid == child]
    assert life == [
        ("worker_process_init", None, {}),
        ("task_received", None, {}),
        ("task_prerun", "proj.add", {}),
        ("task_success", "proj.add", {}),
        ("task_postrun", "proj.add", {"state": "SUCCESS"}),
        ("task_received", None, {}),
        ("task_prerun", "proj.fail", {}),
        ("task_failure", "proj.fail", {}),
        ("task_postrun", "proj.fail", {"state": "FAILURE"}),
        ("task_revoked", "proj.add", {"expired": True}),
        ("task_received", None, {}),
        ("task_prerun", "limits", {}),
        ("task_success", "limits", {}),
        ("task_postrun", "limits", {"state": "SUCCESS"}),
        ("task_unknown", None, {"id": life[-2][2]["id"]}),
        ("worker_process_shutdown", None, {"exitcode": 0}),
    ]
    sent = [(name, sender) for name, pid, sender, _ in found if pid not in (here, child)]
    publishing = ("import_modules", "before_task_publish", "after_task_publish")
    assert [one for one in sent if one[0] in publishing[1:]] == [
        (moment, name)
        for name in ("proj.add", "proj.fail", "proj.add", "limits", "proj.nothing")
        for moment in publishing[1:]
    ]
    assert "the root logger is ours too" in (project.path / "output").read_text()


def test_a_project_may_have_the_log_to_itself(project: Project) -> None:
    project.write(
        "proj.py",
        """
        import logging, os
        from multi import Celery, signals
        app = Celery("proj")

        @signals.setup_logging.connect
        def own(loglevel, **kwargs):
            handler = logging.FileHandler(os.path.join(os.path.dirname(__file__), "own.txt"))
            handler.setFormatter(logging.Formatter("mine: %(message)s"))
            logging.getLogger().addHandler(handler)
        """,
    )
    output = (project.path / "output").open("w")
    process = project.popen("worker", "-A", "proj", "-l", "INFO", "-q", "-c", "1", stdout=output, stderr=output)
    try:
        own = project.path / "own.txt"
        until(lambda: own.exists() and " ready." in own.read_text(), 30, what="the worker is ready")
    finally:
        process.terminate()
        assert process.wait(30) == 0
        output.close()
    assert "mine: Warm shutdown" in own.read_text()
    assert (project.path / "output").read_text() == ""
