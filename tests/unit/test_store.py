"""A recorded SUCCESS is known by its state, in whichever format it was written."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from multi.store import is_final

META: dict[str, object] = {"result": {"status": "x"}, "traceback": None, "children": []}


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({"status": "SUCCESS", **META}).encode(),
        json.dumps({**META, "status": "SUCCESS"}).encode(),
        b'{"status":"SUCCESS","result":1}',
        json.dumps({"status": "SUCCESS", **META}, indent=2).encode(),
        pickle.dumps({"status": "SUCCESS", **META}, protocol=2),
        pickle.dumps({"status": "SUCCESS", **META}, protocol=5),
        msgspec.msgpack.encode({"status": "SUCCESS", **META}),
        b"children: []\nresult: 3\nstatus: SUCCESS\ntraceback: null\n",
    ],
)
def test_a_success_is_final(value: bytes) -> None:
    assert is_final(value)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        json.dumps({"status": "FAILURE", **META}).encode(),
        json.dumps({"status": "FAILURE", "result": {"status": "SUCCESS"}}).encode(),
        json.dumps({"result": {"status": "SUCCESS"}, "status": "STARTED"}).encode(),
        json.dumps({"status": "STARTED", "result": "SUCCESS"}).encode(),
        pickle.dumps({"status": "FAILURE", "result": "SUCCESS"}),
        msgspec.msgpack.encode({"status": "RETRY", "result": "SUCCESS"}),
        b"result: SUCCESS\nstatus: FAILURE\n",
    ],
)
def test_nothing_else_is(value: bytes) -> None:
    assert not is_final(value)
