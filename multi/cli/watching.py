"""`multi start --watch`: for development. Nodes run, their lines are shown, and they are reloaded when code changes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable

import click

from multi.cli import stop as stop_command
from multi.cli.reload import reload_all
from multi.cli.screen import Screen, complain
from multi.cli.start import report
from multi.controller import stop as stopping
from multi.controller.keeper.node import RELOADING, RUNNING, STARTING
from multi.controller.node import Node
from multi.controller.start import Start
from multi.controller.tail import Tail
from multi.errors import ConfigurationError, MissingExtra, MultiError

#: Changes of other files are none of the code: logs, databases and the like are written while nodes run.
CODE = (".py", ".so", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".env")
_QUIET_MS = 300  # a change is over when so long nothing has changed; an editor writes a file in several steps
_TICK_MS = 200  # between looks at the logs
_COLOURS = ("cyan", "yellow", "magenta", "blue", "green")


def check(path: str, here: str) -> str:
    """The folder or file to watch, before anything is started."""
    try:
        import watchfiles  # noqa: F401
    except ImportError as error:
        raise MissingExtra("watchfiles", "multi-workers[watch]", "--watch") from error
    found = os.path.normpath(os.path.join(here, os.path.expanduser(path)))
    if not os.path.exists(found):
        raise ConfigurationError(f"--watch {path}: there is no {found}")
    return found


def stay(screen: Screen, nodes: list[Node], path: str, timeout: float) -> int:
    """Show what the nodes say and reload them on changes, until Ctrl-C or the end of the terminal; then stop them.
    The exit code."""
    from watchfiles import DefaultFilter, watch

    ignored = DefaultFilter()
    tails = {str(node): Tail(log) for node in nodes if (log := node.log_file) is not None and os.path.isfile(log)}
    for tail in tails.values():
        tail.last(0)  # from here on
    ended = threading.Event()

    def end(number: int, frame: object) -> None:
        ended.set()  # an exception can get lost where foreign code calls ours
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last: its terminal was closed
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    try:
        screen.section(f"Watching {path}; Ctrl-C stops the nodes")
        for changes in watch(
            path,
            watch_filter=lambda change, name: name.endswith(CODE) and ignored(change, name),
            debounce=_QUIET_MS * 5,
            step=_QUIET_MS,
            rust_timeout=_TICK_MS,
            yield_on_timeout=True,
            raise_interrupt=True,
            stop_event=ended,
        ):
            _print_lines(screen, tails)
            if changes:
                _changed(screen, nodes, sorted({name for _, name in changes}), path, timeout)
                _print_lines(screen, tails)
    except KeyboardInterrupt:
        pass  # the nodes stop
    for tail in tails.values():
        tail.close()
    try:
        screen.line()
    except OSError:  # nobody is there any more
        for fd in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), fd)
    stops = stop_command.send(screen, [stopping.begin(node) for node in nodes], {"signal_name": "TERM"})
    return stop_command.wait(screen, stops, None)


def _changed(screen: Screen, nodes: list[Node], files: list[str], path: str, timeout: float) -> None:
    shown = [os.path.relpath(name, path if os.path.isdir(path) else os.path.dirname(path)) for name in files]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    screen.section(f"Changed: {', '.join(shown[:3])}{more}")
    if broken := _syntax_errors(files):
        for text in broken:
            complain(text)
        screen.section("Not reloaded; the nodes go on with the code before")
        return
    try:
        up = [node for node in nodes if node.status().state in (RUNNING, RELOADING, STARTING)]
        down = [node for node in nodes if node not in up]
        if up:
            reload_all(screen, up, timeout)
        if down:  # they could not live with the code before
            starts = []
            for node in down:
                spec = node.spec()
                starts.append(Start(node, None, spec.environment if spec is not None else {}))
            report(screen, starts, timeout)
    except MultiError as error:
        complain(str(error))


def _syntax_errors(files: Iterable[str]) -> list[str]:
    """What is wrong with the Python files among these; nothing of them is run."""
    found = []
    for name in files:
        if not name.endswith(".py"):
            continue
        try:
            with open(name, "rb") as file:
                compile(file.read(), name, "exec", dont_inherit=True)
        except OSError:
            continue  # removed again
        except SyntaxError as error:
            line = f"\n    {error.text.rstrip()}" if error.text else ""
            found.append(f"{name}:{error.lineno}: {type(error).__name__}: {error.msg}{line}")
        except ValueError as error:
            found.append(f"{name}: {error}")
    return found


def _print_lines(screen: Screen, tails: dict[str, Tail]) -> None:
    width = max(map(len, tails), default=0)
    for number, (name, tail) in enumerate(tails.items()):
        prefix = f"{name.ljust(width)} | " if len(tails) > 1 else ""
        if prefix and screen.color:
            prefix = click.style(prefix, fg=_COLOURS[number % len(_COLOURS)])
        for line in tail.more():
            screen.show(prefix + line)
