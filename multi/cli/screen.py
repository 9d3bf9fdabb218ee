"""What the commands print: plain lines, with colours only where somebody sees them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

_ERASE = "\r\x1b[K"
_live = False  # a line of passing interest stands at the end of the terminal


class Screen:
    """Standard output. `quiet` leaves out everything but what a command was asked for."""

    def __init__(self, *, quiet: bool = False, color: bool = True) -> None:
        self.quiet = quiet
        self.verbose = False
        self.splash = True
        self.told: dict[str, str] = {}  # lines of logs that were shown, and of which node
        self.color = color and _is_colorful(sys.stdout)
        self.is_live = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def header(self) -> None:
        """Who speaks."""
        from multi import __version__

        if self.splash:
            self.line(f"multi v{__version__}")

    def section(self, text: str) -> None:
        """What is done now."""
        self.line(f"> {text}")

    def item(self, node: object, text: str, *, good: bool | None = None) -> None:
        """What becomes of one node."""
        self.line(f"    > {node}: {self.paint(text, good)}")

    def detail(self, text: str) -> None:
        """More about the line before."""
        self.line(f"      {text}")

    def line(self, text: str = "") -> None:
        if not self.quiet:
            self.show(text)

    def show(self, text: str) -> None:
        """Print, also when quiet: it is what the command is for."""
        self.settle()
        click.echo(text)

    def live(self, text: str) -> None:
        """Put this in place of the live line at the end of the terminal, cut to its width."""
        global _live
        import shutil

        width = shutil.get_terminal_size().columns
        _live = True
        sys.stdout.write(_ERASE + (text if len(text) < width else text[: width - 2] + "…"))
        sys.stdout.flush()

    def settle(self) -> None:
        """Take the live line away."""
        _erase()

    def paint(self, text: str, good: bool | None) -> str:
        """In green, red or, for None, as it is."""
        if not self.color or good is None:
            return text
        return click.style(text, fg="green" if good else "red")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
        """Print columns as wide as they need to be; those numbered in `right` are aligned to the right."""
        for line in self.rows(head, rows, right):
            self.show(line)

    def rows(self, head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
        """The lines of such a table."""
        widths = [max(cells_of(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = []
        for number, row in enumerate([head, *rows]):
            cells = []
            for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
                space = " " * (width - cells_of(cell))
                cells.append(space + cell if column in right else cell + space)
            text = "  ".join(cells).rstrip()
            lines.append(click.style(text, bold=True) if number == 0 and self.color else text)
        return lines

    def page(self, lines: Sequence[str]) -> None:
        """Fill the terminal with these lines, in place of what it shows."""
        import shutil

        width, height = shutil.get_terminal_size()
        shown = "".join(f"{_cut(line, width)}\x1b[K\r\n" for line in lines[: height - 1])
        sys.stdout.write(f"\x1b[H{shown}\x1b[J")
        sys.stdout.flush()


def cells_of(text: str) -> int:
    """How many columns of a terminal a text takes: Chinese signs take two, accents that are put on others none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(sign) in ("Mn", "Me", "Cf") else 2 if east_asian_width(sign) in ("W", "F") else 1 for sign in text
    )


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width or "\x1b" in text else f"{text[: width - 1]}…"


def _is_colorful(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _erase() -> None:
    global _live
    if _live:
        _live = False
        sys.stdout.write(_ERASE)
        sys.stdout.flush()


def complain(text: str) -> None:
    """An error, on standard error."""
    _erase()
    painted = _is_colorful(sys.stderr)
    click.echo(f"{click.style('multi:', fg='red') if painted else 'multi:'} {text}", err=True)


def ago(seconds: float) -> str:
    """A span of time in at most two units."""
    whole = int(seconds)
    if whole < 60:
        return f"{max(0, whole)}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(amount: int) -> str:
    """Bytes in the unit that fits."""
    if amount >= 1 << 30:
        return f"{amount / (1 << 30):.1f} GB"
    return f"{amount / (1 << 20):.1f} MB"


def clock(when: float) -> str:
    """A moment, with the date when it isn't today's."""
    import time

    local = time.localtime(when)
    same_day = local[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M:%S", local)
