"""The stacks of a node's processes: written by themselves into a file when a signal asks, and read from its text.

Each process has `faulthandler` write where all of its threads are, at once and from C, even while the interpreter is stuck in
foreign code. All processes of a generation append to one file, so whoever asks does it one process after the other.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

#: What asks for it: SIGRTMIN+1, which is 35 on Linux. (USR1 has its own meaning in a worker, and none of the others is free.)
SIGNAL = signal.SIGRTMIN + 1
#: Stands before the tasks of an event loop, after the threads.
TASKS = "Tasks of the event loop: "
_DEEPEST = 100

_HEAD = re.compile(r"(Current thread|Thread|Task) (\S+)(?: \[(.*)\])? \(most recent call first\):")
_FRAME = re.compile(r'  File "(.*)", line (\d+|\?\?\?) in (.*)')

_file = -1


class Frame(NamedTuple):
    """One call on a stack."""

    file: str
    line: int
    function: str


class Stack(NamedTuple):
    """What one thread does, or one task of an event loop: `kind` is "thread" or "task"; the youngest frame comes first."""

    kind: str
    name: str
    current: bool
    frames: list[Frame]


def listen(path: str) -> None:
    """From now on append the stacks of this process, and of those it forks, to the file at `path` when SIGNAL comes."""
    global _file
    import faulthandler

    _file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    faulthandler.register(SIGNAL, _file, all_threads=True, chain=False)


def listen_with_tasks(name: Callable[[asyncio.Task[Any]], str]) -> None:
    """In a process with an event loop in its main thread, once that runs: write its tasks as well, as soon as it turns.

    `name` says what a task is about.
    """
    if _file < 0:
        return
    import asyncio
    import faulthandler

    loop = asyncio.get_running_loop()

    def write(*_: object) -> None:
        tasks = asyncio.all_tasks(loop)
        text = f"{TASKS}{len(tasks)}\n"
        for task in tasks:
            text += f"Task {name(task).replace(' ', '_')} (most recent call first):\n"
            for frame in reversed(_frames(task.get_coro())):
                text += f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}\n'
        os.write(_file, text.encode("utf-8", "replace"))

    # meanwhile the signal must wait: without anybody who catches it, it would end this process
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
    try:
        faulthandler.unregister(SIGNAL)
        signal.signal(SIGNAL, write)
        faulthandler.register(SIGNAL, _file, all_threads=True, chain=True)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})


def _frames(coroutine: Any) -> list[FrameType]:
    """What a coroutine waits in, the outermost first; `Task.get_stack` tells only that one."""
    found: list[FrameType] = []
    while coroutine is not None and len(found) < _DEEPEST:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            break
        found.append(frame)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return found


def parse(text: str) -> list[Stack]:
    """The stacks in what a process has written."""
    found: list[Stack] = []
    for line in text.splitlines():
        if head := _HEAD.fullmatch(line):
            kind, name, title = head.groups()
            found.append(Stack("task" if kind == "Task" else "thread", title or name, kind.startswith("Current"), []))
        elif found and (frame := _FRAME.fullmatch(line)):
            file, number, function = frame.groups()
            found[-1].frames.append(Frame(file, int(number) if number.isdecimal() else 0, function))
    return found
