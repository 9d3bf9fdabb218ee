"""Running Celery programs are known by their command lines."""

from __future__ import annotations

import pytest

from multi.controller.foreign import is_celery, split, unit_in, worth_keeping


@pytest.mark.parametrize(
    ("line", "kind", "executable", "options"),
    [
        ("/v/bin/python -m celery -A proj worker -l INFO", "worker", "/v/bin/python", "-A proj -l INFO"),
        ("/v/bin/python /v/bin/celery -A proj worker -n w1@h", "worker", "/v/bin/python", "-A proj -n w1@h"),
        ("python3.11 -W ignore -m celery --app=proj beat", "beat", "python3.11", "--app=proj"),
        ("/v/bin/celery worker -A proj", "worker", "/v/bin/celery", "-A proj"),
        ("python -m celery -A proj.worker worker", "worker", "python", "-A proj.worker"),
        ("python -m celery -A worker worker", "worker", "python", "-A worker"),
    ],
)
def test_a_worker_or_beat_is_taken_apart(line: str, kind: str, executable: str, options: str) -> None:
    words = line.split()
    assert is_celery(words)
    assert split(words) == (kind, executable, options.split())


@pytest.mark.parametrize(
    "line",
    [
        "python -m celery -A worker multi start w1",
        "python -m celery -A proj inspect active",
        "python -m celery -A proj call worker",
        "vim celery worker",
        "python worker.py celery",
        "grep celery worker",
        "python -m pytest celery worker",
        "bash -c celery worker",
        "python",
        "",
    ],
)
def test_other_programs_are_none(line: str) -> None:
    assert not is_celery(line.split())


def test_what_belongs_to_the_session_it_was_started_in_is_not_kept() -> None:
    session = {"TERM": "xterm", "SSH_TTY": "/dev/pts/1", "SHLVL": "1", "_": "/bin/x", "NOTIFY_SOCKET": "/run/x"}
    assert worth_keeping({**session, "PATH": "/bin", "DATABASE_URL": "x"}) == {"PATH": "/bin", "DATABASE_URL": "x"}


@pytest.mark.parametrize(
    ("cgroup", "env", "unit"),
    [
        ("0::/system.slice/celery.service\n", {}, "celery.service"),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/w.service\n", {}, "--user w.service"),
        # both versions of cgroups at once, where systemd may use either
        ("9:name=systemd:/\n1:cpu:/\n0::/app.slice/w.service\n", {"MANAGERPID": "7"}, "--user w.service"),
        ("2:cpu:/\n1:name=systemd:/system.slice/w@1.service\n0::/\n", {}, "w@1.service"),
        ("0::/user.slice/user-0.slice/session-3.scope\n", {}, ""),
        ("0::/user.slice/user-0.slice/user@0.service\n", {}, ""),
        ("1:name=systemd:/\n0::/system.slice/ssh.service\n", {}, ""),
        ("4:memory:/system.slice/docker.service\n0::/\n", {}, ""),
        ("", {}, ""),
    ],
)
def test_the_unit_of_a_process_is_known_by_its_cgroup(cgroup: str, env: dict[str, str], unit: str) -> None:
    assert unit_in(cgroup, env) == unit
