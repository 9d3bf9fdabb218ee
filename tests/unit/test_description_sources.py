"""multi.toml from other tools' files."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import pytest

from multi.errors import ConfigurationError
from multi.nodes.description.sources import celery, celeryd, compose, supervisor, systemd
from multi.nodes.description.sources.base import Imported


def files(pattern: str) -> list[tuple[str, str]]:
    return [(path, Path(path).read_text()) for path in sorted(glob.glob(pattern))]


def values(imported: Imported) -> dict[str, dict[str, Any]]:
    return {node.name: node.values for node in imported.nodes}


def left(imported: Imported) -> str:
    return "\n".join([*imported.left, *(line for node in imported.nodes for line in node.left)])


SUPERVISOR = """
[supervisord]
environment=LANG="C.UTF-8"
minfds=4096
[program:celery]
command=/srv/venv/bin/celery -A proj worker -l info -n worker%(process_num)s@%%h -Q a,b --logfile=/var/log/%%n-%%h.log
process_name=%(program_name)s_%(process_num)02d
numprocs=2
numprocs_start=1
directory=%(here)s/shop
user=nobody
environment=A="x, y=1",B=2,HOME_OF="%(ENV_HOME)s/x"
stopwaitsecs=600 ; ten minutes
stopsignal=INT
autorestart=true
stopasgroup=true
serverurl=AUTO
[program:flower]
command=sh -c "exec celery -A proj flower"
startsecs=3
[group:all]
programs=celery,flower
"""


def test_the_programs_of_supervisord() -> None:
    found = supervisor.read(SUPERVISOR, "/etc/s.conf", files, {"HOME": "/h"}, "host")
    both = values(found)
    assert list(both) == ["worker1", "worker2", "flower"]
    assert both["worker1"] == both["worker2"]
    assert both["worker1"] == {
        "engine": "celery",
        "python": "/srv/venv/bin/python",
        "app": "proj",
        "loglevel": "info",
        "queues": ["a", "b"],
        "directory": "/etc/shop",
        "user": "nobody",
        "env": {"LANG": "C.UTF-8", "A": "x, y=1", "B": "2", "HOME_OF": "/h/x"},
        "limits": {"nofile": 4096},
        "restart": "always",
        "stop": {"kill_after": 600, "signal": "INT"},
        "log": {"file": "/var/log/%n-%d.log"},
    }
    assert both["flower"]["command"] == ["celery", "-A", "proj", "flower"]
    assert (both["flower"]["kind"], both["flower"]["ready_after"]) == ("command", 3)
    assert "stopasgroup: the children get no TERM" in left(found)
    assert "serverurl AUTO" in left(found)


@pytest.mark.parametrize("text", ['A="x, y=1",B=2', "A='b c',C=/usr/bin:/bin,D=a-b+c", 'URL="redis://:p@h/0"', 'A=""'])
def test_the_environment_is_read_as_supervisord_itself_reads_it(text: str) -> None:
    datatypes = pytest.importorskip("supervisor.datatypes", exc_type=ImportError)
    assert supervisor.environment(text) == datatypes.dict_of_key_value_pairs(text)


def test_the_files_that_supervisord_includes(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a.conf").write_text("[program:a]\ncommand=sleep 1\n")
    found = supervisor.read("[include]\nfiles = conf.d/*.conf\n", str(tmp_path / "s.conf"), files, {}, "h")
    assert values(found) == {"a": {"kind": "command", "command": ["sleep", "1"]}}


def test_a_systemd_template_and_its_instances() -> None:
    text = """
[Service]
User=shop
ExecStart=/srv/venv/bin/celery -A proj worker -n w%i@%%h -Q "a b",c \\
    --concurrency=${N} $OPTS
