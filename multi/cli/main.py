"""The command `multi`: answers what is quick at once, and loads the rest only when it is asked for."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str] | None = None) -> int:
    """Run these arguments (None: the command line of this process); the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if words in (["--version"], ["-V"]):
        from multi import __version__

        sys.stdout.write(f"multi v{__version__}\n")
        return 0
    if words[:1] == ["load"]:
        from multi.cli.load import load

        return load(words[1:])
    if words[:1] == ["probe"] and "_MULTI_COMPLETE" not in os.environ:
        from multi.cli.probing import quick

        code = quick(words[1:])
        if code is not None:
            return code
    from multi.cli.group import run

    return run(words)
