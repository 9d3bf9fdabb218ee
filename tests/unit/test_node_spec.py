"""What is kept of a node, how it becomes a command line, and how it changes."""

from __future__ import annotations

import json

import pytest

from multi.cli.worker import worker
from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.options import BY_SPELLING, OPTIONS, words
from multi.nodes.spec import NodeSpec, difference, kept_environment

NAME = NodeName("w1", "h")


def spec(**options: str | bool) -> NodeSpec:
    return NodeSpec(NAME, executable="/venv/bin/python", cwd="/srv/current", options=options, env={"A": "1"})


def test_the_command_line_has_the_options_of_the_worker_and_not_those_of_the_node() -> None:
    found = spec(
        app="proj", loglevel="INFO", purge=True, max_tasks_per_child="9", pidfile="x", workdir="/y", umask="077"
    )
    assert found.argv("/log/%n%I") == [
        *(
            "/venv/bin/python",
            "-m",
            "multi",
            "worker",
            "-A",
            "proj",
            "-l",
            "INFO",
            "--max-tasks-per-child=9",
            "--discard",
        ),
        *("-n", "w1@h", "-f", "/log/%n%I"),
    ]


def test_a_value_that_begins_with_a_dash_stays_a_value() -> None:
    assert words({"time_limit": "-1", "app": "-x"}) == ["-A", "-x", "--time-limit=-1"]


def test_what_is_kept_comes_back_as_it_was() -> None:
    before = spec(app="proj", queues="a,b", broker="redis://:p%40ss@h")
    before.policy = {"restart": "always", "kill_after": 3.0}
    record = json.loads(json.dumps(before.record("/log/100%-w1.log", "/run/pid", "/log/100%%-w1%I.log")))
    after = NodeSpec.from_record(record)
    assert vars(after) == vars(before)
    assert record["log_file"] == "/log/100%-w1.log"
    assert record["argv"][-1] == "/log/100%%-w1%I.log"
    assert record["restart"] == "always"


@pytest.mark.parametrize("value", [{}, {"version": 1}, {"version": 1, "name": "w1@h", "kept": []}, {"version": "x"}])
def test_what_is_no_specification_is_told(value: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="define the node anew"):
        NodeSpec.from_record(value)


def test_a_change_keeps_everything_else() -> None:
    old = spec(app="proj", concurrency="2")
    new = old.changed(
        NodeSpec(NAME, executable="/other/python", cwd="/tmp", options={"concurrency": "8"}, env={"B": "2"})
    )
    assert (new.executable, new.cwd, new.env) == ("/venv/bin/python", "/srv/current", {"A": "1"})
    assert new.options == {"app": "proj", "concurrency": "8"}
    assert difference(old, new) == ["concurrency: 2 -> 8"]
    new.options["concurrency"] = "0"
    assert difference(old, new) == ["concurrency: 2 -> 0 (as if not given)"]
    assert difference(old, old) == []


def test_a_difference_shows_no_secrets() -> None:
    old, new = spec(broker="redis://:old@h"), spec(result_backend="redis://u:new@h", purge=True)
    new.env = {"A": "2"}
    text = "\n".join(difference(old, new))
    assert text == (
        "broker: redis://:**@h -> (not given)\n"
        "purge: (not given) -> given\n"
        "result_backend: (not given) -> redis://u:**@h\n"
        "environment: A"
    )


def test_variables_that_shape_the_app_are_kept_and_others_only_on_purpose() -> None:
    environment = {"CELERY_BROKER_URL": "x", "PATH": "/bin", "AWS_SECRET": "s", "MULTI_RUN_DIR": "/r", "LANG": "C"}
    assert kept_environment(environment, ["AWS_SECRET", "MODE=a=b", "EMPTY="]) == {
        "CELERY_BROKER_URL": "x",
        "AWS_SECRET": "s",
        "MODE": "a=b",
        "EMPTY": "",
    }


def test_every_option_of_the_table_means_the_same_to_the_worker() -> None:
    understood = {spelling: param for param in worker.params for spelling in param.opts}
    for option in OPTIONS:
        for spelling in option.spellings:
            param = understood[spelling]
            assert param.name == option.name
            assert getattr(param, "is_flag", False) == (option.metavar is None), spelling
    assert len(BY_SPELLING) == sum(len(option.spellings) for option in OPTIONS)
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
