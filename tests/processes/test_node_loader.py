"""Many nodes, one import: a loader forks their workers, and from then on each node is like one that was started by itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes, is_alive, kill
from support.wait import until

NAMES = ("w1", "w2", "w3")

#: Each import leaves a line; how it goes on, `IMPORT` says.
APP = """
import os, random, sys, threading, time
from multi import App

with open("imports", "a") as file:
    print(os.getpid(), file=file)
print("the app prints", flush=True)
how = open("how").read() if os.path.exists("how") else ""
exec(how)
os.environ["SET_BY_THE_APP"] = "yes"
app = App("proj")
app.conf.worker_lease = 1.0

@app.task
def note(number):
    with open("done", "a") as file:
        file.write(f"{number}\\n")
    return number

@app.task
def look():
    return {
        "argv": sys.argv[1:],
        "words": sys.orig_argv,
        "random": random.random(),
        "variables": {name: os.environ.get(name) for name in ("SET_BY_THE_APP", "MULTI_BY", "NOTIFY_SOCKET", "PWD")},
        "threads": threading.active_count(),
    }
"""

CLIENT = """
import sys
from proj import note
results = [note.delay(number) for number in range(int(sys.argv[1]))]
assert [result.get(timeout=90) for result in results] == list(range(int(sys.argv[1])))
"""


@pytest.fixture
def app(nodes: Nodes) -> Nodes:
    nodes.project.write("proj.py", APP)
    return nodes


def how(nodes: Nodes, text: str) -> None:
    """What the app does while it is imported."""
    nodes.project.write("how", text)


def imports(nodes: Nodes) -> list[int]:
    """The processes that have imported the app, since this was asked last."""
    file = nodes.project.path / "imports"
    found = [int(word) for word in file.read_text().split()] if file.exists() else []
    file.unlink(missing_ok=True)
    return found


def start(nodes: Nodes, *more: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
    return nodes.run("start", *NAMES, "-A", "proj", "-l", "INFO", "-c", "1", *more, code=code)


def popen(nodes: Nodes, *more: str) -> subprocess.Popen[str]:
    return nodes.project.popen("start", *NAMES, "-A", "proj", "-l", "INFO", "-c", "1", *more)


def pids(nodes: Nodes, name: str) -> tuple[int, int, int]:
    record = nodes.record(name)
    return nodes.keeper(name), nodes.worker(name), record["generation"]


def look(nodes: Nodes, name: str) -> dict[str, object]:
    """What a task sees in this node, which alone consumes from the queue of its name."""
    code = "import json, sys; from proj import look; print(json.dumps(look.apply_async(queue=sys.argv[1]).get(timeout=30)))"
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        cwd=nodes.project.path,
        env=nodes.project.env,
        text=True,
        capture_output=True,
        check=True,
    )
    value = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(value, dict)
    return value


def test_three_nodes_start_from_one_import_and_are_independent_from_then_on(app: Nodes) -> None:
    start(app, "--restart-delay", "0.05")
    (loader,) = imports(app)
    until(lambda: not is_alive(loader), what="the loader is gone")
    before = {name: pids(app, name) for name in NAMES}
    work = subprocess.Popen(
        [sys.executable, "-c", CLIENT, "300"],
        cwd=app.project.path,
        env=app.project.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    kill(app.worker("w1"))
    until(lambda: app.record("w1")["generation"] == 2, what="w1 is started again")
    app.until_state("w1", "running")
    app.run("reload", "w2")
    app.run("restart", "w2")
    assert pids(app, "w3") == before["w3"]
    assert pids(app, "w1")[0] == before["w1"][0]
    app.run("stopwait", "w2")
    assert pids(app, "w3") == before["w3"]
    assert pids(app, "w1")[2] == 2
    assert app.run("status", "w1", "w3").returncode == 0

    assert work.communicate(timeout=120)[0] == "the app prints\n"
    assert work.returncode == 0
    done = (app.project.path / "done").read_text().split()
    assert sorted(map(int, done)) == list(range(300))
    fresh = [pid for pid in imports(app) if pid != work.pid]
    assert len(fresh) == 3, "w1 after its death, w2 at its reload and its restart"


def test_a_worker_from_a_loader_is_like_one_that_was_started_by_itself(app: Nodes) -> None:
    start(app, "-Q:w1", "w1", "-Q:w2", "w2", "-Q:w3", "w3", "--limit", "nofile=500", "--umask", "027")
    assert len(imports(app)) == 1
    seen = {name: look(app, name) for name in NAMES}
    assert len({str(one["random"]) for one in seen.values()}) == 3
    for name in NAMES:
        pid = app.worker(name)
        (spec,) = app.state.glob(f"nodes/*/{name}@{HOST}/spec.json")
        kept = json.loads(spec.read_text())["argv"]
        assert seen[name]["words"] == kept
        assert seen[name]["argv"] == kept[3:]
        assert Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0") == kept
        assert os.getsid(pid) == pid
        assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
        assert os.readlink(f"/proc/{pid}/fd/1") == os.readlink(f"/proc/{pid}/fd/2") == app.record(name)["log_file"]
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert int(status["PPid"]) == app.keeper(name)
        assert status["Umask"].strip() == "0027"
        assert "500 " in Path(f"/proc/{pid}/limits").read_text()
        assert seen[name]["variables"] == {
            "SET_BY_THE_APP": "yes",
            "MULTI_BY": None,
            "NOTIFY_SOCKET": None,
            "PWD": str(app.project.path),
        }
        assert b"SET_BY_THE_APP" not in Path(f"/proc/{app.keeper(name)}/environ").read_bytes()
        assert app.log(name).count("the app prints") == 1
    assert not _descriptors(app.worker("w1")) & _descriptors(app.worker("w2"))
    assert not _descriptors(app.keeper("w1")) & _descriptors(app.keeper("w2"))


def _descriptors(pid: int) -> set[tuple[int, int]]:
    """The open files of a process by which it could meet another one: device and inode, since memory has names alike."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        if os.readlink(path).startswith(("socket:", "pipe:", "/memfd:")):
            about = os.stat(path)
            found.add((about.st_dev, about.st_ino))
    return found


