"""Tasks that run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi import identity
from multi.app.canvas.signatures import Signature, kind, listed, signature
from multi.app.resultset import GroupResult

if TYPE_CHECKING:
    from multi.app.app import App


@kind("group", "celery.group")
class Group(Signature):
    """`group(add.s(i, i) for i in range(10))`; a callback is the first member's, an errback that of each."""

    def __init__(self, *tasks: Any, app: App | None = None, **options: Any) -> None:
        fields: dict[str, Any] = {}
        given: Any = tasks
        if len(tasks) == 1:
            given = tasks[0]
            if isinstance(given, Mapping) and _is_group(given):
                fields = dict(given)
                given = members_of(given)
            elif isinstance(given, Mapping):
                given = [given]
        members = [whole(signature(task, app=app)) for task in given]
        app = app or next((member._app for member in members if member._app is not None), None)
        if fields:
            fields["kwargs"] = {**(fields.get("kwargs") or {}), "tasks": members}
            fields["options"] = {**(fields.get("options") or {}), **options}
            super().__init__(fields, app=app)
        else:
            super().__init__("celery.group", (), {"tasks": members}, options, app=app, subtask_type="group")

    @property
    def tasks(self) -> list[Signature]:
        found: list[Signature] = self["kwargs"]["tasks"]
        return found

    @tasks.setter
    def tasks(self, members: Iterable[Signature]) -> None:
        self["kwargs"]["tasks"] = list(members)

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        copy = super().clone((), None, **options)
        copy["kwargs"] = {**copy["kwargs"], "tasks": [member.clone(args, kwargs) for member in self.tasks]}
        return copy

    def members(self) -> list[Signature]:
        """The members as they are run: those of groups in it, too."""
        found: list[Signature] = []
        for member in self.tasks:
            if isinstance(member, Group):
                found += member.members()
            elif member.get("subtask_type") != "chain" or member["kwargs"]["tasks"]:
                found.append(member)
        own = self.options
        if found:
            for callback in listed(own.get("link")):
                found[0].link(callback)
            for errback in listed(own.get("link_error")):
                for member in found:
                    member.link_error(errback)
        return found

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give all members their ids and places."""
        own = self.options
        own_id: str = own.get("task_id") or _id or identity.new_id()
        members = self.members()
        own.pop("link", None)
        own.pop("link_error", None)
        own["task_id"] = own_id
        self["kwargs"] = {**self["kwargs"], "tasks": members}
        chord = chord or own.get("chord")
        # the group that they belong to is written into them when they are sent: whoever sends them may give it another id
        place = (own.get("group_id") if chord else None) or group_id
        results = [
            member.freeze(group_id=place, chord=chord, root_id=root_id, parent_id=parent_id, group_index=index)
            for index, member in enumerate(members)
        ]
        return GroupResult(own_id, results, app=self.app)

    _freeze = freeze

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send all members; returns their results together."""
        from multi.app.canvas.dispatch import send

        for key in ("link", "link_error"):
            if options.get(key) is not None:
                raise TypeError(f"a group has no end of its own, so it takes no {key}: use a chord, or link its tasks")
        return send(self, args, kwargs, options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run all of them here and now, one after the other."""
        copy = self.clone(**options)
        assert isinstance(copy, Group)
        own_id = copy.options.get("task_id") or identity.new_id()
        shared = {key: value for key, value in copy.options.items() if key not in ("task_id", "link", "link_error")}
        results = [member.clone(args or (), kwargs, **shared).apply() for member in copy.members()]
        return GroupResult(own_id, results, app=self.app)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Group:
        """Give its tasks rising countdowns, so that they don't all begin at once; the last one is used again and again."""
        countdown = start
        for member in self.tasks:
            member.set(countdown=countdown)
            if stop is None or countdown + step < stop:
                countdown += step
        return self

    def set_immutable(self, immutable: bool) -> None:
        for member in self.tasks:
            member.set_immutable(immutable)

    def link(self, callback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `callback` when the first member has succeeded; without its result, which would be one of many."""
        return self.tasks[0].link(signature(callback).clone().set(immutable=True))

    def link_error(self, errback: Mapping[str, Any]) -> Any:
        """Call `errback` for each member that fails."""
        return tuple(member.link_error(signature(errback).clone()) for member in self.tasks)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.apply_async(args, **options)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"group({self.tasks!r})" if self.tasks else "group(<empty>)"


def whole(item: Signature) -> Signature:
    """Chunks are a group as soon as they are part of something."""
    return item.group() if item["task"] == "celery.chunks" else item  # type: ignore[attr-defined]


def single(item: Signature) -> Signature:
    """A group of one member is that member, unless it has options of its own."""
    item = whole(item)
    if isinstance(item, Group) and len(item.tasks) == 1 and not item.options:
        return item.tasks[0]
    return item


def _is_group(fields: Mapping[str, Any]) -> bool:
    return fields.get("subtask_type") == "group" or fields.get("task") == "celery.group"


def members_of(fields: Any) -> list[Any]:
    """The signatures of a group's dict, or of a list. Raises `TypeError`."""
    tasks = fields
    while isinstance(tasks, Mapping):  # a group in the place of the list
        if not _is_group(tasks):
            return [tasks]
        tasks = (tasks.get("kwargs") or {}).get("tasks")
    if not isinstance(tasks, list | tuple):
        tasks = _iterated(tasks)
    for task in tasks:
        if not isinstance(task, Mapping):
            raise TypeError(f"a group consists of signatures, not of {task!r}")
    return list(tasks)


def _iterated(tasks: Any) -> list[Any]:
    if isinstance(tasks, str | bytes) or not hasattr(tasks, "__iter__"):
        raise TypeError(f"a group has a list of tasks, not {tasks!r}")
    return list(tasks)
