"""What a probe makes of what is known of a node."""

from __future__ import annotations

import time
from typing import Any

import pytest

from multi.controller.glance import judged
from multi.stats import NodeStats

READY: dict[str, Any] = {"generation": 1, "ready": 5.0}
BEGUN: dict[str, Any] = {"generation": 1, "ready": None}


def page(age: float, pool: str = "prefork") -> NodeStats:
    last = time.time() - age if age else 0.0
    return NodeStats("ready", 1, 1, 1, 0.0, last, 0, pool, [], [])


@pytest.mark.parametrize(
    ("state", "worker", "seen", "alive", "ready"),
    [
        ("running", READY, (1, "prefork"), True, True),
        ("running", READY, None, True, True),
        ("running", READY, (0, "prefork"), True, True),  # it has not turned yet
        ("running", READY, (100, "prefork"), False, False),
        ("running", READY, (100, "beat"), True, True),
        ("running", READY, (-50, "prefork"), True, True),  # a clock that was set back
        ("running", BEGUN, (1, "prefork"), True, False),
        ("running", None, None, True, False),
        ("starting", BEGUN, None, True, False),
        ("reloading", READY, (1, "prefork"), True, True),
        ("stopping", READY, (1, "prefork"), True, False),
        ("stopping", READY, (100, "prefork"), False, False),
        ("backoff", None, None, True, False),
        ("orphaned", READY, (1, "prefork"), True, True),
        ("stopped", None, None, False, False),
        ("failed", None, None, False, False),
        ("crashed", None, None, False, False),
        ("unknown", None, None, False, False),
    ],
)
def test_a_verdict(
    state: str, worker: dict[str, Any] | None, seen: tuple[float, str] | None, alive: bool, ready: bool
) -> None:
    """`seen` is how long ago the page says that the loop has turned, in seconds, and the pool."""
    found = page(*seen) if seen else None
    for wants_ready, expected in ((False, alive), (True, ready)):
        verdict = judged("w1", state, "", worker, found, ready=wants_ready, max_age=90)
        assert verdict.ok is expected
        assert verdict.state == state
        assert expected or verdict.reason, "a refusal says why"


def test_a_verdict_says_what_the_keeper_says() -> None:
    assert judged("w1", "failed", "given up after 5 crashes", None, None, ready=False, max_age=90).reason == (
        "given up after 5 crashes"
    )
    hung = judged("w1", "running", "", READY, page(100), ready=False, max_age=90)
    assert (
        hung.reason == "its loop has not turned for 100 s (more than 90 s is too long); where it hangs: multi stack w1"
    )
    assert hung.age is not None
    assert 99 < hung.age < 105
