"""The command line of `multi worker`: which options there are, and what they become."""

from __future__ import annotations

from typing import Any

import click
import pytest

from multi.cli.worker import GROUPS, NEEDLESS, _with_group, check_options, worker
from multi.errors import ConfigurationError
from multi.nodes.options import BY_NAME, OPTIONS

CELERYS = """
    -A --app -b --broker --result-backend --loader --config --workdir -C --no-color -q --quiet --skip-checks
    -n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier --disable-prefetch
    -f --logfile --pidfile --uid --gid --umask --executable
    -c --concurrency -P --pool -E --task-events --events --time-limit --soft-time-limit --max-tasks-per-child
    --max-memory-per-child --purge --discard -Q --queues -X --exclude-queues -I --include
    --without-gossip --without-mingle --without-heartbeat --heartbeat-interval --autoscale
    -B --beat -s --schedule-filename --schedule --scheduler
"""


def parsed(*words: str, before: dict[str, Any] | None = None) -> dict[str, Any]:
    with worker.make_context("worker", list(words), obj=before) as ctx:
        return _with_group(ctx, ctx.params)


@pytest.mark.parametrize(
    ("text", "limits"), [("10,3", (10, 3)), ("3,10", (10, 3)), ("4", (4, 1)), ("4,0", (4, 1)), (" 2 , 2 ", (2, 2))]
)
def test_autoscale_takes_the_most_and_the_least(text: str, limits: tuple[int, int]) -> None:
    assert parsed("--autoscale", text)["autoscale"] == limits


def test_every_option_of_celerys_worker_is_there() -> None:
    spellings = {spelling for param in worker.params for spelling in param.opts}
    assert set(CELERYS.split()) <= spellings


def test_the_command_and_the_controllers_table_agree() -> None:
    for param in worker.params:
        assert isinstance(param, click.Option)
        option = BY_NAME[str(param.name)]
        assert set(option.spellings) <= set(param.opts)
        assert param.is_flag == (option.metavar is None)
    assert [param.name for param in worker.params] == [option.name for option in OPTIONS]


def test_each_option_has_one_place_in_the_help() -> None:
    shown = [name for names in GROUPS.values() for name in names]
    assert sorted([*shown, *NEEDLESS]) == sorted(BY_NAME)
    with worker.make_context("worker", [], resilient_parsing=True) as ctx:
        text = worker.get_help(ctx)
    assert all(spelling in text for option in OPTIONS for spelling in option.spellings)


def test_the_usual_line_is_understood() -> None:
    line = "-A proj -n w1@%h -l info -c 2 -Q a,b -b redis://h -P threads -f w1.log --pidfile w1.pid"
    values = parsed(*line.split())
    assert values["app"] == "proj"
    assert values["hostname"] == "w1@%h"
    assert values["loglevel"] == 20
    assert values["concurrency"] == 2
    assert values["queues"] == ["a", "b"]
    assert values["broker"] == "redis://h"
    assert (values["pool"], values["logfile"], values["pidfile"]) == ("threads", "w1.log", "w1.pid")
    assert check_options(values) == []


def test_what_stands_before_the_subcommand_counts_unless_it_is_said_again() -> None:
    before = {"app": "proj", "broker": "redis://one", "quiet": True}
    values = parsed("-b", "redis://two", before=before)
    assert (values["app"], values["broker"], values["quiet"]) == ("proj", "redis://two", True)


@pytest.mark.parametrize("prefix", ["MULTI", "CELERY"])
def test_the_environment_sets_options_too(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{prefix}_WORKER_CONCURRENCY", "3")
    monkeypatch.setenv(f"{prefix}_WORKER_LOGLEVEL", "debug")
    values = parsed("-l", "error")
    assert values["concurrency"] == 3
    assert values["loglevel"] == 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-c", "many"], "no number from 1 on, nor 'auto' (0 means as if it were not given)"),
        (["-c", "-1"], "no number from 1 on"),
        (["--autoscale", "many"], "'many' is not MAX,MIN, two numbers as in 10,3"),
        (["--autoscale", "1,2,3"], "'1,2,3' is not MAX,MIN"),
        (["--autoscale", "0"], "the larger number should be between 1 and 1024"),
        (["-l", "loud"], "'loud' is no log level"),
        (["-O", "best"], "default"),
        (["--time-limit", "-3"], "x>=0"),
        (["--max-tasks-per-child", "1.5"], "not a valid integer"),
        (["--concurency", "2"], "--concurrency"),
        (["-Q", ","], "',' names nothing"),
        (["-X", " , "], "names nothing"),
        (["w1"], "unexpected extra argument"),
    ],
)
def test_what_cannot_be_is_refused_at_once(words: list[str], said: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        parsed(*words)
    assert said in caught.value.format_message()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-O", "fair"], "--optimization: this worker hands a task only to a child that is free"),
        (["--without-gossip"], "--without-gossip: workers don't gossip"),
        (["--without-mingle"], "--without-mingle: nothing is exchanged"),
        (["--prefetch-multiplier", "1"], "--prefetch-multiplier: children hold no tasks back"),
        (["--disable-prefetch"], "--disable-prefetch: children hold no tasks back"),
        (["-S", "w1.db"], "--statedb: revoked ids are kept in the broker"),
        (["--loader", "x.Loader"], "--loader: apps have no loaders here"),
    ],
)
def test_what_needs_nothing_to_be_done_is_accepted_with_a_line(words: list[str], said: str) -> None:
    (note,) = check_options(parsed(*words))
    assert note.startswith(said)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["-s", "file"], "--schedule-filename is for the scheduler inside a worker: give -B"),
        (["--scheduler", "x.S"], "--scheduler is for the scheduler inside a worker: give -B"),
        (["-P", "gevent"], "meanwhile use -P threads"),
        (["-P", "fork"], "'fork'"),
    ],
)
def test_what_is_not_there_yet_is_answered_with_what_to_use_meanwhile(words: list[str], instead: str) -> None:
    with pytest.raises(ConfigurationError, match=instead):
        check_options(parsed(*words))
