"""Deploys to two hosts over real ssh, with `multi deploy` and `multi fleet` as people use them. The hosts' nodes are run by
multi's own keepers, and their project by a broker in a file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hosts import SshHost, interpreter, write_config, write_wheel
from support.project import Project

#: A push takes some seconds, and many times as long on a machine that is busy with other tests.
pytestmark = pytest.mark.timeout(400)

APP = """
    from multi import App

    app = App("proj")


    @app.task
    def add(a, b):
        return a + b
"""
MULTI_TOML = """
    name = "{name}"

    [defaults]
    app = "proj"
    concurrency = 1
    pool = "solo"

    [nodes.w]
    count = 2

    [deploy]
    source = "."
    exclude = ["home", "*.log"]
    python = "{python}"
    manager = "multi"
    ssh_config = "{config}"
    path = "/srv/{name}"
    serial = 1
    min_healthy_time = "0.2s"
    healthy_deadline = "20s"
    hooks = {{ after = "sh -c 'echo $MULTI_DEPLOY_RELEASE > after.log'", failed = "touch failed.log" }}

    [hosts."app[1:2]"]
"""


class Shop:
    """A project that is deployed to hosts."""

    def __init__(self, project: Project, hosts: list[SshHost], name: str) -> None:
        self.project = project
        self.hosts = hosts
        self.name = name
        config = write_config(project.home, hosts)
        project.write("multi.toml", MULTI_TOML.format(name=name, python=interpreter(), config=config))
        project.write("proj.py", APP)
        project.write("requirements.txt", "--no-index\n--find-links wheels\nmulti-workers\n")
        write_wheel(project.path / "wheels")

    def deploy(self, *words: str, code: int | None = 0) -> str:
        done = self.project.multi("deploy", *words, code=code, timeout=180)
        return done.stdout + done.stderr

    def releases(self) -> list[str]:
        """What `current` leads to, host by host."""
        return [host.shell(f"readlink /srv/{self.name}/current || true").strip() for host in self.hosts]

    def folders(self) -> set[str]:
        """Where the nodes work, by their own processes; a node that is not up is missing."""
        found = set()
        for number, host in enumerate(self.hosts):
            script = (
                f"cd /srv/{self.name}/current && .venv/bin/multi status --json | .venv/bin/python -c 'import json, os, sys; "
                '[print(one["node"].partition("@")[0], os.readlink("/proc/%d/cwd" % one["workers"][-1]["pid"])) '
                'for one in json.load(sys.stdin) if one["state"] == "running"]\''
            )
            found |= {f"{number} {line}" for line in host.shell(script).splitlines()}
        return found

    def expect(self, release: str) -> None:
        """All nodes of all hosts are up and run this release."""
        assert self.releases() == [f"releases/{release}"] * 2
        wanted = {f"{host} w{node} /srv/{self.name}/releases/{release}" for host in (0, 1) for node in (1, 2)}
        assert self.folders() == wanted

    def stop(self) -> None:
        for host in self.hosts:
            host.shell(f"cd /srv/{self.name}/current 2>/dev/null && .venv/bin/multi kill --all >/dev/null 2>&1 || true")
            host.shell(f"rm -rf /srv/{self.name}")


@pytest.fixture
def shop(hosts: list[SshHost], project: Project, request: pytest.FixtureRequest) -> Iterator[Shop]:
    made = Shop(project, hosts, f"shop{abs(hash(request.node.name)) % 100000}")
    yield made
    made.stop()


def current(shop: Shop) -> str:
    return shop.releases()[0].removeprefix("releases/")


def test_a_project_comes_to_new_hosts_is_left_alone_changed_and_taken_back(shop: Shop) -> None:
    assert "make /srv/" in shop.deploy("setup")
    assert "Nothing is to be done" in shop.deploy("setup")

    said = shop.deploy("push", "-m", "the first")
    first = current(shop)
    shop.expect(first)
    assert (shop.project.path / "after.log").read_text().strip() == first
    assert "Batch 2 of 2: app2" in said
    assert "Nothing is to be done: 2 hosts as described" in shop.deploy("push")

    shop.deploy("lock", "-m", "the database moves")
    assert "the database moves" in shop.deploy("push", code=1)
    shop.deploy("unlock")
    shop.project.write("proj.py", APP + "\n    # changed\n")
    dry = json.loads(shop.deploy("push", "--dry-run", "--json"))
    assert [step["kind"] for step in dry["hosts"]["app1"]["steps"]].count("restart") == 2
    events = [json.loads(line) for line in shop.deploy("push", "--json").splitlines()]
    assert events[-1]["event"] == "report" and events[-1]["ok"]
    assert {event["host"] for event in events if event["event"] == "end"} == {"app1", "app2"}
    second = current(shop)
    assert second != first
    shop.expect(second)
    environments = shop.hosts[0].shell(f"ls /srv/{shop.name}/environments").split()
    assert len(environments) == 1  # unchanged requirements need no new one

    assert "2 of 2 hosts" in shop.deploy("rollback", "-m", "it was better")
    shop.expect(first)
    status = json.loads(shop.deploy("status", "--json"))
    assert [(one["release"], one["missing"]) for one in status] == [(first, []), (first, [])]
    listed = json.loads(shop.deploy("releases", "--json"))
    assert [(one["release"], one["current"]) for one in listed] == [(second, []), (first, ["app1", "app2"])]
    audit = [json.loads(line) for line in shop.deploy("audit", "--json").splitlines()]
    assert [one["what"] for one in audit if one["host"] == "app2"] == [
        *("setup", "push begins", "push ends", "push begins", "push ends", "rollback begins", "rollback ends")
    ]
    folder = f"/srv/{shop.name}/releases/{first}"
    said = shop.deploy("exec", "--", "pwd", "-P")
    assert sorted(line.split() for line in said.splitlines()) == [["app1", folder], ["app2", folder]]
    assert "app1 w1: " in shop.deploy("logs", "w1", "-n", "2")
    assert "nothing is to be removed" in shop.deploy("prune")


def test_a_release_that_does_not_work_changes_no_host_or_all_go_back(shop: Shop) -> None:
    shop.deploy("setup")
    shop.deploy("push")
    good = current(shop)
    shop.project.write("proj.py", APP + "\n    import nothing_there\n")
    said = shop.deploy("push", code=1)
    assert "No module named 'nothing_there'" in said
    assert "current ->" not in said  # it was found before anything was switched
    shop.expect(good)
    assert (shop.project.path / "failed.log").exists()
    # it works on the first host only, which then has to go back as well
    shop.project.write(
        "proj.py", APP + "\n    import os\n    if os.path.exists('/run/broken'): raise OSError('broken here')\n"
    )
    shop.hosts[1].shell("touch /run/broken")
    try:
        said = shop.deploy("push", code=1)
    finally:
        shop.hosts[1].shell("rm /run/broken")
    assert "Going back: app1" in said and "Going back: app2" in said
    assert "broken here" in said
    shop.expect(good)
    assert all("locked" not in line for line in shop.deploy("lock").splitlines() if "not locked" not in line)


def test_a_deploy_that_is_interrupted_goes_back_and_one_that_is_killed_is_finished_by_the_next(shop: Shop) -> None:
    shop.deploy("setup")
    shop.deploy("push")
    good = current(shop)
    shop.project.write("proj.py", APP + "\n    # interrupted\n")

    def push_until(text: str, number: signal.Signals) -> tuple[int, str]:
        process = shop.project.popen("deploy", "push", stderr=subprocess.STDOUT)
        said = ""
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                said += line
                if text in line:
                    process.send_signal(number)
                    text = "\0"
        return process.wait(), said

    code, said = push_until("restart w1", signal.SIGINT)
    assert code == 130, said
    assert "interrupted" in said and "Going back: app1" in said
    shop.expect(good)
    code, said = push_until("restart w1", signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert "app2: locked" not in shop.deploy("lock")
    assert f"root on {os.uname().nodename}" in shop.deploy("lock") or "push" in shop.deploy("lock")
    # another machine's would be refused; this one knows that the process is no more
    said = shop.deploy("push")
    assert "was left by a deploy that is no more" in said
    assert current(shop) != good
    shop.expect(current(shop))


def test_nodes_of_a_fleet_are_steered_without_releases(shop: Shop) -> None:
    """The code lies in a folder that came another way; its environment is the one of these tests."""
    for host in shop.hosts:
        host.shell(f"mkdir -p /srv/{shop.name}")
        for name in ("multi.toml", "proj.py"):
            text = (shop.project.path / name).read_text()
            host.shell(f"cat > /srv/{shop.name}/{name} <<'END'\n{text}\nEND")
        host.shell(f"cd /srv/{shop.name} && {sys.executable} -m multi up")
    program = str(Path(sys.executable).with_name("multi"))

    def fleet(*words: str, code: int = 0) -> str:
        done = shop.project.multi("fleet", words[0], "--multi", program, *words[1:], code=code)
        return done.stdout + done.stderr

    def pids() -> dict[str, int]:
        return {
            f"{one['host']}/{one['node'].partition('@')[0]}": one["pid"]
            for one in json.loads(fleet("status", "--json"))
        }

    before = pids()
    assert sorted(before) == ["app1/w1", "app1/w2", "app2/w1", "app2/w2"]
    said = fleet("restart", "w*", "--hosts", "app1", "--healthy", "0.2s")
    assert said.index("1 of 2: app1/w1") < said.index("2 of 2: app1/w2")
    after = pids()
    assert {name for name in before if before[name] != after[name]} == {"app1/w1", "app1/w2"}
    fleet("stop", "--all", "--hosts", "app2")
    said = fleet("stop", "w1", "--hosts", "app1")
    assert "app1/w1" not in [line for line in said.splitlines() if "refused" in line]
    said = fleet("stop", "w2", "--hosts", "app1", code=1)
    assert "refused: app1/w2 would leave the queue 'celery' without a consumer in the fleet" in said
    assert "there are w1, w2" in fleet("restart", "img*", code=1)
    fleet("start", "--all", "--batch", "100%", "--healthy", "0.2s")
    assert len(pids()) == 4
    assert sorted(fleet("exec", "--", "pwd").split()) == [f"/srv/{shop.name}"] * 2 + ["app1", "app2"]
    for host in shop.hosts:
        host.shell(f"cd /srv/{shop.name} && {program} kill --all")


def test_a_program_restarts_nodes_over_its_own_connections(shop: Shop) -> None:
    fabric = pytest.importorskip("fabric")
    import multi.deploy

    host = shop.hosts[0]
    text = (shop.project.path / "proj.py").read_text()
    host.shell(f"mkdir -p /srv/{shop.name}; cat > /srv/{shop.name}/proj.py <<'END'\n{text}\nEND")
    host.shell(f"cd /srv/{shop.name} && {sys.executable} -m multi start w1 w2 -A proj --pool solo")
    program = str(Path(sys.executable).with_name("multi"))
    config = fabric.Config(runtime_ssh_path=str(shop.project.home / "ssh_config"))
    with fabric.Connection("app1", config=config) as connection:
        place = f"/srv/{shop.name}"
        before = {one.name: one.told["pid"] for one in multi.deploy.nodes(connection, path=place, multi=program)}
        outcome = multi.deploy.restart(connection, "w*", rolling=True, healthy=0.2, path=place, multi=program)
        assert outcome.ok and list(outcome.results) == ["app1/w1", "app1/w2"]
        after = {one.name: one.told["pid"] for one in multi.deploy.nodes(connection, path=place, multi=program)}
        assert set(before) == set(after) == {"w1", "w2"} and not set(before.values()) & set(after.values())
        assert connection.is_connected  # it is not ours to close
    host.shell(f"cd /srv/{shop.name} && {program} kill --all")