def test_nodes_that_differ_in_what_an_app_may_look_at_import_for_themselves(app: Nodes) -> None:
    start(app, "--include:w3=json")
    assert len(imports(app)) == 2, "w1 and w2 together, and w3"
    app.run("stopwait", *NAMES)
    app.run("start", "w1", "-A", "proj", "-l", "INFO", "-c", "1")
    assert imports(app) == [app.worker("w1")]


@pytest.mark.parametrize(
    "left",
    [
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "import socket; pair = socket.socketpair()",
        "import subprocess; helper = subprocess.Popen(['sleep', '0.5'])",
    ],
    ids=["threads", "connections", "processes"],
)
def test_what_a_fork_would_not_have_makes_every_node_import_for_itself(app: Nodes, left: str) -> None:
    how(app, left)
    start(app)
    loader, *others = imports(app)
    assert sorted(others) == sorted(app.worker(name) for name in NAMES)
    assert loader not in others


def test_an_import_that_fails_is_told_by_every_node_as_by_one_alone(app: Nodes) -> None:
    how(app, "raise ImportError('no good')")
    alone = app.run("start", "w1", "-A", "proj", "-l", "INFO", "-c", "1", code=None)
    done = start(app, code=None)
    assert done.returncode == alone.returncode != 0
    for name in NAMES:
        assert f"{name}@{HOST} did not start" in done.stderr
        assert f"{name}@{HOST} is not kept" in done.stderr or name == "w1"
    assert done.stderr.count("ImportError: no good") >= 3
    assert not app.state.glob("nodes/*/w2*/spec.json") or not list(app.state.glob("nodes/*/w2*/spec.json"))


def test_the_wrong_app_is_told_by_every_node(app: Nodes) -> None:
    app.project.write("other.py", "")
    done = app.run("start", *NAMES, "-A", "other", code=None)
    assert done.returncode != 0
    assert done.stderr.count("no app is found at -A other") >= 3


def _importing(nodes: Nodes) -> int:
    """Wait until an import hangs; its process."""
    until(lambda: (nodes.project.path / "imports").exists(), what="an import has begun")
    until(lambda: (nodes.project.path / "imports").read_text().endswith("\n"), what="it has said so")
    return imports(nodes)[0]


