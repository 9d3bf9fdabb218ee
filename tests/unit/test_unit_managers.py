"""What systemd and supervisord say of a node, in our words; and what is written where, by `multi install`."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from xmlrpc.client import Fault

import pytest
from support.wait import until

from multi import units as formats
from multi.cli.group import exit_code
from multi.controller import installed, installing, places
from multi.controller.entries import Entry
from multi.controller.installation import Host, target_here
from multi.controller.installed import Installed
from multi.controller.installing import CHANGED, GONE, NEW
from multi.controller.journal import Journal
from multi.controller.journal import text as journal_text
from multi.controller.managers import config_file, supervisord, systemd
from multi.controller.managers.base import ManagerDown, ManagerError, ManagerSilent, engine_of, silent
from multi.controller.managers.systemd import Systemd
from multi.controller.project import Project
from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units.base import File, Target


@pytest.mark.parametrize(
    ("values", "state", "message"),
    [
        (
            {"ActiveState": "active", "SubState": "running", "MainPID": "7", "StatusText": "3 tasks"},
            "running",
            "3 tasks",
        ),
        ({"ActiveState": "activating", "SubState": "start"}, "starting", ""),
        (
            {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "3"},
            "backoff",
            "it ended with exit status 3",
        ),
        ({"ActiveState": "deactivating", "SubState": "stop-sigterm", "StatusText": "w1 ready"}, "stopping", ""),
        ({"ActiveState": "inactive", "SubState": "dead", "Result": "success"}, "stopped", ""),
        (
            {"ActiveState": "failed", "Result": "watchdog"},
            "failed",
            "its main loop said nothing for too long, and it was ended",
        ),
        ({"ActiveState": "failed", "Result": "signal", "ExecMainStatus": "9"}, "failed", "it was ended by signal 9"),
        (
            {"ActiveState": "inactive", "LoadState": "bad-setting", "LoadError": 'org.X "Unit has a bad setting."'},
            "stopped",
            "its unit file can't be used (bad-setting: Unit has a bad setting.)",
        ),
    ],
)
def test_states_of_systemd_are_told_in_our_words(values: dict[str, str], state: str, message: str) -> None:
    found = systemd.standing(values)
    assert (found.state, found.message) == (state, message)
    assert found.runs == (state not in ("stopped", "failed"))


def test_a_unit_that_took_a_kill_to_stop_is_known_as_such() -> None:
    assert systemd.standing({"ActiveState": "failed", "Result": "timeout"}).was_killed
    assert not systemd.standing({"ActiveState": "failed", "Result": "exit-code"}).was_killed
    assert not systemd.standing({"ActiveState": "inactive", "LoadState": "not-found"}).is_known


def test_variables_of_a_unit_are_read_with_their_quotes() -> None:
    found = systemd.standing({"ActiveState": "active", "Environment": 'A=1 "B=two words" MULTI_RUN_DIR=/run/x'})
    assert dict(found.variables) == {"A": "1", "B": "two words", "MULTI_RUN_DIR": "/run/x"}


@pytest.mark.parametrize(
    ("values", "state", "words"),
    [
        ({"statename": "RUNNING", "pid": 5, "start": 9}, "running", ""),
        ({"statename": "BACKOFF", "spawnerr": "Exited too quickly"}, "backoff", "Exited too quickly"),
        ({"statename": "FATAL", "spawnerr": "can't find command"}, "failed", "given it up: can't find command"),
        ({"statename": "EXITED", "exitstatus": 0}, "stopped", ""),
        ({"statename": "EXITED", "exitstatus": 2}, "failed", "exit status 2"),
    ],
)
def test_states_of_supervisord_are_told_in_our_words(values: dict[str, object], state: str, words: str) -> None:
    found = supervisord.standing(values)
    assert found.state == state
    assert words in found.message


def test_the_engine_of_a_unit_is_seen_from_its_command_line() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()", "celery"], stdin=subprocess.PIPE) as process:
        until(
            lambda: engine_of(process.pid) == "command", what="its command line is there, a moment after it was started"
        )
        process.communicate(b"\n")
    assert engine_of(0) == ""


def test_refusals_say_what_can_be_done() -> None:
    denied = Systemd().refused("`systemctl start x`", "Interactive authentication required.")
    assert "multi render sudoers" in str(denied)
    absent = Systemd(user=True).refused("`systemctl start x`", "Failed to connect to bus: No medium found")
    assert isinstance(absent, ManagerDown)
    assert "loginctl enable-linger" in str(absent)
    assert str(supervisord.refusal(Fault(91, "STILL_RUNNING: shop"))).endswith(
        "processes of the group still run (shop)"
    )


def test_of_a_manager_that_is_silent_nothing_is_known_and_one_that_is_down_runs_nothing() -> None:
    assert silent(ManagerError("no answer")).state == "unknown"
    assert silent(ManagerDown("gone")).state == "stopped"


def test_the_configuration_of_supervisord_tells_address_and_folder(tmp_path: Path) -> None:
    config = tmp_path / "supervisord.conf"
    config.write_text(
        "[unix_http_server]\nfile=%(here)s/s.sock ; its socket\nusername=me\npassword=p%%w\n"
        "[include]\nfiles=one.ini conf.d/*.conf\n"
    )
    daemon = supervisord.Supervisord.from_file(str(config))
    assert daemon.url == f"unix://{tmp_path}/s.sock"
    assert config_file.included(str(config)) == str(tmp_path / "conf.d")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "a.conf").touch()
    assert config_file.files(str(config)) == [str(tmp_path / "conf.d" / "a.conf")]
    config.write_text("[supervisord]\n")
    with pytest.raises(ManagerError, match="unix_http_server"):
        supervisord.Supervisord.from_file(str(config))
    with pytest.raises(ManagerError, match=r"\[include\]"):
        config_file.included(str(config))
    config.write_text("nonsense\n")
    with pytest.raises(ConfigurationError, match="can't be read"):
        config_file.read(str(config))


def test_only_files_that_differ_are_written_and_what_was_ours_goes(tmp_path: Path) -> None:
    same, other, new, old = (tmp_path / name for name in ("same", "other", "new", "old"))
    same.write_text("made by multi\n")
    same.chmod(0o644)
    other.write_text("by hand\n")
    old.write_text("made by multi\n")
    files = [
        File(str(same), "made by multi\n"),
        File(str(other), "made by multi\n"),
        File(str(new), "S3CRET\n", 0o600, secret=True),
    ]
    changes = installing.compare(files, [str(old), str(tmp_path / "gone already")])
    assert [(change.path, change.action) for change in changes] == [
        (str(other), CHANGED),
        (str(new), NEW),
        (str(old), GONE),
    ]
    assert [change.path for change in changes if change.is_foreign] == [str(other)]
    assert "S3CRET" not in "".join(line for change in changes for line in change.diff())
    installing.write(changes)
    assert (other.read_text(), new.read_text(), old.exists()) == ("made by multi\n", "S3CRET\n", False)
    assert new.stat().st_mode & 0o777 == 0o600
    assert installing.compare(files, []) == []


def test_what_is_installed_is_remembered_and_forgotten(tmp_path: Path) -> None:
    there = places.resolve(str(tmp_path / "state"), str(tmp_path))
    project = Project("shop", str(tmp_path))
    assert installed.read(there, project) == {}
    one = Installed("systemd", {"w1": "multi-shop@w1.service"}, ["/x/multi-shop@.service"], user=True)
    installed.write(there, project, {"systemd": one})
    assert installed.read(there, project) == {"systemd": one}
    assert there.nodes("shop") == []
    installed.write(there, project, {"systemd": one._replace(units={}, files=[])})
    assert installed.read(there, project) == {}


def test_the_homes_of_nodes_users_are_told_whoever_renders(tmp_path: Path) -> None:
    other = next(one for one in pwd.getpwall() if one.pw_uid != os.geteuid())
    config = tmp_path / "supervisord.conf"
    config.write_text("[include]\nfiles = conf.d/*.conf\n")
    spec = NodeSpec(NodeName("w1", "h"), executable="/x/python", cwd="/x", options={}, user=other.pw_name)
    there = places.resolve(str(tmp_path / "state"), str(tmp_path))
    host = Host("supervisord", False, str(config))
    target = target_here(host, Project("shop", str(tmp_path)), there, [spec])
    assert target.homes[other.pw_name] == other.pw_dir


def test_what_was_given_at_an_installation_is_remembered_for_comparisons(tmp_path: Path) -> None:
    there = places.resolve(str(tmp_path / "state"), str(tmp_path))
    project = Project("shop", str(tmp_path))
    one = Installed(
        "systemd", {"w1": "multi-shop@w1.service"}, ["/x"], given={"hardening": "strict", "settings": {"a": "b"}}
    )
    installed.write(there, project, {"systemd": one})
    assert installed.read(there, project)["systemd"].given == one.given


def test_what_hides_a_template_is_in_the_way(tmp_path: Path) -> None:
    files = [File(str(tmp_path / "multi-shop@.service"), "made by multi\n")]
    names = ["multi-shop@w1.service", "multi-shop@w2.service"]
    foreign = tmp_path / names[1]
    foreign.write_text("[Service]\n")
    (found,) = installing.hidden(files, names, [])
    assert (found.path, found.action, found.is_foreign) == (str(foreign), GONE, True)
    assert installing.hidden(files, names, [str(foreign)]) == []


def test_a_supervisord_that_gives_no_answer_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisord, "_PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as deaf, tempfile.TemporaryDirectory(prefix="multi-") as folder:
        deaf.bind(f"{folder}/s")
        deaf.listen()
        daemon = supervisord.Supervisord(f"unix://{folder}/s")
        with pytest.raises(ManagerSilent, match="no answer within"):
            daemon.processes()
        with pytest.raises(ManagerSilent, match="gives no answer$"):
            daemon.processes()
        unit = supervisord.SupervisordUnit(daemon, "shop-w1", "w1")
        assert unit.standing.state == "unknown"
    assert exit_code(ManagerSilent("it")) == 4


@pytest.mark.parametrize(
    ("script", "is_well"),
    [("exit 1", True), ("echo no >&2; exit 1", False), ("echo 'x: you are not seeing messages' >&2", False)],
)
def test_a_journal_without_an_entry_of_that_time_is_an_empty_one(
    script: str, is_well: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    unit = systemd.SystemdUnit(Systemd(), "multi-shop@w1.service", "w1")
    if is_well:
        Journal(unit, lines=None, since=1.0).close()
    else:
        with pytest.raises(ManagerError, match="can't be read"):
            Journal(unit, lines=None, since=1.0)


@pytest.mark.parametrize(("user", "is_told"), [("me", False), ("other", True), (None, False)])
def test_of_a_users_own_systemd_it_is_told_only_of_other_users(user: str | None, is_told: bool) -> None:
    spec = NodeSpec(NodeName("w1", "h"), executable="/x/python", cwd="/x", options={}, user=user)
    target = Target(project="shop", host="h", user=True, owner="me", homes={"me": "/home/me"})
    told = formats.find("systemd").notes([spec], target)
    assert any("it runs as that user" in one for one in told) == is_told


def test_lines_that_systemd_writes_about_a_node_have_their_time_and_level() -> None:
    entry = {
        "__REALTIME_TIMESTAMP": "1795000000123456",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "systemd",
        "MESSAGE": "it exited",
    }
    line = journal_text(entry)
    assert line.endswith(",123: WARNING/systemd] it exited")
    found = Entry(line)
    assert found.when == pytest.approx(1_795_000_000.123, abs=0.001)
    assert found.has_header
    assert journal_text({**entry, "SYSLOG_IDENTIFIER": "multi-shop-w1"}) == "it exited"
    assert journal_text({**entry, "SYSLOG_IDENTIFIER": "multi-shop-w1", "MESSAGE": [104, 105, 255]}) == "hi\ufffd"
