"""The live view: what is on the screen, and what the next key means."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any

from multi.app.events.tracked import Task, Worker
from multi.cli import live
from multi.cli.board import Line
from multi.cli.events import layout, rows
from multi.cli.events.asking import Asking
from multi.cli.events.feed import Feed
from multi.cli.events.layout import TASKS, WORKERS, Table
from multi.cli.events.matching import Filter
from multi.cli.events.prompt import Prompt
from multi.cli.events.rows import ORDERS, Row
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App

_PATIENCE_MS = 100  # with the keyboard, between looks whether there is something new
_REFRESH = 0.5  # seconds
_MOST_GONE = 100  # workers that have said goodbye and are still shown
_LATEST = 20  # tasks of a worker that are shown with it
_BACK = "any key: back  up down: scroll  c revoke  x terminate  l rate limit"


class View:
    """Tasks and workers, with keys to look closer and to steer them."""

    def __init__(self, app: App, chosen: Filter, *, enable: bool, color: bool) -> None:
        self.color = color
        self.chosen = chosen
        self.state = app.events.State(on_node_join=self._joined, on_node_leave=self._left)
        self.feed = Feed(app, self.state.event, enable=enable)
        self.asking = Asking(app, self._say)
        self.focus = TASKS
        self.order = next(iter(ORDERS))
        self.tasks: list[Any] = []
        self.workers: list[Any] = []
        self.selected: dict[str, str] = {TASKS: "", WORKERS: ""}  # "": the first one, whichever that is
        self.message = ""
        self.prompt: Prompt | None = None
        self.help = False
        self.details = ""
        """What the details are of, by its key in the table that has the focus; "" where the tables are shown."""
        self.section = ""
        """From which line of the details on they are to be shown."""
        self.first = 0
        self.paused: tuple[str, str] | None = None
        self._of_states = ""
        self.rate = 0.0
        self._height = 24
        self._gone: OrderedDict[str, Worker] = OrderedDict()
        self._counted = (monotonic(), 0)
        self._due = 0.0
        self._seen: tuple[int, Filter, str] | None = None

    def run(self) -> None:
        """Until `q` or Ctrl-C."""
        self.feed.start()
        try:
            live.run(self._loop, "multi events --dump")
        finally:
            self.feed.stop()

    def _loop(self, window: Any) -> None:
        import curses

        looks = live.looks(self.color)
        window.timeout(_PATIENCE_MS)
        names = {
            curses.KEY_UP: "up",
            curses.KEY_DOWN: "down",
            curses.KEY_PPAGE: "page up",
            curses.KEY_NPAGE: "page down",
            curses.KEY_HOME: "home",
            curses.KEY_END: "end",
            curses.KEY_BTAB: "\t",
            curses.KEY_ENTER: "\n",
            curses.KEY_BACKSPACE: "\b",
        }
        stale, shown = True, ""
        while True:
            if monotonic() >= self._due:
                self.refresh()
                self._due = monotonic() + _REFRESH
                stale = True
            if stale or self.message != shown:
                height, width = window.getmaxyx()
                live.draw(window, self.lines(width, height), looks)
                stale, shown = False, self.message
            try:
                key = window.get_wch()
            except curses.error:
                continue  # none within the time
            stale = True
            if key == curses.KEY_RESIZE:
                curses.update_lines_cols()
                window.clear()
                continue
            if isinstance(key, int):
                key = names.get(key, "")
            if key and not self.press({"\r": "\n", "\x7f": "\b"}.get(key, key)):
                return

    # ---- what is shown

    def _joined(self, worker: Worker) -> None:
        self._gone.pop(worker.hostname, None)

    def _left(self, worker: Worker) -> None:
        self._gone[worker.hostname] = worker
        if len(self._gone) > _MOST_GONE:
            self._gone.popitem(last=False)

    def refresh(self) -> None:
        """Look anew at what is known, unless that is paused."""
        now, count = monotonic(), self.feed.count
        before, counted = self._counted
        if now - before >= 2 * _REFRESH:
            self.rate = (count - counted) / (now - before)
            self._counted = (now, count)
        seen = (count, self.chosen, self.order)
        if self.paused is None and (seen != self._seen or ORDERS[self.order] is not None):
            self._seen = seen
            self.state.freeze_while(self._look)

    def _look(self) -> None:
        key = ORDERS[self.order]
        listed = (task for _, task in self.state.tasks_by_time())
        self.tasks = [task for task in listed if self.chosen.takes_task(task)] if self.chosen else [*listed]
        if key is not None:
            now = time.time()
            self.tasks.sort(key=lambda task: key(task, now), reverse=True)
        found = [*self.state.workers.values(), *self._gone.values()]
        chosen = (worker for worker in found if self.chosen.takes_worker(worker.hostname))
        self.workers = sorted(chosen, key=lambda worker: worker.hostname)
        self._of_states = rows.counts(self.tasks)

    def lines(self, width: int, height: int) -> list[Line]:
        """What the screen is to show."""
        self._height = height
        if self.help:
            keys = [Line(f"  {key:<14} {meaning}") for key, meaning in layout.KEYS]
            return layout.page("Keys", keys, 0, width, height, "any key: back")
        if self.details and (page := self._details(width, height)) is not None:
            return page
        return layout.screen(
            self._summary(),
            Table(self.tasks, self._at(TASKS), self._task_row),
            Table(self.workers, self._at(WORKERS), self._worker_row),
            width,
            height,
            focus=self.focus,
            empty=self._empty(),
            note=self._note(),
            footer=self._footer(),
        )

    def _footer(self) -> str:
        return self.prompt.text if self.prompt is not None else self.message

    def _task_row(self, task: Any) -> Row:
        return task if isinstance(task, Row) else rows.task_row(task, time.time())

    def _worker_row(self, worker: Any) -> Row:
        return worker if isinstance(worker, Row) else rows.worker_row(worker, time.time(), gone=self._is_gone(worker))

    def _is_gone(self, worker: Worker) -> bool:
        return self._gone.get(worker.hostname) is worker

    def _summary(self) -> str:
        if self.paused is not None:
            moment, counts = self.paused
            return f"PAUSED at {moment}  {counts}"
        parts = [self._counts(), f"{self.rate:.1f} events/s"]
        if self.feed.unreadable or self.state.ignored:
            parts.append(f"{self.feed.unreadable + self.state.ignored} that make no sense")
        return "  ".join([*parts, f"by {self.order}" if self.order != next(iter(ORDERS)) else "", rows.of_day()])

    def _counts(self) -> str:
        alive = sum(1 for worker in self.workers if isinstance(worker, Worker) and worker.alive)
        # what is shown, so that a filter counts what it finds
        text = f"{alive} of {len(self.workers)} workers online  {len(self.tasks)} tasks"
        return f"{text}: {self._of_states}" if self._of_states else text

    def _note(self) -> str:
        if self.feed.trouble:
            return self.feed.trouble
        if self.feed.connected is None:
            return "connecting"
        lack = self.feed.lack()
        if lack and not self.feed.enable:
            lack += " (e: have workers send events of tasks)"
        return "  ".join(filter(None, (f"filter: {self.chosen.text}  (escape: none)" if self.chosen else "", lack)))

    def _empty(self) -> str:
        if self.chosen and self.state.tasks:
            return "No task is like that."
        return "No task has been heard of yet."

    def _details(self, width: int, height: int) -> list[Line] | None:
        found = self.state.freeze_while(self._found)
        if found is None:
            self.details = ""
            return None
        title, values = found
        lines = layout.details(values, width)
        if self.section:
            wanted = [number for number, line in enumerate(lines) if line.text.startswith(f"{self.section} ")]
            self.first, self.section = wanted[0] if wanted else 0, ""
        self.first = max(0, min(self.first, len(lines) - (height - 2)))
        return layout.page(title, lines, self.first, width, height, self._footer() or _BACK)

    def _found(self) -> tuple[str, list[tuple[str, str]]] | None:
        now = time.time()
        if self.focus == TASKS:
            task = self.state.tasks.get(self.details)
            return None if task is None else (f"Task {task.name or task.uuid}", rows.task_details(task, now))
        worker = self.state.workers.get(self.details) or self._gone.get(self.details)
        if worker is None:
            return None
        latest = [task for _, task in islice(self.state.tasks_by_worker(self.details), _LATEST)]
        return f"Worker {worker.hostname}", rows.worker_details(worker, latest, now)

    # ---- selecting

    def _keys(self, focus: str) -> list[str]:
        return [_key(item) for item in (self.tasks if focus == TASKS else self.workers)]

    def _at(self, focus: str) -> int:
        if not self.selected[focus]:
            return 0
        items = self.tasks if focus == TASKS else self.workers
        return next((number for number, item in enumerate(items) if _key(item) == self.selected[focus]), 0)

    def move(self, step: int) -> None:
        """Select another row, or scroll the details."""
        if self.details:
            self.first += step
            return
        keys = self._keys(self.focus)
        if keys:
            self.selected[self.focus] = keys[max(0, min(len(keys) - 1, self._at(self.focus) + step))]

    @property
    def task(self) -> Task | None:
        """The selected task."""
        if self.focus != TASKS:
            return None
        keys = self._keys(TASKS)
        return self.state.tasks.get(self.details or (keys[self._at(TASKS)] if keys else ""))

    # ---- keys

    def press(self, key: str) -> bool:
        """Do what a key means; False when it ends the view."""
        if self.prompt is not None:
            if self.prompt.press(key):
                self.prompt = None
        elif self.help:
            self.help = False
        elif key in _MOVES:
            self._moved(key)
        elif self.details and key not in "cxlrt":
            self.details = ""
        elif key == "q":
            return False
        else:
            self.message = ""
            action = self._ACTIONS.get(key)
            if action is not None:
                action(self)
        return True

    def _moved(self, key: str) -> None:
        page = max(1, self._height // 2)
        if key in ("home", "g"):
            self.first = 0
            if not self.details:
                self.selected[self.focus] = ""
        else:
            self.move({"up": -1, "k": -1, "down": 1, "j": 1, "page up": -page, "page down": page}.get(key, 1_000_000))

    def _say(self, text: str) -> None:
        self.message = text

    def _turn(self) -> None:
        self.focus = WORKERS if self.focus == TASKS else TASKS

    def _pause(self) -> None:
        if self.paused is not None:
            self.paused = self._seen = None
            self._due = 0.0
            return
        self.state.freeze_while(self._look)
        self.paused = (rows.of_day(), self._counts())
        self.tasks = [*map(self._task_row, self.tasks)]
        self.workers = [*map(self._worker_row, self.workers)]

    def _sort(self) -> None:
        orders = [*ORDERS]
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        self._say(f"ordered by {self.order}")
        self._due = 0.0

    def _look_closer(self, section: str = "") -> None:
        keys = self._keys(self.focus)
        if not self.details and keys:
            self.details = keys[self._at(self.focus)]
        self.first, self.section = 0, section

    def _ask_filter(self) -> None:
        self.prompt = Prompt("filter: ", self._filter, self.chosen.text)

    def _filter(self, text: str) -> None:
        try:
            self.chosen = Filter(text)
        except ConfigurationError as error:
            self._say(str(error))
            return
        if self.paused is not None:
            self._pause()
        self._due = 0.0

    def _show_help(self) -> None:
        self.help = True

    def _revoke(self, terminate: bool = False) -> None:
        task = self.task
        if task is None:
            return self._say("select a task first")
        what, uuid = ("terminate" if terminate else "revoke"), task.uuid
        if task.ready:
            return self._say(f"{task.name or uuid} has ended already: {task.state}")
        question = f"{what} {task.name or '?'} ({uuid})? y/n "
        self.prompt = Prompt(question, lambda _: self.asking.revoke(uuid, terminate=terminate), keys="y")
        return None

    def _rate_limit(self) -> None:
        task = self.task
        if task is None or task.name is None:
            return self._say("select a task whose name is known first")
        name = task.name
        self.prompt = Prompt(
            f"rate limit of {name} (10/m, 5/s, 0 for none): ", lambda text: self.asking.limit(name, text)
        )
        return None

    def _enable(self) -> None:
        self.feed.enable = True
        self.asking.events(on=True)

    def _disable(self) -> None:
        self.feed.enable = False
        self.asking.events(on=False)

    _ACTIONS: dict[str, Callable[[View], object]] = {  # noqa: RUF012 - a table, changed by nobody
        "\t": _turn,
        "\n": _look_closer,
        "i": _look_closer,
        "r": lambda view: view._look_closer("exception" if view.task and view.task.exception else "result"),
        "t": lambda view: view._look_closer("traceback"),
        " ": _pause,
        "p": _pause,
        "s": _sort,
        "/": _ask_filter,
        "\x1b": lambda view: view._filter(""),
        "c": _revoke,
        "x": lambda view: view._revoke(terminate=True),
        "l": _rate_limit,
        "e": _enable,
        "d": _disable,
        "?": _show_help,
    }


_MOVES = frozenset(("up", "down", "page up", "page down", "home", "end", "j", "k", "g", "G"))


def _key(item: Any) -> str:
    return item.key if isinstance(item, Row) else item.uuid if isinstance(item, Task) else item.hostname
