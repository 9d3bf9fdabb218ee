"""Peers that answer remote control as a test wants them to: late, twice, or never. They are threads on a broker in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from multi import App
from multi.app.control.request import matches
from multi.message import Message

#: What a peer replies to a command and its arguments; `None` is a reply, too, `SILENCE` is none.
Answer = Callable[[str, dict[str, Any]], Any]
SILENCE = object()
PONG = {"ok": "pong"}


class Peer:
    """Hears requests under a name and replies; to be used as a context."""

    def __init__(self, app: App, name: str, answer: Answer | None = None) -> None:
        self.name = name
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, Any]] = []
        self.messages: list[Message] = []
        self._app = app
        self._answer = answer or (lambda method, arguments: PONG)
        self._subscription = app.worker_broker.subscribe("celery.pidbox")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()

    def leave(self) -> None:
        """Hear nothing any more."""
        self._ends.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._subscription.close()

    def _run(self) -> None:
        while not self._ends.is_set():
            message = self._subscription.get(0.02)
            if message is not None:
                self._take(message)

    def _take(self, message: Message) -> None:
        request = json.loads(message.body)
        if request["destination"]:
            if self.name not in request["destination"]:
                return
        elif request["pattern"] and not matches(self.name, request["pattern"], request["matcher"]):
            return
        self.heard.append(request)
        self.headers.append(message.headers)
        self.messages.append(message)
        found = self._answer(request["method"], request["arguments"])
        if found is not SILENCE and request.get("reply_to"):
            self.reply(request, found)

    def reply(self, request: dict[str, Any], found: Any, **headers: Any) -> None:
        """Reply to a request, with more headers or other ones."""
        to = request["reply_to"]
        headers = {"ticket": request["ticket"], "clock": 500, **headers}
        self._app.worker_broker.say(
            to["exchange"],
            Message(headers, json.dumps({self.name: found}).encode()),
            key=to["routing_key"],
            kind="direct",
        )
