"""Who gives a command, and which, in one line for a node's history; passwords masked."""

from __future__ import annotations

import os
import re
import sys
from functools import cache

from multi.controller.places import user
from multi.masking import STARS, is_secret, mask_arguments
from multi.urls import mask

_LONGEST = 300
_ADDRESS = re.compile(r"(https?://[^/\s]+)/\S+")  # what follows the host of a hook is often the key to it


@cache
def caller() -> str:
    """As in `ann@pts/3: multi stopwait w1`."""
    who = user(os.getuid())
    sudo = os.environ.get("SUDO_USER")
    if sudo and sudo != who:
        who = f"{sudo} as {who}"
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    if words[0] in ("__main__.py", "-m", "-c"):
        words[0] = "multi"
    return f"{who}@{_terminal()}: {' '.join(masked(words))}".replace("\n", " ")[:_LONGEST]


def _terminal() -> str:
    for fd in (0, 1, 2):
        try:
            return os.ttyname(fd).removeprefix("/dev/")
        except OSError:
            continue
    return "no terminal"


def masked(words: list[str]) -> list[str]:
    """A command line with its secrets masked: passwords in URLs, values of variables and of options that are named like one."""
    shown = []
    before = ""
    for word in words:
        name, equals, _ = word.partition("=")
        if before in ("--env", "-e") or (before.startswith("--") and is_secret(before)):
            shown.append(f"{name}={STARS}" if equals and before in ("--env", "-e") else STARS)
        elif word.startswith("--env=") and "=" in word[6:]:
            shown.append(f"--env={word[6:].partition('=')[0]}={STARS}")
        elif before == "--hook" or word.startswith("--hook="):
            shown.append(_ADDRESS.sub(r"\1/…", mask(word)))
        elif equals and is_secret(name):
            shown.append(f"{name}={STARS}")
        else:
            shown.append(mask(mask_arguments(word)))
        before = "" if equals else word
    return shown
