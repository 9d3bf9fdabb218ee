"""What a host tells of itself, asked by the real script of real programs."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.supervisord import PrivateSupervisord
from support.wait import until

from multi.deploy.hosts.facts import RUNNING, STARTING, STOPPED, HostFacts, parse
from multi.deploy.hosts.question import Question


def told(path: Path, *folders: Path, owner: str = "", **env: str) -> HostFacts:
    asked = Question(str(path), "shop", sys.executable, (), tuple(map(str, folders)), owner).command()
    done = subprocess.run(
        list(map(str, asked.argv)),
        input=asked.stdin,
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, **env},
    )
    assert done.stderr == b""
    return parse("h", done.stdout.decode())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project's folder with two releases, of which the second is current; and one that was not finished."""
    path = tmp_path / "srv" / "shop"
    for name in ("r1", "r2", "r3.part"):
        release = path / "releases" / name
        release.mkdir(parents=True)
        (release / ".multi-manifest").write_text(name)
        (release / ".venv").symlink_to("../../environments/e1")
    (path / "releases" / "half").mkdir()
    for name in ("e1", "e2.part"):
        (path / "environments" / name / "bin").mkdir(parents=True)
        (path / "environments" / name / "bin" / "python").symlink_to(sys.executable)
    (path / ".multi" / "good").mkdir(parents=True)
    (path / ".multi" / "good" / "r1").touch()
    (path / ".multi" / "units").write_text("file\t/etc/x y\tabc\nunit\tshop-w1\tdef\n")
    (path / ".multi" / "lock").write_text("me\nsince\tyesterday\n")
    (path / "current").symlink_to("releases/r2")
    return path


@pytest.fixture
def supervisord(tmp_path: Path, no_leftovers: None) -> Iterator[PrivateSupervisord]:
    found = PrivateSupervisord(dict(os.environ))
    wrapper = found.folder / "bin" / "supervisorctl"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m supervisor.supervisorctl -c {found.config} "$@"\n')
    wrapper.chmod(0o755)
    try:
        found.start()
        yield found
    finally:
        found.stop()


def test_the_releases_and_what_deploys_have_left(project: Path) -> None:
    facts = told(project)
    digest = hashlib.sha256(b"r1").hexdigest()
    assert [(one.name, one.environment, one.good) for one in facts.releases] == [
        ("r1", "e1", True),
        ("r2", "e1", False),
    ]
    assert facts.releases[0].digest == digest
    assert (facts.current, facts.environments) == ("r2", frozenset({"e1"}))
    assert facts.current_age is not None
    assert facts.current_age < 60
    assert f"{project}/.multi" in facts.folders
    assert f"{project}/shared" not in facts.folders
    assert (facts.recorded_files, facts.recorded_units) == ({"/etc/x y": "abc"}, {"shop-w1": "def"})
    assert facts.lock == "me since yesterday"
    assert facts.python == ".".join(map(str, sys.version_info[:3]))
    assert facts.hostname == os.uname().nodename


@pytest.mark.parametrize("state", ["running", "running (paused)", "starting"])
def test_keepers_are_asked_as_their_owner_and_know_better_than_supervisord(
    project: Path, tmp_path: Path, state: str
) -> None:
    multi = project / "releases/r2/.venv/bin/multi"
    keeper = f'{{"node": "w1@h", "run_by": "multi", "pid": 7, "state": "{state}"}}'
    program = f'{{"node": "w2@h", "run_by": "supervisord", "unit": "shop-w2", "state": "{state}"}}'
    status = "shop-w2 RUNNING pid 9, uptime 0:00:10"
    programs = {
        multi: f"[ \"$BY\" = shopper ] && echo '[{keeper}, {program}]'",
        tmp_path / "sudo": '[ "$*" != "-n true" ] || exit 0; [ "$2" != -u ] || shift 2; shift; BY=shopper "$@"',
        tmp_path / "runuser": '[ "$1 $2 $3" = "-u shopper --" ] || exit 1; shift 3; BY=shopper exec "$@"',
        tmp_path / "ps": '[ "$1" != -eo ] || echo python multi/controller/keep.py w1',
        tmp_path / "supervisorctl": f"case $1 in version) echo 4.2.5 ;; status) echo '{status}' ;; esac",
    }
    for path, text in programs.items():
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    facts = told(project, owner="shopper", PATH=f"{tmp_path}:{os.environ['PATH']}")
    wanted = STARTING if state == "starting" else RUNNING
    assert facts.nodes["w1"].state == (STOPPED if state == "starting" else RUNNING)
    assert (facts.nodes["shop-w2"].manager, facts.nodes["shop-w2"].state) == ("supervisord", wanted)


def test_programs_of_supervisord_and_the_release_that_each_runs(project: Path, supervisord: PrivateSupervisord) -> None:
    supervisord.program("shop-w1", "sleep 1000", directory=str(project / "current"))
    supervisord.program("shop-w2", "sleep 1000", directory=str(project / "releases" / "r1"))
    # what supervisord watches may be a keeper, which works elsewhere than the node
    supervisord.program(
        "shop-w3", "sh -c 'cd %s && sleep 1000; true'" % (project / "current"), directory="/", stopasgroup="true"
    )
    supervisord.program("shop-w4", "true", directory="/", autorestart="false", startsecs="0")
    supervisord.program("nginx", "sleep 1000", directory="/")

    def states() -> list[str]:
        return [supervisord.process_of(f"shop-w{number}")["statename"] for number in (1, 2, 3, 4)]

    until(lambda: states() == ["RUNNING"] * 3 + ["EXITED"], what="three run, and the last one has ended")
    (supervisord.files / "multi-shop.w1.conf").write_text("x")
    facts = told(project, supervisord.files, PATH=f"{supervisord.folder}/bin:{os.environ['PATH']}")
    assert facts.supervisord is not None
    assert {unit: (one.state, one.release) for unit, one in facts.nodes.items() if unit != "nginx"} == {
        "shop-w1": (RUNNING, "r2"),
        "shop-w2": (RUNNING, "r1"),
        "shop-w3": (RUNNING, "r2"),
        "shop-w4": (STOPPED, None),
    }
    assert facts.nodes["shop-w1"].pid == supervisord.process_of("shop-w1")["pid"]
    assert facts.files[f"{supervisord.files}/multi-shop.w1.conf"] == hashlib.sha256(b"x").hexdigest()


def test_a_supervisord_that_does_not_answer_is_told_of(project: Path, tmp_path: Path) -> None:
    wrapper = tmp_path / "bin" / "supervisorctl"
    wrapper.parent.mkdir()
    config = tmp_path / "s.conf"
    config.write_text(f"[supervisorctl]\nserverurl=unix://{tmp_path}/none.sock\n")
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} -m supervisor.supervisorctl -c {config} "$@"\n')
    wrapper.chmod(0o755)
    facts = told(project, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert facts.supervisord is None
    assert facts.supervisor_error is not None
    assert "no such file" in facts.supervisor_error
