"""multi check: what it finds in a file and on this machine, where it says that this is, and in which words."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from support.described import MULTI_TOML, describe
from support.nodes import Nodes

from multi.controller import trial
from multi.controller.keeper.owner import Owner
from multi.nodes.names import parse
from multi.nodes.spec import NodeSpec


def told(nodes: Nodes, text: str) -> list[str]:
    """What is told of this multi.toml, a line each; `multi up` refuses it for just the same."""
    describe(nodes, text)
    found = nodes.run("check", code=2).stderr.splitlines()
    assert found.pop().endswith(" errors" if len(found) > 1 else " error")
    path = str(nodes.project.path)
    up = nodes.run("up", code=2).stderr.splitlines()[1:]
    assert [line.strip() for line in up] == [line.removeprefix("multi: error: ") for line in found]
    return [line.replace(f"multi: error: {path}/multi.toml:", "").replace(path, "HERE") for line in found]


def test_check_finds_everything_at_once_and_starts_nothing(described: Nodes) -> None:
    describe(
        described,
        MULTI_TOML
        + """
        [nodes.v]
        python = "/nowhere/python"
        [nodes.u]
        python = "/bin/true"
        [nodes.flower]
        kind = "command"
        command = "no-such-program"
        hooks = { crashed = "also-none x" }
        log = { file = "ready.py/x.log" }
        [nodes.s]
        user = "nobody-of-that-name"
        stop = { quit_after = 9, kill_after = 6 }
        """,
    )
    done = described.run("check", code=2)
    found = json.loads(described.run("check", "--json", code=2).stdout)
    assert not found["ok"]
    told = [(one["line"], one["key"], one["level"], one["message"]) for one in found["problems"]]
    folder = described.project.path
    assert told == [
        (9, "nodes.v.python", "error", "/nowhere/python can't be run: No such file or directory"),
        (11, "nodes.u.python", "error", "/bin/true can't be run: it is no Python (exit status 0)"),
        (14, "nodes.flower.command", "error", "there is no program no-such-program on the PATH that can be run"),
        (15, "nodes.flower.hooks.crashed", "error", "there is no program also-none on the PATH"),
        (
            16,
            "nodes.flower.log.file",
            "error",
            f"{folder}/ready.py/x.log can't be written: {folder}/ready.py is no directory",
        ),
        (18, "nodes.s.user", "error", "there is no user nobody-of-that-name on this machine"),
        (19, "nodes.s.stop.kill_after", "warning", "KILL after 6 s comes before QUIT after 9 s"),
    ]
    assert "6 errors, 1 warning" in done.stderr
    assert not list(described.state.glob("nodes/*/*"))


def test_check_says_ok_and_counts(described: Nodes) -> None:
    assert described.run("check").stdout.endswith("multi.toml: OK, 2 nodes\n")
    assert described.run("check", "-q").stdout == ""
    assert json.loads(described.run("check", "--json").stdout)["nodes"] == ["w1", "w2"]


def test_check_warns_of_a_password_that_others_can_read(described: Nodes) -> None:
    path = describe(described, MULTI_TOML + '[nodes.v]\nbroker = "redis://:s3cret@localhost/0"\n')
    done = described.run("check")
    assert "warning: " in done.stderr
    assert "broker: holds a password" in done.stderr
    assert "s3cret" not in done.stderr
    os.chmod(path, 0o600)
    assert described.run("check").stderr == ""


def test_all_is_told_in_one_go_whatever_else_is_wrong(described: Nodes) -> None:
    text = """\
[defaults]
app = "ready"
[nodes.w]
count = 0
directory = "nowhere"
depends_on = ["zzz", "tcp://x:99999"]
[nodes."a b"]
user = "nobody-of-that-name"
[nodes.v]
inherits = "nobody"
env_files = ["none.env", 3]
[nodes.u]
depends_on = ["v", "w"]
"""
    assert told(described, text) == [
        "4: nodes.w.count: expected a whole number from 1 to 1000, not 0",
        "5: nodes.w.directory: there is no directory HERE/nowhere",
        '6: nodes.w.depends_on[1]: expected tcp://HOST:PORT with a port from 1 to 65535, not "tcp://x:99999"',
        '6: nodes.w.depends_on[0]: there is no node and no table of nodes "zzz"',
        "7: nodes.a b: can't be a node's name: letters, digits, '-', '_' and '.' can stand in it",
        "8: nodes.a b.user: there is no user nobody-of-that-name on this machine",
        '10: nodes.v.inherits: there is no table of nodes "nobody"',
        "11: nodes.v.env_files[1]: expected a text, not 3",
        "11: nodes.v.env_files[0]: the environment file HERE/none.env is missing; put - before its name if it may be",
    ]


def test_what_the_defaults_say_is_told_once_and_where_it_stands(described: Nodes) -> None:
    text = """\