Environment="N=4" "OPTS=-E --max-tasks-per-child=100"
Environment=X=%h
EnvironmentFile=-/etc/none.env
LimitNOFILE=65536:131072
TimeoutStopSec=10min 30s
Restart=on-failure
MemoryMax=1G
"""
    found = systemd.read(text, "/etc/w@.service", files, ["1", "2"], "host", lambda user: f"/home/{user}")
    both = values(found)
    assert list(both) == ["w1", "w2"]
    assert both["w2"] == {
        "engine": "celery",
        "python": "/srv/venv/bin/python",
        "app": "proj",
        "queues": ["a b", "c"],
        "concurrency": 4,
        "task_events": True,
        "max_tasks_per_child": 100,
        "user": "shop",
        "env": {"N": "4", "OPTS": "-E --max-tasks-per-child=100", "X": "/home/shop"},
        "env_files": ["-/etc/none.env"],
        "limits": {"nofile": [65536, 131072]},
        "stop": {"kill_after": 630},
        "restart": "on-failure",
    }
    assert "MemoryMax=1G" in left(found)
    with pytest.raises(ConfigurationError, match="--instance 1 --instance 2"):
        systemd.read(text, "/etc/w@.service", files, [], "host")


def test_the_unit_that_celery_ships(tmp_path: Path) -> None:
    (tmp_path / "celery").write_text(
        'CELERYD_NODES="w1 w2"\nCELERY_BIN="/opt/venv/bin/celery"\nCELERY_APP="proj"\nCELERYD_LOG_LEVEL="INFO"\n'
        'CELERYD_OPTS="--time-limit=300 --concurrency=8 -c:w1 2"\nCELERYD_PID_FILE="/var/run/celery/%n.pid"\n'
        'CELERYD_LOG_FILE="/var/log/celery/%n%I.log"\n'
    )
    text = f"""
[Service]
Type=forking
User=celery
EnvironmentFile={tmp_path}/celery
WorkingDirectory=/opt/celery
ExecStart=/bin/sh -c '${{CELERY_BIN}} -A $CELERY_APP multi start $CELERYD_NODES \\
    --pidfile=${{CELERYD_PID_FILE}} --logfile=${{CELERYD_LOG_FILE}} \\
    --loglevel="${{CELERYD_LOG_LEVEL}}" $CELERYD_OPTS'
"""
    both = values(systemd.read(text, "/etc/celery.service", files, [], "host"))
    assert {name: one["concurrency"] for name, one in both.items()} == {"w1": 2, "w2": 8}
    assert both["w2"]["app"] == "proj"
    assert both["w2"]["python"] == "/opt/venv/bin/python"
    assert both["w2"]["log"] == {"file": "/var/log/celery/%n%I.log"}
    assert both["w2"]["directory"] == "/opt/celery"


CELERYD = """
# the nodes
CELERYD_NODES="w1 w2"   # two
BASE=/srv/proj
CELERY_BIN="${BASE}/venv/bin/celery"
CELERY_APP=proj
CELERYD_CHDIR="$BASE/current dir"
CELERYD_OPTS="--time-limit=300 -c:w1 8 \\
   -Q:2 images,video -Q default"
CELERYD_USER='celery'
export DJANGO_SETTINGS_MODULE="proj.settings"
ulimit -n 65536
"""


def test_the_variables_of_celeryd() -> None:
    found = celeryd.read(CELERYD, "/etc/default/celeryd")
    common = {
        "engine": "celery",
        "python": "/srv/proj/venv/bin/python",
        "directory": "/srv/proj/current dir",
        "user": "celery",
        "env": {"DJANGO_SETTINGS_MODULE": "proj.settings"},
        "app": "proj",
        "loglevel": "INFO",
        "time_limit": 300,
    }
    assert values(found) == {
        "w1": {**common, "concurrency": 8, "queues": ["default"]},
        "w2": {**common, "queues": ["images", "video"]},
    }
    assert left(found) == "this line of the shell: ulimit -n 65536"


def test_the_services_of_a_compose_file() -> None:
    text = """
