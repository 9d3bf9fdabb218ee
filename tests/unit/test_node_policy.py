"""Sizes, spans of time, limits, hooks and signals, as they are written on a command line and in a description."""

from __future__ import annotations

import pytest

from multi.errors import ConfigurationError
from multi.nodes.policy import parse_hook, parse_limit, parse_size, parse_span, signal_number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("0.5", 0.5),
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1W", 604800),
    ],
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "2h30", "-5", "5 years", "h", "1h x", "1e3"])
def test_what_is_no_span_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is no span of time; write it as 90"):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500k", 512000), ("10MB", 10 << 20), ("2g", 2 << 30), ("1.5GB", 3 << 29)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "-1", "10 apples", "MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("nofile=65536", ("nofile", 65536)),
        ("NOFILE=1024:65536", ("nofile", [1024, 65536])),
        ("core=unlimited", ("core", -1)),
        ("as=2G", ("as", 2 << 30)),
        ("RLIMIT_CPU=60:unlimited", ("cpu", [60, -1])),
    ],
)
def test_limits(text: str, limit: tuple[str, object]) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nofile", "is no limit"),
        ("files=3", "is no limit"),
        ("nofile=many", "should be a number"),
        ("nofile=5:4", "its soft value is above its hard one"),
        ("nofile=unlimited:4", "its soft value is above its hard one"),
        ("nofile=1:2:3", "more than a soft and a hard value"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_limit(text)


def test_hooks() -> None:
    assert parse_hook("gave-up=mail -s 'a node' me") == ("gave_up", {"argv": ["mail", "-s", "a node", "me"]})
    assert parse_hook("ready=https://host/hook?a=b") == ("ready", {"url": "https://host/hook?a=b"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ready", "is no hook"),
        ("born=true", "is no hook"),
        ("ready=", "names neither"),
        ("ready='x", "No closing quotation"),
    ],
)
def test_what_is_no_hook_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_hook(text)


def test_signals() -> None:
    assert [signal_number(text) for text in ("TERM", "sigterm", "15", "USR1")] == [15, 15, 15, 10]
    for text in ("TREM", "999", ""):
        with pytest.raises(ConfigurationError, match="is no signal"):
            signal_number(text)
