"""`multi doctor` with a real Redis, as a user would run it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.servers import Redis

from multi.deploy.base import Result
from multi.deploy.doctor import ELSEWHERE
from multi.deploy.hosts import looking
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Settings
from multi.deploy.steps import Command

_APP = """
import {library} as library
app = library.{name}("proj", broker={url!r})
app.conf.task_acks_late = True
@app.task(time_limit=9000)
def long(): pass
"""


@pytest.fixture
def careless_redis() -> Iterator[Redis]:
    """One that drops keys, and keeps nothing."""
    server = Redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Here:
    """A session of a "host" that is this machine: commands run as they would over ssh."""

    def __init__(self, folder: Path) -> None:
        self.host = Host("s1", "s1", (), (), Settings(str(folder), sudo=False))

    def connect(self, host: Host) -> Any:
        return self

    def run(self, command: Command, say: object = None) -> Result:
        words = list(map(str, command.argv))
        done = subprocess.run(
            words, cwd=command.cwd, input=command.stdin, capture_output=True, timeout=command.timeout, check=False
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def doctor(folder: Path, *words: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "multi", "doctor", "--local", "--json", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(("library", "name"), [("celery", "Celery"), ("multi", "App")])
def test_a_careless_redis_and_tasks_that_outlast_it_are_found(
    library: str, name: str, careless_redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "proj.py").write_text(_APP.format(library=library, name=name, url=careless_redis.url()))
    (tmp_path / "multi.toml").write_text(
        f'[nodes.w]\napp = "proj"\nengine = "{library}"\npython = "{sys.executable}"\nstop = {{ kill_after = "10m" }}\n'
    )
    code, found = doctor(tmp_path)
    checks = {one["check"]: one for one in found["findings"]}
    assert code == 1
    assert checks["redis-eviction"]["level"] == "error"
    assert "allkeys-lru" in checks["redis-eviction"]["text"]
    assert checks["redis-persistence"]["level"] == "warning"
    assert "a task may take 2.5 h (the time_limit of proj.long)" in checks["stop-time"]["text"]
    # multi's own worker renews its claim for as long as the task runs
    assert ("redelivery" in checks) == (library == "celery")


def test_nothing_is_found_where_all_is_well(redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(f"import multi\napp = multi.App('proj', broker={redis_url!r})\n")
    (tmp_path / "multi.toml").write_text('[nodes.w]\napp = "proj"\n')
    code, found = doctor(tmp_path)
    assert (code, found["ok"], found["findings"]) == (0, True, [])


def test_a_broker_that_is_down_and_an_app_that_is_broken_are_errors(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(
        "import multi\napp = multi.App('proj', broker='redis://:hunter2@127.0.0.1:1/0')\n"
    )
    (tmp_path / "multi.toml").write_text('[nodes.w]\napp = "proj"\n')
    code, found = doctor(tmp_path)
    (one,) = found["findings"]
    assert (code, one["check"]) == (1, "app")
    assert "Connection refused" in one["text"]
    assert "hunter2" not in json.dumps(found)
    (tmp_path / "proj.py").write_text("import nothing_like_it\n")
    code, found = doctor(tmp_path)
    assert (code, found["findings"][0]["check"]) == (1, "app")
    assert "No module named 'nothing_like_it'" in found["findings"][0]["text"]


def test_options_of_hosts_without_hosts_are_a_mistake_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "multi.toml").write_text('[nodes.w]\napp = "proj"\n')
    command = [sys.executable, "-m", "multi", "doctor", "--hosts", "app*"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"--hosts: {tmp_path}/multi.toml describes no hosts" in done.stderr


def test_hosts_without_releases_are_looked_at_by_their_own_multi(
    careless_redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MULTI_STATE_DIR", str(tmp_path / "state"))
    here: Any = Here(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    (lost,) = looking.look(here, [here.host], ["app"], 1).values()
    assert not lost.has_multi
    assert [(one.check, one.about) for one in lost.not_done] == [("app", "s1")]
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/multi").symlink_to(Path(sys.executable).parent / "multi")
    (tmp_path / "proj.py").write_text(_APP.format(library="multi", name="App", url=careless_redis.url()))
    (tmp_path / "multi.toml").write_text('[nodes.w]\napp = "proj"\nconcurrency = 1\n')
    for words in (("up",), ("stopwait", "w")):
        subprocess.run(
            [sys.executable, "-m", "multi", *words], cwd=tmp_path, capture_output=True, timeout=60, check=True
        )
    (found,) = looking.look(here, [here.host], ELSEWHERE, 1).values()
    told = {(one.check, one.about) for one in found.findings}
    assert told >= {("redis-eviction", "s1"), ("nodes", "s1/w")}
    assert not found.not_done
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/multi.toml").write_text('[nodes.w]\napp = "proj"\n')
    (found,) = looking.look(here, [here.host], ["units"], 1, str(tmp_path / "mine/multi.toml")).values()
    assert [one.text for one in found.findings] == [f"{tmp_path}/multi.toml is not as {tmp_path}/mine/multi.toml"]
    # those that were not asked for are left out
    code, said = doctor(tmp_path, "--check", "nodes")
    assert (code, said["checks"], said["not_done"]) == (0, ["nodes"], [])
    assert [one["text"] for one in said["findings"]] == ["does not run: it was stopped"]