services:
  redis: {image: redis}
  worker:
    command: celery -A ${APP:-shop} worker -l ${LEVEL} -n x@%h
    environment: [A=1, "B=two words"]
    env_file: shop.env
    deploy: {replicas: 2}
    stop_grace_period: 1m30s
    depends_on: [redis]
    volumes: ["./x:/y"]
  beat:
    command: ["celery", "-A", "shop", "beat"]
    depends_on: {worker: {condition: service_started}}
    restart: unless-stopped
"""
    found = compose.read(text, "/srv/compose.yaml", {"LEVEL": "INFO"})
    both = values(found)
    assert list(both) == ["worker1", "worker2", "beat"]
    assert both["worker2"] == {
        "engine": "celery",
        "app": "shop",
        "loglevel": "INFO",
        "env": {"A": "1", "B": "two words"},
        "env_files": ["/srv/shop.env"],  # beside the compose file, wherever multi.toml comes to lie
        "stop": {"kill_after": 90},
    }
    assert both["beat"]["depends_on"] == ["worker1", "worker2"]
    assert "depends_on redis: say where they listen" in left(found)
    assert "services that run no Celery: redis" in left(found)


def test_what_supervisord_has_and_nodes_have_not_is_named() -> None:
    text = """
[program:w]
command=/v/bin/celery -A proj worker
autostart=true
startsecs=10
killasgroup=true
environment=PATH="/x:%(ENV_PATH)s"
stdout_logfile=NONE
stdout_logfile_maxbytes=1MB
stdout_syslog=true
"""
    found = supervisor.read(text, "/etc/s.conf", files, {"PATH": "/of/this/shell"}, "h")
    assert "[program:w] startsecs 10: a worker says itself when it is ready" in left(found)
    assert "[program:w] stdout_logfile NONE: a node has a log of its own" in left(found)
    assert "[program:w] stdout_logfile_maxbytes 1MB" in left(found)
    assert "[program:w] stdout_syslog true" in left(found)
    (node,) = found.nodes
    assert "autostart: `multi up` starts all nodes" in node.became
    assert "killasgroup: a KILL always reaches all processes of a node" in node.became
    assert any(note.startswith("%(ENV_PATH)s is filled in with the PATH of this shell") for note in found.notes)


def test_a_quote_that_is_never_closed_is_named_with_its_file() -> None:
    with pytest.raises(ConfigurationError, match=r"^/etc/q.conf: \[program:a\]: command: No closing quotation"):
        supervisor.read("[program:a]\ncommand=sh -c 'x\n", "/etc/q.conf", files, {}, "h")


def test_what_systemd_has_and_nodes_have_not_is_named() -> None:
    text = """
[Unit]
Description=Workers
Requires=redis.service
After=network.target redis.service
[Service]
ExecStart=/v/bin/celery -A proj worker
ExecStop=/v/bin/say goodbye
ExecReload=/bin/kill -HUP $MAINPID
RuntimeDirectory=celery
TimeoutStartSec=5
TimeoutStopSec=infinity
Restart=on-success
RestartSec=0
StandardOutput=journal
[Install]
WantedBy=multi-user.target
"""
    found = systemd.read(text, "/etc/w.service", files, [], "h")
    named = left(found).splitlines()
    for line in (
        "[Unit] Requires=redis.service: say in depends_on",
        "[Unit] After=network.target redis.service: say in depends_on",
        "[Install] WantedBy=multi-user.target",
        "ExecStop=/v/bin/say goodbye",
        "RuntimeDirectory=celery: the folders of pid files and logs are made",
        "TimeoutStartSec=5: ",
        "Restart=on-success: ",
        "StandardOutput=journal: ",
    ):
        assert any(one.startswith(line) for one in named), line
    assert len(named) == 8
    assert values(found)["w"]["restart_delay"] == 0
    assert "TimeoutStopSec=infinity: there is no such limit unless it is given" in found.nodes[0].became


def test_what_compose_has_and_nodes_have_not_is_named() -> None:
    text = """
