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
file     read the plan from the file `plan` in the working directory instead
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from multi.notify import Notifier
from multi.rundir import RunDir
from multi.stats import READY, STOPPING, StatsPage

ENDS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
NUDGE, REOPEN = signal.SIGUSR1, signal.SIGUSR2


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


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
    page = StatsPage.create(rundir.stats, 2)
    page.node(
        pid=os.getpid(),
        started=time.time(),
        pool="fake",
        concurrency=2,
        queues=["celery"],
        generation=rundir.generation,
    )
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
        elif number == NUDGE and "later" in plan:
            is_ready = True
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
