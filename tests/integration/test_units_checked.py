"""Rendered files, looked at by the managers' own tools."""

from __future__ import annotations

import os
import pwd
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.servers import NotInstalled, program

from multi.nodes.description import describe
from multi.units import find
from multi.units.base import ERROR, File, Target, UnitFormat
from multi.units.checks import EXPOSURE

HERE = pwd.getpwuid(os.geteuid())
TARGET = Target(
    "shop", host="h1", homes={HERE.pw_name: HERE.pw_dir}, log_dir="/var/log/shop", state_dir="/var/lib/shop"
)
DESCRIPTION = f"""
name = "shop"
[defaults]
app = "shop.tasks:app"
python = "{sys.executable}"
user = "{HERE.pw_name}"
env_files = ["-/etc/shop.env"]
env = {{ A = "50% of 'x' y", PASSWORD = "p;w d" }}
[nodes.w]
count = 3
broker = "redis://:secret@h/0"
[nodes.images]
inherits = "w"
queues = ["images", "b c"]
limits = {{ nofile = [1024, 65536] }}
max_memory = "1GB"
max_age = "12h"
nice = 5
longest_task = "1h"
log = {{ file = "/var/log/shop/%n.log", every = "12h", size = "1MB" }}
depends_on = ["w"]
[nodes.celery]
engine = "celery"
stop = {{ quit_after = "5m", kill_after = "6m" }}
[nodes.beat]
kind = "beat"
engine = "celery"
[nodes.flower]
command = ["/usr/bin/env", "celery", "100%", "$HOME", "a ;b #c", ";"]
hooks = {{ crashed = "https://example.com/alert" }}
"""


@pytest.fixture
def tool(request: pytest.FixtureRequest) -> None:
    """The tools that a test needs; missing at home they are told of, missing in CI they are a failure."""
    for name, package in request.param:
        try:
            program(name, package)
        except NotInstalled as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))


def needs(*tools: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("tool", [tools], indirect=True, ids=[""])


def made(name: str, target: Target = TARGET) -> tuple[UnitFormat, list[File]]:
    nodes = [node.spec for node in describe(DESCRIPTION, "/multi.toml", host="h1").check().nodes]
    kind = find(name)
    return kind, kind.render(nodes, replace(target, after={"images": ["w1", "w2"]}))


@needs(("systemd-analyze", "systemd"))
@pytest.mark.parametrize("user", [False, True], ids=["system", "user"])
@pytest.mark.parametrize("hardening", ["off", "basic", "strict"])
def test_systemd_finds_nothing_to_say(tool: None, hardening: str, user: bool) -> None:
    version = program_version()
    target = replace(TARGET, manager_version=version, hardening=hardening, user=user, owner=HERE.pw_name)
    kind, files = made("systemd", replace(target, launcher="/opt/multi/celery_node.py"))
    assert kind.check(files) == []


def program_version() -> int:
    import subprocess

    said = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split()[1])


@needs(("systemd-analyze", "systemd"))
@pytest.mark.parametrize(
    ("was", "becomes", "why"),
    [
        ("KillMode=mixed", "KillMod=mixed", "KillMod"),
        ("TimeoutStopSec=630", "TimeoutStopSec=soon", "soon"),
        ("[Service]\n", "[Service]\nType=sometimes\n", "sometimes"),
        ("CapabilityBoundingSet=\n", "CapabilityBoundingSet=~\n", "exposure"),
    ],
)
def test_what_is_wrong_with_a_unit_is_found(tool: None, was: str, becomes: str, why: str) -> None:
    kind, files = made("systemd", replace(TARGET, manager_version=program_version(), hardening="strict"))
    (first, *rest) = files
    assert was in first.text
    problems = kind.check([first._replace(text=first.text.replace(was, becomes)), *rest])
    assert [problem for problem in problems if problem.level == ERROR and problem.path == first.path]
    assert why in str(problems)
    assert EXPOSURE == 2.5


