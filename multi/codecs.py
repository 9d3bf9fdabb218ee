"""Serializers: Python values to bytes and back, under the names and content types of Celery's.

JSON carries kombu's type extensions: `{"__type__": "datetime", "__value__": "..."}` for datetime, date, time, decimal,
uuid, bytes (and base64 for bytes that are no UTF-8). Encoding is done by the standard library's encoder, because
msgspec writes bytes, datetimes or NaN silently in other ways; only values of plain scalar types take the fast way.
Decoding takes msgspec's decoder wherever the text holds no type extension, and the standard library's for the rest and
for what msgspec refuses (NaN, 1e400, lone surrogates).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from json import JSONDecodeError, JSONDecoder, JSONEncoder
from typing import Any

import msgspec

from multi.errors import ConfigurationError, ContentDisallowed, DecodeError, EncodeError, MissingExtra


class Codec(msgspec.Struct, frozen=True):
    """One serializer. `dumps` raises `EncodeError`, `loads` raises `DecodeError`."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


# JSON ----------------------------------------------------------------------------------------------------------------


#: Types of the project's own that JSON expresses: type -> name, encoder.
_REGISTERED: dict[type, tuple[str, Callable[[Any], Any]]] = {}


def _typed(kind: str, value: Any) -> dict[str, Any]:
    return {"__type__": kind, "__value__": value}


def _default(value: Any) -> Any:
    """What the encoder can't express by itself. The modules are imported when a value of theirs is met first."""
    reducer = getattr(value, "__json__", None)
    if reducer is not None:
        return reducer()
    lazy_text = sys.modules.get("django.utils.functional")
    if lazy_text is not None and isinstance(value, lazy_text.Promise):
        return str(value)
    import datetime

    if isinstance(value, datetime.datetime):
        return _typed("datetime", value.isoformat())
    if isinstance(value, datetime.date):
        return _typed("date", value.isoformat())
    if isinstance(value, datetime.time):
        return _typed("time", value.isoformat())
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        return _typed("decimal", str(value))
    uuid = sys.modules.get("uuid")
    if uuid is not None and isinstance(value, uuid.UUID):
        return _typed("uuid", {"hex": value.hex})
    for kind, (name, encode) in _REGISTERED.items():
        if isinstance(value, kind):
            return _typed(name, encode(value))
    if isinstance(value, bytes):
        try:
            return _typed("bytes", value.decode("utf-8"))
        except UnicodeDecodeError:
            import base64

            return _typed("base64", base64.b64encode(value).decode("ascii"))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _revive(found: dict[str, Any]) -> Any:
    if len(found) == 2 and "__type__" in found and "__value__" in found:
        kind, value = found["__type__"], found["__value__"]
        reviver = _REVIVERS.get(kind) if isinstance(kind, str) else None
        if reviver is None:
            raise ValueError(f"unsupported type {kind!r}; known are {', '.join(_REVIVERS)}")
        return reviver(value)
    return found


