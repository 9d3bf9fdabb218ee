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
        ("running", READY, page(1), True, True),
        ("running", READY, None, True, True),
        ("running", READY, page(0), True, True),  # it has not turned yet
        ("running", READY, page(100), False, False),
        ("running", READY, page(100, "beat"), True, True),
        ("running", READY, page(-50), True, True),  # a clock that was set back
        ("running", BEGUN, page(1), True, False),
        ("running", None, None, True, False),
        ("starting", BEGUN, None, True, False),
        ("reloading", READY, page(1), True, True),
        ("stopping", READY, page(1), True, False),
        ("stopping", READY, page(100), False, False),
        ("backoff", None, None, True, False),
        ("orphaned", READY, page(1), True, True),
        ("stopped", None, None, False, False),
        ("failed", None, None, False, False),
        ("crashed", None, None, False, False),
        ("unknown", None, None, False, False),
    ],
)
def test_a_verdict(state: str, worker: dict[str, Any] | None, seen: NodeStats | None, alive: bool, ready: bool) -> None:
    for wants_ready, expected in ((False, alive), (True, ready)):
        verdict = judged("w1", state, "", worker, seen, ready=wants_ready, max_age=90)
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
