"""Compression of message bodies, under the names and content types of Celery's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from multi.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra

ZLIB = "application/x-gzip"

#: name -> content type; "gzip" is a zlib stream, as in Celery
_NAMES = {
    "zlib": ZLIB,
    "gzip": ZLIB,
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}


def content_type(name: str) -> str:
    """The content type of a compression, by name or by itself. Raises `ConfigurationError`."""
    if name in _MODULES:
        return name
    try:
        return _NAMES[name]
    except KeyError:
        raise ConfigurationError(f"no compression is called {name!r}; there are: {', '.join(sorted(_NAMES))}") from None


def register(
    encoder: Callable[[bytes], bytes],
    decoder: Callable[[bytes], bytes],
    content_type: str,
    aliases: Iterable[str] = (),
) -> None:
    """Add a compression of your own; the arguments are those of kombu's function of this name.

    Whoever is to read the messages must have it, too.
    """
    found = _Own(encoder, decoder)
    _MODULES[content_type] = lambda: found
    _NAMES.update(dict.fromkeys(aliases, content_type))


def unregister(content_type: str) -> None:
    """Take a compression away again."""
    _MODULES.pop(content_type, None)
    for name in [name for name, kind in _NAMES.items() if kind == content_type]:
        del _NAMES[name]


class _Own:
    """Two functions in the place of a module."""

    def __init__(self, encoder: Callable[[bytes], bytes], decoder: Callable[[bytes], bytes]) -> None:
        self.compress = encoder
        self.decompress = decoder


def compress(body: bytes, kind: str) -> bytes:
    """`body` compressed; `kind` is a content type."""
    try:
        squeezed: bytes = _module(kind).compress(body)
    except MissingExtra:
        raise
    except Exception as error:  # each library has an error class of its own
        raise EncodeError(f"the body can't be compressed ({kind}): {error}") from error
    return squeezed


def decompress(body: bytes, kind: str) -> bytes:
    """The inverse; names are understood too. Raises `DecodeError` for what isn't compressed so."""
    try:
        module = _module(content_type(kind))
    except ConfigurationError as error:
        raise DecodeError(str(error)) from None
    try:
        plain: bytes = module.decompress(body)
    except Exception as error:  # each library has an error class of its own
        raise DecodeError(f"the body is not compressed as its header says ({kind}): {error}") from None
    return plain


def _module(kind: str) -> Any:
    return _MODULES[kind]()


def _zlib() -> ModuleType:
    import zlib

    return zlib


def _bz2() -> ModuleType:
    import bz2

    return bz2


def _lzma() -> ModuleType:
    import lzma

    return lzma


def _brotli() -> ModuleType:
    return _extra("brotli", "brotli")


def _zstd() -> ModuleType:
    # in Python from 3.14 on; before that its backport, which Celery's users have, too
    return _extra("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd", "zstd")


def _extra(module: str, name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise MissingExtra(module, module, f"the compression {name!r}") from None


_MODULES: dict[str, Callable[[], Any]] = {
    ZLIB: _zlib,
    "application/x-bz2": _bz2,
    "application/x-lzma": _lzma,
    "application/x-brotli": _brotli,
    "application/zstd": _zstd,
}
