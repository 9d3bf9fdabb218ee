"""What of the events and tasks is to be shown: `state:FAILURE worker:w1 report`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from multi.app.events.tracked import TASK_EVENT_TO_STATE, Task
from multi.errors import ConfigurationError

HELP = (
    "Only what has all these words: task:NAME, worker:NAME, state:STATE, type:EVENT, id:ID, or a text anywhere; "
    "!word for those without, a,b for either, * in it for anything."
)
_ANYWHERE = ("uuid", "name", "worker", "state", "args", "kwargs", "result", "exception")
#: Word -> the field that it is about.
_KEYS = {"task": "name", "name": "name", "worker": "worker", "state": "state", "type": "type", "id": "uuid"}


class Word(NamedTuple):
    """One condition: a field (None: any) that has one of these texts, or has none of them."""

    field: str | None
    texts: tuple[str, ...]
    negated: bool

    def fits(self, seen: Mapping[str, str]) -> bool:
        values = [seen.get(self.field, "")] if self.field else [seen.get(name, "") for name in _ANYWHERE]
        return any(_has(value.lower(), text) for value in values for text in self.texts) != self.negated


def _has(value: str, text: str) -> bool:
    return fnmatchcase(value, text) if "*" in text else text in value


class Filter:
    """Made of the words of a user; one without words lets everything pass. Raises `ConfigurationError`."""

    def __init__(self, text: str = "") -> None:
        self.text = text.strip()
        self.words = [*map(_word, _split(self.text))]
        #: whether it asks for what only tasks have
        self.of_tasks = any(word.field in ("name", "state", "uuid") and not word.negated for word in self.words)

    def __bool__(self) -> bool:
        return bool(self.words)

    def takes_task(self, task: Task) -> bool:
        """Whether a task is to be shown."""
        if not self.words:
            return True
        seen = {name: _text(getattr(task, name, None)) for name in _ANYWHERE if name != "worker"}
        seen["worker"] = task.worker.hostname if task.worker is not None else task.client or ""
        return self._takes(seen)

    def takes_worker(self, hostname: str) -> bool:
        """Whether a worker is to be shown."""
        return all(word.fits({"worker": hostname}) for word in self.words if word.field == "worker")

    def takes_event(self, event: Mapping[str, Any], task: Task | None) -> bool:
        """Whether an event is to be shown; `task` is what is known of the one that it is about."""
        if not self.words:
            return True
        seen = {name: _text(event.get(name)) for name in (*_ANYWHERE, "type")}
        seen["worker"] = _text(event.get("hostname"))
        group, _, subject = seen["type"].partition("-")
        if group == "task":
            seen["state"] = TASK_EVENT_TO_STATE.get(subject, subject.upper())
            if task is not None:
                for name in ("name", "args", "kwargs"):
                    seen[name] = seen[name] or _text(getattr(task, name))
        return self._takes(seen)

    def _takes(self, seen: Mapping[str, str]) -> bool:
        return all(word.fits(seen) for word in self.words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ConfigurationError(f"{text!r}: a quotation mark is missing at the end") from None


def _word(word: str) -> Word:
    negated, word = word.startswith("!"), word.removeprefix("!")
    key, colon, value = word.partition(":")
    field = _KEYS.get(key.lower()) if colon else None
    if colon and field is None and key.isalpha() and not value.startswith("//"):
        raise ConfigurationError(
            f"{word!r}: there is no {key}: to look for; it should be {', '.join(f'{known}:' for known in _KEYS)} or a text "
            f"(one with a colon is written as '*{word}*')"
        )
    texts = tuple(each.lower() for each in (value if field else word).split(",") if each)
    if not texts:
        raise ConfigurationError(f"{word!r} says nothing to look for after the colon")
    return Word(field, texts, negated)
