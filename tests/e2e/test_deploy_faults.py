"""What goes wrong on hosts while they are deployed to, over real ssh: always a truthful report, and hosts that are on one whole
release or are brought to it by the next push. One project for all of it: each test leaves it as it should be.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from support.hosts import SshHost, interpreter, write_config, write_wheel
from support.project import Project
from support.wait import until

pytestmark = pytest.mark.timeout(400)

NAME = "faulty"
APP = """
    import os, sys, time

    from multi import App

    app = App("proj", broker="sqlite:////srv/faulty/shared/tasks.db")
    IS_WORKER = "worker" in sys.argv
    IS_BAD = False


    @app.task
    def add(a, b):
        if IS_BAD:
            raise ValueError("this release is bad")
        return a + b


    @app.task
    def hold():
        while not os.path.exists("/srv/faulty/shared/go"):
            time.sleep(0.1)
"""
MULTI_TOML = """
    name = "{name}"

    [defaults]
    app = "proj"
    concurrency = 1
    pool = "solo"
    stop = {{ kill_after = "3s" }}

    [nodes.w]

    [nodes.img]
    queues = ["img"]

    [deploy]
    source = "."
    python = "{python}"
    ssh_config = "{config}"
    path = "/srv/{name}"
    serial = "100%"
    min_free_space = 0
    min_healthy_time = 0
    healthy_deadline = "{deadline}"
    {more}

    manager = "multi"

    [hosts.app1]
    {one}

    [hosts.app2]
    {two}
"""
REQUIREMENTS = "--no-index\n--find-links wheels\nmulti-workers\n"


class Faulty:
    """The project, with its hosts."""

    def __init__(self, project: Project, hosts: list[SshHost]) -> None:
        self.project = project
        self.hosts = hosts
        self.config = write_config(project.home, hosts)
        self.describe()
        self.code()
        project.write("requirements.txt", REQUIREMENTS)
        write_wheel(project.path / "wheels")

    def describe(self, more: str = "", one: str = "", two: str = "", deadline: str = "30s") -> None:
        text = MULTI_TOML.format(
            name=NAME, python=interpreter(), config=self.config, more=more, one=one, two=two, deadline=deadline
        )
        self.project.write("multi.toml", text)

    def code(self, more: str = "") -> None:
        self.project.write("proj.py", APP + f"\n    {more}\n    # {time.monotonic_ns()}\n")

    def deploy(self, *words: str, code: int | None = 0) -> str:
        done = self.project.multi("deploy", *words, code=code, timeout=180)
        return done.stdout + done.stderr

    def push(self, code: int = 0, *words: str) -> str:
        return self.deploy("push", *words, code=code)

    def multi(self, host: int, *words: str) -> str:
        return self.hosts[host].shell(f"cd /srv/{NAME}/current && .venv/bin/multi {shlex.join(words)}")

    def state(self) -> list[tuple[str, list[str]]]:
        """Of each host the release that is current, and those that its nodes' processes work in."""
        found = []
        for host in self.hosts:
            script = (
                f"readlink /srv/{NAME}/current || echo none; for one in /proc/[0-9]*; do "
                "case $(tr '\\0' ' ' < $one/cmdline 2>/dev/null) in *' worker '*-n*) readlink $one/cwd ;; esac; done"
            )
            current, *folders = host.shell(script).split()
            # the script itself looks like a worker, from another place
            releases = {one.rpartition("/")[2] for one in folders if one.startswith(f"/srv/{NAME}/")}
            found.append((current.rpartition("/")[2], sorted(releases)))
        return found

    def expect(self, release: str) -> None:
        """All hosts are on this release, whole."""
        assert self.state() == [(release, [release])] * 2
        assert [host.shell(f"ls /srv/{NAME}/.multi | grep lock || true") for host in self.hosts] == ["", ""]

    @property
    def current(self) -> str:
        return self.state()[0][0]


