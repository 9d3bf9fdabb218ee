"""The lines that tell of tasks, in Celery's words."""

from __future__ import annotations

import logging

import pytest

from multi.worker.lines import TaskLines


@pytest.fixture
def logger() -> logging.Logger:
    logger = logging.getLogger("tests.lines")
    logger.setLevel(logging.INFO)
    return logger


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, logging.Formatter().format(record)) for record in caplog.records]


def test_the_life_of_a_task_is_told_in_the_words_that_celerys_users_know(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    lines = TaskLines(logger)
    lines.received("t.add", "id-1")
    lines.succeeded("t.add", "id-1", 0.04, 3)
    lines.failed("t.add", "id-1", ValueError("bad", 1), "Traceback (most recent call last):\n  ...\n")
    lines.retried("t.add", "id-1", "Retry in 3s: ValueError('bad')")
    assert said(caplog) == [
        ("INFO", "Task t.add[id-1] received"),
        ("INFO", "Task t.add[id-1] succeeded in 0.040000s: 3"),
        (
            "ERROR",
            "Task t.add[id-1] raised unexpected: ValueError('bad', 1)\nTraceback (most recent call last):\n  ...",
        ),
        ("INFO", "Task t.add[id-1] retry: Retry in 3s: ValueError('bad')"),
    ]


def test_an_expected_error_is_told_at_info_without_a_traceback(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    TaskLines(logger).failed("t.get", "id-1", KeyError("k"), "Traceback ...", expected=True)
    assert said(caplog) == [("INFO", "Task t.get[id-1] raised expected: KeyError('k')")]


def test_at_warning_a_success_formats_nothing(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    class Untouchable:
        def __repr__(self) -> str:
            raise AssertionError("nobody reads this")

    logger.setLevel(logging.WARNING)
    lines = TaskLines(logger)
    lines.succeeded("t.add", "id-1", 0.1, Untouchable())
    lines.received("t.add", "id-1")
    assert not lines.info
    assert said(caplog) == []


def test_results_are_cut_at_the_length_that_their_task_says(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    lines = TaskLines(logger)
    for result, length in (("x" * 2000, 1024), ("x" * 2000, 10), ({"k": [1, 2]}, 1024), (Bad(), 1024)):
        lines.succeeded("t.add", "id-1", 0.5, result, length)
    told = [line.partition("0.500000s: ")[2] for _, line in said(caplog)]
    assert told == ["'" + "x" * 1020 + "...", "'xxxxxx...", "{'k': [1, 2]}", "<Bad: its repr raises RuntimeError>"]


def test_an_error_whose_repr_fails_is_told_all_the_same(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    class BadError(Exception):
        def __repr__(self) -> str:
            raise RuntimeError("no")

    TaskLines(logger).failed("t", "1", BadError(), None)
    assert said(caplog) == [("ERROR", "Task t[1] raised unexpected: <BadError>")]


def test_a_percent_sign_in_a_traceback_is_text(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    TaskLines(logger).failed("t", "1", ValueError("5%s"), "100%d")
    assert said(caplog) == [("ERROR", "Task t[1] raised unexpected: ValueError('5%s')\n100%d")]


def test_a_waiting_is_told_once_and_at_debug_from_then_on_as_long_as_it_is_remembered(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multi.worker.lines.REMEMBERED", 2)
    logger.setLevel(logging.DEBUG)
    lines = TaskLines(logger)
    for task_id in ("a", "a", "b", "a", "c", "a", "c", "d", "e", "f", "b"):
        lines.waits("t.add", task_id, "noon", "concurrency limit")
    assert said(caplog)[0] == (
        "INFO",
        "Task t.add[a] waits for its turn at noon (concurrency limit): parked in the broker",
    )
    levels = [(text[11], level) for level, text in said(caplog)]
    assert [task_id for task_id, level in levels if level == "INFO"] == ["a", "b", "c", "d", "e", "f", "b"]
    assert [task_id for task_id, level in levels if level == "DEBUG"] == ["a", "a", "a", "c"]
    caplog.clear()
    logger.setLevel(logging.WARNING)
    TaskLines(logger).waits("t.add", "a", "noon", "rate limit")
    assert said(caplog) == []
