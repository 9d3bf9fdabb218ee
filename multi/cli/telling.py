"""Tells what happens on hosts: a live line for each on a terminal, plain lines with the host's name elsewhere, or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Sequence

import click

from multi.cli.screen import Screen
from multi.deploy.rollout.report import BEGIN, END, FAULT, LINE, NOTE, PHASE, SENT, Event

_UP, _CLEAR = "\x1b[{}A", "\r\x1b[K"
_SLOW = 5.0  # a step that takes longer is told of when it begins, where there is no live line


class Teller:
    """Takes events from any thread. To be used as a context: the live lines are gone at its end."""

    def __init__(self, screen: Screen, hosts: Sequence[str], *, as_json: bool = False) -> None:
        self.screen = screen
        self._json = as_json
        self._live = screen.is_live and not as_json and not screen.quiet
        self._width = max((len(name) for name in hosts), default=0)
        self._lock = threading.RLock()
        self._now: dict[str, str] = {}  # what each host is doing
        self._begun: dict[str, float] = {}
        self._drawn = 0
        self._is_over = threading.Event()
        self._ticker: threading.Thread | None = None

    def __enter__(self) -> Teller:
        if self._live:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        with self._lock:
            self._now.clear()
            self._erase()

    def __call__(self, event: Event) -> None:
        with self._lock:
            if self._json:
                if event.kind != SENT:
                    sys.stdout.write(json.dumps(event.json(), ensure_ascii=False) + "\n")
                    sys.stdout.flush()
                return
            self._tell(event)

    def _tell(self, event: Event) -> None:
        host = event.host
        if event.kind == PHASE:
            self._print(f"> {event.text}")
        elif event.kind == BEGIN:
            self._now[host] = event.text
            self._begun[host] = time.monotonic()
        elif event.kind == SENT and event.step is not None:
            self._now[host] = f"{event.step.title} {event.share:.0%}"
        elif event.kind == LINE:
            if event.step is None or self.screen.verbose:
                self._host(host, event.text)
            elif event.text.strip():
                self._now[host] = f"{event.step.title}: {event.text.strip()}"
                if not self._live and event.text.startswith(("+ ", "waiting: ")):
                    self._host(host, event.text)
        elif event.kind == END:
            self._now.pop(host, None)
            took = f" ({event.seconds:.1f} s)" if event.seconds >= 1 else ""
            self._host(host, f"{event.text}{took}", good=None)
        elif event.kind == FAULT:
            self._now.pop(host, None)
            self._host(host, event.text, good=False)
        elif event.kind == NOTE:
            self._host(host, event.text) if host else self._print(f"> {event.text}")
        self._draw()

    # ---- lines

    def _host(self, host: str, text: str, good: bool | None = None) -> None:
        for line in text.splitlines() or [""]:
            self._print(f"    {host.ljust(self._width)}  {self.screen.paint(line, good)}".rstrip())

    def _print(self, line: str) -> None:
        self._erase()
        if not self.screen.quiet:
            click.echo(line)

    def _erase(self) -> None:
        if self._drawn:
            sys.stdout.write(_UP.format(self._drawn) + "".join(f"{_CLEAR}\n" for _ in range(self._drawn)))
            sys.stdout.write(_UP.format(self._drawn))
            sys.stdout.flush()
            self._drawn = 0

    def _draw(self) -> None:
        """The live lines: one for each host that is doing something, as many as there is room for."""
        if not self._live or self._is_over.is_set():
            return
        self._erase()
        width, height = shutil.get_terminal_size()
        lines = []
        now = time.monotonic()
        for host, text in self._now.items():
            seconds = now - self._begun.get(host, now)
            took = f" {seconds:.0f} s" if seconds >= 1 else ""
            line = f"    {host.ljust(self._width)}  … {text}{took}"
            lines.append(line if len(line) < width else line[: width - 2] + "…")
        if len(lines) > height - 3:
            left = len(lines) - (height - 4)
            lines = [*lines[: height - 4], f"    … and {left} more hosts"]
        if lines:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
            sys.stdout.flush()
        self._drawn = len(lines)

    def _tick(self) -> None:
        while not self._is_over.wait(1.0):
            with self._lock:
                self._draw()