def _datetime(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


def _date(text: str) -> Any:
    return _datetime(text).date()


def _time(text: str) -> Any:
    from datetime import time

    return time.fromisoformat(text)


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _uuid(fields: dict[str, Any]) -> Any:
    from uuid import UUID

    return UUID(**fields)


def _base64(text: str) -> bytes:
    from base64 import b64decode

    return b64decode(text.encode("ascii"))


_REVIVERS: dict[str, Callable[[Any], Any]] = {
    "datetime": _datetime,
    "date": _date,
    "time": _time,
    "decimal": _decimal,
    "uuid": _uuid,
    "bytes": lambda text: text.encode("utf-8"),
    "base64": _base64,
}

_encode_text = JSONEncoder(default=_default).encode
_decode_text = JSONDecoder(object_hook=_revive).decode
_decode_fast = msgspec.json.Decoder().decode
_encode_fast = msgspec.json.Encoder().encode

#: Types for which msgspec and the standard library write JSON that reads back as the same value. No float: NaN.
PLAIN = frozenset((int, str, bool, type(None)))


def dump_json(value: Any) -> bytes:
    """`value` as JSON with type extensions. Raises `EncodeError`."""
    if type(value) in PLAIN:
        try:
            return _encode_fast(value)
        except (
            OverflowError,
            ValueError,
            msgspec.MsgspecError,
        ):  # an integer beyond 64 bits, a lone surrogate: the slow way knows
            pass
    try:
        return _encode_text(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(str(error)) from error


def load_json(data: bytes) -> Any:
    """The inverse of `dump_json`. Raises `DecodeError`."""
    # an escaped ASCII letter could hide the key of a type extension
    if b"__type__" not in data and b"\\u00" not in data:
        try:
            return _decode_fast(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            pass  # the slow way either reads it or says what is wrong in words people know
    try:
        return _decode_text(data.decode("utf-8"))
    except (JSONDecodeError, UnicodeDecodeError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"JSON with a value that can't be read: {error}") from None


# the others ----------------------------------------------------------------------------------------------------------


def _dump_pickle(value: Any) -> bytes:
    import pickle

    try:
        return pickle.dumps(value, protocol=2)  # the protocol that every peer reads
    except Exception as error:  # __reduce__ of anybody's class may raise anything
        raise EncodeError(str(error)) from error


def _load_pickle(data: bytes) -> Any:
    import pickle

    try:
        return pickle.loads(data)
    except Exception as error:  # as above
        raise DecodeError(f"not a pickle that can be read here: {error}") from error


def _dump_msgpack(value: Any) -> bytes:
    try:
        return msgspec.msgpack.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise EncodeError(str(error)) from error


def _load_msgpack(data: bytes) -> Any:
    try:
        return msgspec.msgpack.decode(data)
    except (ValueError, TypeError, RecursionError, msgspec.MsgspecError) as error:
        raise DecodeError(f"not msgpack: {error}") from None


def _yaml() -> Any:
    from importlib import import_module

    try:
        return import_module("yaml")
    except ImportError:
        raise MissingExtra("yaml", "pyyaml", "the serializer 'yaml'") from None


def _dump_yaml(value: Any) -> bytes:
    yaml = _yaml()
    try:
        text: str = yaml.safe_dump(value)
    except yaml.YAMLError as error:
        raise EncodeError(str(error)) from error
    return text.encode("utf-8")


def _load_yaml(data: bytes) -> Any:
    yaml = _yaml()
    try:
        return yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DecodeError(f"not YAML: {error}") from None


JSON = Codec("json", "application/json", "utf-8", dump_json, load_json)

CODECS = {
    codec.name: codec
    for codec in (
        JSON,
        Codec("pickle", "application/x-python-serialize", "binary", _dump_pickle, _load_pickle),
        Codec("msgpack", "application/x-msgpack", "binary", _dump_msgpack, _load_msgpack),
        Codec("yaml", "application/x-yaml", "utf-8", _dump_yaml, _load_yaml),
    )
}

_BY_TYPE = {codec.content_type: codec for codec in CODECS.values()}


def codec(name: str) -> Codec:
    """A serializer by name or content type; installed ones (entry points `multi.serializers`) too."""
    found = CODECS.get(name) or _BY_TYPE.get(name) or _of_kombu(name)
    if found is None:
        from multi import plugins

        try:
            found = plugins.find("multi.serializers", name)
        except ConfigurationError:
            known = sorted({*CODECS, *plugins.names("multi.serializers")})
            if name in ("auth", "application/data"):
                raise ConfigurationError("the serializer 'auth' is there after app.setup_security()") from None
            raise ConfigurationError(f"no serializer is called {name!r}; there are: {', '.join(known)}") from None
        assert isinstance(found, Codec)
        CODECS[name] = _BY_TYPE[found.content_type] = found
    return found


def register(
    name: str,
    encoder: Callable[[Any], str | bytes],
    decoder: Callable[[Any], Any],
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Add a serializer of your own under a name and a content type; `accept_content` must name it, too.

    The arguments are those of kombu's function of this name. With the encoding "utf-8" the decoder gets a text, with
    "binary" it gets bytes. What encoder and decoder raise is told as an `EncodeError` or a `DecodeError`.
    """

    def dumps(value: Any) -> bytes:
        try:
            made = encoder(value)
            return made.encode(content_encoding) if isinstance(made, str) else bytes(made)
        except Exception as error:  # whatever a serializer of anybody's may raise
            raise EncodeError(f"the serializer {name!r} can't express it: {error}") from error

    def loads(data: bytes) -> Any:
        try:
            return decoder(bytes(data) if content_encoding in _BINARY else bytes(data).decode(content_encoding))
        except Exception as error:  # as above
            raise DecodeError(f"not readable by the serializer {name!r}: {error}") from error

    install(Codec(name, content_type, content_encoding, dumps, loads))


def install(codec: Codec) -> None:
    """Have this serializer known under its name and its content type."""
    CODECS[codec.name] = _BY_TYPE[codec.content_type] = codec


_BINARY = ("binary", "ascii-8bit")


def unregister(name: str) -> None:
    """Take a serializer away again. Raises `ConfigurationError` for one that isn't there."""
    found = CODECS.pop(name, None)
    if found is None:
        raise ConfigurationError(f"no serializer is called {name!r}; there are: {', '.join(sorted(CODECS))}")
    _BY_TYPE.pop(found.content_type, None)


def register_type(
    kind: type, name: str, encoder: Callable[[Any], Any], decoder: Callable[[Any], Any] | None = None
) -> None:
    """Have JSON express values of `kind`: as what `encoder` makes of them, marked with `name`, which `decoder` reads.

    Both sides must know it; Celery's side by kombu's function of this name, which writes the same.
    """
    _REGISTERED[kind] = (name, encoder)
    if decoder is not None:
        _REVIVERS[name] = decoder


def unregister_type(kind: type) -> None:
    """Undo `register_type`."""
    name, _ = _REGISTERED.pop(kind)
    _REVIVERS.pop(name, None)


def _of_kombu(name: str) -> Codec | None:
    """A serializer that the project has registered with kombu, where that is loaded."""
    kombu = sys.modules.get("kombu.serialization")
    if kombu is None:
        return None
    registry: Any = kombu.registry
    content_type = registry.name_to_type.get(name) or (name if name in registry.type_to_name else None)
    known = registry.type_to_name.get(content_type)
    if content_type is None or known is None or known in ("json", "pickle", "yaml", "msgpack", "auth"):
        return None
    encoding = registry._encoders[known].content_encoding

    def encoder(value: Any) -> str | bytes:
        made: str | bytes = kombu.dumps(value, serializer=known)[2]
        return made

    def decoder(data: Any) -> Any:
        return kombu.loads(data, content_type, encoding, force=True)

    register(known, encoder, decoder, content_type, encoding)
    return CODECS[known]


def accepted(names: Iterable[str]) -> dict[str, Codec]:
    """Content type -> codec, for the `accept_content` setting (names or content types)."""
    return {found.content_type: found for found in map(codec, names)}


def pick(accept: dict[str, Codec], content_type: str) -> Codec:
    """The codec of an accepted content type. Raises `ContentDisallowed`, which names what is accepted."""
    try:
        return accept[content_type]
    except KeyError:
        allowed = ", ".join(found.name for found in accept.values())
        name = _BY_TYPE[content_type].name if content_type in _BY_TYPE else content_type
        raise ContentDisallowed(
            f"content of type {content_type!r} is not accepted here, only {allowed} "
            f"(add {name!r} to the setting accept_content to accept it)"
        ) from None
