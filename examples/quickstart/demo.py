"""The whole life of two nodes, command by command, in a state directory of its own: `make demo`.

Each command is shown before what it prints. The first one that fails ends the demo with exit code 1; nothing is left
running in any case.
"""

import contextlib
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
NODES = ("w1", "w2")

STEPS = (
    ("Two nodes, started in the background; OK means that they take tasks.", "multi start w1 w2 -A proj -l INFO"),
    ("Tasks are sent with delay, and their results fetched.", "cat send.py"),
    ("", "python send.py"),
    ("What runs here?", "multi status"),
    ("What have they done?", "multi logs w1 w2 -n 8"),
    ("A restart needs no arguments again: what a node was started with is kept.", "multi restart w1"),
    ("The restarted node works.", "python send.py"),
    ("stopwait returns when the processes are gone.", "multi stopwait w1 w2"),
)

#: Lines of a step's output that are shown; the rest of a long one is left out at the top.
TAIL = 24


def say(text: str = "") -> None:
    print(text, flush=True)


class Failed(Exception):
    """A step did not do what it should."""


def environment(home: str) -> dict[str, str]:
    """The person's own nodes and settings stay out of it: another home, and none of multi's or Celery's variables."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MULTI_", "CELERY_", "XDG_", "PYTHON"))
    }
    return {
        **kept,
        "HOME": home,
        "MULTI_STATE_DIR": os.path.join(home, "state"),
        "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", os.defpath),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def step(command: str, env: dict[str, str]) -> None:
    """Show a command, run it, show what it said."""
    say(f"$ {command}")
    done = subprocess.run(
        shlex.split(command),
        cwd=HERE,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=45,
        check=False,
    )
    lines = done.stdout.splitlines()
    if len(lines) > TAIL:
        say(f"  ... {len(lines) - TAIL} lines before")
    for line in lines[-TAIL:]:
        say(f"  {line}")
    say()
    if done.returncode != 0:
        raise Failed(f"`{command}` ended with exit code {done.returncode}")


def left(home: str) -> list[int]:
    """The processes that were started with the demo's home."""
    wanted = f"HOME={home}".encode()
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone meanwhile
            if wanted in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                found.append(int(folder.name))
    return found


def end_all(home: str, env: dict[str, str]) -> None:
    """Stop what a failed step has left behind."""
    if not left(home):
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(["multi", "kill", *NODES], cwd=HERE, env=env, capture_output=True, timeout=20, check=False)
    deadline = time.monotonic() + 5
    while (pids := left(home)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def main() -> int:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that `finally` is reached
    home = tempfile.mkdtemp(prefix="multi-demo-")
    env = environment(home)
    say(f"The project is {os.path.relpath(HERE)}/proj; it names no broker, so a file in its state directory serves.\n")
    try:
        for note, command in STEPS:
            if note:
                say(f"# {note}")
            step(command, env)
        if pids := left(home):
            raise Failed(f"still running after stopwait: {pids}")
    except (Failed, OSError, subprocess.TimeoutExpired) as problem:
        say(f"The demo failed: {problem}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted.")
        return 130
    finally:
        end_all(home, env)
        shutil.rmtree(home, ignore_errors=True)
    say(f"Done in {time.monotonic() - began:.1f} s; nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
