"""Asks a Python interpreter about itself; imports nothing of a project."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any, NamedTuple

_PATIENCE = 20.0
# finding the spec of a top module imports nothing; it knows more ways to install one than the path tells
_ASK = """\
import importlib.util, json, sys
sys.path.insert(0, sys.argv[1])
found = [name for name in sys.argv[2:] if importlib.util.find_spec(name)]
print(json.dumps([list(sys.version_info[:3]), found]))
"""


class Interpreter(NamedTuple):
    """What an interpreter says about itself; `why` tells why it says nothing."""

    version: tuple[int, ...]
    modules: list[str]  # of those that were asked for, the ones that it finds
    why: str = ""


def ask(
    python: str,
    folder: str,
    modules: list[str],
    variables: Mapping[str, str],
    user: tuple[int, int, list[int]] | None = None,
) -> Interpreter:
    """Run an interpreter for a moment: its version, and which of these modules it finds from `folder`. Imports none of them.
    With `user`, its numbers and those of its groups, that one runs it."""
    identity: dict[str, Any] = {}
    if user is not None:
        identity = {"user": user[0], "group": user[1], "extra_groups": user[2]}
    try:
        done = subprocess.run(
            [python, "-c", _ASK, folder, *modules],
            check=False,
            cwd="/",
            env={**{name: value for name, value in os.environ.items() if name != "PYTHONHOME"}, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            **identity,
        )
        version, found = json.loads(done.stdout)
        return Interpreter(tuple(version), found)
    except OSError as error:
        return Interpreter((), [], error.strerror or str(error))
    except subprocess.TimeoutExpired:
        return Interpreter((), [], f"it has not answered within {_PATIENCE:g} s")
    except (ValueError, TypeError):
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Interpreter((), [], f"it is no Python (exit status {done.returncode}{': ' + said[-1] if said else ''})")
