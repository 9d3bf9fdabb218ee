"""Spans of OpenTelemetry: one where a message is made, one around each run, of one trace wherever they are.

Names, headers and the attributes `celery.*` are those of opentelemetry-instrumentation-celery, so that traces go through
programs of both; beside them stand the attributes of the semantic conventions for messaging.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from multi import __version__, signals
from multi.app.middleware import Middleware, Run, Sending
from multi.app.request import running
from multi.errors import Ignore, MissingExtra, Reject, Retry

try:
    from opentelemetry import propagate, trace
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode
except ImportError:
    raise MissingExtra("opentelemetry-api", "multi-workers[opentelemetry]", "traces of tasks") from None

if TYPE_CHECKING:
    from multi.app.app import App

#: Under this name a run's request knows its span.
_SPAN = "_span"


class Tracing(Middleware):
    """Traces of an app's tasks: `App(middleware=["opentelemetry"])`, or `Tracing(tracer_provider)` for a provider of your own."""

    def __init__(self, tracer_provider: trace.TracerProvider | None = None) -> None:
        self.provider = tracer_provider
        # where no provider is given it is the global one, which may be set later
        self._tracer = trace.get_tracer("multi", __version__, tracer_provider)

    def added_to(self, app: App) -> None:
        signals.worker_process_shutdown.connect(self._flush)

    def before_publish(self, sending: Sending) -> None:
        # the span ends when the message is made: it may go out much later, together with the outcome of a run
        with self._tracer.start_as_current_span(
            f"apply_async/{sending.name}", context=_cause(), kind=SpanKind.PRODUCER
        ) as span:
            if span.is_recording():
                span.set_attributes(
                    {
                        "messaging.system": "multi",
                        "messaging.operation.name": "apply_async",
                        "messaging.operation.type": "create",
                        "messaging.destination.name": sending.exchange or sending.queue,
                        "messaging.message.id": sending.id,
                        "messaging.message.conversation_id": sending.headers.get("root_id") or sending.id,
                        "celery.action": "apply_async",
                        "celery.task_name": sending.name,
                    }
                )
            propagate.inject(sending.headers)

    def run(self, run: Run, proceed: Callable[[], Any]) -> Any:
        with self._consumed(run):
            return proceed()

    async def arun(self, run: Run, proceed: Callable[[], Awaitable[Any]]) -> Any:
        with self._consumed(run):
            return await proceed()

    @contextmanager
    def _consumed(self, run: Run) -> Iterator[None]:
        headers = {key: value for key, value in run.headers.items() if isinstance(value, str)}
        with self._tracer.start_as_current_span(
            f"run/{run.name}",
            context=propagate.extract(headers),
            kind=SpanKind.CONSUMER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if span.is_recording():
                span.set_attributes(_attributes(run))
            run.request.__dict__[_SPAN] = span.get_span_context()
            try:
                yield
            except BaseException as error:
                _ended(span, run, error)
                raise
            span.set_attribute("celery.state", "SUCCESS")

    def _flush(self, **_: Any) -> None:
        """A child ends without Python's own end: what isn't exported yet would be lost."""
        flush = getattr(self.provider or trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush()


def _cause() -> Context | None:
    """Where a message belongs: None for where we are; what is sent when the task itself is over (callbacks, the rest of a chain)
    belongs to its run."""
    run = running.get()
    if run is None or trace.get_current_span().get_span_context().is_valid:
        return None
    span: SpanContext | None = run.request.__dict__.get(_SPAN)
    return trace.set_span_in_context(NonRecordingSpan(span)) if span is not None else None


def _attributes(run: Run) -> dict[str, Any]:
    headers = run.headers
    return {
        "messaging.system": "multi",
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "messaging.destination.name": run.queue,
        "messaging.message.id": run.id,
        "messaging.message.conversation_id": headers.get("root_id") or run.id,
        "celery.action": "run",
        "celery.task_name": run.name,
        "celery.hostname": run.request.hostname or "",
        "celery.retries": headers.get("retries") or 0,
    }


def _ended(span: Span, run: Run, error: BaseException) -> None:
    """The end of a run that has raised: an error, unless it is a way to say what is to become of the task."""
    if isinstance(error, Retry):
        span.set_attributes({"celery.state": "RETRY", "celery.retry.reason": str(error)})
    elif isinstance(error, Ignore):
        span.set_attribute("celery.state", "IGNORED")
    elif isinstance(error, Reject):
        span.set_attribute("celery.state", "REJECTED")
    else:
        kind = type(error)
        span.set_attributes({"celery.state": "FAILURE", "error.type": f"{kind.__module__}.{kind.__qualname__}"})
        span.record_exception(error)
        if not (run.task.throws and isinstance(error, tuple(run.task.throws))):
            span.set_status(Status(StatusCode.ERROR, str(error)))
