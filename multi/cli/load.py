"""`multi load FD`: the loader's process, started by the commands that start several nodes of one app (`multi.worker.loader`).

It is no command for people. Its standard input tells which app, its descriptor FD is the channel for the orders.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

from multi.worker.loader import Loader


def load(words: list[str]) -> int:
    """Import the app and fork workers; in each of these, be `multi worker`, and return its exit status."""
    plan: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.set_inheritable(int(words[0]), False)
    loader = Loader(socket.socket(fileno=int(words[0])), _settle)
    os.environ.update(plan["variables"])
    os.umask(plan["umask"])
    argv: list[str] = plan["argv"]
    sys.argv[1:] = argv[3:]  # what an app may look at while it is imported
    sys.orig_argv[:] = argv
    loader.load(lambda: _import(argv))
    argv = loader.serve()
    from multi.cli.main import main

    return main(argv[3:])


def _import(argv: list[str]) -> None:
    from multi.cli import group, worker  # noqa: F401 - what the workers' own command line goes through

    worker.preload(argv[4:])


def _settle(word: dict[str, Any]) -> None:
    """As the keeper does it in a fork of its own, before that becomes the worker."""
    from multi.controller.keeper import spawn

    what = spawn.limit(word["limits"])
    try:
        if word["nice"] and not what:
            os.setpriority(os.PRIO_PROCESS, 0, word["nice"])
    except OSError as error:
        what = f"the niceness {word['nice']} can't be had: {error.strerror}"
    if what:
        os.write(2, f"multi: {what}\n".encode())
        os._exit(spawn.UNUSABLE)
