"""Traces of OpenTelemetry: with its real SDK, and with its own instrumentation of Celery at the other end."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.celery import celery_getter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.inline import claim, make_app, work

from multi import App, Reject
from multi.app.telemetry.tracing import Tracing


class Traced:
    """An app with a tracer, and its finished spans."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.app: App = make_app(middleware=[Tracing(self.provider)])

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def traced() -> Traced:
    return Traced()


def _shown(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_and_its_run_are_one_trace_with_who_sends_at_the_top(traced: Traced) -> None:
    @traced.app.task(name="add")
    def add(x: int, y: int) -> int:
        trace.get_current_span().set_attribute("mine", x + y)
        return x + y

    with traced.provider.get_tracer("web").start_as_current_span("request"):
        result = add.delay(1, 2)
    work(traced.app)
    spans = traced.spans()
    request, sent, ran = spans["request"], spans["apply_async/add"], spans["run/add"]
    assert sent.parent is not None and ran.parent is not None
    assert sent.parent.span_id == request.context.span_id
    assert ran.parent.span_id == sent.context.span_id
    assert (sent.kind, ran.kind) == (trace.SpanKind.PRODUCER, trace.SpanKind.CONSUMER)
    assert _shown(sent) == {
        "messaging.system": "multi",
        "messaging.operation.name": "apply_async",
        "messaging.operation.type": "create",
        "messaging.destination.name": "celery",
        "messaging.message.id": result.id,
        "messaging.message.conversation_id": result.id,
        "celery.action": "apply_async",
        "celery.task_name": "add",
    }
    assert _shown(ran) == {
        "messaging.system": "multi",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": "celery",
        "messaging.message.id": result.id,
        "messaging.message.conversation_id": result.id,
        "celery.action": "run",
        "celery.task_name": "add",
        "celery.hostname": "w1@test",
        "celery.retries": 0,
        "celery.state": "SUCCESS",
        "mine": 3,
    }


def test_the_tasks_of_a_chain_follow_from_each_other_async_ones_too(traced: Traced) -> None:
    @traced.app.task(name="first")
    async def first() -> int:
        return 1

    @traced.app.task(name="second")
    def second(value: int) -> int:
        return value

    (first.s() | second.s()).delay()
    work(traced.app)
    spans = traced.spans()
    line = ["apply_async/first", "run/first", "apply_async/second", "run/second"]
    for before, after in pairwise(line):
        parent = spans[after].parent
        assert parent is not None
        assert parent.span_id == spans[before].context.span_id


def test_failures_are_errors_and_what_tasks_say_is_not(traced: Traced) -> None:
    @traced.app.task(name="fail", throws=(KeyError,))
    def fail(expected: bool) -> None:
        raise KeyError("no") if expected else ValueError("bad")

    @traced.app.task(name="again", bind=True, max_retries=1)
    def again(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0)
        raise Reject("enough")

    fail.delay(False)
    work(traced.app)
    span = traced.spans()["run/fail"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description == "bad"
    assert _shown(span)["error.type"] == "builtins.ValueError"
    assert [event.name for event in span.events] == ["exception"]
    traced.exporter.clear()
    fail.delay(True)
    again.delay()
    work(traced.app)
    spans = traced.exporter.get_finished_spans()
    assert all(span.status.status_code is trace.StatusCode.UNSET for span in spans)
    states = [_shown(span)["celery.state"] for span in spans if span.name.startswith("run/")]
    assert states == ["FAILURE", "RETRY", "REJECTED"]


def test_a_worker_of_celerys_finds_the_trace_in_our_headers(traced: Traced) -> None:
    traced.app.send_task("elsewhere")
    # its request has the message's headers as attributes, which is where its instrumentation looks
    context = propagate.extract(SimpleNamespace(**claim(traced.app).headers), getter=celery_getter)
    sent = traced.spans()["apply_async/elsewhere"]
    assert trace.get_current_span(context).get_span_context().span_id == sent.context.span_id


CLIENT = """
import celery
from celery.signals import after_task_publish
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider

CeleryInstrumentor().instrument(tracer_provider=TracerProvider())

@after_task_publish.connect(weak=False)
def tell(headers, **_):
    print(headers["traceparent"])

app = celery.Celery("client", broker="memory://")

@app.task(name="add")
def add(x, y): ...

add.delay(1, 2)
"""


def test_we_find_the_trace_in_the_headers_of_a_celery_client(traced: Traced) -> None:
    @traced.app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    # a process of its own, since Celery's instrumentation looks for tasks in the app of the process
    done = subprocess.run([sys.executable, "-c", CLIENT], capture_output=True, text=True, check=True, timeout=60)
    theirs = done.stdout.strip()
    untraced = App("untraced", broker=traced.app.conf.broker_url, set_as_current=False)
    untraced.send_task("add", (1, 2), headers={"traceparent": theirs})
    work(traced.app)
    ran = traced.spans()["run/add"]
    assert ran.parent is not None
    assert theirs.split("-")[1:3] == [f"{ran.context.trace_id:032x}", f"{ran.parent.span_id:016x}"]
