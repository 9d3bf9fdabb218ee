"""From signatures to messages: what is sent now, and what each message carries for those that send the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.canvas.batches import routed
from multi.app.canvas.chains import Chain
from multi.app.canvas.checks import members, refuse_circles
from multi.app.canvas.chords import Chord, parts
from multi.app.canvas.groups import Group, single
from multi.app.canvas.signatures import Signature, listed, signature
from multi.app.options import OPTIONS
from multi.app.request import running
from multi.app.result import AsyncResult
from multi.app.resultset import GroupResult
from multi.errors import UnsupportedOption
from multi.outcome import Publication
from multi.store import Store

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend

#: What a group or chord has for itself, and doesn't pass on to its tasks.
_OWN = frozenset(
    ("task_id", "link", "link_error", "chain", "chord", "group_id", "group_index", "reply_to", "parent_id", "root_id",
     "add_to_parent", "retry", "retry_policy")
)  # fmt: skip

NO_CHORDS = (
    "{place} can't complete chords: it has to keep the results of the header until all of them are there, for workers to "
    "read. Set result_backend to one that keeps results, as redis://host:6379/0"
)


class Dispatch:
    """Collects the messages of signatures and the records that must be there before them.

    `family` are options that all messages get: parent_id, root_id, priority. With `check` the arguments are looked at
    first, as at a call.
    """

    def __init__(self, app: App, family: Mapping[str, Any] | None = None, *, check: bool = False) -> None:
        self.app = app
        self.publications: list[Publication] = []
        self.stores: list[Store] = []
        self._family = dict(family or {})
        self._check = check

    def lay(
        self,
        call: Mapping[str, Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        chain: Sequence[Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Make the messages of `call`, called with `args` and followed by `chain` (reversed); the result to come of what
        is sent now: of the first task of a chain, of the header of a chord."""
        sort = call.get("subtask_type")
        if not sort and call["task"] not in ("celery.chain", "celery.group", "celery.chord", "celery.chunks"):
            return self._task(call, args, kwargs, chain, options)
        found = signature(call, app=self.app)
        if isinstance(found, Chain):
            return self._chain(found, args, kwargs, chain, options)
        if isinstance(found, Chord):
            return self._chord(found, args, kwargs, chain, options)
        if hasattr(found, "group"):  # chunks
            found = found.group()
        if isinstance(found, Group):
            return self._group(found, args, kwargs, chain, options)
        return self._task(call, args, kwargs, chain, options)

    def _chain(self, call: Chain, args: Any, kwargs: Any, chain: Any, options: Any) -> Any:
        call.freeze()
        first, *rest = call.tasks
        following = [*(chain or ()), *(call.options.get("chain") or ()), *reversed(rest)]
        if call.immutable:
            args, kwargs = (), None
        return self.lay(first, args, kwargs, following, options)

    def _group(self, call: Group, args: Any, kwargs: Any, chain: Any, options: Any) -> Any:
        following = [*(chain or ()), *(call.options.get("chain") or ())]
        if following:
            body = signature(following[-1], app=self.app)
            return self._chord(Chord(call, body, app=self.app), args, kwargs, following[:-1], options)
        own_id = call.freeze().id
        result = call.freeze(group_id=own_id)
        self._members(call, args, kwargs, {**call.options, **(options or {})})
        return result

    def _members(self, group: Group, args: Any, kwargs: Any, options: Mapping[str, Any]) -> None:
        shared = {key: value for key, value in options.items() if key not in _OWN}
        for member in group.tasks:
            self.lay(member, args, kwargs, None, shared)

    def _chord(self, call: Chord, args: Any, kwargs: Any, chain: Any, options: Any) -> Any:
        backend = _able(self.app)
        body = call.body
        shared = {key: value for key, value in {**call.options, **(options or {})}.items() if key not in _OWN}
        if body is not None:
            # a countdown holds the header back, and the body once only
            body.options.update((key, value) for key, value in shared.items() if key not in ("countdown", "eta"))
        following = [*(chain or ()), *(call.options.pop("chain", None) or ())]
        call.freeze()
        if following:
            body.options["chain"] = [*following, *(body.options.get("chain") or ())]
        header = call.header
        result = header.freeze(group_id=header.options["task_id"], chord=body)
        if not header.tasks:
            self.lay(body, ([],))
            return result
        tree = None
        if any(isinstance(part, GroupResult) for part in result.results):
            tree = self.app.recorder.dump({"result": result.as_tuple()})
        self.stores += backend.open_chord(result.id, sum(parts(member) for member in header.tasks), tree)
        self._members(header, (*args, *call.args), {**(call["kwargs"].get("kwargs") or {}), **(kwargs or {})}, shared)
        return result

    def _task(self, call: Mapping[str, Any], args: Any, kwargs: Any, chain: Any, options: Any) -> Any:
        own = call.get("options") or {}
        merged = dict(own)
        if options:
            kept = ("group_id", "stamped_headers", *(own.get("stamped_headers") or ()))
            merged.update((key, value) for key, value in options.items() if key not in kept or key not in own)
        merged.update(self._family)
        if chain:
            merged["chain"] = [*chain, *(own.get("chain") or ())]
        stamps = merged.get("stamped_headers") or ()
        # a signature may carry properties of the message that `apply_async` has no name for
        foreign = () if self._check else [key for key in merged if key not in OPTIONS and key not in stamps]
        properties = {key: merged.pop(key) for key in foreign}
        name = call["task"]
        app = self.app
        if name in ("celery.map", "celery.starmap"):
            merged = {**routed(call, merged, app), **merged}
        task = app._tasks.get(name)
        task_id = merged.pop("task_id", None) or identity.new_id()
        given, named = tuple(call.get("args") or ()), call.get("kwargs") or {}
        if not call.get("immutable"):
            given = (*args, *given)
            if kwargs:
                named = {**named, **kwargs}
        if self._check:
            app.check_options(merged)
            if task is not None and task.typing and app.strict_typing:
                task.check_arguments(given, named)
        publication = app.publisher.build(name, task, task_id, given, named, merged)
        publication.message.properties.update(properties)
        self.publications.append(publication)
        return AsyncResult(task_id, app)


