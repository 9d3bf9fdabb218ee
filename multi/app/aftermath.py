"""What follows a task's end: callbacks, the next task of its chain, errbacks. Celery's meaning, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.options import OPTIONS
from multi.errors import UnsupportedOption
from multi.outcome import Publication

if TYPE_CHECKING:
    from multi.app.app import App

_VARIADIC = 0x04


def obstacle(embed: Mapping[str, Any]) -> str:
    """Why this message can't be honoured whole here yet; "" if it can."""
    if embed.get("chord"):
        return "it is part of a chord, which only Celery's workers can complete for now"
    chain = embed.get("chain") or []
    try:
        for signature in (*(embed.get("callbacks") or ()), *(embed.get("errbacks") or ()), *chain):
            found = _signature_obstacle(signature)
            if found:
                return found
        if any(item.get("subtask_type") == "group" for item in chain[1:]):
            return "a group is followed by another task in its chain, which makes it a chord"
    except (TypeError, AttributeError, KeyError):
        return "its callbacks, errbacks or chain are no signatures"
    return ""


def _signature_obstacle(signature: Any) -> str:
    kind = signature.get("subtask_type")
    options = signature.get("options") or {}
    queue = options.get("queue")
    for option in ("exchange", "routing_key"):
        if options.get(option) and options[option] != queue:
            return f"a task linked to it is to go to an {option}, which is not supported yet"
    if kind in ("chain", "group"):
        tasks = _tasks(signature)
        for task in tasks:
            found = _signature_obstacle(task)
            if found:
                return found
        if kind == "chain" and any(task.get("subtask_type") == "group" for task in tasks[:-1]):
            return "a group is followed by another task in its chain, which makes it a chord"
    elif kind or str(signature["task"]).startswith("celery."):
        return f"a {kind or signature['task']} is linked to it, which only Celery's workers can run for now"
    for linked in (*_listed(options.get("link")), *_listed(options.get("link_error"))):
        found = _signature_obstacle(linked)
        if found:
            return found
    return ""


