from __future__ import annotations

import datetime as dt
import json
import math
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from multi import codecs, compression
from multi.errors import ConfigurationError, ContentDisallowed, DecodeError, EncodeError, MissingExtra

ZONE = dt.timezone(dt.timedelta(hours=8))


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**63,
        2**64,
        -(2**70),
        10**400,
        1.5,
        -0.0,
        1e308,
        "",
        "é 😀 \x00 \u2028",
        "\ud800",
        [1, [2, {"a": None}]],
        {"a": 1},
        dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=ZONE),
        dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001 - naive ones travel too
        dt.date(2026, 1, 2),
        dt.time(1, 2, 3),
        Decimal("1.10"),
        UUID("12345678123456781234567812345678"),
        b"text",
        b"\xff\x00",
        {"__type__": "only one key"},
    ],
    ids=repr,
)
def test_json_brings_back_what_went_in(value: Any) -> None:
    back = codecs.load_json(codecs.dump_json([value]))
    assert back == [value]
    assert type(back[0]) is type(value)


def test_json_brings_back_what_is_no_number() -> None:
    back = codecs.load_json(codecs.dump_json([float("nan"), float("inf"), -float("inf")]))
    assert math.isnan(back[0])
    assert back[1:] == [float("inf"), -float("inf")]


def test_numbers_out_of_range_read_as_the_standard_library_reads_them() -> None:
    assert codecs.load_json(b"[1e400]") == [float("inf")]


def test_tuples_become_lists_and_keys_texts() -> None:
    assert codecs.load_json(codecs.dump_json({1: (1, 2)})) == {"1": [1, 2]}


def test_the_type_extensions_are_kombus() -> None:
    moment = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    assert json.loads(codecs.dump_json(moment)) == {"__type__": "datetime", "__value__": "2026-01-02T00:00:00+00:00"}
    assert json.loads(codecs.dump_json(b"a")) == {"__type__": "bytes", "__value__": "a"}
    assert json.loads(codecs.dump_json(b"\xff")) == {"__type__": "base64", "__value__": "/w=="}
    uid = UUID("12345678123456781234567812345678")
    assert json.loads(codecs.dump_json(uid)) == {"__type__": "uuid", "__value__": {"hex": uid.hex}}


def test_an_escaped_type_extension_is_seen_too() -> None:
    assert codecs.load_json(b'{"\\u005f_type__": "bytes", "__value__": "a"}') == b"a"


def test_an_object_may_say_how_it_is_written() -> None:
    class Money:
        def __json__(self) -> Any:
            return {"cents": 5}

    assert codecs.load_json(codecs.dump_json([Money()])) == [{"cents": 5}]


def test_an_unknown_type_extension_is_an_error_not_a_guess() -> None:
    with pytest.raises(DecodeError, match="moon"):
        codecs.load_json(b'{"__type__": "moon", "__value__": 1}')


@pytest.mark.parametrize("value", [int, {1, 2}, [int], {(1, 2): 3}], ids=repr)
def test_what_json_cannot_express_is_refused(value: Any) -> None:
    with pytest.raises(EncodeError):
        codecs.dump_json(value)


def test_a_value_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(EncodeError):
        codecs.dump_json(value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[1,]", b"'a'", b"\xef\xbb\xbf1", b"[" * 100_000])
def test_what_is_no_json_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        codecs.load_json(data)


@pytest.mark.parametrize("data", [b'{"__type__":"datetime","__value__":5}', b'{"__type__":"uuid","__value__":{"x":1}}'])
def test_a_type_extension_with_nonsense_in_it_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        codecs.load_json(data)


@pytest.mark.parametrize("name", ["json", "pickle", "msgpack"])
def test_every_serializer_brings_back_plain_data(name: str) -> None:
    codec = codecs.codec(name)
    assert codec.loads(codec.dumps([1, "a", {"b": None}])) == [1, "a", {"b": None}]


@pytest.mark.parametrize("name", ["json", "pickle", "msgpack"])
def test_every_serializer_tells_broken_bytes(name: str) -> None:
    with pytest.raises(DecodeError):
        codecs.codec(name).loads(b"\xc1\xc1\xc1")


def test_a_serializer_is_found_by_content_type_too() -> None:
    assert codecs.codec("application/x-python-serialize").name == "pickle"


def test_an_unknown_serializer_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="json, msgpack, pickle, yaml"):
        codecs.codec("jason")


def test_yaml_without_its_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtra, match="pip install 'pyyaml'"):
        codecs.codec("yaml").dumps([1])


def test_content_that_is_not_accepted_is_told_with_what_is() -> None:
    accept = codecs.accepted(["json"])
    assert codecs.pick(accept, "application/json").name == "json"
    with pytest.raises(ContentDisallowed, match=r"only json.*'pickle'"):
        codecs.pick(accept, "application/x-python-serialize")


@pytest.mark.parametrize("name", ["zlib", "gzip", "bzip2", "bzip", "lzma", "xz", "brotli", "zstd", "zstandard"])
def test_compression_brings_back_what_went_in(name: str) -> None:
    kind = compression.content_type(name)
    assert compression.decompress(compression.compress(b"a" * 1000, kind), kind) == b"a" * 1000


