"""What engines say of options, in the words of a description."""

from __future__ import annotations

import pytest

from multi.nodes.description.wording import in_keys


@pytest.mark.parametrize(
    ("text", "said", "keys"),
    [
        ("-P asyncio: no; use -P threads", 'pool = "asyncio": no; use pool = "threads"', ["pool", "pool"]),
        (
            "-Q a,b -c 4 --time-limit=600: no",
            'queues = "a,b" concurrency = 4 time_limit = 600: no',
            ["queues", "concurrency", "time_limit"],
        ),
        ("give -c the larger number", "give concurrency the larger number", ["concurrency"]),
        ("(and --executable, if elsewhere)", "(and python, if elsewhere)", ["python"]),
        ("as in --cmd '-m celery worker'; or", "as in command = '-m celery worker'; or", ["command"]),
        ("Invalid value for '-c' / '--concurrency': 'x'", "Invalid value for concurrency: 'x'", ["concurrency"]),
        ("give --quit-after, which sends QUIT", "give stop.quit_after, which sends QUIT", ["stop.quit_after"]),
        (
            "a well-known word, and a -z or --own that is no key",
            "a well-known word, and a -z or --own that is no key",
            [],
        ),
    ],
)
def test_options_become_keys(text: str, said: str, keys: list[str]) -> None:
    assert in_keys(text) == (said, keys)
