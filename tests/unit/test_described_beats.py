"""Schedulers in multi.toml: what makes a table one, and which options it takes."""

from __future__ import annotations

import pytest

from multi.cli.check import said_of
from multi.errors import ConfigurationError
from multi.nodes.description import describe
from multi.nodes.description.portrait import portrait
from multi.nodes.description.writing import render
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec


def nodes(text: str) -> dict[str, NodeSpec]:
    return {node.name: node.spec for node in describe(text, "/srv/multi.toml").check().nodes}


def kinds(text: str) -> dict[str, str]:
    return {name: f"{spec.engine} {spec.kind}" for name, spec in nodes(text).items()}


def test_a_table_that_is_called_beat_is_a_scheduler_unless_it_is_said_to_be_something_else() -> None:
    assert kinds("[nodes.w]\n[nodes.beat]\n") == {"w": "multi worker", "beat": "multi beat"}
    assert kinds("[nodes.beat]\nkind = 'worker'\n") == {"beat": "multi worker"}
    assert kinds("[nodes.beat]\nengine = 'celery'\n") == {"beat": "celery worker"}
    assert kinds("[defaults]\nengine = 'celery'\n[nodes.beat]\n") == {"beat": "celery worker"}
    assert kinds("[nodes.beat]\ncommand = 'sleep 9'\n") == {"beat": "command command"}
    found = kinds("[nodes.beat]\ncount = 2\n[nodes.other]\ninherits = 'beat'\n")
    assert found == dict.fromkeys(("beat1", "beat2", "other"), "multi beat")


def test_by_its_name_it_takes_of_the_defaults_what_a_scheduler_has() -> None:
    (spec,) = nodes("[defaults]\napp = 'proj'\nconcurrency = 4\n[nodes.beat]\n").values()
    assert spec.options == {"app": "proj"}


def test_a_worker_that_is_called_beat_is_still_one_when_it_is_written_down() -> None:
    spec = NodeSpec(NodeName("beat", "h"), executable="python", cwd="/srv", options={"app": "proj"})
    text = render({"beat": portrait(spec, "/srv", "python", "h")})
    assert kinds(text) == {"beat": "multi worker"}, text


def test_a_scheduler_of_multis_takes_all_options_of_multi_beat() -> None:
    text = """
        [nodes.beat]
        app = "proj"
        max_interval = "5s"
        schedule_filename = "/srv/celerybeat-schedule"
        scheduler = "celery.beat:PersistentScheduler"
        enable_remote_control = true
        loglevel = "INFO"
    """
    (spec,) = nodes(text).values()
    spec.check()
    assert said_of(spec, anywhere=True) == ""
    assert spec.argv(None)[3:-2] == [
        *("beat", "-A", "proj", "-l", "INFO", "-s", "/srv/celerybeat-schedule"),
        *("--scheduler=celery.beat:PersistentScheduler", "--max-interval=5", "--enable-remote-control"),
    ]


def test_what_it_cannot_do_is_said_of_it_before_it_is_started() -> None:
    (spec,) = nodes("[nodes.beat]\nscheduler = 'django'\n").values()
    assert said_of(spec, anywhere=True).startswith("-S: 'django' can't run here")
    (spec,) = nodes("[nodes.w]\nmax_interval = 3\n").values()
    with pytest.raises(ConfigurationError, match="--max-interval=3: only a beat has this option; leave it out"):
        spec.check()