[nodes.w]
count = 3
[nodes.v]
[nodes.u]
[nodes.t]
log = { file = "/proc/x/y.log" }
[defaults]
app = "ready"
env_files = [
    "-may-be-missing.env",
    "none.env",
]
"""
    assert told(described, text) == [
        "6: nodes.t.log.file: /proc/x/y.log can't be written: No such file or directory in /proc",
        "11: defaults.env_files[1]: the environment file HERE/none.env is missing; put - before its name if it may be",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[nodes.w]\napp = "ready"\nbroker = "foo://x"',
            "3: nodes.w.broker: no broker has the URL scheme 'foo'; there are: ",
        ),
        (
            '[nodes.w]\napp = "ready"\nresult_backend = "x://"',
            "3: nodes.w.result_backend: no result backend has the URL scheme",
        ),
        (
            '[nodes.w]\ncount = 2\napp = "ready"\npidfile = "same.pid"',
            "4: nodes.w.pidfile: w1 and w2 would both use HERE/same.pid",
        ),
        (
            '[nodes.w]\napp = "ready"\nlog.file = "x"\n[nodes.v]\ninherits = "w"',
            "3: nodes.w.log.file: w and v would both use",
        ),
        (
            '[nodes.w]\napp = "ready"\npool = "threads"\ntime_limit = "3s"',
            "4: nodes.w.time_limit: time_limit can't be enforced in the pool 'threads'",
        ),
        (
            '[nodes.w]\napp = "ready"\ninclude = ["ready", "nosuch.x"]',
            "3: nodes.w.include[1]: there is no module nosuch",
        ),
        ('[nodes.w]\napp = "ready"\nconfig = "nosuch"', "3: nodes.w.config: there is no module nosuch"),
        ('[nodes.w]\napp = "ready"\npidfile = "ready.py"', "3: nodes.w.pidfile: HERE/ready.py holds no process id"),
        ("[nodes.w]", "1: nodes.w: no app is named: say where it is, as in app = "),
        ('state_dir = "/proc/1/x"\n[nodes.w]\napp = "ready"', "1: state_dir: "),
        ("", " describes no nodes; add a table for them: [nodes.NAME]"),
    ],
)
def test_what_up_could_not_start_is_no_ok(described: Nodes, text: str, line: str) -> None:
    (found,) = told(described, text)
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('kind = "command"', '2: nodes.w.kind: which program? Name it: command = "/usr/bin/program --option"'),
        (
            'command = "sleep 9"\nqueues = ["a"]',
            "3: nodes.w.queues: these are options of a worker, and a command is no worker; put what the program is to be ",
        ),
        (
            'app = "ready"\nkind = "beat"\nconcurrency = 3',
            "4: nodes.w.concurrency: a beat has no such option; leave it out",
        ),
        (
            'app = "ready"\npool = "gevent"',
            "3: nodes.w.pool: there is no pool 'gevent' yet; meanwhile use pool = \"threads\" for tasks that wait for input and ",
        ),
        (
            'app = "ready"\ncommand = ""',
            '3: nodes.w.command: expected a command: a text such as "pg_isready -q" or a list of its words',
        ),
    ],
)
def test_it_speaks_of_keys_and_not_of_options_of_the_command_line(described: Nodes, text: str, line: str) -> None:
    (found,) = told(described, "[nodes.w]\n" + text)
    assert found.startswith(line)


def test_a_beat_that_there_can_be_only_one_of_is_told_so_once(described: Nodes) -> None:
    text = f'[nodes.w]\nengine = "celery"\npython = "{sys.executable}"\nkind = "beat"\ncount = 2\n'
    describe(described, text)
    done = described.run("check", code=2)
    assert "nodes.w.count: a singleton is one node" in done.stderr
    assert "is sent 2 times" not in done.stderr


def test_of_two_singletons_of_one_program_it_is_told_that_only_one_can_run(described: Nodes) -> None:
    table = '[nodes.{}]\ncommand = "sleep {}"\nsingleton = true\n'
    describe(described, table.format("a", 600) + table.format("b", 700))
    assert "singleton" not in described.run("check").stderr
    describe(described, table.format("a", 600) + table.format("b", 600))
    assert "nodes.b.singleton: a and b run the same program" in described.run("check").stderr


def test_a_byte_order_mark_is_called_by_its_name(described: Nodes) -> None:
    path = describe(described, MULTI_TOML)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    said = described.run("check", code=2).stderr
    assert "multi.toml:1: the file begins with a byte order mark (BOM)" in said
    assert "save it as UTF-8 without one" in said
    assert "byte order mark" in described.run("status", code=4).stderr


def test_files_that_are_none_are_told_by_name(described: Nodes) -> None:
    (described.project.path / "dir.env").mkdir()
    os.mkfifo(described.project.path / "pipe")
    text = """\
