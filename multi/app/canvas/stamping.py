"""Stamps: headers of one's own that every call of a canvas carries, and by which it can be found and revoked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from multi.app.canvas.signatures import listed, signature
from multi.app.options import OPTIONS

if TYPE_CHECKING:
    from multi.app.canvas.signatures import Signature


class StampingVisitor:
    """Says which stamps each part of a canvas gets: the methods return them as a dict.

    What a method for a chain, group or chord returns goes on to its tasks. `on_signature` is called for every task.
    """

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any] | None:
        """The stamps of one task."""
        raise NotImplementedError("a StampingVisitor must define on_signature")

    def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any] | None:
        """Before the tasks of a group."""
        return {}

    def on_group_end(self, group: Any, **headers: Any) -> None:
        """After the tasks of a group."""

    def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any] | None:
        """Before the tasks of a chain."""
        return {}

    def on_chain_end(self, chain: Any, **headers: Any) -> None:
        """After the tasks of a chain."""

    def on_chord_header_start(self, chord: Any, **headers: Any) -> dict[str, Any] | None:
        """Before the tasks of a chord's header, which is a group."""
        return self.on_group_start(chord.header, **headers)

    def on_chord_header_end(self, chord: Any, **headers: Any) -> None:
        """After the tasks of a chord's header."""
        self.on_group_end(chord.header, **headers)

    def on_chord_body(self, chord: Any, **headers: Any) -> dict[str, Any] | None:
        """Before the body of a chord."""
        return {}

    def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any] | None:
        """Before a callback."""
        return {}

    def on_errback(self, errback: Any, **headers: Any) -> dict[str, Any] | None:
        """Before an errback."""
        return {}


def stamp(call: Signature, visitor: StampingVisitor | None, add: bool, headers: Mapping[str, Any]) -> None:
    """Stamp `call` and all in it; with `add` a stamp that is there already becomes a list of both.

    Raises `TypeError` for a visitor that is none, or whose methods return something else than a dict.
    """
    if visitor is not None and not hasattr(visitor, "on_signature"):
        raise TypeError(f"visitor= takes a StampingVisitor, not {visitor!r}")
    sort = call.get("subtask_type")
    if sort == "chain":
        given = _gathered(call, visitor.on_chain_start(call, **headers) if visitor else None, add, headers)
        _links(call, visitor, add, given)
        for task in call["kwargs"]["tasks"]:
            stamp(task, visitor, add, given)
        if visitor:
            visitor.on_chain_end(call, **given)
    elif sort == "group":
        given = _gathered(call, visitor.on_group_start(call, **headers) if visitor else None, add, headers)
        _links(call, visitor, add, given)
        for task in call["kwargs"]["tasks"]:
            stamp(task, visitor, add, given)
        if visitor:
            visitor.on_group_end(call, **given)
    elif sort == "chord":
        given = _gathered(call, visitor.on_chord_header_start(call, **headers) if visitor else None, add, headers)
        _links(call, visitor, add, given)
        for task in call["kwargs"]["header"]["kwargs"]["tasks"]:
            stamp(task, visitor, add, given)
        body = call["kwargs"]["body"]
        if visitor:
            visitor.on_chord_header_end(call, **given)
        if body is not None:
            given = _gathered(call, visitor.on_chord_body(call, **given) if visitor else None, add, given)
            stamp(body, visitor, add, given)
    else:
        _links(call, visitor, add, headers)
        given = _gathered(call, visitor.on_signature(call, **headers) if visitor else None, add, headers)
        names = given["stamped_headers"]
        # what a visitor says beside its stamps may be an option of the call
        call.options.update((key, value) for key, value in given.items() if key in names or key in OPTIONS)


def _links(call: Signature, visitor: StampingVisitor | None, add: bool, headers: Mapping[str, Any]) -> None:
    for key, hook in (("link", "on_callback"), ("link_error", "on_errback")):
        linked = [signature(item, app=call._app) for item in listed(call.options.get(key))]
        if linked:
            call.options[key] = linked
        for item in linked:
            found = getattr(visitor, hook)(item, **headers) if visitor else None
            stamp(item, visitor, add, _gathered(None, found, add, headers))


def _gathered(
    call: Signature | None, visited: Mapping[str, Any] | None, add: bool, headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The stamps that came from above, those of the visitor and those that the call has, with the list of their names."""
    if visited is not None and not isinstance(visited, Mapping):
        raise TypeError(f"a StampingVisitor's methods return a dict of stamps, not {visited!r}")
    found = dict(headers)
    names = list(found.pop("stamped_headers", None) or found)
    own = {} if call is None else {name: call.options.get(name) for name in call.options.get("stamped_headers") or ()}
    for more in (visited or {}, own):
        listed_names = more.get("stamped_headers")
        for name, value in more.items():
            if name == "stamped_headers":
                continue
            if add and name in found and found[name] != value:
                value = [*_many(found[name]), *(item for item in _many(value) if item not in _many(found[name]))]
            elif more is own and name in found:
                value = found[name]
            found[name] = value
            if (listed_names is None or name in listed_names) and name not in names:
                names.append(name)
    return {**found, "stamped_headers": names}


def _many(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set) else [value]
