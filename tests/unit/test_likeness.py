"""What Celery's app, tasks and control have besides: small things that are here, and errors with a way out for the others."""

from __future__ import annotations

import datetime
import uuid

import pytest

import multi
from multi import App
from multi.app.lacking import APP, CONTROL, TASK
from multi.errors import Lacking, UnsupportedOption

app = App("like", set_as_current=False)


@app.task(bind=True)
def held(self: multi.Task) -> None: ...


@pytest.mark.parametrize(
    ("thing", "name"),
    [*((app, name) for name in APP), *((held, name) for name in TASK), *((app.control, name) for name in CONTROL)],
)
def test_what_is_lacking_is_told_with_what_to_use_instead(thing: object, name: str) -> None:
    with pytest.raises(Lacking, match=rf"{name} isn't here: \S"):
        getattr(thing, name)
    assert not hasattr(thing, name)
    assert issubclass(Lacking, UnsupportedOption)


@pytest.mark.parametrize("thing", [app, held, app.control])
def test_other_names_are_missing_as_ever(thing: object) -> None:
    with pytest.raises(AttributeError, match="object has no attribute 'nothing'") as told:
        thing.nothing  # type: ignore[attr-defined]  # that is the point  # noqa: B018
    assert not isinstance(told.value, Lacking)


def test_what_is_lacking_is_celerys() -> None:
    celery = pytest.importorskip("celery")
    from celery.app.control import Control
    from celery.app.task import Task

    theirs = celery.Celery("theirs", set_as_current=False)
    for thing, names in ((theirs, APP), (Task, TASK), (Control, CONTROL)):
        assert [name for name in names if name not in dir(thing)] == []


def test_small_things_of_celerys_are_here() -> None:
    assert uuid.UUID(multi.uuid()).version == 4
    assert multi.subtask is multi.signature
    assert app.timezone is datetime.UTC and app.uses_utc_timezone()
    berlin = App("b", timezone="Europe/Berlin", set_as_current=False)
    assert str(berlin.timezone) == "Europe/Berlin" and not berlin.uses_utc_timezone()
    assert app.oid == app.thread_oid
    assert (app.configured, berlin.configured) == (False, True)
    with pytest.raises(app.AsyncResult("x").TimeoutError):
        raise multi.TimeoutError
    assert issubclass(multi.Retry, multi.exceptions.CeleryError)


def test_the_settings_are_shown_without_their_secrets() -> None:
    shown = App(
        "s", set_as_current=False, redis_password="geheim", worker_concurrency=3, broker_url="redis://:geheim@h"
    )
    for text in (shown.conf.humanize(), str(shown.conf.table()), shown.bugreport()):
        assert "geheim" not in text and "redis://:**@h" in text
    assert "worker_concurrency: 3" in shown.conf.humanize().splitlines()
    assert shown.conf.table()["worker_concurrency"] == 3
    assert shown.conf.table()["broker_url"] == "redis://:**@h"
    shown.conf.broker_url = "amqp://u:geheim@h//;amqp://v:geheim@h2//"
    shown.conf.broker_transport_options = {"sentinel_kwargs": {"password": "geheim"}}
    assert shown.conf.table()["broker_url"] == "amqp://u:**@h//;amqp://v:**@h2//"
    assert shown.conf.table()["broker_transport_options"] == "{'sentinel_kwargs': {'password': ***}}"
    assert shown.conf.table(censored=False)["redis_password"] == "geheim"
    assert "worker_pool" in shown.conf.table(with_defaults=True) and "worker_pool" not in shown.conf.table()
    assert "python" in shown.bugreport()