def _able(app: App) -> Backend:
    backend = app.backend
    if backend is None or not backend.chords:
        place = "the result backend rpc://" if backend is not None else "an app without a result backend"
        raise UnsupportedOption(NO_CHORDS.format(place=place))
    return backend


def _has_chord(call: Mapping[str, Any]) -> bool:
    return call.get("subtask_type") == "chord" or any(_has_chord(inner) for inner in members(call))


def send(call: Signature, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
    """`apply_async` of a chain, group or chord: everything is made before anything is sent."""
    refuse_circles(call)
    app = call.app
    if app.conf.task_always_eager:
        return call.apply(args, kwargs, **options)
    if _has_chord(call):
        _able(app)
    retry, policy = options.pop("retry", None), options.pop("retry_policy", None)
    add_to_parent = options.pop("add_to_parent", True)
    copy = call.clone((), kwargs if isinstance(call, Chord) else None)
    named = None if isinstance(call, Chord) else kwargs
    given = tuple(args or ())
    if isinstance(copy, Chain):
        copy.options.update(options)
        options = {}
    elif "task_id" in options:
        # a chord is known by the id of its body
        chosen = copy.body if isinstance(copy, Chord) else copy
        chosen.options["task_id"] = options.pop("task_id")
    for key in ("link", "link_error"):
        for linked in listed(options.pop(key, None)):
            copy.link(linked) if key == "link" else copy.link_error(linked)
    for key in ("chord", "group_id", "group_index", "chain"):
        if options.get(key) is not None:
            copy.options[key] = options.pop(key)
    run = running.get()
    result = copy.freeze(root_id=run.root_id if run is not None else None)
    dispatch = Dispatch(app, check=True)
    child = dispatch.lay(copy, given, named, None, options)
    app.send_dispatch(dispatch, retry, policy)
    if run is not None and run.task.trail and add_to_parent:
        run.add_child(child)
    inner = result.results if isinstance(result, GroupResult) else ()
    # a group of one member that ends in a group is that group
    if isinstance(call, Group) and len(inner) == 1 and isinstance(inner[0], GroupResult):
        return inner[0]
    return result


__all__ = ["Dispatch", "send", "single"]
