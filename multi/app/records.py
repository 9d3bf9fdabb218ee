"""The records of tasks: Celery's result JSON, written and read."""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any

import msgspec

from multi import clock
from multi.app import exceptions
from multi.app.states import EXCEPTION_STATES, READY_STATES
from multi.codecs import JSON, Codec, accepted, codec
from multi.errors import DecodeError, EncodeError, SerializationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.request import Context
    from multi.backends.base import Backend
    from multi.outcome import Outcome
    from multi.store import Store


def stores(app: App, outcome: Outcome) -> list[Store]:
    """What is to be recorded of `outcome`; nothing where results are switched off or not wanted.

    A result that the serializer can't express becomes a FAILURE that says so (in `outcome` too, for the log). What
    belongs in the backend of one task alone is recorded there at once, and so is its place in a chord, from which more
    publications may follow: raises `BackendUnavailable`.
    """
    if outcome.parts:
        from multi.app.canvas.barrier import close

        close(app, outcome)
    if not outcome.record:
        return outcome.stores
    executor = app.executor
    if executor is not None and outcome.name in executor.elsewhere:
        backend = executor.elsewhere[outcome.name]
        backend.store(_stores(app, backend, outcome))
        return outcome.stores
    backend = app.backend
    found = [] if backend is None else _stores(app, backend, outcome)
    return [*found, *outcome.stores] if outcome.stores else found


def _stores(app: App, backend: Backend, outcome: Outcome) -> list[Store]:
    recorder = app.recorder
    if outcome.state == "SUCCESS" and recorder.json and not outcome.children and outcome.extended is None:
        try:
            result = JSON.dumps(outcome.result).decode("utf-8")
        except EncodeError as error:
            unserializable(outcome, error)
        else:
            group = f'"group_id": {quote(str(outcome.group_id))}, ' if outcome.group_id else ""
            parent = f'"parent_id": {quote(str(outcome.parent_id))}, ' if outcome.parent_id else ""
            text = (
                f'{{"status": "SUCCESS", "result": {result}, "traceback": null, "children": [], '
                f'"date_done": "{clock.stamp()}", {group}{parent}"task_id": {quote(outcome.task_id)}}}'
            )
            return [backend.encode(outcome.task_id, text.encode(), reply_to=outcome.reply_to)]
    try:
        record = recorder.encode(outcome)
    except EncodeError as error:
        unserializable(outcome, error)
        record = recorder.encode(outcome)
    found = [backend.encode(outcome.task_id, record, reply_to=outcome.reply_to)]
    if outcome.state in ("FAILURE", "REVOKED"):
        for task_id, group_id, parent_id in outcome.fallen:
            found.append(
                backend.encode(
                    task_id, recorder.fallen(outcome, task_id, group_id, parent_id), reply_to=outcome.reply_to
                )
            )
    if outcome.state == "FAILURE" and recorder.failure_expires is not None:
        return [msgspec.structs.replace(store, expires=recorder.failure_expires) for store in found]
    return found


def unserializable(outcome: Outcome, error: EncodeError) -> None:
    """Turn `outcome` into the failure of a task whose result can't be stored."""
    outcome.state = "FAILURE"
    outcome.traceback = None
    outcome.result = refusal(outcome.name, outcome.result, error)


def refusal(name: str, result: Any, error: EncodeError) -> EncodeError:
    """The failure of the task `name`, whose result the serializer refuses with `error`."""
    return EncodeError(
        f"the result of {name}, a {type(result).__name__}, can't be stored: {error}. Return something that its "
        "serializer can express, or set ignore_result"
    )


def state_store(app: App, backend: Backend, task_id: str, state: str, result: Any, request: Context | None) -> Store:
    """A record between start and end: STARTED, or a state of the project's own."""
    meta = _meta(task_id, state, result, None, [], None, None)
    if request is not None:
        meta["group_id"], meta["parent_id"] = request.group, request.parent_id
        for key in ("group_id", "parent_id"):
            if not meta[key]:
                del meta[key]
    return backend.encode(task_id, app.recorder.dump(meta), reply_to=request.reply_to if request else None)


def _meta(
    task_id: str,
    state: str,
    result: Any,
    traceback: str | None,
    children: list[Any],
    group_id: str | None,
    parent_id: str | None,
) -> dict[str, Any]:
    meta: dict[str, Any] = {
        "status": state,
        "result": result,
        "traceback": traceback,
        "children": children,
        "date_done": clock.stamp() if state in READY_STATES else None,
    }
    if group_id:
        meta["group_id"] = group_id
    if parent_id:
        meta["parent_id"] = parent_id
    meta["task_id"] = task_id
    return meta


class Recorder:
    """How an app's records are written and read; made anew when a setting changes."""

    def __init__(self, app: App) -> None:
        conf = app.conf
        self.codec: Codec = codec(conf.result_serializer)
        self.json = self.codec is JSON
        names = conf.result_accept_content or conf.accept_content
        self.accept = accepted([*names, conf.result_serializer])
        self.extended: bool = conf.result_extended
        #: how long failures are kept, None for as long as all else
        self.failure_expires: int | None = None
        if conf.result_failure_expires is not None:
            self.failure_expires = int(conf.result_failure_expires)
        self.dump: Callable[[Any], bytes] = self.codec.dumps

    def encode(self, outcome: Outcome) -> bytes:
        """The record of `outcome`. Raises `EncodeError` for a result that can't be expressed."""
        result = outcome.result
        if outcome.state in EXCEPTION_STATES and isinstance(result, BaseException):
            result = exceptions.to_wire(result, self.codec)
        meta = _meta(
            outcome.task_id,
            outcome.state,
            result,
            outcome.traceback,
            outcome.children,
            outcome.group_id,
            outcome.parent_id,
        )
        if outcome.extended:
            meta.update(outcome.extended)
            meta["task_id"] = meta.pop("task_id")
        return self.dump(meta)

    def fallen(self, outcome: Outcome, task_id: str, group_id: str | None, parent_id: str | None) -> bytes:
        """The record of a task that will not run, because one before it in its chain has failed."""
        result = outcome.result
        if isinstance(result, BaseException):
            result = exceptions.to_wire(result, self.codec)
        return self.dump(_meta(task_id, outcome.state, result, outcome.traceback, [], group_id, parent_id))

    def load(self, record: bytes) -> Any:
        """Anything that was written as results are. Raises `DecodeError`."""
        if self.json:
            return JSON.loads(record)
        try:
            return self.codec.loads(record)
        except SerializationError:
            return JSON.loads(record)  # written by a peer with the default serializer

    def decode(self, record: bytes) -> dict[str, Any]:
        """A record read. Raises `DecodeError`."""
        meta = self.load(record)
        if not isinstance(meta, dict) or "status" not in meta:
            raise DecodeError("a record of a result that is no result: it has no status")
        if meta["status"] in EXCEPTION_STATES:
            meta["result"] = exceptions.from_wire(meta.get("result"))
        return meta
