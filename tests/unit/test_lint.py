"""What `multi lint` finds in other people's files, and what it makes of them."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from multi import units
from multi.cli.lint import lint as command
from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units import lint
from multi.units.base import ERROR, File, Target
from multi.units.checks import check_supervisord, check_systemd
from multi.units.lint import RULES

DOCS = Path(__file__).parents[2] / "docs" / "lint.md"

#: As Celery has it for several nodes in one unit, all values in a file of variables.
SYSTEMD = r"""
    [Unit]
    Description=The nodes of a Celery project
    After=network.target

    # whose it is
    [Service]
    Type=forking
    User=celery
    Group=celery
    EnvironmentFile=/etc/conf.d/celery
    WorkingDirectory=/opt/celery
    ExecStart=/bin/sh -c '${CELERY_BIN} -A $CELERY_APP multi start $CELERYD_NODES \
        --pidfile=${CELERYD_PID_FILE} --logfile=${CELERYD_LOG_FILE} \
        --loglevel="${CELERYD_LOG_LEVEL}" $CELERYD_OPTS'
    ExecStop=/bin/sh -c '${CELERY_BIN} multi stopwait $CELERYD_NODES \
        --pidfile=${CELERYD_PID_FILE} --loglevel="${CELERYD_LOG_LEVEL}"'
    ExecReload=/bin/sh -c '${CELERY_BIN} -A $CELERY_APP multi restart $CELERYD_NODES \
        --pidfile=${CELERYD_PID_FILE} $CELERYD_OPTS'
    Restart=always

    [Install]
    WantedBy=multi-user.target
"""
BEAT = r"""
    [Unit]
    Description=The beat of a Celery project
    After=network.target

    [Service]
    Type=simple
    EnvironmentFile=/etc/conf.d/celery
    ExecStart=/bin/sh -c '${CELERY_BIN} -A ${CELERY_APP} beat  \
        --pidfile=${CELERYBEAT_PID_FILE} --loglevel=${CELERYD_LOG_LEVEL}'
    Restart=always
"""
SUPERVISORD = """
    ; the worker

    [program:celery]
    ; found from here
    directory=/srv/proj
    user=nobody
    numprocs=1
    command=celery -A proj worker --loglevel=INFO
    stdout_logfile=/var/log/celery/worker.log
    autostart=true
    autorestart=true
    startsecs=10

    ; time for what runs
    stopwaitsecs = 600

    ; everybody is told
    stopasgroup=true

    priority=1000   ; after the broker
"""
INITD = """
    #!/bin/sh -e
    ### BEGIN INIT INFO
    # Provides: celeryd
    ### END INIT INFO
    CELERYD_MULTI=${CELERYD_MULTI:-"celery multi"}
    case "$1" in
        start) $CELERYD_MULTI start $CELERYD_NODES --pidfile="$CELERYD_PID_FILE" $CELERYD_OPTS ;;
    esac
"""
COMPOSE = """
    # the shop
    x-base: &base
      image: shop
      environment: [A=1]
    services:
      web:
        <<: *base
        command: gunicorn shop.wsgi
      worker:
        <<: *base
        # does the work
        command: sh -c "python manage.py migrate && celery -A celery_app worker --pidfile=/tmp/w.pid -l info"  # runs
        stop_signal: SIGQUIT
        healthcheck:
          test: ["CMD-SHELL", "celery -A celery_app inspect ping -d celery@$$HOSTNAME"]
          interval: 30s

      beat: {image: shop, command: ["celery", "-A", "shop", "beat", "--pidfile", "/tmp/x"]}
      images:
        image: shop
        command: /start-celeryworker
        stop_grace_period: 20s
        restart: "no"
    volumes: {}
"""
KUBERNETES = r"""
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: worker}
    spec:
      replicas: 3
      template:
        spec:
          # one of them
          containers:
            - name: worker
              image: shop
              command: ["/bin/sh", "-c"]
              args:
                - |
                  set -e
                  python manage.py migrate
                  celery -A proj worker -l info \
                    --time-limit=3600
              livenessProbe:
                exec:
                  # asks itself
                  command: ["bash", "-c", "celery -A proj inspect ping -d celery@$HOSTNAME"]
                periodSeconds: 30
              resources: {}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: beat}
    spec:
      replicas: 2
      strategy:
        type: RollingUpdate
        rollingUpdate:
          maxSurge: 1
      template:
        spec:
          containers:
          - name: beat
            command: [celery, -A, proj, beat, --pidfile=/tmp/b.pid]
