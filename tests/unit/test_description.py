"""What multi.toml says: values, errors with their lines, and the nodes that come of it."""

from __future__ import annotations

import sys
import tomllib
from typing import Any

import pytest

from multi.nodes.description import DescriptionError, Problem, describe
from multi.nodes.description.positions import positions
from multi.nodes.description.special import Need
from multi.nodes.spec import NodeSpec

PATH = "/srv/shop/multi.toml"


def problems(text: str, **more: Any) -> list[str]:
    """Each problem as `line key: text`."""
    try:
        found = describe(text, PATH, host="h", **more).problems
    except DescriptionError as error:
        found = error.problems
    return [f"{one.line} {one.key}: {one.text}" for one in found]


def specs(text: str) -> dict[str, NodeSpec]:
    return {node.name: node.spec for node in describe(text, PATH, host="h").check().nodes}


def only(text: str) -> NodeSpec:
    (spec,) = specs(text).values()
    return spec


# ---- positions

TOML = """\
# comment [not.a.table]
name = "a # b"

[defaults]
"quo.ted" = 1
env = { A = "1", B = { c = [
  1,  # one
  2 ] } }
text = \"\"\"
[no]
x = "y\"\"\"\"
raw = '''
it = 'is'
'''
[nodes.w] # here
a.b.c = 1
dates = [1979-05-27T07:32:00Z, 07:32:00]
[[list]]
k = 1
[[list]]
k = 2
[list.below]
z = {}
[nodes.w.env]
A = "]"
"""


def test_the_line_of_every_key_is_found() -> None:
    found = positions(TOML)
    assert found[("name",)] == 2
    assert found[("defaults",)] == 4
    assert found[("defaults", "quo.ted")] == 5
    assert found[("defaults", "env", "A")] == 6
    assert found[("defaults", "env", "B", "c", 1)] == 8
    assert found[("defaults", "text")] == 9
    assert found[("defaults", "raw")] == 12
    assert found[("nodes", "w")] == 15
    assert found[("nodes", "w", "a", "b", "c")] == 16
    assert found[("nodes", "w", "dates", 1)] == 17
    assert found[("list", 0, "k")] == 19
    assert found[("list", 1, "k")] == 21
    assert found[("list", 1, "below", "z")] == 23
    assert found[("nodes", "w", "env", "A")] == 25


