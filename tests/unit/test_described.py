"""What people are told of a task, and whether a call fits what a worker tells."""

from __future__ import annotations

from typing import Any

import pytest

from multi import App
from multi.app import described

app = App("described", broker="memory://described", set_as_current=False)


@app.task(bind=True, rate_limit="10/m", autoretry_for=(ValueError, OSError), queue="slow")
def whole(
    self: Any, x: int, /, y: float = 1.5, *rest: str, token: str = "abc", how: object = object(), **more: Any
) -> None:
    pass


@app.task
def plain(x, y=None):  # type: ignore[no-untyped-def]
    pass


@app.task
def named(*, path: "str | None") -> None:  # noqa: UP037 - as projects write it
    pass


@app.task
def first_only(x, y, /):  # type: ignore[no-untyped-def]
    pass


def test_signatures_are_shown_as_callers_see_them_and_without_secrets() -> None:
    assert described.signature(whole) == (
        "(x: int, /, y: float = 1.5, *rest: str, token: str = ..., how: object = ..., **more: Any)"
    )
    assert described.signature(plain) == "(x, y=None)"
    assert described.signature(named) in ("(*, path: str | None)", "(*, path: 'str | None')")
    assert described.signature(first_only) == "(x, y, /)"


def test_only_options_that_were_set_are_told() -> None:
    assert described.options(plain) == {}
    assert described.options(whole) == {
        "bind": True,
        "queue": "slow",
        "rate_limit": "10/m",
        "autoretry_for": ["ValueError", "OSError"],
    }


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "fits"),
    [
        (whole, [1], {}, True),
        (whole, [], {"x": 1}, False),
        (whole, [1, 2, "a", "b"], {"token": "t", "other": 1}, True),
        (plain, [], {}, False),
        (plain, [1, 2, 3], {}, False),
        (plain, [1], {"y": 2}, True),
        (plain, [1], {"z": 2}, False),
        (plain, [1], {"x": 1}, False),
        (named, [], {"path": "p"}, True),
        (named, ["p"], {}, False),
        (first_only, [1, 2], {}, True),
        (first_only, [1], {"y": 2}, False),
    ],
)
def test_a_call_fits_the_written_signature_where_it_fits_the_task(
    task: Any, args: list[Any], kwargs: dict[str, Any], fits: bool
) -> None:
    assert (described.misfit(described.signature(task), args, kwargs) == "") is fits
    try:
        task.check_arguments(args, kwargs)
        really = True
    except TypeError:
        really = False
    assert really is fits


@pytest.mark.parametrize("text", ["(...)", "", "(x", "<function add>", "(x: int = <object>)"])
def test_what_is_no_signature_refuses_nothing(text: str) -> None:
    assert described.misfit(text, [1, 2, 3], {"y": 1}) == ""
