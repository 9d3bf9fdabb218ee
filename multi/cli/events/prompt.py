"""A question at the foot of the screen, answered by a line of text or by one key."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 500


class Prompt:
    """`answer` is called with the text that was typed, at Enter; with `keys` at once, with one of these. Escape, or any other
    key then, ends it without an answer."""

    def __init__(self, question: str, answer: Callable[[str], object], typed: str = "", *, keys: str = "") -> None:
        self.question = question
        self.typed = typed
        self._answer = answer
        self._keys = keys

    @property
    def text(self) -> str:
        """What stands on the screen."""
        return self.question if self._keys else f"{self.question}{self.typed}_"

    def press(self, key: str) -> bool:
        """Take a key; whether the question is over."""
        if self._keys:
            if key in self._keys:
                self._answer(key)
            return True
        if key == "\x1b":
            return True
        if key == "\n":
            self._answer(self.typed.strip())
            return True
        if key == "\b":
            self.typed = self.typed[:-1]
        elif key == "\x15":
            self.typed = ""
        elif len(key) == 1 and key.isprintable() and len(self.typed) < _MOST:
            self.typed += key
        return False
