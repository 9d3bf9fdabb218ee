"""One log file, written by all processes of a node."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

LINE = re.compile(r"\[[\d-]+ [\d:,]+: INFO/ForkPoolWorker-(\d)\] (\d+) (x*) end")


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


def test_lines_of_many_processes_never_mix(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    python(
        """
import os, sys
from multi import log
log.setup("INFO", sys.argv[1])
for number in range(1, 5):
    if os.fork() == 0:
        log.rename_process(f"ForkPoolWorker-{number}")
        logger = log.get_logger("x")
        for count in range(400):
            logger.info("%d %s end", count, "x" * (count * 37 % 9000))
        os._exit(0)
for _ in range(4):
    assert os.wait()[1] == 0
""",
        str(file),
    )
    found = [LINE.fullmatch(line) for line in file.read_text().splitlines()]
    assert all(found)
    counts = [(match[1], int(match[2]), len(match[3])) for match in found if match]
    assert sorted(counts) == sorted((str(n), c, c * 37 % 9000) for n in range(1, 5) for c in range(400))


def test_a_rotation_loses_no_line_and_each_process_goes_on_in_the_new_file(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    python(
        """
import os, sys
from multi import log
path = sys.argv[1]
log.setup("INFO", path)
log.WATCH_SECONDS = 0.0
logger = log.get_logger("x")
go, wake = os.pipe()
there, here = os.pipe()
for number in range(1, 4):
    if os.fork() == 0:
        log.rename_process(f"ForkPoolWorker-{number}")
        logger.info("before")
        os.write(here, b".")
        os.read(go, 1)
        logger.info("after")
        os._exit(0)
for _ in range(3):
    os.read(there, 1)
os.rename(path, path + ".1")
os.write(wake, b"...")
for _ in range(3):
    assert os.wait()[1] == 0
""",
        str(file),
    )
    assert sorted(line[-21:] for line in Path(f"{file}.1").read_text().splitlines()) == [
        f"rkPoolWorker-{number}] before"[-21:] for number in range(1, 4)
    ]
    assert sorted(line[-8:] for line in file.read_text().splitlines()) == ["1] after", "2] after", "3] after"]


def test_output_that_goes_to_the_log_file_follows_it(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    python(
        """
import os, sys
from multi import log
path = sys.argv[1]
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(fd, 1)
os.close(fd)
log.setup("INFO", path)
os.write(1, b"old\\n")
os.rename(path, path + ".1")
log.reopen()
os.write(1, b"new\\n")
""",
        str(file),
    )
    assert Path(f"{file}.1").read_text() == "old\n"
    assert file.read_text() == "new\n"


def on_a_terminal(program: str, **environment: str) -> str:
    """What the program writes to standard error when that is a terminal."""
    main, side = pty.openpty()
    try:
        env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | environment
        subprocess.run([sys.executable, "-c", program], check=True, stderr=side, env=env, timeout=60)
        return os.read(main, 65536).decode()
    finally:
        os.close(main)
        os.close(side)


def test_levels_have_colours_on_a_terminal_only(tmp_path: Path) -> None:
    program = (
        "from multi import log; log.setup('INFO'{}); log.get_logger('x').error('bad'); log.get_logger('x').info('good')"
    )
    bad, good = on_a_terminal(program.format("")).splitlines()
    assert bad.startswith("\033[31m[")
    assert bad.endswith("bad\033[0m")
    assert "\033" not in good
    assert "\033" not in on_a_terminal(program.format(", color=False"))
    assert "\033" not in on_a_terminal(program.format(""), NO_COLOR="1")
    assert "\033" not in python(program.format("")).stderr


def test_what_children_print_bears_their_name(tmp_path: Path) -> None:
    done = python(
        """
import os
from multi import log, prints
log.setup("INFO")
prints.redirect_stdouts()
if os.fork() == 0:
    log.rename_process("ForkPoolWorker-1")
    print("in a task")
    os._exit(0)
os.wait()
"""
    )
    assert done.stdout == ""
    assert done.stderr.endswith(": WARNING/ForkPoolWorker-1] in a task\n")


def test_a_non_blocking_descriptor_gets_whole_lines(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from multi import log; log.setup('INFO'); log.get_logger('x').info('x' * 300_000); log.get_logger('x').info('end')",
        ],
        stderr=write,
    )
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    assert child.wait(timeout=30) == 0
    assert text.count("x") == 300_000
    assert text.endswith("] end\n")