def test_gzip_is_a_zlib_stream_as_in_celery() -> None:
    import zlib

    assert compression.content_type("gzip") == "application/x-gzip"
    assert zlib.decompress(compression.compress(b"abc", "application/x-gzip")) == b"abc"


def test_what_is_not_compressed_is_told() -> None:
    with pytest.raises(DecodeError, match="x-gzip"):
        compression.decompress(b"plain", "application/x-gzip")
    with pytest.raises(DecodeError, match="squash"):
        compression.decompress(b"plain", "squash")


def test_a_compression_without_its_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(MissingExtra, match="pip install 'brotli'"):
        compression.compress(b"a", compression.content_type("brotli"))


def test_an_unknown_compression_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"bzip2.*zlib"):
        compression.content_type("rar")


@pytest.fixture
def reversing() -> Iterator[str]:
    """A serializer of a project's own, that writes text backwards."""
    codecs.register("reversing", lambda value: json.dumps(value)[::-1], lambda text: json.loads(text[::-1]), "text/rev")
    yield "reversing"
    codecs.unregister("reversing")


def test_a_serializer_of_ones_own_is_found_by_name_and_type(reversing: str) -> None:
    own = codecs.codec(reversing)
    assert own is codecs.codec("text/rev")
    assert own.dumps([1, "ä"]) == json.dumps([1, "ä"])[::-1].encode()
    assert own.loads(own.dumps([1, "ä"])) == [1, "ä"]
    assert codecs.pick(codecs.accepted([reversing]), "text/rev") is own


def test_what_a_serializer_of_ones_own_raises_is_told_with_its_name(reversing: str) -> None:
    with pytest.raises(EncodeError, match="'reversing' can't express it: Object of type object"):
        codecs.codec(reversing).dumps(object())
    with pytest.raises(DecodeError, match="not readable by the serializer 'reversing'"):
        codecs.codec(reversing).loads(b"]")


def test_a_serializer_that_is_taken_away_is_unknown(reversing: str) -> None:
    codecs.register("short", str, str, "text/short")
    codecs.unregister("short")
    for name in ("short", "text/short"):
        with pytest.raises(ConfigurationError, match=f"no serializer is called '{name}'; there are: .*reversing"):
            codecs.codec(name)
    with pytest.raises(ConfigurationError, match="no serializer is called 'short'"):
        codecs.unregister("short")


def test_a_binary_serializer_gets_bytes() -> None:
    codecs.register("raw", lambda value: bytes([value]), lambda data: data[0], "application/x-raw", "binary")
    try:
        assert codecs.codec("raw").loads(codecs.codec("raw").dumps(200)) == 200
    finally:
        codecs.unregister("raw")


def test_what_is_registered_with_kombu_is_known_too() -> None:
    kombu = pytest.importorskip("kombu.serialization")
    kombu.register(
        "kombus", lambda value: json.dumps(value).upper(), lambda text: json.loads(text.lower()), "text/kombus"
    )
    try:
        found = codecs.codec("text/kombus")
        assert (found.name, found.content_type, found.content_encoding) == ("kombus", "text/kombus", "utf-8")
        assert found.dumps(["a"]) == b'["A"]'
        assert found.loads(b'["A"]') == ["a"]
    finally:
        kombu.unregister("kombus")
        codecs.unregister("kombus")


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


def test_a_type_of_ones_own_is_written_as_kombu_writes_it() -> None:
    kombu = pytest.importorskip("kombu.utils.json")
    codecs.register_type(Money, "money", lambda money: money.cents, Money)
    kombu.register_type(Money, "money", lambda money: money.cents, Money)
    try:
        written = codecs.dump_json({"price": Money(250)})
        assert json.loads(written) == {"price": {"__type__": "money", "__value__": 250}}
        assert kombu.loads(written)["price"].cents == 250
        back = codecs.load_json(kombu.dumps([Money(7)]).encode())[0]
        assert isinstance(back, Money)
        assert back.cents == 7
    finally:
        codecs.unregister_type(Money)
        del kombu._encoders[Money], kombu._decoders["money"]
    with pytest.raises(EncodeError, match="Money is not JSON serializable"):
        codecs.dump_json(Money(1))


def test_a_compression_of_ones_own_is_found_by_its_names() -> None:
    compression.register(lambda body: body[::-1], lambda body: body[::-1], "application/x-mirror", ["mirror"])
    try:
        assert compression.content_type("mirror") == "application/x-mirror"
        assert compression.content_type("application/x-mirror") == "application/x-mirror"
        assert compression.compress(b"abc", "application/x-mirror") == b"cba"
        assert compression.decompress(b"cba", "mirror") == b"abc"
    finally:
        compression.unregister("application/x-mirror")
    with pytest.raises(ConfigurationError, match="no compression is called 'mirror'"):
        compression.content_type("mirror")


def test_a_compression_that_fails_is_told() -> None:
    def fail(body: bytes) -> bytes:
        raise OSError("no room")

    compression.register(fail, fail, "application/x-fail")
    try:
        with pytest.raises(EncodeError, match="can't be compressed .*no room"):
            compression.compress(b"", "application/x-fail")
        with pytest.raises(DecodeError, match="not compressed as its header says"):
            compression.decompress(b"", "application/x-fail")
    finally:
        compression.unregister("application/x-fail")