@pytest.mark.parametrize("multi", [None, "/opt/multi/bin/multi"], ids=["agentless", "keepers"])
@pytest.mark.parametrize("group", ["no", "yes"])
@pytest.mark.parametrize("daemon", ["no", "yes"])
def test_supervisord_reads_its_programs_as_they_are_meant(
    multi: str | None, group: str, daemon: str, tmp_path: Path
) -> None:
    kind, files = made("supervisord", replace(TARGET, multi=multi, settings={"group": group, "daemon": daemon}))
    assert kind.check(files) == []
    (tmp_path / "log").mkdir()
    read = parsed(files, tmp_path)
    nodes = ["w1", "w2", "w3", "images", "celery", "beat", "flower"]
    assert sorted(read) == sorted(nodes if group == "yes" else [f"shop-{node}" for node in nodes])
    one = read["images" if group == "yes" else "shop-images"]
    assert one["environment"]["A"] == "50% of 'x' y"
    assert one["environment"]["MULTI_BROKER_URL"] == "redis://:secret@h/0"
    assert (one["stopasgroup"], one["killasgroup"], one["stopwaitsecs"]) == (False, True, 3630)
    flower = read["flower" if group == "yes" else "shop-flower"]["command"]
    if multi is None:
        assert flower[-6:] == ["/usr/bin/env", "celery", "100%", "$HOME", "a ;b #c", ";"]


def parsed(files: list[File], folder: Path) -> dict[str, dict[str, Any]]:
    """What supervisord makes of the files."""
    import shlex

    from supervisor.options import ServerOptions

    parts = []
    for number, file in enumerate(files):
        if "[supervisord]" not in file.text:
            parts.append(folder / f"{number}.conf")
            parts[-1].write_text(
                re.sub("^stdout_logfile=.*$", f"stdout_logfile={folder}/log/x", file.text, flags=re.MULTILINE)
            )
    main = folder / "supervisord.conf"
    main.write_text(f"[supervisord]\n[include]\nfiles={' '.join(map(str, parts))}\n")
    options = ServerOptions()
    options.configfile = str(main)
    options.read_config(str(main))
    return {
        process.name: {
            "command": shlex.split(process.command),
            "environment": process.environment,
            "stopasgroup": process.stopasgroup,
            "killasgroup": process.killasgroup,
            "stopwaitsecs": process.stopwaitsecs,
        }
        for group in options.configroot.supervisord.process_group_configs
        for process in group.process_configs
    }


@pytest.mark.parametrize(
    ("was", "becomes"), [("stopwaitsecs=630", "stopwaitsecs=long"), ("autorestart=unexpected", "autorestart=maybe")]
)
def test_what_is_wrong_with_a_program_is_found(was: str, becomes: str) -> None:
    kind, (first, *rest) = made("supervisord")
    assert was in first.text
    (problem,) = kind.check([first._replace(text=first.text.replace(was, becomes)), *rest])
    assert (problem.path, problem.level) == (first.path, ERROR)


@needs(("logrotate", "logrotate"), ("systemd-tmpfiles", "systemd"), ("visudo", "sudo"))
@pytest.mark.parametrize(
    ("name", "was", "becomes"),
    [
        ("logrotate", "    copytruncate", "    copytruncate\n    rotate many"),
        ("tmpfiles", "\nd ", "\nd relative/path 07x9 root root -\nd "),
        ("sudoers", "NOPASSWD: ", "NOPASWD: "),
    ],
)
def test_what_goes_with_units_is_read_too_and_what_is_wrong_is_found(
    tool: None, name: str, was: str, becomes: str
) -> None:
    kind, files = made(name)
    (file,) = files
    assert kind.check(files) == []
    assert was in file.text
    assert [one.level for one in kind.check([file._replace(text=file.text.replace(was, becomes))])][:1] == [ERROR]
