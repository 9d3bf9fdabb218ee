"""What multi's workers reply to remote control, beside what Celery's reply: asked by Celery's own client and commands."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner
from support.mixed import Fleet, ask
from support.wait import until

QUEUES = {"celery": "theirs", "multi": "ours"}
#: What may be different: names that are each engine's own.
OWN = {"total", "transport_options"}
#: What only multi tells.
MORE = {"events"}


class Panels:
    """A worker of each engine, with a task that runs in each and one that waits for its time."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.client = fleet.clients["celery"]
        # workers of other tests may be on another broker of this host, by other names
        self.names: dict[str, str] = until(self._find, 30, what="both answer")
        self.ids: dict[str, dict[str, str]] = {engine: {} for engine in QUEUES}
        self.results = []
        for engine, queue in QUEUES.items():
            slow = ask(self.client, "slow", (), {"name": uuid.uuid4().hex, "seconds": 600}, queue=queue)
            later = ask(self.client, "note", (), {"name": uuid.uuid4().hex}, queue=queue, countdown=900)
            self.ids[engine] = {"active": slow.id, "scheduled": later.id, "unknown": "x"}
            self.results += [slow, later]
            until(partial(self._holds, engine), 30, what="a task of each kind")

    def _find(self) -> dict[str, str]:
        replies = self.client.control.ping(timeout=1)
        found = {
            engine: name for reply in replies for name in reply for engine in QUEUES if name.startswith(QUEUES[engine])
        }
        return found if len(found) == len(QUEUES) else {}

    def _holds(self, engine: str) -> bool:
        return bool(self.tell(engine, "active") and self.tell(engine, "scheduled"))

    def tell(self, engine: str, command: str, **arguments: Any) -> Any:
        """The reply of one worker; None where there was none within 10 s."""
        name = self.names[engine]
        replies = self.client.control.broadcast(command, arguments, [name], reply=True, timeout=10)
        return replies[0][name] if replies else None

    def both(self, command: str, **arguments: Any) -> tuple[Any, Any]:
        """What Celery's worker replies, and what ours does."""
        return self.tell("celery", command, **arguments), self.tell("multi", command, **arguments)


@pytest.fixture(scope="module")
def panels(fleet: Fleet) -> Iterator[Panels]:
    found = Panels(fleet)
    yield found
    for result in found.results:
        result.revoke(terminate=True)
    for result in found.results[::2]:
        result.get(timeout=30, propagate=False)


def difference(theirs: Any, ours: Any, where: str = "reply") -> list[str]:
    """Where two replies are of different forms; what is None on either side may be anything on the other."""
    if theirs is None or ours is None:
        return []
    if isinstance(theirs, dict) and isinstance(ours, dict):
        names = sorted((theirs.keys() ^ ours.keys()) - MORE)
        found = [f"{where}.{name} is {'missing' if name in theirs else 'more'}" for name in names]
        for name in theirs.keys() & ours.keys() - OWN:
            found += difference(theirs[name], ours[name], f"{where}.{name}")
        return found
    if isinstance(theirs, list) and isinstance(ours, list):
        return difference(theirs[0], ours[0], f"{where}[]") if theirs and ours else []
    numbers = (int, float)
    if isinstance(theirs, numbers) and isinstance(ours, numbers) and isinstance(theirs, bool) is isinstance(ours, bool):
        return []
    return [] if type(theirs) is type(ours) else [f"{where}: {theirs!r} and {ours!r}"]


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("report", {}),
        ("clock", {}),
        ("stats", {}),
        ("scheduled", {}),
        ("active", {}),
        ("dump_active", {"safe": True}),
        ("reserved", {}),
        ("revoked", {}),
        ("registered", {}),
        ("memsample", {}),
        ("memdump", {}),
        ("active_queues", {}),
        ("hello", {"from_node": "somebody@else", "revoked": {"first": 1.0}}),
    ],
)
def test_replies_have_the_names_and_the_types_of_celerys(
    panels: Panels, command: str, arguments: dict[str, Any]
) -> None:
    theirs, ours = panels.both(command, **arguments)
    assert ours is not None
    assert difference(theirs, ours) == []


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("ping", {}),
        ("ping", {"more": 1}),
        ("dump_tasks", {"taskinfoitems": ["max_retries", "_app", "nothing"], "builtins": True}),
        ("hello", {}),
        ("heartbeat", {}),
        ("revoke", {"task_id": "nobody"}),
        ("revoke", {"task_id": ["nobody"], "terminate": True}),
        ("terminate", {"task_id": "nobody", "signal": "KILL"}),
        ("revoke_by_stamped_headers", {"headers": {"visit": "nobody"}}),
        ("revoke_by_stamped_headers", {"headers": ["visit=nobody"], "terminate": True}),
        ("rate_limit", {"task_name": "fleet.kind", "rate_limit": "50/s"}),
        ("rate_limit", {"task_name": "fleet.kind", "rate_limit": 0}),
        ("rate_limit", {"task_name": "nothing", "rate_limit": "5/m"}),
        ("rate_limit", {"task_name": "fleet.kind"}),
        ("time_limit", {"task_name": "fleet.kind", "hard": 50, "soft": 30}),
        ("time_limit", {"task_name": "fleet.kind"}),
        ("time_limit", {"task_name": "nothing"}),
        ("pool_grow", {"n": 1}),
        ("pool_shrink", {"n": 1}),
        ("pool_restart", {}),
        ("autoscale", {"max": 3, "min": 1}),
        ("add_consumer", {"queue": "some-more"}),
        ("cancel_consumer", {"queue": "some-more"}),
        ("cancel_consumer", {"queue": "nothing"}),
        ("add_consumer", {}),
        ("nothing", {}),
    ],
)
def test_replies_are_those_of_celerys_to_the_word(panels: Panels, command: str, arguments: dict[str, Any]) -> None:
    theirs, ours = panels.both(command, **arguments)
    assert ours == theirs