def test_the_scanner_finds_the_keys_that_tomllib_finds() -> None:
    def paths(value: Any, at: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return {at}.union(*(paths(item, (*at, name)) for name, item in items)) if items else {at}

    assert set(positions(TOML)) >= {path for path in paths(tomllib.loads(TOML)) if path}


# ---- errors


def test_all_errors_are_told_at_once_each_with_its_line_and_what_was_expected() -> None:
    text = """\
nam = "shop"
app = "proj"
[defaults]
concurrency = "four"
umask = 22
count = 3
stop = { kil_after = "6m" }
[nodes.w]
concurency = 3
max_memory = "lots"
depends_on = ["beet", "tcp://localhost", { tcp = "a:1", command = "x" }]
env = { A = true }
limits = { nofiles = 3, core = [5, 1] }
hooks = { crash = "x", ready = "ftp://x/y" }
[nodes.beat]
kind = "bet"
[nodes."a b"]
"""
    assert problems(text) == [
        "1 nam: there is no such key; did you mean name?",
        "2 app: belongs to nodes; put it below [defaults], or below [nodes.NAME] for one of them",
        '4 defaults.concurrency: expected a whole number of at least 0 or "auto", not "four"',
        '5 defaults.umask: expected an octal number in quotes, from "000" to "777", not 22',
        "6 defaults.count: is no default for all; put it into a table of nodes, [nodes.NAME]",
        "7 defaults.stop.kil_after: there is no such key; did you mean kill_after?",
        "9 nodes.w.concurency: there is no such key; did you mean concurrency?",
        '10 nodes.w.max_memory: expected a size such as "1.5GB", "500MB" or a number of bytes, not "lots"',
        '11 nodes.w.depends_on[1]: expected tcp://HOST:PORT with a port from 1 to 65535, not "tcp://localhost"',
        "11 nodes.w.depends_on[2]: expected one of node, tcp and command, not tcp and command",
        '11 nodes.w.depends_on[0]: there is no node and no table of nodes "beet"; did you mean beat?',
        '12 nodes.w.env.A: expected a text (write true as "1" or "true", as the program wants it), not true or false',
        "13 nodes.w.limits.nofiles: there is no such limit; did you mean nofile?",
        '13 nodes.w.limits.core: expected a list [soft, hard] of whole numbers or "unlimited", the first not above the second, not a list',  # noqa: E501
        "14 nodes.w.hooks.crash: there is no such event; did you mean crashed?",
        '14 nodes.w.hooks.ready: expected a command or a URL that begins with http:// or https://, not "ftp://x/y"',
        '16 nodes.beat.kind: expected one of "worker", "beat", "command", not "bet"; did you mean beat?',
        "17 nodes.a b: can't be a node's name: letters, digits, '-', '_' and '.' can stand in it",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[nodes.w]\nlogfile = 'x'", "2 nodes.w.logfile: there is no such key; it is called log.file here"),
        ("[nodes.w]\nmax-memory = 1", "2 nodes.w.max-memory: there is no such key; it is called max_memory here"),
        ("[node.w]\ncount = 1", "1 node: there is no such key; did you mean nodes?"),
        (
            "[nodes]\napp = 'x'",
            "2 nodes.app: stands outside of a node's table; put it below [nodes.NAME], or below [defaults] for all nodes",
        ),
        (
            "[nodes.w]\ninherits = 'v'\n[nodes.vv]",
            '2 nodes.w.inherits: there is no table of nodes "v"; did you mean vv?',
        ),
        (
            "[nodes.a]\ninherits = 'b'\n[nodes.b]\ninherits = 'a'",
            "2 nodes.a.inherits: goes round in a circle: a -> b -> a",
        ),
        ("[nodes.w]\ncount = 2\n[nodes.w2]", "3 nodes.w2: makes a node w2, and so does [nodes.w]; rename one of them"),
        (
            "[nodes.a]\ndepends_on = 'b'\n[nodes.b]\ndepends_on = ['a']",
            "2 nodes.a.depends_on: goes round in a circle: a -> b -> a",
        ),
        ("[nodes.a]\ndepends_on = 'a'", "2 nodes.a.depends_on: goes round in a circle: a -> a"),
        (
            "[nodes.beat]\nkind = 'beat'\nengine = 'celery'\ncount = 2",
            "4 nodes.beat.count: a singleton is one node; leave out count, or singleton",
        ),
        ("[nodes.w]\nrestart_delay = -1", None),
        ("[nodes.w]\nrestart_delay = nan", None),
        ("[nodes.w]\nmax_age = 0", "2 nodes.w.max_age: should be longer than nothing; leave it out to do without"),
        ("[nodes.w]\nnice = true", "2 nodes.w.nice: expected a whole number from -20 to 19, not true"),
        ("[nodes.w]\nbroker = ['redis://:pw@h']", "2 nodes.w.broker: expected a URL, not a list"),
        ("name = '--'", '1 name: expected the project\'s name, with a letter or digit in it, not "--"'),
    ],
)
def test_a_mistake_is_told_with_its_remedy(text: str, told: str | None) -> None:
    found = problems(text)
    assert len(found) == 1
    expected = (
        told or '2 nodes.w.restart_delay: expected a time such as "90s", "10m", "1.5h" or a number of seconds, not '
    )
    assert found[0].startswith(expected)


def test_what_is_no_toml_is_told_with_its_line() -> None:
    assert problems("name = 'a'\n[nodes.w\ncount = 1\n")[0].startswith("2 : this is no TOML (column 9): ")
    assert problems("a = [1,")[0].startswith("1 : this is no TOML (at its end): ")


