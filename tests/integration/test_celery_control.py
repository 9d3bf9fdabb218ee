"""Remote control, asked by multi's client and its commands: what workers of both engines tell, and what they then do."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.mixed import Fleet, ask
from support.wait import until

from multi import App
from multi.cli.main import main

#: Of the brokers here RabbitMQ doesn't tell how many listen, so that there it is waited this long (s) for more answers.
PATIENCE = {"redis": 30.0, "rabbitmq": 1.0}
#: The engines of the workers that are asked, each by the queue of its worker.
QUEUES = {"celery": "theirs", "multi": "ours"}


class Steered:
    """A fleet, its client of multi's, and the names of its workers."""

    def __init__(self, kind: str, fleet: Fleet) -> None:
        self.kind = kind
        self.fleet = fleet
        self.app: App = fleet.clients["multi"]
        self.timeout = PATIENCE[kind]
        self.names: dict[str, str] = {}

    def inspect(self, engine: str) -> Any:
        """Questions to the worker of an engine alone: what it answers, without its name."""
        return self.app.control.inspect(self.names[engine], timeout=30)

    def told(self, engine: str, tell: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What it replies to a command."""
        (reply,) = tell(*args, destination=[self.names[engine]], reply=True, timeout=30, **options)
        return reply[self.names[engine]]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def steered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steered]:
    url = request.getfixturevalue(f"{request.param}_server").fresh()
    fleet = Fleet(
        tmp_path_factory.mktemp("steered"),
        url,
        "rpc://" if request.param == "rabbitmq" else None,
        worker_pool_restarts=True,
    )
    try:
        for engine, queue in QUEUES.items():
            fleet.worker(engine, queue, queue, "-c", "1")
        for worker in fleet.workers:
            worker.wait_ready()
        found = Steered(request.param, fleet)
        replies = until(lambda: _all(found.app.control.ping(timeout=found.timeout)), 30, what="all answer")
        for engine, queue in QUEUES.items():
            found.names[engine] = next(name for name in replies if name.startswith(f"{queue}@"))
        yield found
    finally:
        fleet.close()


def _all(replies: list[dict[str, Any]]) -> list[str]:
    names = [name for reply in replies for name in reply]
    return names if len(names) == len(QUEUES) else []


@pytest.fixture(params=QUEUES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def multi(steered: Steered, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """`multi("inspect", "ping")`: the exit code, standard output and standard error of a command on this broker."""
    monkeypatch.setenv("CELERY_BROKER_URL", "restored after the test")

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "-b", steered.fleet.broker])
        return code, *capsys.readouterr()

    return run


def test_all_who_are_there_answer_all_questions(steered: Steered) -> None:
    names = sorted(steered.names.values())
    inspect = steered.app.control.inspect(timeout=30, limit=len(names))
    assert inspect.ping() == {name: {"ok": "pong"} for name in names}
    for question in (
        inspect.stats,
        inspect.active,
        inspect.reserved,
        inspect.scheduled,
        inspect.revoked,
        inspect.registered,
        inspect.active_queues,
        inspect.conf,
        inspect.report,
        inspect.clock,
        inspect.memsample,
    ):
        assert sorted(question()) == names, question
    assert steered.app.control.inspect(timeout=steered.timeout).ping().keys() == {*names}
    assert steered.app.control.inspect(pattern="nobody*", timeout=steered.timeout).ping() is None


def test_what_a_worker_runs_holds_and_keeps_for_later(steered: Steered, engine: str) -> None:
    inspect, queue = steered.inspect(engine), QUEUES[engine]
    client = steered.fleet.clients["multi"]
    note = uuid.uuid4().hex
    later = ask(client, "add", (3, 4), queue=queue, countdown=600)
    if (steered.kind, engine) != ("rabbitmq", "multi"):  # what is parked in RabbitMQ can't be looked at
        (entry,) = until(inspect.scheduled, 30, what="a task that waits for its time")
        assert entry["request"]["id"] == later.id
    runs = ask(client, "slow", (note, 60), queue=queue)
    steered.fleet.wait_notes(note)
    waits = ask(client, "add", (1, 2), queue=queue)
    (active,) = until(inspect.active, 30, what="the task to be among the active ones")
    assert (active["id"], active["name"], active["hostname"]) == (runs.id, "fleet.slow", steered.names[engine])
    assert active["worker_pid"] in inspect.stats()["pool"]["processes"]
    if engine == "celery":
        assert [task["id"] for task in until(inspect.reserved, 30, what="a task that waits")] == [waits.id]
    else:
        # what can't begin soon is left to other workers
        until(lambda: inspect.reserved() == [], 30, what="no task that waits")
    state, info = inspect.query_task(runs.id, later.id)[runs.id]
    assert (state, info["name"]) == ("active", "fleet.slow")
    # the one that runs is ended, the others don't begin
    replies = steered.app.control.revoke([waits.id, later.id], reply=True, timeout=30, limit=len(QUEUES))
    assert {name for reply in replies or () for name in reply} == {*steered.names.values()}
    assert {waits.id, later.id} <= {*inspect.revoked()}
    steered.told(engine, steered.app.control.terminate, runs.id, signal="KILL")
    found = waits.get(timeout=30, propagate=False)
    assert (waits.state, str(found)) == ("REVOKED", "revoked")
    until(lambda: inspect.active() == [], 30, what="the task to be ended")


def test_celerys_client_gets_the_same_answers(steered: Steered, engine: str) -> None:
    name = steered.names[engine]
    theirs = steered.fleet.clients["celery"].control
    asked, ours = theirs.inspect(destination=[name], timeout=30), steered.app.control.inspect([name], timeout=30)
    for method in ("ping", "active", "registered", "active_queues", "conf"):
        assert getattr(asked, method)() == getattr(ours, method)(), method
    assert asked.stats()[name].keys() == ours.stats()[name].keys()
    (reply,) = theirs.rate_limit("fleet.kind", "9/m", destination=[name], reply=True, timeout=30)
    assert reply == {name: {"ok": "new rate limit set successfully"}}
    assert "fleet.kind [rate_limit=9/m]" in ours.registered("rate_limit")[name]


def test_queues_are_taken_up_and_left(steered: Steered, engine: str) -> None:
    inspect, control = steered.inspect(engine), steered.app.control

    def queues() -> list[str]:
        return sorted(queue["name"] for queue in inspect.active_queues())

    assert "ok" in steered.told(engine, control.add_consumer, "more")
    until(lambda: queues() == sorted(["more", QUEUES[engine]]), 30, what="the queue to be taken up")
    assert ask(steered.fleet.clients["multi"], "add", (1, 2), queue="more").get(timeout=30) == 3
    assert "ok" in steered.told(engine, control.cancel_consumer, "more")
    until(lambda: queues() == [QUEUES[engine]], 30, what="the queue to be left")


def test_limits_events_and_the_size_of_the_pool_are_set(steered: Steered, engine: str) -> None:
    inspect, control = steered.inspect(engine), steered.app.control
    assert "ok" in steered.told(engine, control.rate_limit, "fleet.add", "100/s")
    assert "fleet.add [rate_limit=100/s]" in inspect.registered("rate_limit")
    assert "ok" in steered.told(engine, control.time_limit, "fleet.add", soft=20, hard=30)
    assert "error" in steered.told(engine, control.rate_limit, "fleet.unknown", "1/s")
    assert "ok" in steered.told(engine, control.enable_events)
    assert "ok" in steered.told(engine, control.disable_events)
    steered.told(engine, control.heartbeat)
    if steered.kind == "rabbitmq":
        return  # pools are the same whatever the broker
    assert "ok" in steered.told(engine, control.pool_grow, 1)
    until(lambda: len(inspect.stats()["pool"]["processes"]) == 2, 30, what="two children")
    assert "ok" in steered.told(engine, control.pool_shrink, 1)
    until(lambda: len(inspect.stats()["pool"]["processes"]) == 1, 30, what="one child")
    before = inspect.stats()["pool"]["processes"]
    assert "ok" in steered.told(engine, control.pool_restart)
    until(lambda: not {*before} & {*inspect.stats()["pool"]["processes"]}, 30, what="another child")
    assert ask(steered.fleet.clients["multi"], "add", (1, 2), queue=QUEUES[engine]).get(timeout=30) == 3


def test_the_commands_show_who_answers_and_what(steered: Steered, multi: Any) -> None:
    names = sorted(steered.names.values())
    code, said, _ = multi("inspect", "ping")
    assert code == 0 and [line.split()[0] for line in said.splitlines()[1:-1]] == names
    # with names it is known who is expected
    to = ("-d", ",".join(names))
    code, said, _ = multi("inspect", "active_queues", "--json", "-d", names[0])
    assert code == 0 and [queue["name"] for queue in json.loads(said)[names[0]]] == [names[0].partition("@")[0]]
    code, said, _ = multi("inspect", "stats", "-p", f"{names[0][:3]}*")
    assert code == 0 and said.startswith(f"{names[0]}:\n") and "max-concurrency: 1" in said
    code, said, _ = multi("status", "--all-workers", "--json", *names)
    assert code == 0 and {each["worker"]: (each["active"], each["queues"]) for each in json.loads(said)} == {
        name: (0, [name.partition("@")[0]]) for name in names
    }
    code, said, _ = multi("graph", "workers", *to)
    assert code == 0 and all(f'"queue {name.partition("@")[0]}" -> "{name}";' in said for name in names)
    code, said, _ = multi("control", "rate_limit", "fleet.same", "7/m", *to)
    assert code == 0 and said.count("new rate limit set successfully") == len(names)
    code, said, _ = multi("control", "rate_limit", "fleet.unknown", "7/m", "--json", *to)
    assert code == 1 and sorted(name for reply in json.loads(said) for name in reply) == names


def test_who_does_not_answer_is_named(steered: Steered, multi: Any) -> None:
    name = min(steered.names.values())
    code, said, told = multi("inspect", "ping", "-d", f"{name},{name}x", "-t", "1")
    assert code == 1 and name in said and f"{name}x" in told
    code, said, told = multi("status", "--all-workers", "gone@nowhere", "--json", "-t", "0.5")
    assert (code, json.loads(said)) == (69, []) and "gone@nowhere" in told
    code, said, told = multi("inspect", "ping", "-p", "none*", "--json", "-t", "0.5")
    assert (code, json.loads(said)) == (69, {}) and told


def test_workers_are_told_to_end_which_is_the_last_thing_here(steered: Steered, multi: Any, engine: str) -> None:
    name = steered.names[engine]
    code, said, told = multi("control", "shutdown", "-d", name)
    assert (code, told) == (0, "") and name in said
    worker = next(one for one in steered.fleet.workers if one.log.stem == QUEUES[engine])
    assert worker.process.wait(40) == 0
