"""Lets a Celery worker's own parser look at its command line, without a worker being started."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any

from multi.nodes.spec import NodeSpec

_PATIENCE = 30.0
#: What click says in every version of it.
_NO_OPTION = re.compile(r"No such option:? .*")


def refusal(spec: NodeSpec) -> str:
    """Why the worker of this specification would not know an option of its own, "" where it knows all or can't be asked.

    The project's interpreter is run with `--help` added, so that options which the project has of its own are known, too: all
    words are taken apart before the help is shown.
    """
    words = spec.argv(None)
    if "--" in words:
        words = words[: words.index("--")]  # what follows are settings
    try:
        done = subprocess.run(
            [*words, "--help"],
            cwd=spec.cwd,
            env={**os.environ, **spec.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            **_who(spec),
        )
    except (OSError, ValueError, LookupError, subprocess.SubprocessError):
        return ""
    found = _NO_OPTION.search(done.stderr.decode("utf-8", "replace")) if done.returncode else None
    return found[0].strip() if found is not None else ""


def _who(spec: NodeSpec) -> dict[str, Any]:
    """Nothing of the project is imported as root that isn't run as root."""
    if spec.user is None or os.geteuid() != 0:
        return {}
    import pwd

    user = pwd.getpwuid(int(spec.user)) if spec.user.isdecimal() else pwd.getpwnam(spec.user)
    group: int | str = user.pw_gid if spec.group is None else int(spec.group) if spec.group.isdecimal() else spec.group
    return {"user": user.pw_uid, "group": group, "extra_groups": os.getgrouplist(user.pw_name, user.pw_gid)}
