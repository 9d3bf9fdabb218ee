"""Where a project's schedule is kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from multi.documents import Keeps
from multi.errors import ConfigurationError
from multi.urls import mask

if TYPE_CHECKING:
    from multi.app.app import App


#: How the names of shelves begin that hold schedules.
_PREFIX = "beat:"


class Shelf(msgspec.Struct):
    """The place of an app's schedule: `keeps` has its documents under `name`.

    `atomic`: the broker keeps them itself, and publishes in the step that changes one. `local`: nobody but the processes of
    this machine sees them. `where` is the place for people.
    """

    name: str
    keeps: Keeps
    atomic: bool
    where: str
    local: bool = False

    def close(self) -> None:
        """Close what is kept open for it alone: an app's own connections are closed with the app."""
        close = getattr(self.keeps, "close", None)
        if self.local and close is not None:
            close()


def shelf(app: App) -> Shelf:
    """Where the schedule of this app is: in its broker, else in its result backend, else in the project's own file."""
    name = f"{_PREFIX}{app.conf.beat_schedule_name or _called(app)}"
    broker = app.broker
    if broker.abilities.once:
        return Shelf(name, broker, True, broker.masked)
    backend = app.backend
    if backend is not None and backend.keeps and backend.shared:
        return Shelf(name, backend, False, mask(backend.url))
    from multi.app.connections import embedded_url
    from multi.brokers.sqlite import SQLiteBroker

    url = embedded_url(app)
    try:
        keeps = SQLiteBroker(url, {"create": "all"})
    except ConfigurationError as error:
        raise ConfigurationError(f"there is no place for the schedule: {error}") from None
    return Shelf(name, keeps, False, url, True)


def schedules(place: Shelf) -> dict[str, int]:
    """The names of all schedules that are kept where this one is, and how many entries each has."""
    return {
        name.removeprefix(_PREFIX): len(place.keeps.documents(name)[1])
        for name in place.keeps.shelves()
        if name.startswith(_PREFIX)
    }


def _called(app: App) -> str:
    """The app's own name; of one that is made in the program which is run, the name that its module has for schedulers."""
    if app.main == "__main__" and app._defined_in:
        return os.path.splitext(os.path.basename(app._defined_in))[0]
    return app.main or "default"
