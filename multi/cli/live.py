"""What the commands share that fill a terminal: a window for a while, how its lines look, drawing them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from multi.cli import board
from multi.cli.board import Line
from multi.errors import MultiError


def can() -> bool:
    """Whether there is a terminal that can be filled and that sends keys."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def run(loop: Callable[[Any], None], instead: str) -> None:
    """Call `loop` with a window that fills the terminal, until it returns, Ctrl-C or SIGTERM; then the terminal is as it was.

    Raises `MultiError`, which names what to use `instead`, where the terminal can't be used.
    """
    import curses
    import locale

    try:
        locale.setlocale(locale.LC_ALL, "")
        if locale.nl_langinfo(locale.CODESET).upper() not in ("UTF-8", "UTF8") and _writes_utf8():
            # LC_ALL=C: Python writes UTF-8 all the same, and curses has to be told
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        pass  # then it is ASCII
    os.environ.setdefault("ESCDELAY", "25")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        curses.wrapper(_without_cursor, loop)
    except curses.error as error:
        raise MultiError(f"this terminal can't be used ({error}); see `{instead}`") from error
    except KeyboardInterrupt:
        pass  # the other way to end it
    finally:
        signal.signal(signal.SIGTERM, before)


def _without_cursor(window: Any, loop: Callable[[Any], None]) -> None:
    import curses

    try:
        curses.curs_set(0)
    except curses.error:
        pass  # a terminal that can't hide it
    loop(window)


def looks(color: bool) -> dict[str, int]:
    """How each kind of line is drawn; to be asked for once there is a window."""
    import curses

    found = {board.HEAD: curses.A_BOLD, board.SELECTED: curses.A_REVERSE, board.NOTE: curses.A_BOLD}
    if color and curses.has_colors():
        curses.start_color()
        try:
            curses.use_default_colors()
            for number, hue in enumerate(
                (curses.COLOR_YELLOW, curses.COLOR_CYAN, curses.COLOR_RED, curses.COLOR_GREEN), 1
            ):
                curses.init_pair(number, hue, -1)
        except curses.error:
            return found
        found[board.NOTE] = curses.color_pair(1)
        found[board.HEAD] = curses.color_pair(2) | curses.A_BOLD
        found[board.BAD] = curses.color_pair(3)
        found[board.GOOD] = curses.color_pair(4)
    return found


def draw(window: Any, lines: Sequence[Line], looks: dict[str, int]) -> None:
    """Show these lines in place of what stands there."""
    import curses

    height, width = window.getmaxyx()
    window.erase()
    for row, line in enumerate(lines[:height]):
        text = line.text.ljust(width) if line.look == board.SELECTED else line.text
        try:
            # the last cell of the last line can't be written without scrolling
            window.addnstr(row, 0, text, width - (row == height - 1), looks.get(line.look, curses.A_NORMAL))
        except curses.error:
            pass  # it was made smaller meanwhile; the next drawing fits
    window.refresh()


def _writes_utf8() -> bool:
    return sys.stdout.encoding.lower().replace("-", "") == "utf8"
