"""The log of a node: format, levels, masking, files, and what is printed."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from multi import log, prints
from multi.worker.lines import TaskLines

say = print  # what is printed here is the subject


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The root logger, the streams and the process's name as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    prints.restore_stdouts()
    log.set_task_context(None)
    log.setup("WARNING")
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_a_line_has_time_level_process_and_message(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    log.get_logger("multi.worker").info("%s ready.", "w1@host")
    (line,) = lines(file)
    assert re.fullmatch(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/MainProcess\] w1@host ready\.", line)


def test_our_formatter_writes_what_the_standard_one_would(tmp_path: Path) -> None:
    record = logging.LogRecord("a.b", logging.ERROR, "f.py", 3, "so %d of %s", (3, "x"), None)
    record.exc_text = "Traceback: the end"
    assert log.LineFormatter().format(record) == logging.Formatter(log.FORMAT).format(record)


def test_a_format_of_ones_own_is_used(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file), format="%(processName)s|%(name)s|%(message)s")
    log.get_logger("a.b").info("hello")
    assert lines(file) == ["MainProcess|a.b|hello"]


def test_times_have_the_format_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file), times="%Y", task_format="%(asctime)s %(task_name)s: %(message)s", task_times="[%H]")
    log.get_logger("x").info("hello")
    log.get_task_logger("y").info("hello")
    first, second = lines(file)
    assert re.fullmatch(r"\[\d{4}: INFO/MainProcess\] hello", first)
    assert re.fullmatch(r"\[\d\d\] \?\?\?: hello", second)


def test_what_is_below_the_level_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("warning", str(file))
    log.get_logger("x").info("no")
    log.get_logger("x").warning("yes")
    assert [line.rpartition(" ")[2] for line in lines(file)] == ["yes"]


def test_a_traceback_is_in_the_record_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    try:
        raise ValueError("bad")
    except ValueError:
        log.get_logger("x").exception("it failed")
    written = lines(file)
    assert written[0].endswith("it failed")
    assert written[1] == "Traceback (most recent call last):"
    assert written[-1] == "ValueError: bad"


@pytest.mark.parametrize(
    ("text", "level"), [("info", 20), ("Warning", 30), ("WARN", 30), ("fatal", 50), (" 15 ", 15), ("0", 0), (25, 25)]
)
def test_levels_are_names_in_any_case_or_numbers(text: str | int, level: int) -> None:
    assert log.parse_level(text) == level


def test_an_unknown_level_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        ValueError, match="'loud' is no log level: use DEBUG, INFO, WARNING, ERROR, CRITICAL or a number"
    ):
        log.parse_level("loud")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to redis://:secret@host:6379/1 now", "to redis://:**@host:6379/1 now"),
        ("amqp://guest:gu/est@h:5672//", "amqp://guest:**@h:5672//"),
        ("redis://u:a@b@host/0", "redis://u:**@host/0"),
        ("redis://:123/45@host/0", "redis://:**@host/0"),
        ("sentinel://:a@h1;sentinel://:b@h2", "sentinel://:**@h1;sentinel://:**@h2"),
        ("redis://h/0?password=secret&x=1", "redis://h/0?password=**&x=1"),
        ("http://localhost:9000/@vite/client", "http://localhost:9000/@vite/client"),
        ("nothing:here@at all", "nothing:here@at all"),
    ],
)
def test_passwords_in_urls_are_masked(text: str, masked: str, tmp_path: Path) -> None:
    assert log.mask_passwords(text) == masked
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    log.get_logger("x").info("%s", text)
    assert lines(file)[0].endswith(f"] {masked}")


def test_a_password_in_a_traceback_is_masked(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    log.get_logger("x").error("lost", exc_info=ConnectionError("no way to redis://:secret@host"))
    assert "secret" not in file.read_text()
    assert "redis://:**@host" in file.read_text()


def test_lines_of_task_loggers_tell_which_task_runs(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    logger = log.get_task_logger("proj.tasks")
    log.set_task_context(lambda: ("proj.tasks.add", "id-1"))
    logger.info("half way")
    log.set_task_context(lambda: None)
    logger.info("outside")
    first, second = lines(file)
    assert first.endswith("INFO/MainProcess] proj.tasks.add[id-1]: half way")
    assert second.endswith("INFO/MainProcess] ???[???]: outside")


def test_handlers_of_the_project_make_place(tmp_path: Path) -> None:
    root = logging.getLogger()
    theirs = logging.NullHandler()
    root.addHandler(theirs)
    log.setup("INFO", str(tmp_path / "w1.log"))
    assert theirs not in root.handlers
    assert len(root.handlers) == 1


def test_without_hijacking_handlers_of_the_project_stay_alone(tmp_path: Path) -> None:
    root = logging.getLogger()
    theirs = logging.NullHandler()
    root.handlers[:] = [theirs]
    log.setup("INFO", str(tmp_path / "w1.log"), hijack=False)
    assert root.handlers == [theirs]
    assert root.level == logging.INFO


def test_without_hijacking_and_without_handlers_ours_is_there(tmp_path: Path) -> None:
    logging.getLogger().handlers[:] = []
    log.setup("INFO", str(tmp_path / "w1.log"), hijack=False)
    log.get_logger("x").info("hello")
    assert lines(tmp_path / "w1.log")


def test_set_up_twice_writes_once(tmp_path: Path) -> None:
    log.setup("INFO", str(tmp_path / "a.log"))
    log.setup("INFO", str(tmp_path / "b.log"))
    log.get_logger("x").info("hello")
    assert lines(tmp_path / "a.log") == []
    assert len(lines(tmp_path / "b.log")) == 1


def test_after_a_rotation_lines_go_to_the_new_file(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    log.get_logger("x").info("one")
    file.rename(tmp_path / "w1.log.1")
    log.reopen()
    log.get_logger("x").info("two")
    assert lines(tmp_path / "w1.log.1")[0].endswith("one")
    assert [line.rpartition(" ")[2] for line in lines(file)] == ["two"]


def test_a_rotation_that_nobody_announced_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w1.log"
    monkeypatch.setattr(log, "WATCH_SECONDS", 0.0)
    log.setup("INFO", str(file))
    log.get_logger("x").info("one")
    file.rename(tmp_path / "w1.log.1")
    log.get_logger("x").info("two")
    assert lines(file)[0].endswith("two")


def test_when_the_new_file_cannot_be_opened_the_old_one_stays_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log.setup("INFO", str(folder / "w1.log"))
    folder.rename(tmp_path / "moved")
    log.reopen()
    log.get_logger("x").info("still here")
    first, second = lines(tmp_path / "moved" / "w1.log")
    assert "can't be opened anew" in first
    assert second.endswith("still here")


def test_a_log_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log.setup("INFO", str(tmp_path / "none" / "w1.log"))


def test_each_child_has_its_own_file_where_the_name_says_so(tmp_path: Path) -> None:
    log.setup("INFO", str(tmp_path / "w1%I-%i-100%%.log"))
    log.get_logger("x").info("from the worker")
    log.rename_process("ForkPoolWorker-2")
    log.get_logger("x").info("from a child")
    assert lines(tmp_path / "w1-0-100%.log")[0].endswith("INFO/MainProcess] from the worker")
    assert lines(tmp_path / "w1-2-2-100%.log")[0].endswith("INFO/ForkPoolWorker-2] from a child")


def test_an_index_after_a_doubled_percent_sign_is_text(tmp_path: Path) -> None:
    log.setup("INFO", str(tmp_path / "w1%%i.log"))
    assert (tmp_path / "w1%i.log").exists()


def test_trouble_with_the_log_does_not_reach_the_code_that_logs(tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    log.setup("INFO", "/dev/full")
    log.get_logger("x").info("nobody will read this")


def test_what_is_printed_becomes_lines_of_the_log(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file))
    prints.redirect_stdouts("WARNING")
    say("two", "words")
    say("no end yet", end="")
    say("\n\n")
    sys.stderr.write("an error\nand more")
    sys.stderr.flush()
    assert [line.partition("] ")[2] for line in lines(file)] == ["two words", "no end yet", "an error", "and more"]
    assert all(": WARNING/MainProcess]" in line for line in lines(file))


def test_a_handler_that_prints_does_not_go_round_in_circles(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    class Printing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say("handled", record.getMessage())

    log.setup("INFO", str(tmp_path / "w1.log"))
    logging.getLogger().addHandler(Printing())
    prints.redirect_stdouts()
    say("once")
    prints.restore_stdouts()
    assert [line.rpartition(" ")[2] for line in lines(tmp_path / "w1.log")] == ["once"]


def test_the_stand_in_of_a_stream_has_what_libraries_ask_for(tmp_path: Path) -> None:
    before = sys.stdout
    log.setup("INFO", str(tmp_path / "w1.log"))
    prints.redirect_stdouts()
    prints.redirect_stdouts()
    assert sys.stdout.writable()
    assert not sys.stdout.isatty()
    assert not sys.stdout.closed
    assert sys.stdout.encoding == "utf-8"
    prints.restore_stdouts()
    assert sys.stdout is before


def test_the_log_costs_no_import_of_heavy_modules(tmp_path: Path) -> None:
    import subprocess

    heavy = "{'logging.config', 'logging.handlers', 'multiprocessing', 'asyncio', 'socket'}"
    program = f"import sys; import multi.log; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_records_as_json_have_their_fields_and_no_passwords(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file), format=log.JSON)
    log.get_logger("a.b").warning("to redis://u:geheim@host/0 and back @home")
    log.set_task_context(lambda: ("proj.add", "abc"))
    try:
        raise ValueError("bad \udcff")
    except ValueError:
        log.get_logger("a.b").exception("it failed")
    first, second = map(json.loads, lines(file))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", first.pop("time"))
    assert first == {
        "level": "WARNING",
        "process": "MainProcess",
        "logger": "a.b",
        "message": "to redis://u:**@host/0 and back @home",
    }
    assert (second["task_name"], second["task_id"], second["message"]) == ("proj.add", "abc", "it failed")
    assert second["exception"].startswith("Traceback (most recent call last):\n")
    assert second["exception"].endswith("ValueError: bad \\udcff")


def test_lines_about_tasks_as_json_tell_which_and_a_failure_its_traceback_apart(tmp_path: Path) -> None:
    file = tmp_path / "w1.log"
    log.setup("INFO", str(file), format=log.JSON)
    about = TaskLines()
    about.received("t.add", "id-1")
    about.failed("t.add", "id-1", ValueError("bad", 1), "Traceback (most recent call last):\n  ...\n")
    received, failed = map(json.loads, lines(file))
    assert (received["task_name"], received["task_id"]) == ("t.add", "id-1")
    assert (failed["task_name"], failed["task_id"]) == ("t.add", "id-1")
    assert failed["message"] == "Task t.add[id-1] raised unexpected: ValueError('bad', 1)"
    assert failed["exception"] == "Traceback (most recent call last):\n  ..."
    assert "exception" not in received