[nodes.w]
app = "ready"
env_files = ["dir.env", "-"]
log.file = "pipe"
"""
    assert told(described, text) == [
        '3: nodes.w.env_files[1]: expected a file\'s name behind the dash, not "-"',
        "3: nodes.w.env_files[0]: the environment file HERE/dir.env is no plain file",
        "4: nodes.w.log.file: HERE/pipe is a pipe; nodes would stand still whenever nobody reads it",
    ]


def test_an_environment_file_that_became_a_directory_is_told_before_a_restart(described: Nodes) -> None:
    described.project.write("e.env", "A=1")
    describe(described, '[nodes.w]\nengine = "command"\ncommand = "sleep 1000"\nenv_files = ["e.env"]\n')
    described.run("up")
    (described.project.path / "e.env").unlink()
    (described.project.path / "e.env").mkdir()
    for command in ("restart w", "reload w", "up"):
        done = described.run(*command.split(), code=2)
        assert f"{described.project.path}/e.env is no plain file" in done.stderr, command
    assert described.status("w")["state"] == "running"


def test_a_hook_that_wants_a_shell_is_warned_of(described: Nodes) -> None:
    hooks = "hooks = { started = 'touch x-$MULTI_NODE', ready = \"sh -c 'touch $X'\", stopped = ['touch', 'x>y'] }"
    describe(described, f'[nodes.w]\napp = "ready"\n{hooks}\n')
    (line,) = [line for line in described.run("check").stderr.splitlines() if "warning:" in line]
    assert line.endswith(
        ":3: nodes.w.hooks.started: no shell runs it, so $ means nothing; write sh -c '…' where it should"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else: run the tests as root")
def test_what_another_user_can_not_do_is_seen(described: Nodes, tmp_path: Path) -> None:
    closed = described.project.path / "closed"
    closed.mkdir(mode=0o700)
    for folder in described.project.path.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            folder.chmod(0o711)
    described.project.path.chmod(0o755)
    closed.joinpath("python").symlink_to(sys.executable)
    text = """\
[nodes.u]
user = "nobody"
app = "ready"
python = "closed/python"
[nodes.v]
user = "65534"
group = "65534"
command = "sleep 1000"
directory = "closed"
[nodes.t]
user = "nobody"
command = "sleep 1000"
log.file = "closed/%n.log"
[nodes.s]
user = "nobody"
command = "sleep 1000"
log.file = "%n.log"
"""
    assert told(described, text) == [
        "4: nodes.u.python: HERE/closed/python can't be run by nobody: Permission denied",
        "9: nodes.v.directory: HERE/closed can't be entered by 65534: no permission",
        "13: nodes.t.log.file: HERE/closed/t.log can't be written by nobody: no permission in HERE/closed",
    ]


def test_limits_that_are_not_to_be_had_are_seen(described: Nodes) -> None:
    most = int(Path("/proc/sys/fs/nr_open").read_text())  # more than that nobody is given, not even root
    describe(described, f'[nodes.w]\ncommand = "sleep 1000"\nlimits = {{ nofile = {most + 1} }}\n')
    said = described.run("check", code=2).stderr
    assert f"multi.toml:3: nodes.w.limits: the limit nofile = {most + 1} can't be set: " in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else: run the tests as root")
def test_a_niceness_that_is_not_to_be_had_is_seen() -> None:
    spec = NodeSpec(parse("w"), executable="sleep", cwd="/", options={}, nice=-5)
    assert trial.niceness(spec) == ""
    said = trial.why_not(Owner(65534, 65534, [65534], {}), lambda: trial.niceness(spec))
    assert said == "the niceness -5 can't be had: Permission denied"
    assert os.getpriority(os.PRIO_PROCESS, 0) != -5


def test_a_program_that_can_not_be_run_is_named_where_the_node_is_told_of(nodes: Nodes) -> None:
    program = nodes.project.write("program", "#!/nowhere/interpreter\n")
    program.chmod(0o755)
    done = nodes.run("start", "w", "--cmd", str(program), "--max-crashes", "1", code=1)
    assert f"exit status 127 ('{program}' can't be run: No such file or directory)" in done.stdout + done.stderr
