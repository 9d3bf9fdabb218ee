"""One table of scenarios, run by Celery's client and worker and by multi's on the same Redis: the outcomes are equal."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.mixed import Fleet, ask, sign
from support.wait import until

TIMEOUT = 15


class Side:
    """One engine: its client, and the queue that its worker serves."""

    def __init__(self, fleet: Fleet, engine: str) -> None:
        self.fleet = fleet
        self.engine = engine
        self.client = fleet.clients[engine]
        self.queue = {"celery": "theirs", "multi": "ours"}[engine]
        self.name = uuid.uuid4().hex

    def ask(self, task: str, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        return ask(self.client, task, args, kwargs, **{"queue": self.queue, **(options or {})})

    def sign(self, task: str, *args: Any, **kwargs: Any) -> Any:
        return sign(self.client, task, *args, queue=self.queue, **kwargs)

    def notes(self, count: int) -> list[dict[str, Any]]:
        """So many notes, without what differs from run to run."""
        found = self.fleet.wait_notes(self.name, count)
        varying = ("engine", "pid", "time", "id", "root", "parent", "group", "expires")
        return [{key: value for key, value in note.items() if key not in varying} for note in found]

    def end(self, result: Any) -> dict[str, Any]:
        """How a task has ended."""
        value = result.get(timeout=TIMEOUT, propagate=False)
        return {"state": result.state, "value": plain(value), "last": last_line(result), **flags(result)}


def plain(value: Any) -> Any:
    if isinstance(value, BaseException):
        return [type(value).__name__, [str(argument) for argument in value.args]]
    return value


def last_line(result: Any) -> str:
    return (result.traceback or "\n").splitlines()[-1].rpartition(".")[2]


def flags(result: Any) -> dict[str, bool]:
    return {"ready": result.ready(), "successful": result.successful(), "failed": result.failed()}


def hooks(how: str, count: int, state: str) -> Callable[[Side], Any]:
    """What the handlers of a task are called for, until there are so many notes, and how it ends."""

    def run(side: Side) -> Any:
        result = side.ask("loud", how, name=side.name)
        told = side.notes(count)
        # a retry may run before the handler of the run before it: Celery's worker sends it at once
        told.sort(key=str)
        # nothing comes after what was waited for, but the task that is sent behind it
        side.ask("same", 1).get(timeout=TIMEOUT)
        until(
            lambda: result.state == state,
            TIMEOUT,
            what=f"{side.engine} {state}, {result.state} {result.result!r} {side.notes(count)}",
        )
        value = result.result
        return told, len(side.notes(count)), plain(value), last_line(result), flags(result)

    return run


def ending(task: str, *args: Any, options: dict[str, Any] | None = None, named: bool = False) -> Callable[[Side], Any]:
    """How a task ends, and what it notes if it is given a name."""

    def run(side: Side) -> Any:
        given = ((side.name,) if named else ()) + args
        found = side.end(side.ask(task, *given, options=options))
        return found, side.notes(1) if named else None

    return run


def own_states(side: Side) -> Any:
    result = side.ask("waiting", side.name)
    side.notes(1)
    until(lambda: result.state == "STARTED", TIMEOUT)
    seen = [(result.state, sorted(result.info), flags(result))]
    note(side, "go")
    side.notes(3)
    until(lambda: result.state == "PROGRESS", TIMEOUT)
    seen.append((result.state, result.info, flags(result)))
    note(side, "go")
    return seen, side.end(result), result.exists() if side.engine == "multi" else True


def note(side: Side, text: str) -> None:
    with (side.fleet.folder / "notes" / side.name).open("a") as file:
        file.write(f'{{"what": "{text}"}}\n')


def ignored(fail: bool | None = None, **options: Any) -> Callable[[Side], Any]:
    """What is known of a task whose result isn't wanted."""

    def run(side: Side) -> Any:
        if fail is None:
            result = side.ask("note", 1, name=side.name, options=options)
            side.notes(1)
        else:
            result = side.ask("quiet_but", fail, options=options)
        side.ask("same", 1).get(timeout=TIMEOUT)
        side.ask("same", 2).get(timeout=TIMEOUT)
        again = side.client.AsyncResult(result.id)
        if fail:
            until(lambda: again.state == "FAILURE", TIMEOUT)
        return again.state, plain(again.result)

    return run


def times(**options: Any) -> Callable[[Side], Any]:
    """A task for later, or of long ago."""

    def run(side: Side) -> Any:
        given = {key: value() if callable(value) else value for key, value in options.items()}
        began = datetime.now(UTC)
        found = side.ask("who", options=given).get(timeout=TIMEOUT, propagate=False)
        waited = (datetime.now(UTC) - began).total_seconds()
        if isinstance(found, BaseException):
            return plain(found)
        return waited >= 0.4, found["eta"] is not None, found["expires"] is not None

    return run


def links(*tasks: tuple[str, tuple[Any, ...], dict[str, Any]], fails: bool = False) -> Callable[[Side], Any]:
    """Callbacks or errbacks: what they are called with."""

    def run(side: Side) -> Any:
        calls = [side.sign(name, *args, **{**kwargs, "name": side.name}) for name, args, kwargs in tasks]
        option = "link_error" if fails else "link"
        result = side.ask("trouble" if fails else "add", *(("x",) if fails else (2, 3)), options={option: calls})
        ended = side.end(result)
        told = side.notes(len(tasks))
        for one in told:  # an errback gets the id
            one["args"] = ["its id" if argument == result.id else argument for argument in one.get("args", [])]
            one.pop("failed", None)
            one.pop("traceback", None)
        return ended, sorted(told, key=str), len(leaves(result))

    return run