def test_the_message_of_the_error_holds_all_of_them() -> None:
    with pytest.raises(DescriptionError) as caught:
        describe("nam = 1\n[nodes.w]\nx = 1", PATH).check()
    assert str(caught.value).splitlines() == [
        "the description has 2 errors:",
        "    /srv/shop/multi.toml:1: nam: there is no such key; did you mean name?",
        "    /srv/shop/multi.toml:3: nodes.w.x: there is no such key",
    ]


def test_no_message_holds_a_password() -> None:
    text = (
        '[nodes.w]\nenv = { P = ["s3cret"] }\nloglevel = "redis://:s3cret@h/0"\nbroker = 5\nresult_backend = ["s3cret"]'
    )
    assert len(problems(text)) == 4
    assert "s3cret" not in str(problems(text))


def test_in_pyproject_toml_the_lines_are_those_of_the_file() -> None:
    text = "[project]\nname = 'x'\n\n[tool.multi.nodes.w]\ncoun = 1\n"
    found = describe(text, "/p/pyproject.toml", prefix=("tool", "multi"))
    assert found.problems == [
        Problem("/p/pyproject.toml", 5, "nodes.w.coun", "there is no such key; did you mean count?")
    ]


# ---- nodes


def test_a_table_with_a_count_makes_numbered_nodes_and_one_without_makes_one_of_its_name() -> None:
    found = specs("[nodes.w]\ncount = 3\n[nodes.images]\n[nodes.one]\ncount = 1")
    assert list(found) == ["w1", "w2", "w3", "images", "one1"]
    assert str(found["w2"].name) == "w2@h"
    assert (found["w2"].section, found["w2"].description) == ("w", PATH)


def test_values_come_from_the_node_then_what_it_inherits_then_the_defaults() -> None:
    found = specs("""
        [defaults]
        loglevel = "INFO"
        env = { A = "1", B = "1" }
        stop = { quit_after = "5m" }
        [nodes.w]
        count = 2
        queues = ["a", "b"]
        env = { B = "2", C = "2" }
        task_events = true
        [nodes.v]
        inherits = "w"
        queues = "c, d"
        env = { C = "3" }
        stop = { kill_after = 400 }
        task_events = false
        """)
    assert list(found) == ["w1", "w2", "v"]
    assert found["w1"].options == {"loglevel": "INFO", "queues": "a,b", "task_events": True}
    assert found["v"].options == {"loglevel": "INFO", "queues": "c,d"}
    assert found["v"].env == {"A": "1", "B": "2", "C": "3"}
    assert found["v"].policy == {"quit_after": 300, "kill_after": 400}


def test_times_and_sizes_have_units() -> None:
    spec = only("""
        [nodes.w]
        max_memory = "1.5GB"
        max_age = "1h30m"
        restart_delay = "500ms"
        healthy_after = 90
        watchdog = 0
        time_limit = "10m"
        soft_time_limit = 2.5
        max_memory_per_child = "200MB"
        log = { size = "500k", every = "1d", keep = 3, compress = true, format = "json" }
        """)
    assert spec.policy == {
        "max_memory": 1610612736,
        "max_age": 5400,
        "restart_delay": 0.5,
        "healthy_after": 90,
        "watchdog": 0,
        "log_size": 512000,
        "log_every": 86400,
        "log_keep": 3,
        "log_compress": True,
        "log_format": "json",
    }
    assert spec.options == {"time_limit": "600", "soft_time_limit": "2.5", "max_memory_per_child": "204800"}