def _listed(value: Any) -> list[Any]:
    if not value:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _tasks(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    tasks = signature["kwargs"]["tasks"]
    if isinstance(tasks, Mapping):  # a group in the place of the list
        tasks = tasks["kwargs"]["tasks"]
    return list(tasks)


class Follower:
    """Makes the messages that follow one run."""

    def __init__(self, app: App, task_id: str, root_id: str, priority: int | None) -> None:
        self.app = app
        self.publications: list[Publication] = []
        self.children: list[Any] = []
        self._family: dict[str, Any] = {"parent_id": task_id, "root_id": root_id}
        if priority is not None:
            self._family["priority"] = priority

    def send(self, signature: Mapping[str, Any], args: tuple[Any, ...], chain: list[Any] | None = None) -> None:
        """The message, or messages, of one signature that is called with `args` and goes on with `chain` (reversed)."""
        kind = signature.get("subtask_type")
        if kind == "chain":
            steps = chain_steps(signature)
            self.send(steps[0], args, [*(chain or []), *reversed(steps[1:])])
        elif kind == "group":
            options = signature.get("options") or {}
            group_id = options.get("task_id") or identity.new_id()
            for index, member in enumerate(group_members(signature)):
                standing = member.get("options") or {}
                self.send({**member, "options": {"group_id": group_id, "group_index": index, **standing}}, args)
        else:
            self._send_one(signature, args, chain)

    def _send_one(self, signature: Mapping[str, Any], args: tuple[Any, ...], chain: list[Any] | None) -> None:
        given = tuple(signature.get("args") or ())
        options = {**(signature.get("options") or {}), **self._family}
        if chain:
            options["chain"] = chain
        properties = {key: options.pop(key) for key in list(options) if not _known(key, options)}
        name = signature["task"]
        task_id = options.pop("task_id", None) or identity.new_id()
        publication = self.app.publisher.build(
            name,
            self.app._tasks.get(name),
            task_id,
            given if signature.get("immutable") else (*args, *given),
            signature.get("kwargs") or {},
            options,
        )
        publication.message.properties.update(properties)
        self.publications.append(publication)
        self.children.append([[task_id, None], None])


def _known(key: str, options: Mapping[str, Any]) -> bool:
    return key in OPTIONS or key in (options.get("stamped_headers") or ())


_OF_THE_LAST = ("task_id", "group_id", "group_index", "chord")


def chain_steps(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a chain in order, each with an id.

    As in Celery, what hangs on the chain hangs on its last task (errbacks on all), and its other options are those of
    the first task.
    """
    steps = []
    for step in _tasks(signature):
        options = dict(step.get("options") or {})
        options.setdefault("task_id", identity.new_id())
        steps.append({**step, "options": options})
    own = signature.get("options") or {}
    last = steps[-1]["options"]
    for key, value in own.items():
        if key in _OF_THE_LAST:
            if value is not None:
                last[key] = value
        elif key not in ("link", "link_error"):
            steps[0]["options"][key] = value
    if own.get("link"):
        last["link"] = [*_listed(last.get("link")), *_listed(own["link"])]
    if own.get("link_error"):
        for step in steps:
            step["options"]["link_error"] = [*_listed(step["options"].get("link_error")), *_listed(own["link_error"])]
    given = signature.get("args") or ()
    if given and not steps[0].get("immutable"):
        steps[0]["args"] = [*given, *(steps[0].get("args") or ())]
    return steps


def group_members(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tasks of a group; its links hang as in Celery: `link` on the first, `link_error` on all."""
    own = signature.get("options") or {}
    members = [{**member, "options": dict(member.get("options") or {})} for member in _tasks(signature)]
    if members and own.get("link"):
        first = members[0]["options"]
        first["link"] = [*_listed(first.get("link")), *_listed(own["link"])]
    for member in members:
        if own.get("link_error"):
            member["options"]["link_error"] = [
                *_listed(member["options"].get("link_error")),
                *_listed(own["link_error"]),
            ]
    return members


def after_success(follower: Follower, embed: Mapping[str, Any], result: Any) -> None:
    """Callbacks and the next task of the chain, called with the result. Raises `EncodeError` if that can't be sent."""
    for callback in embed.get("callbacks") or ():
        follower.send(callback, (result,))
    chain = embed.get("chain")
    if chain:
        follower.send(chain[-1], (result,), chain[:-1])


def after_failure(
    app: App,
    embed: Mapping[str, Any],
    task_id: str,
    root_id: str,
    request: Any,
    error: BaseException,
    traceback: str | None,
) -> tuple[list[Publication], list[BaseException]]:
    """Errbacks: those that take (request, exc, traceback) are called here and now, the others sent with the task's id.

    Returns the messages, and what the called ones have raised.
    """
    follower = Follower(app, task_id, root_id, None)
    raised: list[BaseException] = []
    for errback in embed.get("errbacks") or ():
        task = app._tasks.get(errback["task"]) if not errback.get("subtask_type") else None
        if task is not None and not task._bound and _takes_more(task.run, errback):
            given = tuple(errback.get("args") or ())
            args = given if errback.get("immutable") else (request, error, traceback, *given)
            try:
                task(*args, **(errback.get("kwargs") or {}))
            except Exception as failure:  # an errback of anybody's; the task's own failure is what counts
                raised.append(failure)
        else:
            follower.send(errback, (task_id,))
    return follower.publications, raised


def _takes_more(function: Any, errback: Mapping[str, Any]) -> bool:
    """Whether an errback takes more than one argument besides those it carries already."""
    code = getattr(function, "__code__", None)
    if code is None:
        return False
    if code.co_flags & _VARIADIC:
        return True
    taken = 0
    if not errback.get("immutable"):
        names = code.co_varnames[: code.co_argcount]
        taken = len(errback.get("args") or ()) + sum(1 for key in errback.get("kwargs") or {} if key in names)
    return bool(code.co_argcount - taken > 1)


def fallen(chain: Iterable[Any] | None) -> list[tuple[str, str | None, str | None]]:
    """The tasks of a chain that will not run after a failure: (id, group, parent) of those whose id is known."""
    found = []
    for step in chain or ():
        options = step.get("options") or {}
        if options.get("task_id"):
            found.append((options["task_id"], options.get("group_id"), options.get("parent_id")))
    return found


def refuse_unknown(signature: Mapping[str, Any]) -> None:
    """For senders: raise if a signature can't be honoured by our own workers yet."""
    found = _signature_obstacle(signature)
    if found:
        raise UnsupportedOption(found)