def leaves(result: Any) -> list[str]:
    """The tasks that a task has sent. (Celery makes a group of several callbacks.)"""
    found: list[str] = []
    for child in result.children or []:
        found += [one.id for one in child] if hasattr(child, "results") else [child.id]
    return found


def the_request(side: Side) -> Any:
    found = side.ask(
        "who",
        1,
        options={
            "shadow": "dark",
            "headers": {"mine": {"a": 1}},
            "time_limit": 30,
            "soft_time_limit": 20,
            "expires": 600,
            "ignore_result": False,
        },
    ).get(timeout=TIMEOUT)
    return {
        key: found[key]
        for key in ("shadow", "headers", "timelimit", "ignore_result", "retries", "redelivered", "parent")
    }


def far_and_near(side: Side) -> Any:
    """Signatures: partial, immutable, with options of their own."""
    partial = side.sign("note", 3, name=side.name)
    partial.apply_async((1, 2), {"k": 4})
    fixed = side.sign("note", 3, name=side.name, immutable=True)
    fixed.apply_async((1, 2), {"k": 4})
    cloned = partial.clone((0,), {"z": 1})
    cloned.delay(9)
    return sorted((one["args"], one["kwargs"]) for one in side.notes(3))


def same_id_twice(side: Side) -> Any:
    task_id = uuid.uuid4().hex
    ends = [side.end(side.ask("same", value, options={"task_id": task_id})) for value in ("one", "two")]
    return ends, side.client.AsyncResult(task_id).result


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=0.5)


def soon_without_offset() -> datetime:
    return soon().replace(tzinfo=None)


def soon_elsewhere() -> datetime:
    from zoneinfo import ZoneInfo

    return soon().astimezone(ZoneInfo("Asia/Shanghai"))


def past() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


SCENARIOS: dict[str, Callable[[Side], Any]] = {
    # states and results
    "success": ending("add", 2, 3),
    "failure": ending("value_error", "bad", 1),
    "failure of the project's own class": ending("trouble", "own", 2),
    "failure without arguments": ending("trouble"),
    "unknown task": ending("nobody_knows"),
    "wrong arguments": ending("add", 1),
    "a result that can't be stored": lambda side: side.end(side.ask("unserializable"))["state"],
    "states on the way": own_states,
    "ignored": ending("same", None, options={"ignore_result": False}),
    "result not wanted by the call": ignored(ignore_result=True),
    "result wanted by the call though not by the task": ignored(False, ignore_result=False),
    "success not kept": ignored(False),
    "errors kept though results aren't": ignored(True),
    "a class of its own": ending("adder", 3),
    "called as a function": ending("directly"),
    "one id twice": same_id_twice,
    # handlers
    "handlers of a success": hooks("fine", 4, "SUCCESS"),
    "handlers of a failure": hooks("fail", 4, "FAILURE"),
    "handlers of an expected failure": hooks("expected", 4, "FAILURE"),
    "handlers of a retry": hooks("once", 7, "SUCCESS"),
    "handlers of retries that end": hooks("retry", 7, "FAILURE"),
    "handlers of an ignored task": hooks("ignore", 2, "LEFT"),
    "a Retry raised by hand": hooks("by hand", 3, "RETRY"),
    "a retry that is not thrown": hooks("not thrown", 8, "SUCCESS"),
    # retries
    "retried by itself to success": ending("stubborn", "trouble", 2, named=True),
    "retried by itself to failure": ending("stubborn", "trouble", 3, named=True),
    "retried for a base class": ending("stubborn", "os", 1, named=True),
    "not retried for an exception of dont_autoretry_for": ending("stubborn", "missing", 1, named=True),
    "not retried for others": ending("stubborn", "other", 1, named=True),
    "backing off": ending("backing_off", named=True),
    "retried with other arguments": ending("changing", named=True),
    "too many retries with an exception": ending("too_often", True),
    "too many retries without one": ending("too_often", False),
    "given back once": ending("back_once", named=True),
    # callbacks and errbacks
    "a callback": links(("note", (), {})),
    "two callbacks, one immutable": links(("note", ("a",), {"k": 1}), ("note", ("b",), {"immutable": True})),
    "an errback by its id": links(("note", (), {}), fails=True),
    "an errback with three arguments": links(("errback", (), {}), fails=True),
    "both forms": links(("errback", (), {}), ("note", ("more",), {}), fails=True),
    "partial and immutable signatures": far_and_near,
    # time
    "countdown": times(countdown=0.5),
    "countdown of nothing": times(countdown=0),
    "an eta with an offset": times(eta=soon),
    "an eta of another zone": times(eta=soon_elsewhere),
    "an eta without offset": times(eta=soon_without_offset),
    "an eta of the past": times(eta=past),
    "countdown before eta": times(countdown=0.5, eta=past),
    "expires in seconds": times(expires=60),
    "expires at a moment": times(expires=lambda: datetime.now(UTC) + timedelta(minutes=1)),
    "expired": times(expires=past),
    "expired by seconds": times(expires=-1),
    "expires while it waits": times(countdown=0.6, expires=0.1),
    # what a task knows of itself
    "its request": the_request,
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_outcome_is_celerys(fleet: Fleet, scenario: str) -> None:
    run = SCENARIOS[scenario]
    found = {engine: run(Side(fleet, engine)) for engine in ("celery", "multi")}
    assert found["multi"] == found["celery"]