@pytest.fixture(scope="module")
def faulty(hosts: list[SshHost], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    made = Faulty(Project(tmp_path_factory.mktemp("faulty"), "faulty"), hosts)
    made.deploy("setup")
    made.push()
    yield made
    for host in hosts:
        host.shell(f"cd /srv/{NAME}/current 2>/dev/null && .venv/bin/multi kill --all >/dev/null 2>&1 || true")
        host.shell(f"rm -rf /srv/{NAME}")


def test_a_node_that_does_not_drain_is_killed_when_its_time_is_up_and_the_deploy_goes_on(faulty: Faulty) -> None:
    """And hosts go together only where each queue keeps a consumer."""
    faulty.hosts[0].shell(f"cd /srv/{NAME}/current && .venv/bin/python -c 'import proj; proj.hold.delay()'")
    until(lambda: faulty.multi(0, "ps", "--json") != "[]\n", what="the task runs")
    faulty.code()
    said = faulty.push()
    assert "app2 goes after app1: together they would leave the queues 'celery', 'img' without a consumer" in said
    assert "Batch 2 of 2: app2" in said
    assert "app1: w did not end what it was running in its time, and was killed" in said
    faulty.expect(faulty.current)
    faulty.hosts[0].shell(f"touch /srv/{NAME}/shared/go")


def test_the_last_consumer_of_a_queue_is_left_alone_until_another_one_is_up(faulty: Faulty) -> None:
    faulty.multi(1, "stopwait", "img", "--force")
    faulty.code()
    said = faulty.push(1, "--hosts", "app1")
    assert "refused: app1 would leave the queue 'img' without a consumer" in said
    assert "Batch 1 of 2: app2" in faulty.push()  # the host whose node is down goes first
    faulty.expect(faulty.current)


def test_a_release_that_starts_and_never_gets_ready_goes_back(faulty: Faulty) -> None:
    good = faulty.current
    faulty.describe(deadline="6s")
    faulty.code("if IS_WORKER: time.sleep(600)")
    said = faulty.push(1)
    assert "app1: restart w" in said
    assert "Going back: app1" in said
    faulty.expect(good)
    faulty.describe()


def test_a_canary_whose_tasks_fail_goes_back(faulty: Faulty) -> None:
    good = faulty.current
    faulty.describe(more='canary = { nodes = 1, tasks = 500, time = "60s" }')
    faulty.code("IS_BAD = True")
    stream = "import proj, time; [(proj.add.delay(1, 2), time.sleep(0.05)) for _ in range(400)]"
    faulty.hosts[0].shell(
        f"cd /srv/{NAME}/current && (setsid .venv/bin/python -c '{stream}' >/dev/null 2>&1 & echo $! > /run/stream)"
    )
    said = faulty.push(1)
    assert "tasks have failed on the new release (100.0%)" in said
    faulty.hosts[0].shell("kill $(cat /run/stream) 2>/dev/null || true")
    faulty.describe()
    faulty.expect(good)


def test_a_disk_that_gets_full_changes_nothing_and_leaves_nothing(faulty: Faulty) -> None:
    good = faulty.current
    host = faulty.hosts[1]
    before = host.shell(f"ls /srv/{NAME}/environments")
    host.shell("mount -o remount,size=$(($(df -k --output=used /srv | tail -n 1) + 40))k /srv")
    faulty.project.write("requirements.txt", REQUIREMENTS + "# an environment of its own\n")
    said = faulty.push(1)
    assert "No space left" in said or "the disk is full: " in said
    faulty.expect(good)
    assert host.shell(f"ls /srv/{NAME}/environments") == before
    host.shell("mount -o remount,size=1g /srv")
    faulty.project.write("requirements.txt", REQUIREMENTS)


#: The command line, for which a host has gone when it is silent for five seconds.
IMPATIENT = """
import functools
from multi.deploy.connections import pool
pool.Ways = functools.partial(pool.Ways, silence=5.0, attempts=1)
from multi.cli.main import main
raise SystemExit(main())
"""


def test_a_host_that_is_cut_off_in_the_middle_of_a_restart_is_brought_into_line_by_the_next_push(
    faulty: Faulty,
) -> None:
    good = faulty.current
    faulty.describe(more='connect_timeout = "2s"')
    faulty.code()
    words = [sys.executable, "-c", IMPATIENT, "deploy", "push", "--json"]
    process = subprocess.Popen(
        words,
        cwd=faulty.project.path,
        env=faulty.project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = ""
    try:
        assert process.stdout is not None and process.stderr is not None
        with process:
            for line in process.stdout:
                said += line
                event = json.loads(line)
                if event.get("host") == "app2" and "Stopping nodes" in event.get("text", ""):
                    faulty.hosts[1].freeze()
            errors = process.stderr.read()
    finally:
        faulty.hosts[1].thaw()
    report = json.loads(said.splitlines()[-1])
    assert (process.returncode, report["hosts"]["app2"]["state"]) == (1, "unreachable"), said
    assert "Traceback" not in errors
    assert report["hosts"]["app1"]["state"] == "went back"
    assert faulty.state()[0] == (good, [good])
    assert "was left by a deploy that is no more" in faulty.push()
    assert faulty.current != good
    faulty.expect(faulty.current)
    faulty.describe()


def test_interpreters_that_are_missing_or_too_old_are_told_before_anything_is_done(faulty: Faulty) -> None:
    good = faulty.current
    faulty.hosts[0].shell(
        "printf '#!/bin/sh\\necho 3.9.2\\n' > /usr/local/bin/python3.9; chmod +x /usr/local/bin/python3.9"
    )
    faulty.describe(one='python = "python3.9"', two='python = "/opt/none/python"')
    faulty.code()
    said = faulty.push(1)
    assert "its python3.9 is Python 3.9.2, and multi, which the requirements name, needs 3.11" in said
    assert "there is no interpreter /opt/none/python there that runs" in said
    faulty.describe()
    faulty.expect(good)
