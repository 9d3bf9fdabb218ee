"""Commands that tell what a worker is and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

from multi import revoking
from multi.app import described
from multi.app.panel import Later
from multi.log import get_logger
from multi.masking import mask_arguments
from multi.worker.panel import stats as statistics
from multi.worker.panel.held import Found, read_message
from multi.worker.panel.shown import shown
from multi.worker.panel.state import State, nok, ok, own_inspect
from multi.worker.slots import CLAIMED, RUNNING

logger = get_logger("multi.worker")

_TASK_INFO = ("exchange", "routing_key", "rate_limit")
_LONGEST_ATTRIBUTE = 1000
#: So long (s) a report may take.
_REPORT = 10.0


def flag(text: Any) -> bool:
    """A word of a command line that means yes or no."""
    word = str(text).strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off", "none", ""):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


# -- the app ----------------------------------------------------------------------------------------------------------


@own_inspect()
def report(state: State, **_: Any) -> Later:
    """Versions, the system and the settings, for bug reports."""
    later = Later()

    def told(text: bytes | None) -> None:
        later.answer(nok("it can't be told; the worker's log says why") if text is None else ok(f"\n{text.decode()}\n"))

    # much of it is imported and read for this alone
    state.apart.do(lambda: state.app.bugreport().encode(), told, _REPORT)
    return later


@own_inspect(alias="dump_conf", signature="[include_defaults=False]", args=[("with_defaults", flag)])
def conf(state: State, with_defaults: Any = False, **_: Any) -> dict[str, Any]:
    """The settings, with their secrets masked."""
    return {name: _shown(value) for name, value in state.app.conf.table(with_defaults=flag(with_defaults)).items()}


def _shown(value: Any) -> Any:
    """A setting in JSON: what has no form there, by its `repr`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_shown(each) for each in value]
    return mask_arguments(repr(value))


@own_inspect()
def clock(state: State, **_: Any) -> dict[str, Any]:
    """The value of the logical clock."""
    return {"clock": state.worker.clock.value}


@own_inspect(visible=False)
def hello(state: State, from_node: str, revoked: Any = None, **_: Any) -> dict[str, Any] | None:
    """What workers tell each other when one of them starts: which tasks are revoked."""
    if from_node == state.hostname:
        return None
    logger.info("sync with %s", shown(from_node))
    if isinstance(revoked, Mapping | list):
        until = time() + revoking.life()
        state.worker.revokes.table.add({revoking.of_task(str(each)): until for each in revoked})
    return {"revoked": state.worker.revokes.ids(), "clock": state.worker.clock.forward()}


@own_inspect(default_timeout=0.2)
def ping(state: State, **_: Any) -> dict[str, Any]:
    """Whether the worker answers."""
    return ok("pong")


@own_inspect()
def stats(state: State, **_: Any) -> dict[str, Any]:
    """Figures of the worker: its pool, its broker, how often each task was begun."""
    return statistics.collect(state.worker, state.worker.clock.value)


# -- tasks ------------------------------------------------------------------------------------------------------------


@own_inspect(variadic="ids", signature="[id1 [id2 [... [idN]]]]")
def query_task(state: State, ids: Any, **_: Any) -> Later:
    """What is known of tasks, by their ids, where this worker holds them."""
    wanted = {str(each) for each in revoking.several(ids)}
    later = Later()

    def answer(found: list[Found]) -> None:
        held = {each.known.id: [each.state, each.info(state.hostname)] for each in found if each.known.id in wanted}
        if len(held) == len(wanted):
            later.answer(held)
            return

        def with_parked(waiting: list[dict[str, Any]]) -> None:
            parked = {each["request"]["id"]: ["scheduled", each["request"]] for each in waiting}
            later.answer({**{each: parked[each] for each in wanted if each in parked}, **held})

        _parked(state, with_parked)

    state.held.ask(answer)
    return later


@own_inspect(alias="dump_schedule")
def scheduled(state: State, **_: Any) -> Later:
    """Tasks of this worker's queues that wait for their time; they wait in the broker."""
    later = Later()
    _parked(state, later.answer)
    return later


def _parked(state: State, then: Callable[[list[dict[str, Any]]], None]) -> None:
    """What waits for its time in this worker's queues, in the form of `scheduled`."""

    def take(found: Iterable[tuple[float, str, Any]]) -> None:
        waiting = []
        for due, queue, message in found:
            known = read_message(state.app, message, queue)
            request = {
                "id": known.id,
                "name": known.name,
                "args": known.args,
                "kwargs": known.kwargs,
                "type": known.type,
                "hostname": state.hostname,
                "time_start": None,
                "acknowledged": False,
                "delivery_info": known.delivery_info,
                "worker_pid": None,
            }
            eta = datetime.fromtimestamp(due, UTC).isoformat()
            waiting.append({"eta": eta, "priority": 6, "request": request})
        then(waiting)

    state.parked.ask(take)


@own_inspect(alias="dump_reserved")
def reserved(state: State, **_: Any) -> Later:
    """Tasks that are fetched and not begun yet."""
    later = Later()
    state.held.ask(lambda found: later.answer([each.info(state.hostname) for each in found]), (CLAIMED,))
    return later


@own_inspect(alias="dump_active", signature="[safe=False]", args=[("safe", flag)])
def active(state: State, safe: Any = False, **_: Any) -> Later:
    """Tasks that run now."""
    later, plain = Later(), flag(safe)
    state.held.ask(lambda found: later.answer([each.info(state.hostname, safe=plain) for each in found]), (RUNNING,))
    return later


@own_inspect(alias="dump_revoked")
def revoked(state: State, **_: Any) -> list[str]:
    """The ids of tasks that are revoked."""
    return state.worker.revokes.ids()


@own_inspect(alias="dump_tasks", variadic="taskinfoitems", signature="[attr1 [attr2 [... [attrN]]]]")
def registered(state: State, taskinfoitems: Any = None, builtins: Any = False, **_: Any) -> list[str]:
    """The tasks that are registered, with attributes of theirs (exchange, routing_key and rate_limit by default).

    Beside attributes `parameters` is understood: those that callers give, as in "(x, y=1)".
    """
    items = [each for each in taskinfoitems or _TASK_INFO if isinstance(each, str) and not each.startswith("_")]
    tasks = state.app.tasks
    return [
        _described(tasks[name], items) for name in sorted(tasks) if flag(builtins) or not name.startswith("celery.")
    ]


def _described(task: Any, items: list[str]) -> str:
    found = []
    for item in items:
        value = described.signature(task) if item == described.PARAMETERS else getattr(task, item, None)
        if value is not None:
            found.append(f"{item}={mask_arguments(str(value)[:_LONGEST_ATTRIBUTE])}")
    return f"{task.name} [{' '.join(found)}]" if found else str(task.name)
