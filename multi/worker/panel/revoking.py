"""Commands that keep tasks from running, and end those that run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multi import revoking
from multi.app.panel import Later
from multi.worker.panel.inspecting import flag
from multi.worker.panel.state import State, nok, ok, own_control


def _ids(task_id: Any) -> list[str]:
    ids = list(dict.fromkeys(str(each) for each in revoking.several(task_id) if each not in (None, "")))
    if not ids:
        raise ValueError("revoke takes the id of a task, or several of them")
    return ids


@own_control(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")
def revoke(state: State, task_id: Any, terminate: Any = False, signal: Any = None, **_: Any) -> Any:
    """Have tasks not run any more, by their ids; with terminate=True those that run are ended with a signal."""
    ids, revokes = _ids(task_id), state.worker.revokes
    if not flag(terminate):
        revokes.revoke(ids, state.headers)
        return ok(f"tasks {set(ids)} flagged as revoked")
    number = revokes.signal(signal)
    revokes.revoke(ids, state.headers)
    wanted = set(ids)
    later = Later()

    def told(found: list[tuple[str, Mapping[str, Any]]]) -> None:
        ended = dict.fromkeys(task_id for task_id, _ in found)
        later.answer(ok(f"terminate: {', '.join(ended) if ended else 'tasks unknown'}"))

    if not revokes.end(lambda task_id, _: task_id in wanted, number, told):
        return nok(_NO_FORCE)
    return later


@own_control(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")
def terminate(state: State, signal: Any, task_id: Any, **_: Any) -> Any:
    """End tasks by their ids, with a signal."""
    return revoke(state, task_id, terminate=True, signal=signal)


@own_control(variadic="headers", signature="[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
def revoke_by_stamped_headers(state: State, headers: Any, terminate: Any = False, signal: Any = None, **_: Any) -> Any:
    """Have tasks not run any more that carry one of these stamps."""
    given, revokes = _stamps(headers), state.worker.revokes
    shown = (
        headers if isinstance(headers, Mapping) else {key: "".join(map(str, each[-1:])) for key, each in given.items()}
    )
    marks = set(revoking.of_stamps(given))
    if not flag(terminate):
        revokes.revoke_stamped(given, state.headers)
        return ok(f"headers {dict(shown)} flagged as revoked, but not terminated")
    number = revokes.signal(signal)
    revokes.revoke_stamped(given, state.headers)
    later = Later()

    def told(found: list[tuple[str, Mapping[str, Any]]]) -> None:
        ended: dict[str, set[Any]] = {}
        for _, carried in found:
            for key, values in revoking.stamps_of(carried).items():
                for value in revoking.several(values):
                    if f"stamp:{key}={value}" in marks:
                        ended.setdefault(key, set()).add(value)
        later.answer(ok(f"headers {ended} revoked" if ended else f"headers {dict(shown)} were not terminated"))

    meant = revokes.end(
        lambda _, carried: not marks.isdisjoint(revoking.of_stamps(revoking.stamps_of(carried))), number, told
    )
    return later if meant else nok(_NO_FORCE)


def _stamps(headers: Any) -> dict[str, list[Any]]:
    given: dict[str, list[Any]] = {}
    if isinstance(headers, Mapping):
        given = {str(key): revoking.several(values) for key, values in headers.items()}
    else:
        for each in revoking.several(headers):
            key, sign, value = str(each).partition("=")
            if not sign:
                raise ValueError(f"{each!r} is no stamp; write header=value")
            given.setdefault(key, []).append(value)
    if not given:
        raise ValueError("revoke_by_stamped_headers takes at least one stamp: header=value")
    return given


_NO_FORCE = (
    "the tasks are revoked, and those that run go on: no thread and no coroutine can be ended by force; -P prefork can"
)