"""
SAMPLES = {
    "celery.service": (SYSTEMD, "M101 M102 M104 M201 M202 M203 M204 M206 M207 M209 M211 M212"),
    "celerybeat.service": (BEAT, "M102 M104 M209 M212"),
    "celeryd.conf": (SUPERVISORD, "M301 M302 M305"),
    "compose.yaml": (COMPOSE, "M102 M104 M401 M402 M403 M404 M405"),
    "worker.yaml": (KUBERNETES, "M102 M104 M501 M502 M503"),
}


def text_of(sample: str) -> str:
    return textwrap.dedent(sample).lstrip("\n")


def numbers(text: str, name: str, longest: float | None = None) -> list[str]:
    return [one.rule.number for one in lint.look(text_of(text), name, longest=longest).findings]


def fixed(text: str, name: str, longest: float | None = None) -> str:
    changed, left = lint.fixed(text_of(text), name, longest=longest)
    assert not left, [str(one) for one in left]
    return changed


@pytest.mark.parametrize("name", SAMPLES)
def test_the_usual_samples_have_these_faults(name: str) -> None:
    sample, expected = SAMPLES[name]
    assert sorted({*numbers(sample, name)}) == expected.split()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_fix_ends_without_findings_keeps_comments_and_changes_nothing_twice(name: str) -> None:
    before = text_of(SAMPLES[name][0])
    after = fixed(before, name)
    assert numbers(after, name) == []
    assert lint.fixed(after, name) == (after, [])
    for line in before.splitlines():
        comment = re.search(r"(?:^\s*|\s)([#;] .*)$", line)
        if comment is not None:
            assert comment[1] in after, f"the comment is gone: {comment[1]}"


def test_celerys_unit_becomes_one_worker_in_the_foreground() -> None:
    after = fixed(SYSTEMD, "celery.service")
    command = after[after.index("ExecStart=") : after.index("Restart=")].replace("\\\n", " ")
    assert " ".join(command.split()) == (
        "ExecStart=/bin/sh -c 'exec ${CELERY_BIN} -A $CELERY_APP worker --logfile=${CELERYD_LOG_FILE} "
        '--loglevel="${CELERYD_LOG_LEVEL}" $CELERYD_OPTS\''
    )
    assert "ExecStop" not in after
    assert "ExecReload" not in after
    service = after[after.index("[Service]") : after.index("[Install]")]
    for line in ("Type=exec", "KillMode=mixed", "TimeoutStopSec=630", "OOMPolicy=continue", "RestartSec=2"):
        assert f"\n{line}\n" in service
    unit = after[: after.index("[Service]")]
    assert "StartLimitIntervalSec=300" in unit
    assert "After=network-online.target" in unit
    assert "Wants=network-online.target" in unit


def test_one_node_of_celery_multi_keeps_its_name() -> None:
    unit = SYSTEMD.replace("$CELERYD_NODES", "w1")
    assert "M202" not in numbers(unit, "celery.service")
    assert "worker -n w1@%%h" in fixed(unit, "celery.service")
    assert "worker -n %i@%%h" in fixed(unit, "celery@.service"), "of a template every instance is a node"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("KillMode=process", ["M203"]),
        ("KillMode=mixed", []),
        ("KillSignal=SIGQUIT", ["M205"]),
        ("KillSignal=SIGTERM", []),
        ("TimeoutStopSec=20", ["M204"]),
        ("TimeoutStopSec=5min 20s", []),
        ("TimeoutStopSec=infinity", []),
        ("OOMPolicy=kill", ["M211"]),
        ("ExecStop=/bin/kill -9 $MAINPID", ["M206"]),
        ("ExecStop=/usr/bin/logger bye", []),
        ("ExecReload=/bin/kill -HUP $MAINPID", ["M207"]),
        ("Restart=no", ["M208"]),
        ("RestartSec=0", ["M209"]),
        ("StartLimitBurst=3", ["M213"]),
        ("RuntimeDirectory=celery", ["M210"]),
        ("RuntimeDirectory=celery/%i", []),
        ("RuntimeDirectory=celery\nRuntimeDirectoryPreserve=yes", []),
        ("Type=oneshot", ["M201"]),
        ("Type=notify\nWatchdogSec=30", ["M214"]),
        ("WatchdogSec=30", ["M214"]),
        ("Type=notify\nExecStart=\nExecStart=/v/bin/multi worker -A p\nWatchdogSec=30", []),
        ("ExecStart=\nExecStart=/v/bin/celery -A p worker -D", ["M101"]),
        ("ExecStart=\nExecStart=/v/bin/celery -A p worker -B", ["M103"]),
    ],
)
def test_single_directives_of_systemd(line: str, expected: list[str]) -> None:
    keys = [one.partition("=")[0] for one in line.splitlines()]
    good = [
        "Type=exec",
        "ExecStart=/v/bin/celery -A p worker -n %i@%%h",
        *("KillMode=mixed", "TimeoutStopSec=600", "OOMPolicy=continue", "Restart=on-failure", "RestartSec=5"),
    ]
    kept = [one for one in good if one.partition("=")[0] not in keys or one.startswith("ExecStart")]
    text = "\n".join(["[Service]", *kept, line, ""])
    assert numbers(text, "celery@.service") == expected
    if expected not in ([], ["M103"]):
        assert numbers(fixed(text, "celery@.service"), "celery@.service") == []


def test_a_section_that_is_missing_is_added_once_and_every_key_lands_in_its_own() -> None:
    unit = "# ours\n[Service]\nUser=www\nExecStart=/v/bin/celery -A p worker\n"
    assert fixed(unit, "celery.service") == (
        "[Unit]\nStartLimitIntervalSec=300\nStartLimitBurst=10\n\n"
        "# ours\n[Service]\nUser=www\nExecStart=/v/bin/celery -A p worker\n"
        "KillMode=mixed\nOOMPolicy=continue\nRestart=on-failure\nRestartSec=2\nTimeoutStopSec=630\n"
    )


def test_a_pool_without_children_may_get_the_signal_as_a_group() -> None:
    unit = (
        "[Service]\nExecStart=/v/bin/celery -A p worker -P threads\nTimeoutStopSec=600\nRestart=always\nRestartSec=5\n"
    )
    assert numbers(unit, "celery.service") == []
    program = "[program:w]\ncommand=celery -A p worker -P gevent\nstopasgroup=true\nstopwaitsecs=600\nstartretries=99\n"
    assert numbers(program, "w.conf") == []


@pytest.mark.parametrize(
    ("text", "longest", "seconds"),
    [
        ("celery -A p worker --time-limit=3600", None, 3630),
        ("celery -A p worker", 1200.0, 1230),
        ("celery -A p worker", None, 630),
        ("celery -A p worker --time-limit 50", 1200.0, 80),
        ("rq worker high", 100.0, 130),
    ],
)
def test_the_time_to_stop_goes_by_the_longest_task(text: str, longest: float | None, seconds: int) -> None:
    after = fixed(f"[program:w]\ncommand={text}\nstopwaitsecs=10\n", "w.conf", longest)
    assert f"stopwaitsecs={seconds}\n" in after


def test_a_time_that_somebody_has_chosen_is_kept_unless_it_is_known_to_be_short() -> None:
    program = "[program:w]\ncommand=celery -A p worker\nkillasgroup=true\nstartretries=99\nstopwaitsecs=300\n"
    assert numbers(program, "w.conf") == []
    assert numbers(program, "w.conf", longest=301) == ["M303"]


@pytest.mark.parametrize(
    ("text", "is_worker"),
    [
        ("/v/bin/python /srv/manage.py rqworker high", True),
        ("dramatiq shop.tasks --processes 4", True),
        ("/v/bin/python -m dramatiq shop.tasks", True),
        ("rq worker high", True),
        ("rq info", False),
        ("taskiq worker shop:broker", True),
        ("arq shop.Settings", True),
        ("multi worker -A shop", True),
        ("multi status", False),
        ("celery -A shop flower", False),
        ("celery -A shop inspect ping", False),
        ("/usr/bin/env LANG=C celery -A shop worker", True),
        ("nice -n 5 celery -A shop worker", True),
        ("gunicorn shop.wsgi", False),
        ("-A shop worker -l info", True),
        ("worker --app=shop", True),
        ("worker 4", False),
        ("/srv/bin/celery-worker", True),
        ("bash -c 'celery -A shop flower'", False),
    ],
)
def test_workers_are_told_from_other_programs(text: str, is_worker: bool) -> None:
    assert lint.look(f"[program:x]\ncommand={text}\n", "x.conf").has_workers is is_worker


def test_a_script_of_ones_own_is_known_by_its_name_or_by_what_runs_it() -> None:
    assert numbers("services:\n  celery:\n    command: /start.sh\n", "compose.yaml") == ["M401", "M403", "M404"]
    assert numbers("services:\n  web:\n    command: /start.sh\n", "compose.yaml") == []


def test_the_managers_themselves_take_what_comes_of_a_fix() -> None:
    unit = File("/etc/systemd/system/celery.service", fixed(SYSTEMD, "celery.service"))
    program = File("/etc/supervisor/conf.d/celeryd.conf", fixed(SUPERVISORD.replace("nobody", "root"), "celeryd.conf"))
    for problems in (check_systemd([unit]), check_supervisord([program])):
        assert [str(one) for one in problems if one.level == ERROR] == []


def test_supervisords_programs() -> None:
    config = """
        [unix_http_server]
        file = /tmp/supervisor.sock   ; where it is
        [supervisorctl]
        serverurl = unix:///tmp/supervisor.sock ; the same

        [program:w]
        command = bash -lc "cd /srv && . venv/bin/activate && celery -A proj worker -n w1@%%h -l info"   ; here
        numprocs = 3
        process_name = %(program_name)s_%(process_num)02d
        stopsignal = QUIT
        autorestart = false
        environment = A="50%",B="%(here)s"

        [program:x]
        command = /v/bin/celery -A proj worker --detach --pidfile=/run/x.pid -n x@%h
        numprocs = 2

        [program:web]
        command = gunicorn shop
        stopasgroup = true
    """
    found = lint.look(text_of(config), "all.conf").findings
    assert not [one for one in found if "web" in one.text]
    assert {one.rule.number for one in found} == {
        *("M101", "M102", "M104", "M302", "M303", "M304", "M305", "M306", "M307", "M308", "M309")
    }
    after = fixed(config, "all.conf")
    assert (
        'command = bash -lc "cd /srv && . venv/bin/activate && exec celery -A proj worker -n w1_%(process_num)02d@%%h -l info"'
        "   ; here\n"
    ) in after
    assert "command = /v/bin/celery -A proj worker -n x_%(process_num)02d@%%h\n" in after
    assert 'environment = A="50%%",B="%(here)s"\n' in after
    assert "file = /run/supervisor.sock   ; where it is\nchmod = 0700\n" in after
    assert "serverurl = unix:///run/supervisor.sock ; the same\n" in after


def test_a_beat_in_supervisord_is_one() -> None:
    program = "[program:b]\ncommand=celery -A p beat\nnumprocs=2\nstartretries=30\n"
    assert numbers(program, "b.conf") == ["M103"]
    assert fixed(program, "b.conf") == program.replace("numprocs=2", "numprocs=1")


def test_services_of_compose_stay_what_they_were_but_for_their_faults() -> None:
    before, after = yaml.safe_load(text_of(COMPOSE)), yaml.safe_load(fixed(COMPOSE, "compose.yaml"))
    assert after["services"]["web"] == before["services"]["web"]
    worker = after["services"]["worker"]
    assert worker["command"] == 'sh -c "python manage.py migrate && exec celery -A celery_app worker -l info"'
    assert (worker["stop_signal"], worker["stop_grace_period"], worker["init"]) == ("SIGTERM", "630s", True)
    assert worker["image"] == "shop"
    assert worker["healthcheck"]["disable"] is True
    assert after["services"]["beat"]["command"] == ["celery", "-A", "shop", "beat"]
    assert "stop_grace_period" not in after["services"]["beat"], "a beat runs no tasks"
    assert after["services"]["images"]["restart"] == "unless-stopped"


def test_what_is_written_as_json_stays_json() -> None:
    worker = {"command": ["celery", "-A", "p", "worker", "--pidfile=/x"], "restart": "no", "stop_signal": "SIGINT"}
    after = json.loads(fixed(json.dumps({"services": {"w": worker}}), "compose.json"))["services"]["w"]
    assert after["command"] == ["celery", "-A", "p", "worker"]
    assert (after["restart"], after["stop_signal"], after["stop_grace_period"], after["init"]) == (
        *("unless-stopped", "SIGTERM", "630s", True),
    )


def test_pods_stay_what_they_were_but_for_their_faults() -> None:
    worker, beat = yaml.safe_load_all(fixed(KUBERNETES, "worker.yaml"))
    pod = worker["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 3630
    (container,) = pod["containers"]
    assert "livenessProbe" not in container
    assert container["args"] == [
        "set -e\npython manage.py migrate\nexec celery -A proj worker -l info \\\n  --time-limit=3600\n"
    ]
    assert (beat["spec"]["replicas"], beat["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert beat["spec"]["template"]["spec"]["containers"][0]["command"] == ["celery", "-A", "proj", "beat"]


@pytest.mark.parametrize(
    "script",
    [
        "celery -A p worker | tee log",
        "celery -A p worker & celery -A p beat",
        "celery -A p worker; echo done",
        "A=1 celery -A p worker",
    ],
)
def test_what_a_shell_does_beside_the_worker_is_left_to_its_author(script: str) -> None:
    text = f"services:\n  w:\n    command: sh -c '{script}'\n    init: true\n    restart: always\n    stop_grace_period: 9m\n"
    after, left = lint.fixed(text, "compose.yaml")
    assert after == text
    assert [one.rule.number for one in left] == ["M102"]


def test_a_healthy_probe_and_a_keeper_are_no_faults() -> None:
    text = """
        services:
          w:
            command: ["multi", "start", "w", "--foreground", "-A", "shop"]
            stop_grace_period: 10m
            restart: always
            healthcheck:
              test: ["CMD", "multi", "probe", "w", "--ready"]
    """
    assert numbers(text, "compose.yaml") == []
    assert numbers(text.replace("10m", "0s"), "compose.yaml") == ["M401"]


def test_an_init_script_can_only_be_replaced() -> None:
    found = lint.look(text_of(INITD), "celeryd")
    assert found.format == "initd"
    assert [(one.rule.number, one.edits) for one in found.findings] == [("M601", ())]
    assert lint.fixed(text_of(INITD), "celeryd")[0] == text_of(INITD)


def test_a_file_of_something_else_is_refused_and_one_without_workers_is_said_to_be() -> None:
    with pytest.raises(ConfigurationError, match="none of the files that are understood"):
        lint.look("hello", "notes.txt")
    with pytest.raises(ConfigurationError, match=r"compose.yaml:2: this is no YAML"):
        lint.look("services:\n\t- x", "compose.yaml")
    with pytest.raises(ConfigurationError, match="helm template"):
        lint.look("apiVersion: v1\nspec: {{ .Values.spec }}\n{{- end }}\n", "pod.yaml")
    found = lint.look("[Service]\nExecStart=/usr/bin/nginx\n", "nginx.service")
    assert (found.findings, found.has_workers) == ([], False)


def test_line_endings_of_another_system_stay() -> None:
    text = text_of(SUPERVISORD).replace("\n", "\r\n")
    after, left = lint.fixed(text, "celeryd.conf")
    assert not left
    assert "stopasgroup=false\r\n" in after
    assert after.count("\n") == after.count("\r\n")


def test_every_rule_is_explained_in_the_manual() -> None:
    listed = re.findall(r"^\| (M\d{3}) \| (error|warning) \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE)
    assert [(number, level, title.strip()) for number, level, title in listed] == [
        (one.number, one.level, one.title) for one in RULES.values()
    ]


@pytest.mark.parametrize("multi", ["/usr/bin/multi", None])
@pytest.mark.parametrize("form", ["systemd", "supervisord", "compose", "kubernetes"])
def test_what_multi_renders_has_none_of_these_faults(form: str, multi: str | None) -> None:
    def node(name: str, app: str | None = "shop", **more: Any) -> NodeSpec:
        options = {"app": app} if app else {}
        return NodeSpec(NodeName(name, "host"), executable="/srv/bin/python", cwd="/srv", options=options, **more)

    nodes = [
        *(node("w1"), node("w2"), node("c", engine="celery"), node("beat", kind="beat", engine="celery")),
        node("flower", app=None, kind="command", command=["celery", "-A", "shop", "flower"]),
    ]
    to = Target(
        "shop",
        "host",
        manager_version=252,
        multi=multi,
        owner="shop",
        homes={"shop": "/srv"},
        launcher="/lib/celery_node.py" if multi else None,
    )
    looks = [
        lint.look(file.text, file.path)
        for file in units.find(form).render(nodes, to)
        if file.path.endswith((".service", ".conf", ".yaml"))
    ]
    assert any(one.has_workers for one in looks)
    assert [str(finding) for one in looks for finding in one.findings] == []


# ---- the command


def run(*words: str, code: int = 0, stdin: str | None = None) -> str:
    done = CliRunner().invoke(command, words, input=stdin)
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_tells_shows_writes_and_is_done(tmp_path: Path) -> None:
    file = tmp_path / "celeryd.conf"
    file.write_text(text_of(SUPERVISORD))
    file.chmod(0o640)
    link = tmp_path / "link.conf"
    link.symlink_to(file)
    output = run(str(link), code=1)
    assert f"{link}:18: M301 error: supervisord sends TERM to the children that run tasks\n" in output
    assert "better: stopasgroup=false\n" in output
    assert "3 found; `multi lint --fix` puts 3 of them right" in output
    assert "+stopasgroup=false\n" in run(str(link), "--diff", code=1)
    assert file.read_text() == text_of(SUPERVISORD), "nothing is written unless asked for"
    assert "3 kinds of fault put right, nothing is left" in run(str(link), "--fix")
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert "nothing to be done" in run(str(link))
    assert [one.name for one in sorted(tmp_path.iterdir())] == ["celeryd.conf", "link.conf"]


def test_the_command_names_what_it_does_not_read(tmp_path: Path) -> None:
    unit = tmp_path / "celery.service"
    unit.write_text(text_of(SYSTEMD))
    (tmp_path / "celery.service.d").mkdir()
    assert "celery.service.d is not read with it" in run(str(unit), code=1)
    for words, expected in (
        ([], "which files?"),
        ([str(unit), "--fix", "--diff"], "either --fix or --diff"),
        ([str(unit), "--longest-task", "soon"], "--longest-task: 'soon' is no span of time"),
        (["--explain", "M999"], "there is no rule M999"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(expected)):
            CliRunner().invoke(command, words, catch_exceptions=False)
    (tmp_path / "bytes.conf").write_bytes(b"\xff\xfe[program:x]")
    (tmp_path / "notes.txt").write_text("buy milk")
    names = ("none.conf", "bytes.conf", "notes.txt", ".", "celery.service")
    output = run(*(str(tmp_path / name) for name in names), code=2)
    for expected in (
        "none.conf can't be read: No such file or directory",
        "bytes.conf can't be read: it is no UTF-8",
        "notes.txt: this is none of the files that are understood",
        "can't be read: Is a directory",
        "celery.service:7: M201 error",
    ):
        assert expected in output
    assert unit.read_text() == text_of(SYSTEMD)


def test_the_command_for_programs(tmp_path: Path) -> None:
    file = tmp_path / "x.service"
    file.write_text("[Service]\nExecStart=/v/celery -A p -b redis://:geheim@h worker -D\n")
    (found,) = json.loads(run(str(file), "--json", "--diff", code=1))
    assert found["format"] == "systemd"
    assert {one["rule"] for one in found["findings"]} >= {"M101", "M203", "M204"}
    assert (found["changed"], found["left"]) == (True, [])
    assert "geheim" not in run(str(file), "--diff", code=1)
    assert run("-", "--fix", "--format", "supervisord", stdin=text_of(SUPERVISORD)).count("killasgroup=true") == 1
    assert json.loads(run("--explain", "M301", "--json"))[0]["number"] == "M301"
    assert run("--explain", "all").count("\nM") == len(RULES) - 1