HANGS = "while not os.path.exists('go'): time.sleep(0.01)"


def test_a_node_can_be_stopped_while_its_app_is_imported(app: Nodes) -> None:
    how(app, HANGS)
    command = popen(app)
    _importing(app)
    shown = app.status("w2")
    assert shown["state"] == "starting"
    assert "being imported" in shown["message"]
    app.run("stopwait", "w2")
    app.run("status", "w2", code=4)  # it never ran, and is not kept
    app.project.write("go", "")
    out, err = command.communicate(timeout=60)
    assert command.returncode == 1
    assert "w2@" in err
    assert "stopped before it was ready" in err
    assert out.count("OK (pid") == 2
    assert app.record("w1")["state"] == app.record("w3")["state"] == "running"
    assert imports(app) == []


def test_a_loader_that_is_killed_leaves_each_node_to_itself(app: Nodes) -> None:
    how(app, HANGS)
    command = popen(app)
    loader = _importing(app)
    app.project.write("go", "")
    os.kill(loader, signal.SIGKILL)
    assert command.communicate(timeout=60)[0].count("OK (pid") == 3
    assert command.returncode == 0


def test_another_command_may_be_quicker_with_one_of_the_nodes(app: Nodes) -> None:
    how(app, HANGS)
    command = popen(app)
    _importing(app)
    node = app.folder("w2")
    (node / "loading").unlink()
    app.start("w2")  # a worker that is no app of this project: it is ready at once
    other = pids(app, "w2")
    (node / "loading").write_text("{}")  # as if the loader's order had not been withdrawn
    app.project.write("go", "")
    out, _ = command.communicate(timeout=60)
    assert command.returncode == 0, out
    assert f"w2@{HOST}: already running" in out
    assert pids(app, "w2") == other
    for name in NAMES:
        assert app.status(name)["processes"] >= 2


def test_a_command_that_is_interrupted_leaves_the_loader_to_its_work(app: Nodes) -> None:
    how(app, HANGS)
    command = popen(app)
    _importing(app)
    command.send_signal(signal.SIGINT)
    command.communicate(timeout=30)
    app.project.write("go", "")
    for name in NAMES:
        app.until_state(name, "running")
    assert imports(app) == []


def test_a_start_that_takes_too_long_says_so_and_goes_on(app: Nodes) -> None:
    how(app, HANGS)
    command = popen(app, "--timeout", "0.5")
    _importing(app)
    out, err = command.communicate(timeout=30)
    assert command.returncode == 1
    assert out.count("not ready after 0.5 s") == 3
    assert "being imported" in err
    app.project.write("go", "")
    for name in NAMES:
        app.until_state(name, "running")


def test_more_nodes_start_and_stop_than_a_command_may_have_files_open(app: Nodes) -> None:
    names = [f"n{number}" for number in range(1, 41)]

    def run(*more: str) -> str:
        words = ["/bin/sh", "-c", 'ulimit -S -n 70; exec "$@"', "sh", sys.executable, "-m", "multi", *more]
        done = subprocess.run(
            words, cwd=app.project.path, env=app.project.env, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = run("start", *names, "-A", "ready", "--executable", str(app.python), "--timeout", "120")
    assert said.count("OK (pid") == 40
    for pid in (app.keeper("n7"), app.worker("n7")):
        assert re.search(r"Max open files +70 ", Path(f"/proc/{pid}/limits").read_text())
    assert run("stopwait", *names).count("DOWN") == 40


def test_a_restart_of_several_nodes_shares_one_fresh_import(app: Nodes) -> None:
    start(app)
    imports(app)
    before = {name: pids(app, name) for name in NAMES}
    app.project.write("how", "print('changed')")
    app.run("restart", *NAMES)
    assert len(imports(app)) == 1
    for name in NAMES:
        assert "changed" in app.log(name)
        assert pids(app, name)[:2] != before[name][:2]


def test_nodes_that_are_described_share_one_import(app: Nodes) -> None:
    app.project.write("multi.toml", '[defaults]\napp = "proj"\n[nodes.w]\ncount = 3\nconcurrency = 1\n')
    app.run("up")
    assert len(imports(app)) == 1
    assert all(app.record(name)["state"] == "running" for name in NAMES)
