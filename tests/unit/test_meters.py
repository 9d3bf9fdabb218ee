"""Metrics of OpenTelemetry, with its real SDK."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from support.inline import make_app, work

from multi import App, Ignore
from multi.app.telemetry.meters import Meters


class Metered:
    """An app with a meter, and its numbers."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.app: App = make_app(middleware=[Meters(MeterProvider([self.reader]))])

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return [
            point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def metered() -> Metered:
    return Metered()


def test_what_is_sent_and_run_is_counted_by_task_and_outcome(metered: Metered) -> None:
    @metered.app.task(name="some")
    def some(how: str) -> None:
        if how == "fail":
            raise KeyError(how)
        if how == "ignore":
            raise Ignore

    @metered.app.task(name="later")
    async def later() -> None: ...

    for how in ("fine", "fine", "fail", "ignore"):
        some.delay(how)
    later.delay()
    work(metered.app)
    sent = {
        point.attributes["celery.task_name"]: point.value for point in metered.points("messaging.client.sent.messages")
    }
    assert sent == {"some": 4, "later": 1}
    ran = {
        (point.attributes["celery.task_name"], point.attributes["celery.state"]): point
        for point in metered.points("messaging.process.duration")
    }
    assert {key: point.count for key, point in ran.items()} == {
        ("some", "SUCCESS"): 2,
        ("some", "FAILURE"): 1,
        ("some", "IGNORED"): 1,
        ("later", "SUCCESS"): 1,
    }
    assert dict(ran["some", "FAILURE"].attributes) == {
        "messaging.system": "multi",
        "messaging.operation.name": "run",
        "messaging.destination.name": "celery",
        "celery.task_name": "some",
        "celery.state": "FAILURE",
        "error.type": "builtins.KeyError",
    }


def test_the_name_in_an_apps_list_is_enough() -> None:
    app = make_app(middleware=["opentelemetry-metrics"])
    assert [type(each).__name__ for each in app.middleware] == ["Meters"]