services:
  w:
    command: celery -A proj worker
    environment: [A=1, FROM_THE_SHELL]
    env_file: [{path: ../shop.env, required: false}]
    restart: on-failure:3
    deploy: {replicas: 1, update_config: {order: start-first}, resources: {limits: {memory: 1g, cpus: "2"}}}
"""
    found = compose.read(text, "/srv/co/compose.yaml", {})
    assert values(found)["w"]["env_files"] == ["-/srv/shop.env"]
    assert (values(found)["w"]["restart"], values(found)["w"]["max_crashes"]) == ("on-failure", 3)
    assert [line.split(":")[1].strip() for line in left(found).splitlines()][1:] == [
        "environment FROM_THE_SHELL",
        "deploy.update_config",
        "deploy.limits.cpus",
    ]


def test_an_option_for_one_node_in_one_word_with_its_value() -> None:
    text = 'CELERYD_NODES="w1 w2"\nCELERY_BIN=/v/bin/celery\nCELERYD_OPTS="-Ofair:w1 -c10:2"\n'
    both = values(celeryd.read(text, "/etc/default/celeryd"))
    assert [one.get("optimization") for one in both.values()] == ["fair", None]
    assert [one.get("concurrency") for one in both.values()] == [None, 10]


def test_differences_of_two_command_lines() -> None:
    def between(old: str, new: str) -> list[str]:
        return celery.differences(old.split(), new.split())

    old = "celery -A proj worker -l info -n w1@%h --logfile=x --detach -Q a"
    assert between(old, "/p/python -m celery -A proj worker -n w1@host -Q a -l info") == []
    assert between(old, "python -m celery -A proj worker -n w2@host -Q a -l info") == ["--hostname: w1@%h -> w2@host"]
    assert between("celery -A p worker -b redis://:pw@h", "celery -A p worker") == [
        "--broker: redis://:**@h -> (not given)"
    ]
    assert between("sleep 1", "sleep 2") == ["sleep 1 -> sleep 2"]


def test_a_units_drop_ins_count_as_they_do_for_systemd(tmp_path: Path) -> None:
    unit = tmp_path / "cel.service"
    text = "[Service]\nEnvironment=A=1\nKillMode=mixed\nExecStart=/v/bin/celery -A proj worker -n w1@%%h -c 4\n"
    folder = tmp_path / "cel.service.d"
    folder.mkdir()
    (folder / "10-env.conf").write_text("[Service]\nEnvironment=B=2\nTimeoutStopSec=90\n")
    (folder / "override.conf").write_text(
        "[Service]\nExecStart=\nExecStart=/v/bin/celery -A proj worker -n w1@%%h -c 8\nLimitNOFILE=99\n"
    )
    found = systemd.read(text, str(unit), files, [], "h")
    ((name, one),) = values(found).items()
    assert one["concurrency"] == 8, name
    assert one["env"] == {"A": "1", "B": "2"}
    assert one["stop"] == {"kill_after": 90}
    assert one["limits"] == {"nofile": 99}
    assert found.notes == [f"with {folder / '10-env.conf'}", f"with {folder / 'override.conf'}"]
    assert any("KillMode=mixed" in line for line in found.nodes[0].became)


def test_an_instance_of_a_template_may_have_drop_ins_of_its_own(tmp_path: Path) -> None:
    text = "[Service]\nKillMode=process\nExecStart=/v/bin/celery -A proj worker -n w%i@%%h -c 4\n"
    for name, line in (("w@.service.d", "Nice=5"), ("w@2.service.d", "Nice=7")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{line[-1]}.conf").write_text(f"[Service]\n{line}\n")
    found = systemd.read(text, str(tmp_path / "w@.service"), files, ["1", "2"], "h")
    assert [one["nice"] for one in values(found).values()] == [5, 7]
    assert "KillMode=process: a node is down when all its processes are" in left(found)
