"""Settings that change what a worker does with a message, or with its broker."""

from __future__ import annotations

from typing import Any

import pytest
from support.inline import claim, make_app

from multi.app.execute import prepare, stores
from multi.app.job import Job
from multi.config import Settings
from multi.outcome import Outcome
from multi.worker.giving_up import given_up


def run(app: Any, redelivered: bool = False) -> Outcome:
    found = prepare(app, claim(app), queue="celery", redelivered=redelivered, starts=0, hostname="w1@h")
    outcome = found.run() if isinstance(found, Job) else found
    app.backend.store(stores(app, outcome))
    return outcome


def test_a_success_that_is_delivered_again_is_not_run_again_where_that_is_wanted() -> None:
    app = make_app(worker_deduplicate_successful_tasks=True)
    runs: list[int] = []
    task = app.task(name="t")(runs.append)
    for redelivered in (False, True):
        task.apply_async((1,), task_id="same")
        last = run(app, redelivered)
    assert (runs, last.state, last.verb) == ([1], "IGNORED", "ack")
    task.apply_async((2,), task_id="same")
    run(app)
    assert runs == [1, 2], "only what the broker delivers again is looked up"
    # its followers may not have been sent when its worker died
    task.apply_async((3,), task_id="same", link=task.s())
    run(app, redelivered=True)
    assert runs == [1, 2, 3]


def test_failures_are_kept_as_long_as_their_setting_says() -> None:
    app = make_app(result_expires=1000, result_failure_expires=5)

    @app.task(name="fails")
    def fails(wrong: bool) -> None:
        if wrong:
            raise ValueError

    for wrong, expires in ((True, 5), (False, 1000)):
        fails.delay(wrong)
        found = prepare(app, claim(app), queue="celery", redelivered=False, starts=0, hostname="w1@h")
        assert isinstance(found, Job)
        assert [store.expires for store in stores(app, found.run())] == [expires]


@pytest.mark.parametrize(
    ("settings", "connected", "failures", "reason"),
    [
        ({}, False, 1000, ""),
        ({}, True, 1000, ""),
        ({"broker_connection_retry_on_startup": False}, False, 1, "retry_on_startup is False"),
        ({"broker_connection_retry_on_startup": False}, True, 1, ""),
        ({"broker_connection_retry": False}, False, 1, "retry is False"),
        ({"broker_connection_retry": False}, True, 1, "retry is False"),
        ({"broker_connection_retry": False, "broker_connection_retry_on_startup": True}, False, 1, ""),
        ({"broker_connection_max_retries": 3}, True, 3, ""),
        ({"broker_connection_max_retries": 3}, True, 4, "max_retries is 3"),
        ({"broker_connection_max_retries": 0}, True, 400, ""),
    ],
    ids=str,
)
def test_a_worker_waits_for_its_broker_unless_it_is_told_not_to(
    settings: dict[str, Any], connected: bool, failures: int, reason: str
) -> None:
    found = given_up(Settings(settings), connected=connected, failures=failures)
    assert reason in found and bool(found) == bool(reason)
