"""Sent to a host without multi and run there by the project's own interpreter: which Celery workers answer that they work.

    python - SECONDS < pings.py

with a line before it that sets MULTI_ASKED (app, nodes, host, env, env_files, broker). A worker answers a ping when its consumer
runs: not while it imports its app, and not while it has no broker. The file stands alone, and Python 3.6 has to understand it.
What it prints is one line of JSON behind MARK; it ends by itself after SECONDS, so that an import that hangs leaves
nothing there.
"""
# ruff: noqa: UP006, UP035

import json
import os
import shlex
import signal
import socket
import sys
import time
from typing import Any, Dict, List

MARK = "multi-pings-1 "
LONGEST = 5.0  # seconds: whoever asks looks at the processes again in between


def main(asked: Dict[str, Any], seconds: float) -> Dict[str, Any]:
    began = time.monotonic()
    os.environ.update(asked["env"])
    sys.path.insert(0, os.getcwd())
    try:
        for path in asked["env_files"]:
            read(path)
        from celery.app.utils import find_app

        app = find_app(asked["app"])
        if asked["broker"]:
            app.conf.broker_url = asked["broker"]
        why = unanswerable(app)
    except BaseException as error:  # SystemExit of a project's own is as good as any
        return {"cannot": "the app can't be imported to ask: " + type(error).__name__ + ": " + str(error)[:300]}
    if why:
        return {"cannot": why}
    return pinged(app, asked["nodes"], asked["host"], began + seconds - 1)


def unanswerable(app: Any) -> str:
    """Why its workers can't be asked, "" where they can."""
    conf = app.conf
    if not conf.worker_enable_remote_control:
        return "worker_enable_remote_control is off"
    if str(conf.worker_pool) == "solo":
        return "a worker with the pool solo answers nothing while a task runs"
    transport = app.connection_for_write().transport
    kinds = getattr(getattr(transport, "implements", None), "exchange_type", ())
    if "fanout" not in kinds or transport.driver_type == "memory":
        return "its broker carries no requests to workers"
    return ""


def pinged(app: Any, nodes: List[str], host: str, end: float) -> Dict[str, Any]:
    waiting = {name.replace(host, socket.gethostname()): name for name in nodes}
    answered, said, tried = [], "", False  # type: List[str], str, bool
    end = min(end, time.monotonic() + LONGEST)
    while waiting and (time.monotonic() < end or not tried):
        tried = True
        try:
            # Celery itself would try a broker that isn't there for long
            with app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0.1, interval_step=0)
                replies = app.control.ping(destination=sorted(waiting), timeout=1.0, connection=connection) or []
        except Exception as error:  # a broker that isn't there: they don't work either
            said = f"{type(error).__name__}: {str(error)[:300]}"
            time.sleep(0.2)
            continue
        answered += [waiting.pop(name) for reply in replies for name in reply if name in waiting]
    return {"answered": answered, "said": said}


def read(path: str) -> None:
    """Add the variables of a file; a dash before its name: it may be missing."""
    try:
        with open(path.removeprefix("-")) as file:
            for line in file:
                key, equals, given = line.strip().partition("=")
                if equals and not key.startswith(("#", ";")):
                    os.environ[key.replace("export ", "").strip()] = " ".join(shlex.split(given, comments=False))
    except OSError:
        if not path.startswith("-"):
            raise


if __name__ == "__main__":
    # the project's own prints must not get between
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    left = max(1.0, float(sys.argv[1]))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(left + 0.999))
    answer = main(globals()["MULTI_ASKED"], left)
    answer_to.write(MARK + json.dumps(answer) + "\n")
    answer_to.flush()
    os._exit(0)  # threads that the project's import has started must not keep it