def test_a_command_takes_no_options_of_a_worker_from_the_defaults_and_a_beat_those_that_it_has() -> None:
    found = specs("""
        [defaults]
        app = "proj"
        engine = "celery"
        concurrency = 4
        watchdog = "60s"
        nice = 3
        [nodes.flower]
        kind = "command"
        command = "celery flower --url='a b'"
        ready_after = "2s"
        [nodes.beat]
        kind = "beat"
        """)
    flower, beat = found["flower"], found["beat"]
    assert (flower.engine, flower.kind, flower.command) == ("command", "command", ["celery", "flower", "--url=a b"])
    assert (flower.options, flower.nice, flower.policy) == ({}, 3, {"ready_after": 2})
    assert (beat.engine, beat.kind, beat.singleton, beat.options) == ("celery", "beat", True, {"app": "proj"})


def test_paths_are_seen_from_the_folder_of_the_file() -> None:
    text = """
        [nodes.w]
        directory = "current"
        python = "venv/../venv/bin/python"
        env_files = ["shop.env", "-/etc/local.env"]
        log = { file = "log/%n.log" }
        pidfile = "/run/%n.pid"
        """
    spec = describe(text, "/srv/100%/multi.toml", host="h").check().nodes[0].spec
    assert spec.cwd == "/srv/100%/current"
    assert spec.executable == "/srv/100%/venv/../venv/bin/python"
    assert spec.env_files == ["/srv/100%/shop.env", "-/etc/local.env"]
    assert spec.options == {"logfile": "/srv/100%%/log/%n.log", "pidfile": "/run/%n.pid"}


def test_an_interpreter_without_a_path_is_looked_for() -> None:
    text = '[defaults]\npython = "py"\n[nodes.w]\n[nodes.v]'
    assert describe(text, PATH, which=lambda name: f"/bin/{name}").nodes[0].spec.executable == "/bin/py"
    assert problems(text, which=lambda name: None) == ['2 defaults.python: there is no program "py" on the PATH']
    assert only("[nodes.w]").executable == sys.executable


def test_all_the_rest_finds_its_place_in_the_specification() -> None:
    spec = only("""
        [nodes.w]
        user = "shop"
        group = "www"
        umask = "027"
        nice = -5
        limits = { nofile = 65536, core = "unlimited", nproc = [10, 20] }
        singleton = true
        args = ["--my-option", "%n"]
        hostname = "web1"
        hooks = { crashed = "https://example.com/x", ready = ["notify", "x"], stopped = [["a", "b"], "https://example.com/y"] }
        stop = { signal = 2 }
        statedb = "/var/lib/%n.state"
        """)
    assert (spec.user, spec.group, spec.umask, spec.nice, spec.singleton) == ("shop", "www", 0o027, -5, True)
    assert spec.limits == {"nofile": 65536, "core": -1, "nproc": [10, 20]}
    assert spec.rest == ["--my-option", "%n"]
    assert str(spec.name) == "w@web1"
    assert spec.hooks == {
        "crashed": [{"url": "https://example.com/x"}],
        "ready": [{"argv": ["notify", "x"]}],
        "stopped": [{"argv": ["a", "b"]}, {"url": "https://example.com/y"}],
    }
    assert spec.policy == {"stop_signal": "INT"}
    assert spec.options == {"statedb": "/var/lib/w.state"}


def test_what_a_node_depends_on_is_resolved_to_nodes_ports_and_commands() -> None:
    text = """
        [nodes.w]
        count = 2
        [nodes.v]
        depends_on = ["w", "tcp://[::1]:6379", { tcp = "localhost:5432", timeout = "2m" }, { command = "pg_isready -q" }]
        """
    found = {node.name: node for node in describe(text, PATH).check().nodes}
    assert found["v"].needs == (
        Need("node", ("w1",)),
        Need("node", ("w2",)),
        Need("tcp", ("::1", "6379")),
        Need("tcp", ("localhost", "5432"), 120),
        Need("command", ("pg_isready", "-q")),
    )
    assert [str(need) for need in found["v"].needs[2:]] == [
        "tcp://[::1]:6379",
        "tcp://localhost:5432",
        "command: pg_isready -q",
    ]
