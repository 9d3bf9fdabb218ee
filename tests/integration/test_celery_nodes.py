"""Celery projects as nodes: real Celery of several versions, in environments of their own in which multi is not installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import in_ci
from support import celeries
from support.nodes import Nodes, is_alive, kill
from support.project import Project
from support.wait import until

from multi.stats import NodeStats, StatsPage

PROJECT = """
    import os
    import time
    from pathlib import Path

    from celery import Celery

    app = Celery("shop", broker={url!r}, backend={url!r})
    app.conf.broker_connection_retry_on_startup = True
    app.conf.beat_schedule = {{"tick": {{"task": "shop.note", "schedule": 0.2, "args": ("tick",)}}}}
    here = Path(__file__).parent


    @app.task
    def note(text):
        fd = os.open(str(here / "notes"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)
        return text


    @app.task
    def slow(name, token=None):
        note.run("begin " + name)
        while not (here / ("go-" + name)).exists():
            time.sleep(0.02)
        note.run("end " + name)


    @app.task
    def variables():
        own = ("MULTI_STATE_DIR", "MULTI_TEST_MARK")
        return [name for name in os.environ if name.startswith(("MULTI_", "NOTIFY", "WATCHDOG")) and name not in own]


    @app.task
    def fail():
        raise ValueError("bad")
"""


class Shop(Nodes):
    """A Celery project and its nodes."""

    def __init__(self, project: Project, url: str, version: str) -> None:
        super().__init__(project)
        try:
            self.celery = celeries.python(version)
        except celeries.NotMade as error:
            if in_ci():
                pytest.fail(str(error), pytrace=False)
            pytest.skip(str(error))
        project.write("shop.py", PROJECT.format(url=url))
        self.url = url

    def up(self, *names: str, more: tuple[str, ...] = (), code: int = 0) -> subprocess.CompletedProcess[str]:
        """Start workers; without neighbours to greet, which takes Celery a second."""
        words = ("-A", "shop", "--engine", "celery", "--executable", self.celery, "-c", "1", "--without-mingle")
        return self.run("start", *names, *words, *more, code=code)

    def send(self, task: str, *args: object, queue: str = "celery") -> None:
        """Send a task, as a client of the project does."""
        body = f"import shop; shop.app.send_task('shop.{task}', {args!r}, queue={queue!r})"
        subprocess.run([self.celery, "-c", body], cwd=self.project.path, env=self.project.env, check=True, timeout=30)

    def call(self, task: str, *args: object) -> Any:
        """Send a task and wait for its result."""
        body = f"import json, shop; print(json.dumps(shop.app.send_task('shop.{task}', {args!r}).get(timeout=20, interval=0.02)))"
        done = subprocess.run(
            [self.celery, "-c", body],
            cwd=self.project.path,
            env=self.project.env,
            check=False,
            timeout=30,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stderr}\n{self.log('w1')}"
        return json.loads(done.stdout)

    def notes(self) -> list[str]:
        file = self.project.path / "notes"
        return file.read_text().splitlines() if file.exists() else []

    def wait_note(self, text: str, times: int = 1) -> None:
        until(lambda: self.notes().count(text) >= times, 20, what=f"{text!r} is noted {times} times: {self.notes()}")

    def let_go(self, name: str) -> None:
        """Let the task `slow` of this name end."""
        (self.project.path / f"go-{name}").touch()

    def page(self, name: str) -> NodeStats:
        """The page of the node's present worker."""
        generation = next(one["generation"] for one in self.record(name)["workers"] if one["role"] == "current")
        page = StatsPage.read(str(self.folder(name) / f"stats.{generation}"))
        assert page is not None, os.listdir(self.folder(name))
        return page


@pytest.fixture(params=celeries.VERSIONS)
def shop(request: pytest.FixtureRequest, project: Project, redis_url: str) -> Iterator[Shop]:
    found = Shop(project, redis_url, request.param)
    yield found
    found.stop_all()


@pytest.fixture(params=(celeries.VERSIONS[0], celeries.VERSIONS[-1]))
def extreme(request: pytest.FixtureRequest, project: Project, redis_url: str) -> Iterator[Shop]:
    """The oldest and the newest."""
    found = Shop(project, redis_url, request.param)
    yield found
    found.stop_all()


@pytest.fixture
def newest(project: Project, redis_url: str) -> Iterator[Shop]:
    found = Shop(project, redis_url, celeries.VERSIONS[-1])
    yield found
    found.stop_all()


def test_a_workers_whole_life(shop: Shop) -> None:
    """Start, run a task, be looked at, pause, resume, and stop when what runs is done."""
    shop.up("w1", more=("-l", "ERROR", "-Q", "celery,images"))
    # OK means that it consumes, at any loglevel, and nothing of the keeper's reaches a task
    assert shop.call("variables") == []
    status = shop.status("w1")
    assert status["state"] == "running"
    page = shop.page("w1")
    assert (page.state, page.pool, page.concurrency) == ("ready", "prefork", 1)
    assert sorted(page.queues) == ["celery", "images"]
    assert page.succeeded == 1
    shop.send("fail")
    until(lambda: shop.page("w1").failed == 1, what="the failure is counted")

    shop.run("pause", "w1", "-Q", "images", "--force")
    until(lambda: shop.page("w1").queues == ["celery"], what="images is paused")
    shop.run("resume", "w1")
    until(lambda: sorted(shop.page("w1").queues) == ["celery", "images"], what="images is consumed again")
    shop.send("note", "after the pause", queue="images")
    shop.wait_note("after the pause")

    shop.send("slow", "x", "geheim")
    shop.wait_note("begin x")
    (child,) = [one for one in shop.page("w1").children if one.active]
    assert child.name == "shop.slow"
    assert len(child.id) == 36
    assert "'x'" in child.args
    assert child.pid != shop.worker("w1")
    stopping = shop.project.popen("stopwait", "w1")
    until(lambda: shop.record("w1")["state"] == "stopping", what="the stop has begun")
    assert is_alive(child.pid)
    shop.let_go("x")
    assert stopping.communicate(timeout=20)[0]
    assert stopping.returncode == 0
    assert shop.notes()[-1] == "end x"
    end = shop.record("w1")["last_end"]
    assert (end["kind"], end["code"]) == ("stop", 0)


def test_a_killed_worker_is_started_again_and_no_task_is_left_unrun(newest: Shop) -> None:
    newest.up("w1", more=("--restart-delay", "0.1"))
    before = newest.worker("w1")
    kill(before)
    until(lambda: newest.record("w1").get("restarts") == 1, what="a restart")
    newest.until_state("w1", "running", 20)
    assert newest.worker("w1") != before
    assert newest.call("note", "again") == "again"


def test_a_reload_loads_new_code_and_loses_no_task(extreme: Shop) -> None:
    extreme.up("w1")
    extreme.send("slow", "old")
    extreme.wait_note("begin old")
    old = extreme.worker("w1")
    file = extreme.project.path / "shop.py"
    file.write_text(file.read_text().replace("return text", "return text + ' anew'"))
    extreme.run("reload", "w1", code=None)
    until(lambda: extreme.worker("w1") != old, 20, what="the next generation")
    assert is_alive(old)  # its task still runs
    assert extreme.call("note", "code") == "code anew"
    extreme.let_go("old")
    until(lambda: not is_alive(old), what="the old worker has ended")
    assert extreme.notes().count("end old") == 1


def test_a_beat_is_one_in_the_project_and_stops_before_another_starts(extreme: Shop) -> None:
    words = ("-A", "shop", "--engine", "celery", "--executable", extreme.celery, "--kind", "beat")
    extreme.up("w1")
    extreme.run("start", "beat", *words)
    extreme.wait_note("tick", 2)
    other = extreme.run("start", "beat2", *words, code=1)
    assert "beat@" in other.stderr
    assert "singleton" in other.stderr
    old = extreme.worker("beat")
    extreme.run("reload", "beat", code=None)
    until(lambda: extreme.record("beat")["workers"] and extreme.worker("beat") != old, 20, what="another beat")
    assert not is_alive(old)
    extreme.run("stopwait", "beat", "w1")
    extreme.run("start", "beat2", *words)


def test_a_broken_project_is_told_with_the_end_of_its_traceback(newest: Shop) -> None:
    newest.project.write("shop.py", "import nothing_of_that_name\n")
    said = newest.up("w1", code=1).stderr
    assert "No module named 'nothing_of_that_name'" in said
    assert 'shop.py", line 1' in said


def test_an_interpreter_without_celery_is_told(newest: Shop) -> None:
    bare = newest.project.path / "bare"
    bare.write_text(f'#!/bin/sh\nexec {newest.celery} -S "$@"\n')
    bare.chmod(0o755)
    newest.celery = str(bare)
    assert "Celery can't be imported" in newest.up("w1", code=2).stderr


def test_a_celery_app_is_recognised_in_the_node(project: Project, redis_url: str) -> None:
    pytest.importorskip("celery")
    nodes = Nodes(project)
    project.write("shop.py", PROJECT.format(url=redis_url))
    try:
        nodes.run("start", "w1", "-A", "shop", "-c", "1", "-l", "WARNING", "-E", "--without-mingle")
        command = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")
        assert command[1].endswith("celery_node.py")
        assert {"-A", "shop", "-E", "--without-mingle"} <= set(command)
        assert nodes.status("w1")["engine"] == "celery"
        # Celery's worker would die of USR2, which tells multi's own to open its log anew
        os.kill(nodes.keeper("w1"), signal.SIGUSR2)
        old = nodes.worker("w1")
        # what only Celery has, or has already, is taken for it, whether it runs or not; what is of nobody's is Celery's to refuse
        nodes.run("restart", "w1", "-E", "--autoscale", "2,1")
        assert nodes.worker("w1") != old
        nodes.run("stopwait", "w1")
        assert nodes.record("w1")["last_end"]["kind"] == "stop"
        nodes.run("start", "w1", "--pool-start-method", "fork")
        command = Path(f"/proc/{nodes.worker('w1')}/cmdline").read_text().split("\0")
        assert {"--autoscale=2,1", "--pool-start-method=fork", "-E"} <= set(command)
        assert nodes.status("w1")["engine"] == "celery"
        assert "nonsense" in nodes.run("restart", "w1", "--nonsense", "1", code=2).stderr
    finally:
        nodes.stop_all()


def test_a_worker_that_starts_paused_is_ready_and_consumes_nothing(newest: Shop) -> None:
    newest.up("w1", more=("-Q", "a,b"))
    newest.run("pause", "w1", "--force")
    until(lambda: newest.page("w1").queues == [], what="nothing is consumed")
    newest.run("restart", "w1", "--force")
    assert newest.page("w1").queues == []
    newest.send("note", "b is on", queue="b")
    newest.run("resume", "w1")
    newest.wait_note("b is on")
    assert sorted(newest.page("w1").queues) == ["a", "b"]


def test_queues_stay_paused_over_a_lost_connection(newest: Shop) -> None:
    import redis

    newest.up("w1", more=("-Q", "a,b"))
    newest.run("pause", "w1", "-Q", "a", "--force")
    until(lambda: newest.page("w1").queues == ["b"], what="a is paused")
    client = redis.Redis.from_url(newest.url)
    client.client_kill_filter(skipme=True)
    client.close()
    newest.send("note", "b goes on", queue="b")
    newest.wait_note("b goes on")
    until(lambda: newest.page("w1").queues == ["b"], what="b alone is consumed")
    newest.run("resume", "w1")
    until(lambda: sorted(newest.page("w1").queues) == ["a", "b"], what="both are consumed")


def test_a_worker_that_hangs_is_replaced_when_it_has_a_watchdog(newest: Shop) -> None:
    newest.up("w1", more=("--watchdog", "1", "--restart-delay", "0.1"))
    old = newest.worker("w1")
    os.kill(old, signal.SIGSTOP)
    until(lambda: newest.record("w1").get("restarts") == 1, 20, what="a restart")
    assert not is_alive(old)
    log = newest.log("w1")
    child, _, worker = log.partition("Fatal Python error: Aborted")
    assert "billiard" in child.partition("was here:\n")[2], "where its child was, and then itself"
    assert "celery" in worker
    newest.until_state("w1", "running", 20)


def test_a_watchdog_is_refused_for_the_pool_solo(newest: Shop) -> None:
    assert "-P solo" in newest.up("w1", more=("--watchdog", "5", "-P", "solo"), code=2).stderr
    newest.project.write("celeryconfig.py", "worker_pool = 'solo'\n")
    newest.project.write("shop2.py", "from shop import app\napp.conf.worker_pool = 'solo'\n")
    words = ("-A", "shop2", "--engine", "celery", "--executable", newest.celery, "--watchdog", "5")
    assert "a watchdog can't be used with the pool solo" in newest.run("start", "w2", *words, code=2).stderr


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_tasks_of_other_pools_are_on_the_page(newest: Shop, pool: str) -> None:
    newest.up("w1", more=("-P", pool, "-c", "2"))
    for name in ("x", "y")[: 2 if pool == "threads" else 1]:
        newest.send("slow", name)
        newest.wait_note(f"begin {name}")
    page = newest.page("w1")
    assert page.active == (2 if pool == "threads" else 1)
    assert page.pool == pool
    assert {child.pid for child in page.children if child.active} == {newest.worker("w1")}
    newest.let_go("x")
    newest.let_go("y")
    until(lambda: newest.page("w1").active == 0, what="nothing runs any more")


def test_children_are_added_and_taken_away_by_signals(newest: Shop) -> None:
    newest.up("w1")
    os.kill(newest.keeper("w1"), signal.SIGTTIN)
    until(lambda: len(newest.page("w1").children) == 2, what="a second child")
    os.kill(newest.keeper("w1"), signal.SIGTTOU)
    until(lambda: newest.page("w1").concurrency == 1, what="one child again")
    assert newest.call("note", "goes on") == "goes on"


def test_the_stacks_of_all_processes_can_be_seen(newest: Shop) -> None:
    newest.up("w1")
    newest.send("slow", "seen")
    newest.wait_note("begin seen")
    said = newest.run("stack", "w1").stdout
    assert " slow" in said
    assert "shop.py:" in said
    assert "celery_node.py" in said
    newest.let_go("seen")


def test_the_nodes_lock_is_held_by_its_main_process_alone(newest: Shop) -> None:
    newest.up("w1")
    main = newest.worker("w1")
    (child,) = [one.pid for one in newest.page("w1").children]
    held = [os.readlink(f"/proc/{child}/fd/{fd}") for fd in os.listdir(f"/proc/{child}/fd")]
    assert not any(path.endswith("worker.lock") for path in held)
    assert any(os.readlink(f"/proc/{main}/fd/{fd}").endswith("worker.lock") for fd in os.listdir(f"/proc/{main}/fd"))


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_with_a_beat_in_it_is_a_worker(newest: Shop, pool: str) -> None:
    more = ("-B", "-s", str(newest.project.path / "schedule"), "-P", pool)
    newest.up("w1", more=more)
    newest.wait_note("tick")  # its beat has begun
    newest.send("slow", "x")
    newest.wait_note("begin x")
    page = newest.page("w1")
    assert (page.pool, page.concurrency, page.queues, page.pid) == (pool, 1, ["celery"], newest.worker("w1"))
    assert "shop.slow" in [child.name for child in page.children if child.active]
    newest.let_go("x")
    newest.run("pause", "w1", "--force")
    assert "OK, consumes from celery" in newest.run("resume", "w1").stdout


def test_a_restart_with_an_option_that_the_worker_does_not_have_stops_nothing(newest: Shop) -> None:
    with (newest.project.path / "shop.py").open("a") as file:
        file.write(
            "\nfrom click import Option\napp.user_options['worker'].add(Option(('--tenant',)))\n"
            "app.user_options['worker'].add(Option(('--region',)))\n"
        )
    newest.up("w1", more=("--tenant=acme",))
    worker = newest.worker("w1")
    done = newest.run("restart", "w1", "--dry-run", "--force", code=2)
    assert "--dry-run: neither this command nor its Celery worker has it (No such option" in done.stderr
    assert newest.worker("w1") == worker
    assert is_alive(worker)
    assert "--region" in newest.run("restart", "w1", "--region=eu").stdout
    assert newest.worker("w1") != worker
