"""The URLs of brokers and backends: taken apart, and printed without their passwords."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from multi.errors import ConfigurationError


class Url(NamedTuple):
    """One URL, percent-decoded.

    `path` keeps its leading slash: "" for `redis://h`, "/1" for `redis://h/1`, "//" for `amqp://h//`. `host` is ""
    where none was given, `port` None.
    """

    scheme: str
    username: str | None = None
    password: str | None = None
    host: str = ""
    port: int | None = None
    path: str = ""
    query: Mapping[str, str] = MappingProxyType({})


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_NEXT_URL = re.compile(r"[;,](?=[A-Za-z][A-Za-z0-9+.-]*://)")
# A password: after "scheme:", slashes or stray quotes, and "user:", up to the last @ before the next URL or blank.
_PASSWORD = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*:[/'\"]*[^\s:/@;'\"]*:)((?:(?![;,][A-Za-z][A-Za-z0-9+.-]*://)[^\s])*)@"
)
# The same in what is no URL, though it is meant to be one: after the first colon that no slash or quote follows.
_LOOSE_PASSWORD = re.compile(r":(?![/'\"]).*@")
_SECRET_OPTION = re.compile(r"(?i)([?&][\w.-]*(?:password|passwd|secret|token)=)[^&\s;]*")


def mask(url: str) -> str:
    """`url` with every password replaced by `**`; any text that contains URLs may be given, also mangled ones."""
    if "@" in url:
        url = _PASSWORD.sub(r"\1**@", url)
    if "=" in url:
        url = _SECRET_OPTION.sub(r"\1**", url)
    return url


def split(urls: str) -> list[str]:
    """The single URLs of `a://…;b://…` (alternatives of one broker)."""
    return [part.strip() for part in _NEXT_URL.split(urls) if part.strip()]


def scheme(url: str) -> str:
    """The scheme of a URL (of the first, if it is a list), lower case; checks nothing else."""
    return parse((split(url) or [""])[0]).scheme


def parse(url: str, schemes: Sequence[str] = ()) -> Url:
    """Take one URL apart. With `schemes`, any other one is an error that lists them. Raises `ConfigurationError`."""
    head, separator, rest = url.strip().partition("://")
    if not separator:
        raise _no_url(url)
    if not _SCHEME.match(head):
        raise ConfigurationError(
            f"{mask(url)!r} is no URL: {head!r} can't be its scheme, as in redis://localhost:6379/0"
        )
    head = head.lower()
    if schemes and head not in schemes:
        raise ConfigurationError(
            f"{mask(url)!r}: scheme {head!r} is not known here; known are {', '.join(sorted(schemes))}"
        )
    rest, _, options = rest.partition("?")
    # a password may hold an unescaped slash, so the last @ before the path of the host ends it
    userinfo, at, location = rest.rpartition("@")
    if not at or rest.startswith("/"):
        at, location = "", rest
    authority, slash, path = location.partition("/")
    username: str | None = None
    password: str | None = None
    if at:
        user, colon, secret = userinfo.partition(":")
        username = _unquote(user) or None
        password = _unquote(secret) if colon else None
    host, port = _host(authority, url)
    return Url(head, username, password, _unquote(host), port, _unquote(slash + path), _query(options))


def _no_url(url: str) -> ConfigurationError:
    shown = mask(url)
    if shown == url:
        shown = _LOOSE_PASSWORD.sub(":**@", url)
    head = re.match(r"\s*['\"]?([A-Za-z][A-Za-z0-9+]*):", url)
    example = f"{head.group(1)}://" if head else "redis://localhost:6379/0"
    why = f"it should begin with a scheme and '://', as in {example}"
    if "'" in url or '"' in url:
        why += (
            "; quotation marks stand where slashes belong"
            if "''" in url or '""' in url
            else "; it holds quotation marks"
        )
    return ConfigurationError(f"{shown!r} is no URL: {why}")


def _host(authority: str, url: str) -> tuple[str, int | None]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ConfigurationError(f"{mask(url)!r} is no URL: the address in brackets has no proper end")
        digits = rest[1:]
    else:
        host, _, digits = authority.partition(":")
    if "'" in host or '"' in host or any(c.isspace() for c in host):
        raise ConfigurationError(f"{mask(url)!r} is no URL: {host!r} can't be the name of a host")
    if not digits:
        return host, None
    if not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 65536:
        raise ConfigurationError(f"{mask(url)!r} is no URL: {digits!r} is no port, which is a number from 1 to 65535")
    return host, int(digits)


def _query(options: str) -> dict[str, str]:
    found = {}
    for pair in options.split("&"):
        if pair:
            key, _, value = pair.partition("=")
            found[_unquote(key)] = _unquote(value.replace("+", " "))
    return found


def _unquote(text: str) -> str:
    if "%" not in text:
        return text
    return _ESCAPES.sub(lambda match: bytes.fromhex(match.group().replace("%", "")).decode("utf-8", "replace"), text)
