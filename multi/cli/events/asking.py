"""What the live view asks workers for; their answers are awaited beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from multi.app.rates import interval
from multi.errors import MultiError

if TYPE_CHECKING:
    from multi.app.app import App

_SHOWN = 3  # answers


class Asking:
    """Asks in threads of its own; `say` is called with what there is to tell, at first that it is asked, then what came of it."""

    def __init__(self, app: App, say: Callable[[str], None]) -> None:
        self.app = app
        self._say = say

    def revoke(self, uuid: str, *, terminate: bool) -> None:
        """Revoke a task, or terminate it."""
        self._ask(
            f"{'terminate' if terminate else 'revoke'} {uuid}",
            lambda: self.app.control.revoke(uuid, terminate=terminate, reply=True),
        )

    def limit(self, name: str, rate: str) -> None:
        """Set the rate limit of a task."""
        if not rate:
            return
        try:
            interval(rate)
        except ValueError:
            self._say(f"{rate!r} is no rate: write 10/s, 10/m or 10/h, or 0 for none")
            return
        self._ask(f"rate limit {rate} for {name}", lambda: self.app.control.rate_limit(name, rate, reply=True))

    def events(self, *, on: bool) -> None:
        """Have workers send events of tasks, or no longer."""
        control = self.app.control
        if on:
            self._ask("events of tasks", lambda: control.enable_events(reply=True))
        else:
            self._ask("no events of tasks", lambda: control.disable_events(reply=True))

    def _ask(self, what: str, request: Callable[[], Any]) -> None:
        self._say(f"{what} …")

        def wait() -> None:
            try:
                self._say(f"{what}: {_summary(request())}")
            except (MultiError, ValueError, TypeError) as error:
                self._say(f"{what}: {error}")

        threading.Thread(target=wait, name="asking", daemon=True).start()


def _summary(replies: Any) -> str:
    """The answers, the errors among them first."""
    found = [(name, answer) for reply in replies or () for name, answer in reply.items()]
    if not found:
        return "no worker has answered; those that are there may still have heard it"
    is_error = [isinstance(answer, dict) and "error" in answer for _, answer in found]
    texts = [
        f"{name}: {_text(answer)}"
        for _, (name, answer) in sorted(zip(is_error, found, strict=True), key=lambda one: not one[0])
    ]
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


def _text(answer: Any) -> str:
    if isinstance(answer, dict):
        for name in ("error", "ok"):
            if name in answer:
                return str(answer[name]) if name == "ok" else f"error: {answer[name]}"
    return str(answer)
