"""Stands in for `python` where a node's worker is started: speaks sd_notify, writes a stats page, obeys signals.

Run as `fake_worker.py -m multi worker -A APP … -n NAME -f LOG`. The app's name is the plan, words joined by dots:

ready    say READY at once
later    say READY when USR1 comes
die      exit with status 3 before being ready
usage    exit with status 2 before being ready
crash    once ready, exit with status 3
fragile  exit with status 3 when USR1 comes
slow     after TERM go on until USR1 comes
deaf     ignore TERM
sleeps   have a child process that sleeps, in the same session
away     have a child process that has made a session of its own
forks    have a forked child
chatty   print numbered lines as fast as possible, until TERM
busy     a task proj.tasks.resize has been running for 42 s, until USR1 comes
blind    write no stats page
hears    print each order of its keeper, and what is paused from the start
earless  take no orders
pulse    say WATCHDOG=1 as often as it was asked to, until USR1 comes; die with its stacks when ABRT comes
fat      take 64 MB of memory when USR1 comes
engine   say that it is of the engine `other`, before being ready
shows    print its variables SHOW_…, limit of files, niceness, umask, user and groups
file     read the plan from the file `plan` in the working directory instead

It consumes from the queues of `-Q`, and takes up and leaves them as its keeper tells it through the socket control.<n>.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

from multi.controller.keeper.channel import address
from multi.notify import Notifier
from multi.rundir import RunDir
from multi.stats import READY, STOPPING, StatsPage

ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
NUDGE, REOPEN = signal.SIGUSR1, signal.SIGUSR2


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


class Consuming:
    """What it consumes from, as it was started and as its keeper tells it since."""

    def __init__(self, page: StatsPage, words: list[str], paused: str) -> None:
        self.page = page
        self.all = words[words.index("-Q") + 1].split(",") if "-Q" in words else ["celery"]
        self.paused = {name for name in paused.split(",") if name}
        self.tells = False

    def show(self) -> None:
        self.page.node(queues=[] if "*" in self.paused else [name for name in self.all if name not in self.paused])

    def serve(self, path: str) -> None:
        """Obey the requests that come to the socket at `path`."""
        where = address(path)
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ear.bind("\0" + where[1:] if where.startswith("@") else where)
        threading.Thread(target=self._obey, args=(ear,), daemon=True).start()

    def _obey(self, ear: socket.socket) -> None:
        while True:
            fields = dict(line.split("=", 1) for line in ear.recv(65536).decode().split("\n") if "=" in line)
            if self.tells:
                say(f"order: {fields['request']} {fields['queues']}")
            names = set(fields["queues"].split(","))
            if fields["request"] == "pause":
                self.paused |= names
            elif "*" in names:
                self.paused.clear()
            else:
                self.paused -= names
            self.show()


def show() -> None:
    """Print what the keeper is to have seen to."""
    for name, value in sorted(os.environ.items()):
        if name.startswith("SHOW_") or name in ("HOME", "USER"):
            say(f"{name}={value!r}")
    mask = os.umask(0)
    os.umask(mask)
    say(f"nofile={resource.getrlimit(resource.RLIMIT_NOFILE)} nice={os.nice(0)} umask={mask:03o}")
    say(f"user={os.getuid()} group={os.getgid()} groups={sorted(os.getgroups())}")


def beat(notifier: Notifier, frozen: threading.Event) -> None:
    """Say that it lives, until it is frozen."""
    pause = notifier.watchdog_interval

    def pulse() -> None:
        while pause and not frozen.wait(pause):
            notifier.watchdog()

    threading.Thread(target=pulse, daemon=True).start()


def main() -> int:
    # taken one by one, by waiting for them: so none comes at a moment when nobody looks
    signals = {*ENDS, NUDGE, REOPEN}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    words = sys.argv[1:]
    plan = words[words.index("-A") + 1].split(".")
    if "file" in plan:
        with open("plan") as file:
            plan = file.read().split()
    rundir, notifier = RunDir.from_env(), Notifier.from_env()
    assert rundir is not None
    page = StatsPage.create(None if "blind" in plan else rundir.stats, 2)
    page.node(pid=os.getpid(), started=time.time(), pool="fake", concurrency=2, generation=rundir.generation)
    consuming = Consuming(page, words, rundir.paused)
    consuming.show()
    row = page.child(0)
    if "busy" in plan:
        row.task(1, time.time() - 42, b"proj.tasks.resize", b"the-id", b"('photo.jpg',)")
    frozen = threading.Event()
    fat = bytearray()
    if "shows" in plan:
        show()
    if "hears" in plan:
        consuming.tells = True
        say(f"paused from the start: {rundir.paused!r}")
    if "pulse" in plan:
        faulthandler.enable()
        beat(notifier, frozen)
    if "engine" in plan:
        notifier.send("X_ENGINE=other")
    say(f"fake worker {os.getpid()} generation {rundir.generation} {' '.join(words)}")
    if "die" in plan:
        say("cannot live")
        return 3
    if "usage" in plan:
        return 2
    if "sleeps" in plan:
        subprocess.Popen(["sleep", "600"])
    if "away" in plan:
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if "forks" in plan and os.fork() == 0:
        signal.sigwait([signal.SIGHUP])
    if "earless" not in plan:
        consuming.serve(rundir.control)  # a thread: after all forks
    is_ready = "ready" in plan
    if not is_ready:
        notifier.status("waiting for the broker")
    end: int | None = None
    count = 0
    while True:
        if is_ready:
            page.node(state=READY)
            notifier.ready("consuming")
            is_ready = False
            if "crash" in plan:
                return 3
        if "chatty" in plan and end is None:
            count += 1
            say(f"line {os.getpid()} {count}")
            info = signal.sigtimedwait(signals, 0)
            if info is None:
                continue
            number = info.si_signo
        else:
            number = signal.sigwait(signals)
        if number == REOPEN:
            rundir.reopen_log()
        elif number == NUDGE and "fragile" in plan:
            return 3
        elif number == NUDGE and "busy" in plan:
            row.task(0, 0.0, b"")
        elif number == NUDGE and "later" in plan:
            is_ready = True
        elif number == NUDGE and "pulse" in plan:
            frozen.set()
        elif number == NUDGE and "fat" in plan:
            fat.extend(os.urandom(1 << 20) * 64)
        elif number in ENDS and not ("deaf" in plan and number == signal.SIGTERM):
            end = number
        if end is not None and (number == NUDGE or "slow" not in plan):
            break
    page.node(state=STOPPING)
    notifier.stopping()
    say(f"stopping for {signal.Signals(end).name}")
    code = 1 if end == signal.SIGQUIT else 0
    rundir.write_exit("stop", code, signal.Signals(end).name)
    return code


if __name__ == "__main__":
    sys.exit(main())