def test_events_are_switched_on_and_off_in_the_same_words(panels: Panels) -> None:
    for command in ("enable_events", "enable_events", "disable_events", "disable_events"):
        theirs, ours = panels.both(command)
        assert ours == theirs


def test_tasks_are_found_by_their_ids(panels: Panels) -> None:
    found = {
        engine: panels.tell(engine, "query_task", ids=list(panels.ids[engine].values())) for engine in panels.names
    }
    for engine, ids in panels.ids.items():
        assert {task_id: state for task_id, (state, _) in found[engine].items()} == {
            ids["active"]: "active",
            ids["scheduled"]: "scheduled",
        }
    for state in ("active", "scheduled"):
        theirs, ours = (found[engine][panels.ids[engine][state]] for engine in QUEUES)
        assert difference(theirs, ours) == []


def test_the_settings_are_told_under_the_same_names(panels: Panels) -> None:
    theirs, ours = panels.both("conf")
    assert set(ours) == set(theirs) - {"deprecated_settings", "include", "worker_disable_prefetch"}
    theirs, ours = panels.both("dump_conf", with_defaults=True)
    assert set(theirs) - set(ours) == {"deprecated_settings"}


@pytest.mark.parametrize("matcher", ["glob", "pcre"])
def test_workers_are_named_by_patterns(panels: Panels, matcher: str) -> None:
    pattern = {"glob": "our*@*", "pcre": "ou?rs@.+"}[matcher]
    replies = panels.client.control.broadcast("ping", pattern=pattern, matcher=matcher, reply=True, timeout=10, limit=1)
    assert replies == [{panels.names["multi"]: {"ok": "pong"}}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("inspect", "active_queues"), "exchange"),
        (("inspect", "registered", "max_retries"), "fleet.add [max_retries=3]"),
        (("inspect", "conf"), "broker_url"),
        (("control", "rate_limit", "fleet.kind", "0"), "rate limit disabled successfully"),
        (("control", "add_consumer", "ours"), "add consumer ours"),
        (("status",), "OK"),
    ],
)
def test_celerys_commands_show_what_our_worker_replies(panels: Panels, words: tuple[str, ...], said: str) -> None:
    from celery.bin.celery import celery

    options = ("-d", panels.names["multi"], "-t", "10")
    done = CliRunner().invoke(celery, ["-b", panels.fleet.broker, words[0], *options, *words[1:]])
    assert done.exit_code == 0, done.output
    assert panels.names["multi"] in done.output
    assert said in done.output
