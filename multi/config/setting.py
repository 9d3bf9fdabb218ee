"""What is known of one setting."""

from __future__ import annotations

from typing import Any

import msgspec

ACTED = "acted"
NOTED = "noted"


class Setting(msgspec.Struct, frozen=True):
    """One setting. `kind` is the type of its values: bool, int, seconds, number, str, list, dict, zone, any."""

    name: str
    kind: str
    default: Any
    meaning: str = ""
    note: str = ""
    """Why it has no meaning here; the worker says so in one line at its start, where it is set to anything unusual."""
    same: tuple[Any, ...] = ()
    """Other values that mean what happens here anyway: not noted."""

    @property
    def standing(self) -> str:
        """Whether it is acted upon, or accepted with a note."""
        return NOTED if self.note else ACTED

    @property
    def usual(self) -> tuple[Any, ...]:
        return (self.default, *self.same)


def acted(name: str, kind: str, default: Any, meaning: str) -> Setting:
    """A setting that does what its name says."""
    return Setting(name, kind, default, meaning)


def noted(note: str, *rows: tuple[Any, ...]) -> tuple[Setting, ...]:
    """Settings that are accepted for one and the same reason: name, kind, default, other values that change nothing."""
    return tuple(Setting(name, kind, default, "", note, tuple(same)) for name, kind, default, *same in rows)
