"""Dead letters as people may see them: the call, why it ended here, and nothing that is named like a secret."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import msgspec

from multi.app.decoding import read
from multi.app.saferepr import saferepr
from multi.brokers.base import DeadLetter
from multi.codecs import accepted
from multi.errors import MultiError
from multi.masking import STARS, is_secret, mask_arguments

if TYPE_CHECKING:
    from multi.app.app import App

#: Told apart from other headers: the call in words, which is shown as that.
_OF_THE_CALL = ("argsrepr", "kwargsrepr")
#: To read one may run whatever its sender has put into it; a worker that accepts it does, a look at it doesn't.
_NEVER_READ = "application/x-python-serialize"
_LENGTH = 4096


class Letter(msgspec.Struct):
    """One dead letter. `unread` says why the arguments are only what its sender wrote of them, or nothing."""

    id: str
    queue: str
    task: str
    task_id: str
    time: float
    starts: int
    retries: int
    reason: str
    args: str
    kwargs: str
    unread: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    content_type: str
    size: int
    traceback: str
    """Of its last run: kept with the letter, or with the result."""


def describe(app: App, dead: DeadLetter, *, recorded: bool = True) -> Letter:
    """All that is known of a dead letter; the result backend is asked where the letter itself has no traceback, unless
    `recorded` is false."""
    message = dead.message
    headers = dict(message.headers) if message is not None else {}
    args, kwargs, unread = _call(app, dead, headers)
    for name in _OF_THE_CALL:
        headers.pop(name, None)
    retries = headers.get("retries")
    return Letter(
        id=dead.id,
        queue=dead.queue,
        task=dead.task,
        task_id=dead.task_id,
        time=dead.time,
        starts=dead.starts,
        retries=retries if isinstance(retries, int) else 0,
        reason=masked(dead.reason),
        args=args,
        kwargs=kwargs,
        unread=unread,
        headers=_hidden(headers),
        properties=_hidden(message.properties) if message is not None else {},
        content_type=message.content_type if message is not None else "",
        size=len(message.body) if message is not None else 0,
        traceback=masked(dead.detail or (_recorded(app, dead.task_id) if recorded else "")),
    )


def masked(text: str) -> str:
    """A text of several lines without what is named like a secret; a quote that isn't closed hides its line at most."""
    return "\n".join(map(mask_arguments, text.split("\n")))


def _call(app: App, dead: DeadLetter, headers: dict[str, Any]) -> tuple[str, str, str]:
    """Positional and keyword arguments as text, and why they are not taken from the message's body."""
    message = dead.message
    if message is None:
        return "", "", "it is no message that can be read"
    said = [str(headers.get(name) or "") for name in _OF_THE_CALL]
    if message.content_type == _NEVER_READ:
        return masked(said[0]), masked(said[1]), "a pickle is not opened for a look"
    try:
        _, args, kwargs, _ = read(message, accepted(app.conf.accept_content))
    except (MultiError, ValueError, TypeError, LookupError) as error:
        return masked(said[0]), masked(said[1]), masked(str(error))
    names = _parameters(app, dead.task)
    secret = [number < len(names) and is_secret(names[number]) for number in range(len(args))]
    if said[0] and said[0] not in (repr(tuple(args)), saferepr(tuple(args)), repr(args), saferepr(args)):
        # the sender has written something else than what is there, maybe to hide it, or a part of it
        shown = STARS if any(secret) else masked(said[0])
    else:
        shown = ", ".join(
            STARS if hidden else masked(saferepr(value, _LENGTH)) for value, hidden in zip(args, secret, strict=True)
        )
        shown = f"({shown},)" if len(args) == 1 else f"({shown})"
    if said[1] and said[1] not in (repr(kwargs), saferepr(kwargs)):
        return shown, masked(said[1]), ""
    return shown, masked(saferepr(kwargs, _LENGTH)), ""


def _parameters(app: App, name: str) -> list[str]:
    """The names of what the task takes by position; none of a task that isn't known here."""
    task = app.tasks.get(name)
    if task is None:
        return []
    try:
        found = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return []
    return [each.name for each in found if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]


def _hidden(value: Any, name: str = "") -> Any:
    """What JSON can tell, without what is named like a secret."""
    if name != "routing_key" and is_secret(name) and not (value is None or isinstance(value, bool | int | float)):
        return STARS
    if isinstance(value, dict):
        return {str(key): _hidden(each, str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return masked(value if isinstance(value, str) else saferepr(value))


def _recorded(app: App, task_id: str) -> str:
    """The traceback that was stored with the result, if any."""
    if not task_id:
        return ""
    try:
        if app.backend is None:
            return ""
        found = app.AsyncResult(task_id).traceback
    except (MultiError, ValueError):
        return ""  # it is an extra: who looks at a letter need not have a backend
    return found if isinstance(found, str) else ""
