"""Faults that `multi lint` finds in single lines, and what it leaves to people."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner
from supervisor.options import ServerOptions, UnhosedConfigParser

from multi.cli.lint import lint as command
from multi.units import lint
from multi.units.base import ERROR, File
from multi.units.checks import check_systemd

TWO_COMMANDS = """
    [Unit]
    Description=Two workers

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    ExecStart=/usr/bin/celery -A proj worker -n a -D
    ExecStart=/usr/bin/celery -A proj worker -n b -D
    ExecStop=/usr/bin/pkill -9 -f celery
"""
SEVERAL = """
    [Service]
    Type=forking
    ExecStart=/usr/bin/celery multi start NODES -A proj -c 4 --pidfile=/run/%%n.pid
    ExecStop=/usr/bin/celery multi stopwait NODES --pidfile=/run/%%n.pid
    Restart=always
"""


def text_of(sample: str) -> str:
    return textwrap.dedent(sample).lstrip("\n")


def numbers(text: str, name: str) -> list[str]:
    return [one.rule.number for one in lint.look(text_of(text), name).findings]


def fixed(text: str, name: str) -> str:
    changed, left = lint.fixed(text_of(text), name)
    assert not left, [str(one) for one in left]
    return changed


# ---- systemd


def test_of_two_commands_in_a_unit_both_are_looked_at_and_the_unit_is_loaded_as_before() -> None:
    before = text_of(TWO_COMMANDS)
    after, left = lint.fixed(before, "two.service")
    assert {one.rule.number for one in left} == {"M101", "M201", "M202", "M203", "M206", "M208"}
    lines = [after.splitlines()[one.line - 1] for one in left if one.rule.number == "M101"]
    assert [line.split()[-2] for line in lines] == ["a", "b"]
    for line in before.splitlines():
        assert line in after, "whoever changes one of them has to change all"
    problems = check_systemd([File("/etc/systemd/system/two.service", after.replace("/usr/bin/celery", "/bin/true"))])
    assert [str(one) for one in problems if one.level == ERROR] == []


@pytest.mark.parametrize("nodes", ["3", "w1 w2 w3", "w1 -c:w1 2"])
def test_several_nodes_of_one_unit_are_left_to_people(nodes: str) -> None:
    unit = SEVERAL.replace("NODES", nodes)
    after, left = lint.fixed(text_of(unit), "celery.service")
    # KillMode=mixed would kill the tasks of those that systemd doesn't watch, and without ExecStop= nobody waited for them
    assert {one.rule.number for one in left} >= {"M101", "M201", "M203", "M206"}
    assert ("M202" in {one.rule.number for one in left}) is (nodes != "w1 -c:w1 2")
    assert f"multi start {nodes} -A" in after
    assert "Type=forking" in after
    assert "ExecStop=" in after
    assert "KillMode" not in after


def test_what_a_variable_names_is_said_when_one_node_is_left(tmp_path: Path) -> None:
    file = tmp_path / "celery.service"
    file.write_text(text_of(SEVERAL.replace("NODES", "$NODES")))
    done = CliRunner().invoke(command, [str(file), "--fix"])
    assert done.exit_code == 0, done.output
    assert "$NODES may name several nodes" in done.output.splitlines()[-1]
    assert "only one of them is started here now" in done.output.splitlines()[-1]


# ---- supervisord


def test_a_key_with_a_colon_is_read_and_changed_where_it_stands() -> None:
    config = """
        [program:x]
        command: celery -A p worker   # the worker
        stopwaitsecs: 600
        StopAsGroup: true
        killasgroup : false
        startretries=20
    """
    assert numbers(config, "x.conf") == ["M301", "M302"]
    after = fixed(config, "x.conf")
    assert after == text_of(config).replace("StopAsGroup: true", "StopAsGroup: false").replace(
        "killasgroup : false", "killasgroup : true"
    )
    parser = UnhosedConfigParser()
    parser.read_string(after)
    assert dict(parser.items("program:x")) == {
        "command": "celery -A p worker",
        "stopwaitsecs": "600",
        "stopasgroup": "false",
        "killasgroup": "true",
        "startretries": "20",
    }


def test_a_single_percent_sign_is_found_wherever_supervisord_fills_in(tmp_path: Path) -> None:
    config = """
        [supervisord]
        identifier=100%

        [program:w]
        command=celery -A p worker -n a@%%h
        stdout_logfile=/x%
        directory=%(here)s
        killasgroup=true
        startretries=20
        stopwaitsecs=600

        [program:web]
        command=gunicorn --name 50% shop
    """
    found = lint.look(text_of(config), "w.conf").findings
    assert [(one.rule.number, one.line) for one in found] == [("M309", 2), ("M309", 6), ("M309", 13)]
    after = fixed(config, "w.conf")
    assert "stdout_logfile=/x%%%%\n" in after, "names of logs are filled in twice"
    file = tmp_path / "w.conf"
    options = ServerOptions()
    options.configfile = str(file)
    file.write_text(after)
    options.read_config(str(file))
    assert options.configroot.supervisord.process_group_configs[0].process_configs[0].stdout_logfile == "/x%"
    file.write_text(after.replace("/x%%%%", "/x%%"))
    with pytest.raises(ValueError, match="badly formatted"):
        options.read_config(str(file))


# ---- containers


@pytest.mark.parametrize(
    ("how", "expected", "after"),
    [
        ("scale: 2", "scale: 2", "scale: 1"),
        ("deploy: {replicas: 2, mode: replicated}", "replicas: 2", "deploy: {replicas: 1, mode: replicated}"),
        ("scale: 3, deploy: {replicas: 3}", "scale: 3, replicas: 3", "scale: 1, deploy: {replicas: 1}"),
    ],
)
def test_a_beat_in_several_copies_of_a_service_is_one(how: str, expected: str, after: str) -> None:
    text = f"services:\n  s: {{init: true, restart: always, {how}, command: celery -A proj beat}}\n"
    (found,) = lint.look(text, "compose.yaml").findings
    assert (found.rule.number, found.line) == ("M103", 2)
    assert expected in found.text
    assert fixed(text, "compose.yaml") == text.replace(how, after)
    assert numbers(text.replace(how, after), "compose.yaml") == []


def test_what_a_service_shares_with_others_is_left_to_people() -> None:
    text = """
        x-several: &several {replicas: 3}
        services:
          web: {command: gunicorn, deploy: *several}
          b: {init: true, restart: always, deploy: *several, command: celery -A proj beat}
    """
    after, left = lint.fixed(text_of(text), "compose.yaml")
    assert after == text_of(text)
    assert [one.rule.number for one in left] == ["M103"]


@pytest.mark.parametrize(("kind", "numbers_of"), [("StatefulSet", ["M503"]), ("DaemonSet", ["M503"]), ("Job", [])])
def test_beats_of_other_kinds_of_pods_are_one_too(kind: str, numbers_of: list[str]) -> None:
    text = f"""
        apiVersion: apps/v1
        kind: {kind}
        metadata: {{name: beat}}
        spec:
          replicas: 2
          template:
            spec:
              containers: [{{name: b, command: [celery, -A, p, beat]}}]
    """
    assert numbers(text, "beat.yaml") == numbers_of
    after, left = lint.fixed(text_of(text), "beat.yaml")
    assert bool(left) is (kind == "DaemonSet")
    assert ("replicas: 1" in after) is (kind == "StatefulSet")


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ('entrypoint: ["tini", "--"]', None),
        ('init: false, entrypoint: ["/usr/bin/tini", "--"]', None),
        ('entrypoint: ["dumb-init", "--"]', None),
        ("init: false", "init: false: the worker is the first process"),
        ("image: x", "init is not given: the worker is the first process"),
    ],
)
def test_a_first_process_that_reaps_is_known(how: str, expected: str | None) -> None:
    text = f"services:\n  w: {{{how}, command: celery -A proj worker, restart: always, stop_grace_period: 9m}}\n"
    found = lint.look(text, "compose.yaml").findings
    assert [(one.rule.number, one.text.partition(": ")[2]) for one in found] == (
        [("M403", expected)] if expected else []
    )
