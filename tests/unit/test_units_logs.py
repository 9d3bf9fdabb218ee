"""Logs in files: who makes them, whose they are, and that they can be rotated."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units import find
from multi.units.base import File, Target

TARGET = Target("shop", "host", manager_version=252, multi="/usr/bin/multi", owner="shop")
PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def node(name: str, log: str, **more: str) -> NodeSpec:
    options = {"app": "shop", "logfile": log}
    return NodeSpec(NodeName(name, "host"), executable="/srv/bin/python", cwd="/srv", options=options, **more)  # type: ignore[arg-type]


def rendered(form: str, *nodes: NodeSpec, target: Target = TARGET) -> File:
    files = find(form).render(nodes, target)
    assert [str(one) for one in find(form).check(files) if one.level == "error"] == []
    return files[0]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A directory that every user may look into."""
    folder = Path(tempfile.mkdtemp(prefix="multi-logs-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_a_manager_writes_as_root_is_rotated_by_its_owner(open_folder: Path) -> None:
    rotate, maker = shutil.which("logrotate", path=PATH), shutil.which("systemd-tmpfiles", path=PATH)
    if rotate is None or maker is None:
        pytest.skip("needs logrotate and systemd-tmpfiles")
    user = pwd.getpwnam("nobody")
    target = replace(TARGET, owner="nobody", group=grp.getgrgid(user.pw_gid).gr_name)
    log = open_folder / "logs" / "w1.log"
    spec = node("w1", str(log.parent / "%n.log"))
    for form in ("tmpfiles", "logrotate"):
        (open_folder / form).write_text(rendered(form, spec, target=target).text)
    subprocess.run([maker, "--create", str(open_folder / "tmpfiles")], check=True, timeout=30)
    with open(log, "a") as file:  # as systemd does, for StandardOutput=append:
        file.write("a line\n")
        file.flush()
        command = [rotate, "--force", "--state", str(open_folder / "state"), str(open_folder / "logrotate")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        file.write("another\n")
        file.flush()
        assert log.read_text() == "another\n"
    assert (log.stat().st_uid, log.stat().st_gid) == (user.pw_uid, user.pw_gid)
    assert len([*log.parent.iterdir()]) == 2


def test_a_unit_gives_its_log_to_its_owner_and_says_who_makes_the_directory() -> None:
    specs = [node("w1", "/var/log/shop 1/%n.log"), node("w2", "/var/log/shop 1/%n.log")]
    unit = rendered("systemd", *specs).text
    assert '\nExecStartPre=+/bin/chown -h shop "/var/log/shop 1/%i.log"\n' in unit
    assert "\nStandardOutput=append:/var/log/shop 1/%i.log\n" in unit
    (note,) = find("systemd").notes(specs, TARGET)
    assert note.startswith("w1, w2: /var/log/shop 1 has to be there before they start")
    for other in (replace(TARGET, owner=None), replace(TARGET, manager_version=239)):
        assert "ExecStartPre" not in rendered("systemd", *specs, target=other).text
    assert "ExecStartPre" not in rendered("systemd", node("w1", "/dev/null")).text
    assert "--log-dir: not used" in find("systemd").notes([], replace(TARGET, log_dir="/x"))[0]


def test_directories_of_the_system_are_given_to_nobody() -> None:
    spec = node("w1", "/var/log/%n.log")
    spec.options["pidfile"] = "/run/%n.pid"
    lines = [line for line in rendered("tmpfiles", spec).text.splitlines() if line[:1] in "df"]
    assert lines == ["f /var/log/w1.log 0640 shop shop -"]
    assert "    su " not in rendered("logrotate", spec).text, "root alone can make files there"
    assert not find("tmpfiles").render([node("w1", "/dev/null")], TARGET)
    assert not find("logrotate").render([node("w1", "/dev/null")], TARGET)


def test_each_log_is_rotated_by_its_own_owner() -> None:
    text = rendered(
        "logrotate", node("a", "/l/a.log", user="anna"), node("b", "/l/b.log", user="ben", group="staff")
    ).text
    assert text.index("su anna anna") < text.index('"/l/b.log"') < text.index("su ben staff")


def test_a_percent_sign_in_the_name_of_a_log_reaches_supervisord_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "50%h"
    folder.mkdir()
    spec = node("w1", f"{str(folder).replace('%', '%%')}/%n.log")
    text = rendered("supervisord", spec, target=replace(TARGET, multi=None, owner=None)).text
    file = tmp_path / "supervisord.conf"
    file.write_text(f"[supervisord]\n{text}".replace("directory=/srv", "directory=/"))
    options = ServerOptions()
    options.configfile = str(file)
    options.read_config(str(file))
    (program,) = options.configroot.supervisord.process_group_configs
    assert program.process_configs[0].stdout_logfile == str(folder / "w1.log")
