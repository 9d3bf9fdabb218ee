from __future__ import annotations

import pytest

from multi import urls
from multi.errors import ConfigurationError
from multi.urls import Url


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("redis://localhost", Url("redis", host="localhost")),
        ("redis://:secret@h:6379/1", Url("redis", None, "secret", "h", 6379, "/1")),
        ("redis://auth:p%40ss@h/10", Url("redis", "auth", "p@ss", "h", None, "/10")),
        ("redis://:p@ss/w@h/1", Url("redis", None, "p@ss/w", "h", None, "/1")),
        ("REDIS://h", Url("redis", host="h")),
        ("redis://[::1]:7/0", Url("redis", host="::1", port=7, path="/0")),
        ("amqp://guest:guest@localhost:5672//", Url("amqp", "guest", "guest", "localhost", 5672, "//")),
        ("amqp://", Url("amqp")),
        ("sqlite:////a/b%20c/p@th.db", Url("sqlite", path="//a/b c/p@th.db")),
        (
            "redis+socket:///tmp/r.sock?virtual_host=1&x=a+b",
            Url("redis+socket", path="/tmp/r.sock", query={"virtual_host": "1", "x": "a b"}),
        ),
    ],
)
def test_a_url_is_taken_apart(text: str, parsed: Url) -> None:
    assert urls.parse(text) == parsed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("amqp:''guest:geheim@localhost:5672''", "amqp://"),
        ("amqp:''guest:geheim@localhost:5672''", "quotation marks"),
        ("localhost:6379", "scheme"),
        ("redis://h:99999", "port"),
        ("redis://h:port", "port"),
        ("redis://[::1", "brackets"),
        ("re dis://h", "scheme"),
        ("", "scheme"),
    ],
)
def test_what_is_no_url_is_refused_with_its_reason(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        urls.parse(text)
    assert "geheim" not in str(caught.value)


def test_a_wrong_scheme_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="amqp, redis"):
        urls.parse("http://h", ("redis", "amqp"))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://h/1", "redis://h/1"),
        ("redis://:pw@h/1", "redis://:**@h/1"),
        ("redis://user:p@s/s@h/1", "redis://user:**@h/1"),
        ("sentinel://:a@h1;sentinel://:b@h2", "sentinel://:**@h1;sentinel://:**@h2"),
        ("amqp:''guest:geheim@localhost''", "amqp:''guest:**@localhost''"),
        ("connected to redis://:pw@h/1, and more", "connected to redis://:**@h/1, and more"),
        ("redis://h/1?password=geheim&x=1", "redis://h/1?password=**&x=1"),
    ],
)
def test_passwords_are_masked_in_any_text(text: str, masked: str) -> None:
    assert urls.mask(text) == masked


def test_several_urls_are_split() -> None:
    assert urls.split("redis://a;redis://b/1") == ["redis://a", "redis://b/1"]
    assert urls.scheme("sentinel://a;sentinel://b") == "sentinel"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis//x:geheim@h/0", "redis//x:**@h/0"),
        ("guest:geheim@localhost", "guest:**@localhost"),
        ("guest:ge@heim:x@localhost", "guest:**@localhost"),
        ("redis:/:geheim@h", "redis:/:**@h"),
    ],
)
def test_a_password_is_not_shown_by_what_is_no_url(text: str, shown: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        urls.parse(text)
    assert str(caught.value).startswith(f"'{shown}' is no URL")
