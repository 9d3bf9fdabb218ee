"""Commands of the project's own that run on this machine: before a deploy, after it, and when it has failed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence

from multi.deploy.releases.wanted import shown
from multi.errors import StepFailed

HERE = "here"


def run(
    moment: str,
    commands: Sequence[Sequence[str]],
    folder: str,
    facts: Mapping[str, str],
    say: Callable[[str], None] | None = None,
) -> None:
    """Run them one after the other in the project's folder; `StepFailed` for the first that fails. `facts` become variables
    with MULTI_DEPLOY_ before their names."""
    variables = {**os.environ, **{f"MULTI_DEPLOY_{name.upper()}": value for name, value in facts.items()}}
    for words in commands:
        title = f"hook {moment} ({shown(words)})"
        try:
            process = subprocess.Popen(
                list(words),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except OSError as error:
            raise StepFailed(HERE, title, f"can't be run: {error.strerror}") from None
        lines: list[str] = []
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                lines = [*lines[-19:], line.rstrip("\n")]
                if say is not None:
                    say(lines[-1])
        if process.returncode:
            raise StepFailed(HERE, title, f"exit code {process.returncode}", "\n".join(lines))
