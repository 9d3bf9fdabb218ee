"""A group, and a task that is called with all its results when the last member has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.app.canvas.groups import Group, members_of
from multi.app.canvas.signatures import Signature, kind, listed, signature

if TYPE_CHECKING:
    from multi.app.app import App


@kind("chord", "celery.chord")
class Chord(Signature):
    """`chord(header, body)`: if a member fails, the body is not called but fails with `ChordError`."""

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        app: App | None = None,
        **options: Any,
    ) -> None:
        if isinstance(header, Mapping) and body is None and _is_chord(header):
            fields = dict(header)
            inner = dict(fields.get("kwargs") or {})
            call = inner.get("body")
            if "header" not in inner or not (call is None or isinstance(call, Mapping)):
                raise TypeError("a chord has a header and a body, which is a signature")
            inner["header"] = Group(inner["header"], app=app) if _is_group(inner["header"]) else Group(
                members_of(inner["header"]), app=app
            )  # fmt: skip
            inner["body"] = None if call is None else signature(call, app=app)
            fields["kwargs"] = inner
            fields["options"] = {**(fields.get("options") or {}), **options}
            super().__init__(fields, app=app or inner["header"]._app or getattr(inner["body"], "_app", None))
            return
        if isinstance(header, Group):
            group = header.clone()
        elif isinstance(header, Mapping) and header.get("subtask_type") == "chain":
            group = Group(list(signature(header, app=app)["kwargs"]["tasks"]), app=app)
        else:
            group = Group(header, app=app)
        call = signature(body, app=app) if body is not None else None
        super().__init__(
            task,
            args,
            {"kwargs": dict(kwargs or {}), "header": group, "body": call},
            options,
            app=app or group._app or (call._app if call is not None else None),
            subtask_type="chord",
        )

    @property
    def header(self) -> Group:
        found: Group = self["kwargs"]["header"]
        return found

    @property
    def tasks(self) -> list[Signature]:
        return self.header.tasks

    @tasks.setter
    def tasks(self, members: Any) -> None:
        self["kwargs"]["header"] = members if isinstance(members, Group) else Group(members, app=self._app)

    @property
    def body(self) -> Signature:
        found: Signature = self["kwargs"]["body"]
        return found

    @body.setter
    def body(self, call: Signature) -> None:
        self["kwargs"]["body"] = call

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Signature:
        given = dict(kwargs or {})
        body = given.pop("body", None) or self.body
        copy = super().clone(args, None, **options)
        copy["kwargs"] = {
            **self["kwargs"],
            "kwargs": {**(self["kwargs"].get("kwargs") or {}), **given},
            "header": self.header.clone(),
            "body": signature(body, app=self._app).clone() if body is not None else None,
        }
        return copy

    def settle(self) -> None:
        """Move what hangs on the chord, and its place in another one, to the body, where they take effect."""
        body, own = self.body, self.options
        if body is None:
            raise ValueError("a chord needs a body: chord(header)(body), or chord(header, body)")
        for callback in listed(own.pop("link", None)):
            body.link(callback)
        for errback in listed(own.pop("link_error", None)):
            body.link_error(errback)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Mapping[str, Any] | None = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Give header and body their ids, and the body its place in another chord; the result is that of the body."""
        self.settle()
        own, body = self.options, self.body
        result = body.freeze(
            _id,
            group_id=own.pop("group_id", None) or group_id,
            chord=own.pop("chord", None) or chord,
            root_id=root_id,
            group_index=own.pop("group_index", None) if group_index is None else group_index,
        )
        header = self.header.freeze(own.get("task_id"), chord=body, root_id=root_id, parent_id=parent_id)
        own["task_id"] = header.id
        top = result
        while top.parent is not None:
            top = top.parent
        if top.parent is None:
            top.parent = header
        return result

    _freeze = freeze

    def apply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Send the header; returns the result of the body."""
        from multi.app.canvas.dispatch import send

        return send(self, args, kwargs, options)

    def apply(self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Run header and body here and now."""
        from multi.errors import ChordError

        copy = self.clone((), kwargs, **{key: options[key] for key in ("link", "link_error") if key in options})
        assert isinstance(copy, Chord)
        copy.settle()
        header = copy.header.apply((*(args or ()), *copy.args), copy["kwargs"].get("kwargs"))
        for part in header.results:
            if not part.successful():
                from multi.app.eager import failed

                error = ChordError(f"Dependency {part.id} raised {part.result!r}")
                error.__cause__ = part.result if isinstance(part.result, BaseException) else None
                return failed(copy.body, error, parent=header)
        result = copy.body.apply((header.get(disable_sync_subtasks=False),))
        result.parent = header
        return result

    def link(self, callback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `callback` with the body's result."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call `errback` if the body fails, or is not called because a member of the header has failed.

        With `task_allow_error_cb_on_chord_header` it is called for each member that fails, too.
        """
        if self.app.conf.task_allow_error_cb_on_chord_header:
            for member in self.tasks:
                member.link_error(signature(errback).clone().set(immutable=True))
        for member in self.tasks:
            if isinstance(member, Chord):
                member.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Whether the header takes no arguments; the body always gets the results."""
        self.header.set_immutable(immutable)

    def __call__(self, body: Any = None, **options: Any) -> Any:
        return self.apply_async((), {"body": body} if body is not None else {}, **options)

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        if self.body is None:
            return f"<chord without body: {self.tasks!r}>"
        return f"%{self.body['task']}({self.tasks!r})"


def parts(item: Signature) -> int:
    """How many messages complete this one as a member of a chord: its last tasks."""
    sort = item.get("subtask_type")
    if sort == "group":
        return sum(parts(member) for member in item["kwargs"]["tasks"])
    if sort == "chain":
        return parts(item["kwargs"]["tasks"][-1])
    if sort == "chord":
        return parts(item["kwargs"]["body"])
    return 1


def _is_chord(fields: Mapping[str, Any]) -> bool:
    return fields.get("subtask_type") == "chord" or fields.get("task") == "celery.chord"


def _is_group(fields: Any) -> bool:
    return isinstance(fields, Mapping) and fields.get("subtask_type") == "group"
