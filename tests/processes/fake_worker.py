"""Stands in for `python` where a node's worker is started: speaks sd_notify, writes a stats page, obeys signals.

Run as `fake_worker.py -m multi worker -A APP … -n NAME -f LOG`. The app's name is the plan, words joined by dots:

ready    say READY at once (without it: never)
die      exit with status 3 before being ready
usage    exit with status 2 before being ready
crash    once ready, exit with status 3
deaf     ignore TERM
sleeps   have a child process that sleeps, in the same session
away     have a child process that has made a session of its own
chatty   print numbered lines as fast as possible, until TERM
grim     on QUIT exit 1, having said that it was a stop
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


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def main() -> int:
    words = sys.argv[1:]
    plan = words[words.index("-A") + 1].split(".")
    rundir, notifier = RunDir.from_env(), Notifier.from_env()
    assert rundir is not None
    stop: list[int] = []
    for end in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        if "deaf" not in plan or end == signal.SIGQUIT:
            signal.signal(end, lambda got, frame: stop.append(got))
        else:
            signal.signal(end, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, lambda got, frame: say("stacks"))
    signal.signal(signal.SIGUSR2, lambda got, frame: rundir.reopen_log())
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
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
    if "ready" in plan:
        page.node(state=READY)
        notifier.ready("consuming")
    else:
        notifier.status("waiting for the broker")
    if "crash" in plan:
        return 3
    number = 0
    wanted = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
    while not stop:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        if "chatty" in plan:
            number += 1
            say(f"line {os.getpid()} {number}")
        else:
            signal.pause()
    page.node(state=STOPPING)
    notifier.stopping()
    say(f"stopping for {signal.Signals(stop[0]).name}")
    if stop[0] == signal.SIGQUIT:
        rundir.write_exit("stop", 1, "SIGQUIT")
        return 1
    rundir.write_exit("stop", 0, signal.Signals(stop[0]).name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
