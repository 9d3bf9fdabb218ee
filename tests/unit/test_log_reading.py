"""Entries of logs: what they are, which are wanted, and in which order they come."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
from pathlib import Path

import pytest

from multi.cli.moments import parse_moment
from multi.controller.entries import Entry, entries
from multi.controller.reading import Stream, Wanted, past
from multi.controller.tail import Tail
from multi.errors import ConfigurationError

DAY = "2026-11-21"
TRACEBACK = """\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
    1 / 0
ZeroDivisionError: division by zero"""


def at(clock: str) -> float:
    return time.mktime(time.strptime(f"{DAY} {clock}", "%Y-%m-%d %H:%M:%S"))


def line(clock: str, text: str, level: str = "INFO", process: str = "MainProcess") -> str:
    return f"[{DAY} {clock},250: {level}/{process}] {text}"


def write(path: Path, *lines: str) -> Tail:
    path.write_text("".join(f"{one}\n" for one in lines))
    return Tail(str(path))


def shown(wanted: Wanted, **tails: Tail) -> list[str]:
    return [one for piece in past(tails, wanted) for one in piece.lines]


def test_a_line_of_the_worker_tells_time_level_process_and_message() -> None:
    entry = Entry(line("10:00:01", "ready.", "WARNING"))
    assert (entry.when, entry.level, entry.process, entry.message) == (
        at("10:00:01") + 0.25,
        30,
        "MainProcess",
        "ready.",
    )


@pytest.mark.parametrize(
    ("text", "when", "level"),
    [
        (f"{DAY} 10:00:01,500 ERROR proj: it failed", at("10:00:01") + 0.5, 40),
        (f"{DAY}T10:00:01 all is well", at("10:00:01"), None),
        (f"{DAY}T10:00:01.500Z all is well", 1795255201.5, None),
        ("ERROR:root:it failed", None, 40),
        ("[CRITICAL] it failed", None, 50),
        ("no ERROR is told here", None, None),
        ("Fatal Python error: Aborted", None, 40),
        ('{"timestamp": "2026-11-21T10:00:01+00:00", "severity": "warn", "message": "x"}', 1795255201.0, 30),
        ('{"no": "time"}', None, None),
        ("{broken", None, None),
        ("[2026-99-99 10:00:00,000: INFO/x] a month that there isn't", 0.0, 20),
    ],
)
def test_times_and_levels_of_other_programs_are_found_at_the_usual_places(
    text: str, when: float | None, level: int | None
) -> None:
    entry = Entry(text)
    assert (entry.when, entry.level) == (when, level)


def test_further_lines_belong_to_the_entry_before_them() -> None:
    lines = [line("10:00:00", "it failed", "ERROR"), *TRACEBACK.split("\n"), line("10:00:01", "next")]
    assert [len(entry.lines) for entry in entries(lines)] == [5, 1]


def test_lines_without_a_head_stand_for_themselves_except_for_tracebacks() -> None:
    lines = [line("10:00:00", "started", process="Keeper"), "one", "two", *TRACEBACK.split("\n"), "three", "  more", ""]
    found = [*entries(lines)]
    assert [entry.lines[0] for entry in found] == [lines[0], "one", "two", TRACEBACK.split("\n")[0], "three", ""]
    assert [len(entry.lines) for entry in found] == [1, 1, 1, 4, 2, 1]
    assert found[3].level == 40


def test_lines_of_json_are_spelled_out_for_people() -> None:
    fields = {
        "time": f"{DAY}T10:00:01.250",
        "level": "ERROR",
        "process": "ForkPoolWorker-1",
        "logger": "proj",
        "message": "it failed",
        "task_name": "proj.add",
        "task_id": "abc",
        "exception": TRACEBACK,
    }
    entry = Entry(json.dumps(fields))
    head = line("10:00:01", "proj.add[abc]: it failed", "ERROR", "ForkPoolWorker-1")
    assert entry.text == [head, *TRACEBACK.split("\n")]
    told = entry.as_json()
    assert (told["message"], told["exception"], told["task_id"]) == ("it failed", TRACEBACK, "abc")


def test_passwords_are_masked_also_in_what_programs_print() -> None:
    (entry,) = entries(["connecting to redis://:geheim@host/0"])
    assert entry.lines == ["connecting to redis://:**@host/0"]


def test_the_logs_of_several_nodes_are_merged_by_time_and_stay_in_their_own_order(tmp_path: Path) -> None:
    one = write(tmp_path / "a", line("10:00:00", "a1"), line("10:00:02", "a2"), "  of a2", line("10:00:01", "a3"))
    two = write(tmp_path / "b", "no time", line("10:00:01", "b1"), line("10:00:03", "b2"))
    found = [text.rpartition(" ")[2] for text in shown(Wanted(10), a=one, b=two)]
    assert found == ["time", "a1", "b1", "a2", "a2", "a3", "b2"]


def test_a_pattern_is_looked_for_in_whole_entries(tmp_path: Path) -> None:
    tail = write(
        tmp_path / "a",
        line("10:00:00", "one"),
        line("10:00:01", "bad", "ERROR"),
        *TRACEBACK.split("\n"),
        line("10:00:02", "x"),
    )
    found = shown(Wanted(20, pattern=re.compile("ZeroDivision")), a=tail)
    assert found == [line("10:00:01", "bad", "ERROR"), *TRACEBACK.split("\n")]
    assert shown(Wanted(20, level=40), a=tail) == found
    assert shown(Wanted(2, level=40), a=tail) == found
    assert shown(Wanted(0), a=tail) == []


def test_the_last_lines_of_a_log_are_never_the_middle_of_an_entry(tmp_path: Path) -> None:
    entry = [
        line("10:00:01", "it failed", "ERROR"),
        "Traceback (most recent call last):",
        *["  File x"] * 300,
        "ValueError: bad",
    ]
    tail = write(tmp_path / "a.log", line("10:00:00", "before"), *entry)
    assert shown(Wanted(1), a=tail) == entry
    (piece,) = past({"a": tail}, Wanted(2))
    assert (piece.entry.level, piece.entry.when) == (40, at("10:00:01") + 0.25)
    assert shown(Wanted(len(entry) + 1), a=tail) == [line("10:00:00", "before"), *entry]
    plain = write(tmp_path / "b.log", *(f"line {number}" for number in range(3000)))
    assert shown(Wanted(2), a=plain) == ["line 2998", "line 2999"]


def test_the_last_entries_that_match_are_looked_for_in_older_copies_too(tmp_path: Path) -> None:
    (tmp_path / "a.1").write_text("".join(f"{line('09:00:00', f'hit {n}')}\nmiss\n" for n in range(10)))
    tail = write(tmp_path / "a", line("10:00:00", "hit 10"))
    found = shown(Wanted(4, pattern=re.compile("hit")), a=tail)
    assert [text for text in found if "hit" in text] == [
        *(line("09:00:00", f"hit {n}") for n in (8, 9)),
        line("10:00:00", "hit 10"),
    ]


def test_since_reaches_back_into_copies_and_compressed_ones(tmp_path: Path) -> None:
    clocks = [f"{hour:02d}:{minute:02d}:00" for hour in range(6, 10) for minute in range(60)]
    lines = [f"{line(clock, f'entry {n}')} {'x' * 900}" for n, clock in enumerate(clocks)]
    for number, part in ((3, lines[:60]), (2, lines[60:120]), (1, lines[120:180])):
        path = tmp_path / (f"a.{number}" if number == 1 else f"a.{number}.gz")
        data = "".join(f"{one}\n" for one in part).encode()
        path.write_bytes(gzip.compress(data) if number > 1 else data)
        written = at(part[-1][12:20])
        os.utime(path, (written, written))
    tail = write(tmp_path / "a", *lines[180:])
    for first in (240 - 5, 170, 121, 90, 30, 0):
        assert shown(Wanted(since=at(clocks[first])), a=tail) == lines[first:]
    assert shown(Wanted(3, since=at(clocks[30])), a=tail) == lines[-3:]


def test_what_bears_no_time_is_from_the_time_of_what_came_before(tmp_path: Path) -> None:
    keeper = [line(f"10:00:0{n}", f"k{n}", process="Keeper") for n in range(3)]
    tail = write(tmp_path / "a", keeper[0], "early", keeper[1], "late", keeper[2])
    assert shown(Wanted(since=at("10:00:01")), a=tail) == [keeper[1], "late", keeper[2]]


def test_a_hole_at_the_front_and_the_line_of_a_cut_are_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "a"
    mark = line("10:00:00", "the log goes on; older lines are in a.1", process="Keeper")
    path.write_bytes(b"\0" * 100_000 + f"{mark}\n{line('10:00:01', 'here')}\n".encode())
    (tmp_path / "a.1").write_text(f"{line('09:00:00', 'older')}\n")
    tail = Tail(str(path))
    assert shown(Wanted(20), a=tail) == [line("09:00:00", "older"), line("10:00:01", "here")]
    assert shown(Wanted(20, since=at("10:00:00")), a=tail) == [line("10:00:01", "here")]


def test_following_judges_entries_as_a_whole_and_later_lines_by_what_they_belong_to(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tail = write(path, line("10:00:00", "old", "ERROR"))
    stream = Stream("a", tail, Wanted(level=40))

    def add(*lines: str) -> list[str]:
        with path.open("a") as file:
            file.write("".join(f"{one}\n" for one in lines))
        return [one for piece in stream.more() for one in piece.lines]

    bad = line("10:00:02", "bad", "ERROR")
    assert add(line("10:00:01", "fine"), bad, *TRACEBACK.split("\n")[:2]) == [bad, *TRACEBACK.split("\n")[:2]]
    assert add(*TRACEBACK.split("\n")[2:], line("10:00:03", "fine")) == TRACEBACK.split("\n")[2:]
    assert add("and on") == []


def test_of_a_log_that_grows_as_fast_as_it_is_read_a_part_comes_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    tail = write(path, "begin")
    with path.open("a") as file:
        file.writelines(f"line {number} {'x' * 1000}\n" for number in range(10_000))
    parts = [list(tail.more())]
    while tail.is_behind:
        parts.append(list(tail.more()))
    assert len(parts) > 1 and max(map(len, parts)) < 5_000
    assert [text.split()[1] for part in parts for text in part] == [str(number) for number in range(10_000)]


@pytest.mark.parametrize(
    ("text", "ago"),
    [("10m", 600), ("2h", 7200), ("1h30m", 5400), ("90", 90), ("1d", 86400), ("5m ago", 300), ("now", 0)],
)
def test_a_moment_may_be_a_span_before_now(text: str, ago: float) -> None:
    assert abs(time.time() - ago - parse_moment(text, "--since")) < 5


def test_a_moment_may_be_a_date_or_a_time_of_day() -> None:
    assert parse_moment("2026-11-21T10:00", "--since") == at("10:00:00")
    assert parse_moment("2026-11-21 10:00:01", "--since") == at("10:00:01")
    assert parse_moment("2026-11-21", "--since") == at("00:00:00")
    assert parse_moment("2026-11-21T10:00+00:00", "--since") == 1795255200
    today = time.strftime("%Y-%m-%d")
    assert parse_moment("10:30", "--since") == time.mktime(time.strptime(f"{today} 10:30", "%Y-%m-%d %H:%M"))
    assert parse_moment("today", "--since") - parse_moment("yesterday", "--since") in (82800, 86400, 90000)


@pytest.mark.parametrize("text", ["", "soon", "25:00", "2026-13-01", "10 apples", "-5m"])
def test_what_is_no_moment_is_told_with_examples(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--since .* is no time; write it as 10m"):
        parse_moment(text, "--since")
