"""`multi top`: a live view of nodes, with keys to steer them. What a key asks for is done by the command of that name."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import IO, Any

import click

from multi.cli import board, live
from multi.cli.arguments import NodesCommand, nodes_argument, state_dir_option
from multi.cli.board import Line, Seen
from multi.cli.nodes import Request
from multi.cli.status import code_of, print_table
from multi.cli.views import View, look
from multi.controller.node import Node
from multi.controller.tail import Tail
from multi.errors import MultiError

_PATIENCE_MS = 100  # with the keyboard, between looks whether there is something new
_SORTS = {"n": "node", "c": "cpu", "m": "memory", "t": "tasks/s", "a": "active"}
_ENTER_ESCAPE = 27


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--delay", type=click.FloatRange(min=0.1), default=1.0, metavar="SECONDS", help="Between two looks (1).")
@state_dir_option
@click.pass_context
def top(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """A live view of nodes, those of the project without names; `?` tells the keys.

    Without a terminal it is one table, as of `multi status`.

    \b
    multi top
    multi top w1 w2 --delay 5
    """
    request = Request(ctx, given)

    def chosen() -> list[Node]:
        return request.nodes(nodes) if nodes else request.all()

    if not live.can():
        views = look(chosen())
        print_table(request.screen, views)
        click.echo("`multi top` is live on a terminal; elsewhere: multi status --watch", err=True)
        ctx.exit(code_of(views))
    state_dir = given["state_dir"] or (ctx.obj or {}).get("state_dir") or ""
    Top(request, chosen, given["delay"], state_dir).run()


class Top:
    """What is on the screen, and what the next key means."""

    def __init__(self, request: Request, chosen: Callable[[], list[Node]], delay: float, state_dir: str) -> None:
        self.request = request
        self.state_dir = state_dir
        self.chosen = chosen
        self.delay = delay
        self.views: list[View] = []
        self.nodes: list[Seen] = []
        self.selected = ""
        self.sort = "node"
        self.message = ""
        self.question = ""  # that the next key answers
        self.answers: dict[str, list[str]] = {}
        self.page = ""  # "help" or "log", in place of the table
        self.log: list[str] = []
        self.actions: list[tuple[str, subprocess.Popen[bytes], IO[bytes]]] = []
        self._due = 0.0

    def run(self) -> None:
        """Until `q` or Ctrl-C."""
        live.run(self._loop, "multi status --watch")

    def _loop(self, window: Any) -> None:
        import curses

        looks = live.looks(self.request.screen.color)
        window.timeout(_PATIENCE_MS)
        while True:
            if time.monotonic() >= self._due:
                self.refresh()
                self._due = time.monotonic() + self.delay
            self.collect()
            live.draw(window, self.lines(*reversed(window.getmaxyx())), looks)
            key = window.getch()
            if key == curses.KEY_RESIZE:
                curses.update_lines_cols()
                window.clear()
            elif key in (curses.KEY_UP, curses.KEY_DOWN):
                self.move(-1 if key == curses.KEY_UP else 1)
            elif 0 <= key < 128 and not self.press("" if key == _ENTER_ESCAPE else chr(key)):
                return

    # ---- what is shown

    def refresh(self) -> None:
        """Look at the nodes anew."""
        try:
            self.views = look(self.chosen(), self.views)
        except MultiError as error:
            self.message = str(error)
            return
        self._arrange()

    def _arrange(self) -> None:
        self.nodes = board.ordered([seen(view) for view in self.views], self.sort)
        if self.nodes and self.selected not in [node.name for node in self.nodes]:
            self.selected = self.nodes[0].name

    def lines(self, width: int, height: int) -> list[Line]:
        """What the screen is to show."""
        if self.page == "help":
            return board.help_lines(width, height)
        if self.page == "log":
            return board.log_lines(self.selected, self.log, width, height)
        footer = self.question or self.message
        return board.lines(
            self.nodes, self.selected, self.sort, width, height, clock=time.strftime("%H:%M:%S"), footer=footer
        )

    # ---- keys

    def move(self, step: int) -> None:
        """Select the next or the previous node."""
        names = [node.name for node in self.nodes]
        if names and not self.page:
            at = names.index(self.selected) if self.selected in names else 0
            self.selected = names[max(0, min(len(names) - 1, at + step))]

    def press(self, key: str) -> bool:
        """Do what a key means; False when it ends the view."""
        if self.page:
            self.page = ""
        elif self.question:
            words = self.answers.get(key)
            self.question = ""
            self.message = ""
            if words is not None:
                self.act(words)
        elif key == "q":
            return False
        elif key == "?":
            self.page = "help"
        elif key in ("j", "k"):
            self.move(1 if key == "j" else -1)
        elif key in _SORTS:
            self.sort = _SORTS[key]
            self._arrange()
        elif self.selected:
            self._steer(key)
        return True

    def _steer(self, key: str) -> None:
        view = next(view for view in self.views if str(view.node) == self.selected)
        name, node = self.selected, view.node
        if key == "s":
            self.ask(f"Stop {name} when what it runs is done? y/n", {"y": ["stopwait", name]})
        elif key == "r":
            self.ask(
                f"{name}: r restart, l load new code without a gap, a restart all in turn; any other key: no",
                {"r": ["restart", name], "l": ["reload", name], "a": ["restart", "--rolling", "--all"]},
            )
        elif key == "p":
            self.act(["resume" if view.paused else "pause", name])
        elif key in ("+", "-"):
            stem = node.name.short.rstrip("0123456789")
            if stem == node.name.short:
                self.message = f"{name} has no number, so there can't be one more or fewer of its kind"
            elif key == "+":
                self.act(["scale", f"{stem}=+1"])
            else:
                self.ask(f"Stop the last of {stem}? y/n", {"y": ["scale", f"{stem}=-1"]})
        elif key == "l":
            path = node.log_file
            tail = Tail(path) if path else None
            self.log = tail.last(200) if tail is not None else ["it has no log file"]
            if tail is not None:
                tail.close()
            self.page = "log"

    def ask(self, question: str, answers: dict[str, list[str]]) -> None:
        """Let the next key choose."""
        self.question, self.answers = question, answers

    # ---- actions

    def act(self, words: list[str]) -> None:
        """Run a command; what it says at its end is shown."""
        more = ["--state-dir", self.state_dir] if self.state_dir else []
        if self.request.options.get("app"):
            more += ["-A", str(self.request.options["app"])]
        text = f"multi {' '.join(words)}"
        self.message = f"{text} …"
        # not a pipe: the command goes on when this view has ended, and must be able to say what it does
        out = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the command has ended)
        process = subprocess.Popen(
            [sys.executable, "-m", "multi", *words, *more, "--no-color"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.actions.append((text, process, out))

    def collect(self) -> None:
        """Tell how the actions ended that have."""
        for action in [*self.actions]:
            text, process, out = action
            if process.poll() is None:
                continue
            self.actions.remove(action)
            with out:
                out.seek(0)
                said = [line.strip() for line in out.read().decode("utf-8", "replace").splitlines() if line.strip()]
            reason = next((line for line in said if line.startswith("multi: ")), said[-1] if said else "")
            how = "OK" if process.returncode == 0 else f"exit code {process.returncode}"
            self.message = f"{text}: {how}" + (f": {reason.removeprefix('multi: ')}" if process.returncode else "")
            self._due = 0.0


def seen(view: View) -> Seen:
    """What the board shows of a node."""
    found = view.activity
    return Seen(
        str(view.node),
        view.state,
        view.cpu,
        view.usage.memory,
        view.rate,
        None if found is None else found.active,
        None if found is None else found.oldest_seconds,
        int(view.status.record.get("restarts", 0)),
        () if found is None else tuple(found.queues),
        f"{view.node}: {view.note}" if view.note else "",
        view.status.is_up,
    )
