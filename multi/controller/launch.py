"""Starts keepers: detached from the terminal and from every descriptor of the command that starts them."""

from __future__ import annotations

import json
import os
import signal
import sys

from multi.controller import descriptors, keep_path
from multi.controller.caller import caller
from multi.controller.node import Node
from multi.controller.places import translated
from multi.nodes.spec import NEVER_KEPT


class Launched:
    """A keeper that this command has started: its process, and the pipe for its last words if it can't begin."""

    def __init__(self, pid: int, fd: int, words: int) -> None:
        self.pid = pid
        self.fd = fd
        self._words = words

    def collect(self) -> tuple[int, str]:
        """Reap it after its end: exit status (negative: a signal) and last words."""
        _, status = os.waitpid(self.pid, 0)
        with open(self._words, "rb") as pipe:
            self._words = -1
            text = pipe.read().decode("utf-8", "replace").strip()
        return os.waitstatus_to_exitcode(status), text

    def close(self) -> None:
        """Give the descriptors back; a keeper that runs goes on."""
        os.close(self.fd)
        if self._words >= 0:
            os.close(self._words)


def environment(node: Node, kept: dict[str, str]) -> dict[str, str]:
    """What the node's processes get: the variables of whoever starts it, and over them what is kept."""
    found = {**os.environ, **kept}
    for name in NEVER_KEPT:
        found.pop(name, None)
    found["MULTI_BY"] = caller()  # for the node's history; the keeper takes it out
    return found


def command(node: Node, new_spec: str = "") -> list[str]:
    """The keeper's command line."""
    words = [sys.executable, "-I", "-S", keep_path(), str(node), node.place.run]
    return [*words, new_spec] if new_spec else words


def launch(node: Node, kept_environment: dict[str, str], new_spec: str = "") -> Launched:
    """Start a keeper for `node` alone; for many nodes of one app see `multi.controller.loading`."""
    words = command(node, new_spec)
    variables = environment(node, kept_environment)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with translated(node.place.run):
        pid = os.fork()
    if pid == 0:
        try:
            _become(words, variables, "/", errors=writer)
        finally:
            os._exit(1)
    os.close(writer)
    return Launched(pid, os.pidfd_open(pid), reader)


def program(words: list[str], variables: dict[str, str], directory: str, given: object, kept: int) -> int:
    """Start a program as detached as a keeper, which can read `given` (as JSON) and goes on with the descriptor `kept`."""
    text = os.memfd_create("given", os.MFD_CLOEXEC)
    try:
        os.write(text, json.dumps(given).encode())
        os.lseek(text, 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            try:
                _become(words, variables, directory, given=text, kept=kept)
            finally:
                os._exit(1)
    finally:
        os.close(text)
    return pid


def _become(
    words: list[str], variables: dict[str, str], directory: str, *, errors: int = 1, given: int = 0, kept: int = -1
) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(given or null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    # descriptors that this command itself was given (of a make, of a test runner) must not live as long as the node
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.set_inheritable(int(name), int(name) == kept)
            except OSError:
                pass  # the listing's own
    descriptors.give_back()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    what = words[0]
    try:
        os.chdir(directory)
        os.execve(what, words, variables)
    except OSError as error:
        os.write(2, f"{what} can't be run: {error.strerror}\n".encode())
