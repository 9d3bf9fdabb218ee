"""What a task's own attributes do: acknowledgement, annotations, models, backends, pace, requests for tests."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from typing import Any

import pytest
from support.inline import claim, make_app, work

from multi import App, Task
from multi.app.execute import failure, prepare
from multi.app.job import Job
from multi.app.plan import executor
from multi.app.rates import interval
from multi.errors import (
    BrokerUnavailable,
    ConfigurationError,
    EncodeError,
    MaxRetriesExceededError,
    MissingExtra,
    Retry,
    TimeLimitExceeded,
    UnknownSetting,
    UnsupportedOption,
)
from multi.outcome import Outcome


@pytest.fixture
def app() -> App:
    return make_app()


# -- what becomes of a message whose task has failed -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "options", "verb"),
    [
        ({}, {}, "ack"),
        ({}, {"acks_on_failure": False}, "bury"),
        ({}, {"acks_on_failure_or_timeout": False}, "bury"),
        ({"task_acks_on_failure_or_timeout": False}, {}, "bury"),
        ({"task_acks_on_failure": False}, {}, "bury"),
        ({"task_acks_on_failure": False}, {"acks_on_failure": True}, "ack"),
        ({"task_acks_on_failure_or_timeout": False}, {"acks_on_failure": True}, "ack"),
        ({}, {"acks_on_timeout": False}, "ack"),
    ],
    ids=str,
)
def test_a_failure_is_acknowledged_or_set_aside(settings: dict[str, Any], options: dict[str, Any], verb: str) -> None:
    app = make_app(**settings)

    @app.task(bind=False, **options)
    def fail() -> None:
        raise ValueError("no")

    result = fail.delay()
    (outcome,) = work(app)
    assert outcome.verb == verb
    assert ("acks_on_failure=False" in outcome.reason) == (verb == "bury")
    assert result.state == "FAILURE"
    assert [letter.task for letter in app.broker.dead("celery")] == ([fail.name] if verb == "bury" else [])


@pytest.mark.parametrize(("acks", "verb"), [(None, "ack"), (False, "requeue"), (True, "ack")])
def test_after_a_hard_time_limit_a_message_is_done_with_or_delivered_again(
    app: App, acks: bool | None, verb: str
) -> None:
    @app.task(acks_on_timeout=acks)
    def slow() -> None: ...

    slow.delay()
    outcome = failure(app, claim(app), TimeLimitExceeded(3))
    assert (outcome.verb, outcome.record) == (verb, verb == "ack")


def test_a_task_may_have_a_limit_of_deliveries_of_its_own(app: App) -> None:
    @app.task(max_deliveries=7)
    def often() -> None: ...

    often.delay()
    message = claim(app)

    def prepared(starts: int) -> Job | Outcome:
        return prepare(app, message, queue="celery", redelivered=True, starts=starts, hostname="w1@test")

    assert isinstance(prepared(6), Job)
    outcome = prepared(7)
    assert isinstance(outcome, Outcome)
    assert outcome.verb == "bury"


# -- annotations -----------------------------------------------------------------------------------------------------


def test_annotations_change_attributes_the_particular_over_the_general() -> None:
    app = make_app(task_annotations={"*": {"max_retries": 1, "priority": 2}, "proj.one": {"max_retries": 7}})

    @app.task(name="proj.one")
    def one() -> None: ...

    @app.task(name="proj.two", priority=5)
    def two() -> None: ...

    app.finalize()
    assert (one.max_retries, one.priority) == (7, 2)
    assert (two.max_retries, two.priority) == (1, 2)
    one.delay()
    assert claim(app).properties["priority"] == 2


class Annotation:
    """An object with rules of its own."""

    def annotate(self, task: Task) -> dict[str, Any] | None:
        return {"default_retry_delay": 9} if task.name.startswith("proj.") else None

    def annotate_any(self) -> dict[str, Any]:
        return {"trail": False}


def test_annotations_may_be_objects_and_lists_of_which_the_first_counts() -> None:
    own = f"{__name__}.Annotation"
    sys.modules.setdefault(__name__, sys.modules[Annotation.__module__])
    app = make_app(task_annotations=[Annotation(), {"proj.one": {"default_retry_delay": 1, "max_retries": 2}}])
    by_path = make_app(task_annotations=own)
    for one_app in (app, by_path):
        one_app.task(name="proj.one")(lambda: None)
        one_app.finalize()
    found = app.tasks["proj.one"]
    assert (found.default_retry_delay, found.max_retries, found.trail) == (9, 2, False)
    assert (by_path.tasks["proj.one"].default_retry_delay, by_path.tasks["proj.one"].max_retries) == (9, 3)


def test_annotations_wrap_methods_and_add_handlers() -> None:
    seen: list[Any] = []

    def around(run: Any) -> Any:
        def wrapped(x: int) -> Any:
            seen.append(x)
            return run(x) + 1

        return wrapped

    def on_failure(self: Task, exc: BaseException, *rest: Any) -> None:
        seen.append(repr(exc))

    app = make_app(task_annotations={"double": {"@run": around}, "fail": {"on_failure": on_failure}})
    double = app.task(name="double")(lambda x: 2 * x)
    fail = app.task(name="fail")(lambda: 1 / 0)
    results = [double.delay(4), fail.delay()]
    work(app)
    assert results[0].get(timeout=0) == 9
    assert seen == [4, "ZeroDivisionError('division by zero')"]


@pytest.mark.parametrize(
    ("annotations", "error", "told"),
    [
        ({"*": {"max_retires": 1}}, UnknownSetting, "did you mean 'max_retries'"),
        ({"*": {"max_retries": "many"}}, ConfigurationError, "max_retries can't be 'many'"),
        ({"*": {"pydantic": True}}, ConfigurationError, "pydantic of .* can't be changed any more"),
        ({"*": {"@nothing": repr}}, ConfigurationError, "'@nothing' needs a method"),
        ({"*": ["a"]}, ConfigurationError, "which is no dictionary"),
        (3, ConfigurationError, "task_annotations is a dictionary"),
        ("nothing.of.this.Name", ConfigurationError, "can't be imported"),
    ],
    ids=str,
)
def test_wrong_annotations_are_told(annotations: Any, error: type[Exception], told: str) -> None:
    app = make_app(task_annotations=annotations)
    app.task(name="proj.one")(lambda: None)
    with pytest.raises(error, match=told):
        app.finalize()


# -- models ----------------------------------------------------------------------------------------------------------


def test_models_are_made_of_arguments_and_dumped_from_results(app: App) -> None:
    pydantic: Any = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[misc]  # its module may be missing
        number: int
        lines: list[str]

    class Total(pydantic.BaseModel):  # type: ignore[misc]  # as above
        price: float

    def total(order: Any, other: Any = None, factor: int = 1) -> Any:
        assert isinstance(order, Order)
        assert other is None or isinstance(other, Order)
        return Total(price=factor * (order.number + (other.number if other else 0)))

    total.__annotations__ = {"order": Order, "other": Order | None, "return": Total}
    task = app.task(pydantic=True)(total)

    async def later(order: Any) -> Any:
        return Total(price=order.number)

    later.__annotations__ = {"order": Order, "return": Total}
    awaited = app.task(pydantic=True)(later)

    sent = [
        task.delay({"number": 3, "lines": []}),
        task.delay(Order(number=3, lines=["a"]), other=Order(number=4, lines=[])),
        task.delay({"number": "5", "lines": []}, factor=2),
        awaited.delay(Order(number=6, lines=[])),
        task.s(Order(number=7, lines=[])).apply_async(),
        task.delay({"number": "many", "lines": []}),
    ]
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'order'"):
        task.delay()
    work(app)
    assert [result.get(timeout=0) for result in sent[:5]] == [
        {"price": 3.0},
        {"price": 7.0},
        {"price": 10.0},
        {"price": 6.0},
        {"price": 7.0},
    ]
    error = sent[5].get(timeout=0, propagate=False)
    assert isinstance(error, ValueError)
    assert str(error).startswith(
        f"the argument 'order' of {task.name} is no Order: 1 validation error for Order\nnumber\n"
    )
    assert task(Order(number=1, lines=[])) == {"price": 1.0}


def test_models_may_be_strict_and_get_a_context(app: App) -> None:
    pydantic: Any = pytest.importorskip("pydantic")
    contexts: list[Any] = []

    class Order(pydantic.BaseModel):  # type: ignore[misc]  # as above
        number: int

        @pydantic.model_validator(mode="after")  # type: ignore[untyped-decorator]  # as above
        def look(self, info: Any) -> Any:
            contexts.append(info.context)
            return self

    def take(order: Any) -> Any:
        return order.number

    take.__annotations__ = {"order": Order, "return": int}
    task = app.task(name="take", pydantic=True, pydantic_strict=True, pydantic_context={"mine": 1})(take)
    results = [task.delay({"number": "5"}), task.delay({"number": 5})]
    work(app)
    assert results[0].failed()
    assert results[1].get(timeout=0) == 5
    assert contexts[-1] == {"mine": 1, "celery_app": app, "celery_task_name": "take"}


def test_a_class_of_ones_own_takes_models_too(app: App) -> None:
    pydantic: Any = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):  # type: ignore[misc]  # its module may be missing
        number: int

    class Take(Task):
        name = "take"
        pydantic = True

        def run(self, order: Any, more: int = 0) -> Any:
            assert isinstance(order, Order)
            return order.number + more

    Take.run.__annotations__ = {"order": Order}
    task = app.register_task(Take())
    result = task.delay(Order(number=5), more=1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'order'"):
        task.delay()
    work(app)
    assert result.get(timeout=0) == 6


def test_without_pydantic_the_command_is_named(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(MissingExtra, match="pydantic"):
        app.task(name="take", pydantic=True)(lambda: None)


# -- a result backend of one task ------------------------------------------------------------------------------------


def test_a_task_may_have_a_backend_of_its_own() -> None:
    app = make_app()
    other = make_app()

    @app.task(backend=other.conf.result_backend, track_started=True, bind=True)
    def by_url(self: Task) -> int:
        self.update_state(state="HALFWAY")
        seen.append(self.AsyncResult(self.request.id).state)
        return 1

    @app.task(backend=other.backend)
    def by_object() -> int:
        return 2

    @app.task
    def usual() -> int:
        return 3

    seen: list[str] = []
    results = [by_url.delay(), by_object.apply_async(), usual.delay()]
    work(app)
    assert seen == ["HALFWAY"]
    assert [result.get(timeout=0) for result in results] == [1, 2, 3]
    assert [app.AsyncResult(result.id).state for result in results] == ["PENDING", "PENDING", "SUCCESS"]
    assert [other.AsyncResult(result.id).state for result in results] == ["SUCCESS", "SUCCESS", "PENDING"]
    assert by_url.AsyncResult(results[0].id).result == 1


def test_a_backend_that_keeps_nothing_is_no_backend_of_a_task() -> None:
    app = make_app()
    task = app.task(name="none", backend="disabled://")(lambda: None)
    with pytest.raises(ConfigurationError, match="no place for results: use ignore_result=True"):
        task.delay()


# -- pace ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "pause"),
    [
        (None, 0),
        (0, 0),
        ("0", 0),
        ("", 0),
        (4, 0.25),
        (0.5, 2),
        ("10/s", 0.1),
        ("30/m", 2),
        ("2/h", 1800),
        ("8", 0.125),
    ],
)
def test_rates_are_celerys(rate: Any, pause: float) -> None:
    assert interval(rate) == pytest.approx(pause)


@pytest.mark.parametrize("rate", ["many", "10/d", -1, "nan", True, [1], "inf/s"])
def test_what_is_no_rate_is_told_when_the_task_is_made(app: App, rate: Any) -> None:
    with pytest.raises(ConfigurationError, match="rate_limit should be a number of runs a second"):
        app.task(rate_limit=rate)(lambda: None)
    with pytest.raises(ConfigurationError, match='rate_limit_scope should be "worker" or "global"'):
        app.task(rate_limit=1, rate_limit_scope="fleet")(lambda: None)


@pytest.mark.parametrize("scope", ["worker", "global"])
def test_what_comes_too_early_waits_in_the_broker_for_its_turn(app: App, scope: str) -> None:
    @app.task(rate_limit="10/m", rate_limit_scope=scope)
    def limited() -> None: ...

    for _ in range(3):
        limited.delay()
    began = time.time()
    outcomes = work(app)
    assert [outcome.verb for outcome in outcomes] == ["ack", "park", "park"]
    assert [round(outcome.due - began) for outcome in outcomes[1:]] == [6, 12]
    assert app.broker.depth("celery") == 0


def test_a_message_gets_the_turn_that_it_was_given(app: App) -> None:
    @app.task(rate_limit="20/s")
    def limited() -> None: ...

    for _ in range(3):
        limited.delay()
    messages = [claim(app) for _ in range(3)]

    def prepared(index: int) -> Job | Outcome:
        return prepare(app, messages[index], queue="celery", redelivered=False, starts=0, hostname="w1@test")

    first = [prepared(index) for index in range(3)]
    assert [isinstance(found, Job) for found in first] == [True, False, False]
    # the pace is for those who ask anew: these two have waited
    assert [isinstance(prepared(index), Job) for index in (1, 2)] == [True, True]


def test_limits_of_all_tasks_and_the_way_around_them() -> None:
    app = make_app(task_default_rate_limit="1/m")
    limited = app.task(name="limited")(lambda: None)
    free = app.task(name="free", rate_limit=0)(lambda: None)
    for task in (limited, limited, free, free):
        task.delay()
    assert sorted((outcome.name, outcome.verb) for outcome in work(app)) == [
        ("free", "ack"),
        ("free", "ack"),
        ("limited", "ack"),
        ("limited", "park"),
    ]
    app.conf.worker_disable_rate_limits = True
    limited.delay()
    assert [outcome.verb for outcome in work(app)] == ["ack"]


def test_a_limit_of_the_whole_fleet_needs_a_place() -> None:
    app = App("proj", broker="amqp://nobody@localhost:1", backend="rpc://", set_as_current=False)
    app.task(name="limited", rate_limit=1, rate_limit_scope="global")(lambda: None)
    with pytest.raises(ConfigurationError, match='task limited: rate_limit_scope="global" needs Redis'):
        executor(app).plan_all()


# -- the rest --------------------------------------------------------------------------------------------------------


def test_parts_of_celerys_worker_are_refused_with_what_is_there_instead(app: App) -> None:
    app.task(name="usual", Strategy="celery.worker.strategy:default", Request="celery.worker.request:Request")(
        lambda: None
    )
    with pytest.raises(UnsupportedOption, match="Request replaces a part of Celery's worker.*on_failure"):
        app.task(Request="proj.requests:Mine")(lambda: None)


def test_a_task_is_told_when_it_has_joined_its_app() -> None:
    joined: list[Any] = []

    class Base(Task):
        def on_bound(self, app: App) -> None:
            joined.append((self.name, app))

    app = make_app()
    app.task(name="one", base=Base)(lambda: None)

    class Own(Base):
        name = "own"

    app.register_task(Own())
    assert joined == [("one", app), ("own", app)]


def test_the_errors_of_calls_are_attributes_of_the_task(app: App) -> None:
    task = app.task(lambda: None)
    assert task.MaxRetriesExceededError is MaxRetriesExceededError
    assert task.OperationalError is BrokerUnavailable


def test_a_request_can_be_made_up_for_a_test(app: App) -> None:
    @app.task(bind=True, name="own")
    def own(self: Task, x: int) -> Any:
        if self.request.retries < 1:
            raise self.retry(countdown=60)
        return self.request.id

    own.push_request(id="made-up", retries=1, called_directly=False)
    try:
        assert own.request.id == "made-up"
        assert own.run(1) == "made-up"
        own.push_request(id="inner", args=(1,), kwargs={}, called_directly=False)
        with pytest.raises(Retry):
            own.run(1)
        assert own.request.id == "inner"
        own.pop_request()
        assert own.request.id == "made-up"
    finally:
        own.pop_request()
    assert own.request.id is None
    headers = claim(app).headers
    assert (headers["id"], headers["retries"]) == ("inner", 1)


def test_a_request_gives_the_options_that_would_send_it_again(app: App) -> None:
    found: list[dict[str, Any]] = []

    @app.task(bind=True)
    def own(self: Task) -> None:
        found.append(self.request.as_execution_options())
        self.request.clear()
        assert self.request.id is None

    own.apply_async(
        task_id="1", shadow="dark", time_limit=9, group_id="g", headers={"mine": 1}, stamped_headers=["s"], s=2
    )
    work(app)
    wanted = {"task_id": "1", "shadow": "dark", "time_limit": 9, "group_id": "g", "headers": {"mine": 1}, "s": 2}
    assert wanted.items() <= found[0].items()


class Thing:
    """Nothing that travels."""


@pytest.mark.parametrize(
    ("args", "kwargs", "told"),
    [
        ((1, Thing()), {}, r"the argument 2 \('y'\) of own, a Thing, can't be sent by the serializer 'json'"),
        ((1,), {"y": [{"a": Thing()}]}, r"the argument 'y' of own \(at \[0\]\['a'\]\) can't be sent"),
        (({Thing(): 1},), {}, r"the argument 1 \('x'\) of own, a dict, can't be sent .*keys must be"),
        ((1, 2, Thing()), {}, r"the argument 3 of own, a Thing, can't be sent"),
    ],
)
def test_the_argument_that_cannot_be_sent_is_named(
    app: App, args: tuple[Any, ...], kwargs: dict[str, Any], told: str
) -> None:
    @app.task(name="own", bind=True)
    def own(self: Task, x: Any, y: Any = None, *rest: Any) -> None: ...

    for send in (own.apply_async, own.s(*args, **kwargs).apply_async, lambda *_: app.send_many([(own, args, kwargs)])):
        with pytest.raises(EncodeError, match=told):
            send(*(() if send != own.apply_async else (args, kwargs)))
    assert app.broker.depth("celery") == 0


def test_an_argument_of_a_task_known_by_name_is_named_by_its_place(app: App) -> None:
    with pytest.raises(EncodeError, match="the argument 1 of far, a Thing, can't be sent"):
        app.send_task("far", (Thing(),))


def test_what_a_message_says_is_what_the_attributes_say() -> None:
    app = make_app(accept_content=["json", "yaml"])

    @app.task(serializer="yaml", compression="bzip2", time_limit=9, soft_time_limit=3, expires=60, priority=4)
    def own(x: int) -> int:
        return x

    result = own.delay(3)
    message = claim(app)
    assert message.content_type == "application/x-yaml"
    assert message.headers["compression"] == "application/x-bz2"
    assert message.headers["timelimit"] == [9, 3]
    assert message.headers["expires"] is not None
    assert message.properties["priority"] == 4
    again = own.delay(3)
    work(app)
    assert again.get(timeout=0) == 3
    assert result.state == "PENDING"
    assert json.loads(json.dumps(again.result)) == 3


# -- options of one call ---------------------------------------------------------------------------------------------


def test_properties_of_the_message_are_the_callers(app: App) -> None:
    own = app.task(name="own")(lambda: None)
    own.apply_async(message_id="m-1", app_id="shop", type="order", user_id="guest", timestamp=5, expiration="6000")
    properties = claim(app).properties
    wanted = {"message_id": "m-1", "app_id": "shop", "type": "order", "user_id": "guest", "timestamp": 5}
    assert {**wanted, "expiration": "6000"}.items() <= properties.items()


def test_the_result_may_be_of_a_class_of_ones_own(app: App) -> None:
    class Ticket:
        def __init__(self, task_id: str) -> None:
            self.number = task_id

    own = app.task(name="own")(lambda: None)
    result: Any = own.apply_async(task_id="t-1", result_cls=Ticket, mandatory=True)
    assert isinstance(result, Ticket)
    assert result.number == "t-1"
    with pytest.raises(TypeError, match="result_cls should be a class"):
        own.apply_async(result_cls="Ticket")


def test_sending_gives_up_at_its_time_limit(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    own = app.task(name="own")(lambda: None)
    tried: list[int] = []

    def publish(publications: Any) -> None:
        tried.append(len(publications))
        raise BrokerUnavailable("away")

    monkeypatch.setattr(app.broker, "publish", publish)
    began = time.monotonic()
    with pytest.raises(own.OperationalError):
        own.apply_async(timeout=0.05, retry_policy={"max_retries": None, "interval_start": 0.01, "interval_step": 9})
    assert time.monotonic() - began < 5
    assert len(tried) >= 2


def test_sending_is_tried_again_after_other_errors_where_the_policy_names_them(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = app.task(name="own")(lambda: None)
    publish = app.broker.publish
    tried: list[int] = []

    def failing(publications: Any) -> None:
        tried.append(1)
        if len(tried) < 3:
            raise OSError("no route")
        publish(publications)

    monkeypatch.setattr(app.broker, "publish", failing)
    with pytest.raises(OSError, match="no route"):
        own.apply_async()
    tried.clear()
    own.apply_async(retry_policy={"retry_errors": (OSError,), "interval_step": 0})
    assert len(tried) == 3
    assert app.broker.depth("celery") == 1
    with pytest.raises(TypeError, match="should be classes of exceptions"):
        own.apply_async(retry_policy={"retry_errors": ("OSError",)})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"producer": "mine"}, "app.send_many"),
        ({"connection": "mine"}, "holds its connections itself"),
        ({"router": "mine"}, "set task_routes"),
        ({"declare": ["q"]}, "in task_queues"),
    ],
)
def test_what_belongs_to_kombu_is_refused_with_what_to_do_instead(app: App, options: dict[str, Any], told: str) -> None:
    own = app.task(name="own")(lambda: None)
    with pytest.raises(UnsupportedOption, match=told):
        own.apply_async(**options)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"eta": "tomorrow"}, ValueError, "eta should be a datetime, or one as ISO 8601 writes it, not 'tomorrow'"),
        ({"eta": 5}, TypeError, "eta should be a datetime, not 5"),
        ({"eta": 0}, TypeError, "eta should be a datetime, not 0"),
        ({"eta": dt.time(1, 2)}, TypeError, "eta should be a datetime, not datetime.time"),
        ({"expires": "soon"}, ValueError, "expires should be a datetime"),
        ({"countdown": 1e12}, ValueError, "countdown is out of range"),
        ({"expires": 1e12}, ValueError, "expires is out of range"),
    ],
    ids=str,
)
def test_a_time_that_is_none_is_told_at_the_call(
    app: App, options: dict[str, Any], error: type[Exception], told: str
) -> None:
    own = app.task(name="own")(lambda: None)
    with pytest.raises(error, match=told):
        own.apply_async(**options)
    assert app.broker.depth("celery") == 0


def test_a_call_can_be_made_of_a_request(app: App) -> None:
    made: list[Any] = []

    @app.task(bind=True, name="own", max_retries=0)
    def own(self: Task, x: int, y: int = 0) -> None:
        if not made:
            made.append(self.signature_from_request(args=(x + 1,), countdown=0, queue="other"))
            self.subtask_from_request().apply_async(task_id="again")

    own.apply_async((1,), {"y": 2}, headers={"mine": 1}, task_id="first")
    work(app)
    (signature,) = made
    assert (signature.args, signature.kwargs) == ((2,), {"y": 2})
    assert signature.options["task_id"] == "first"
    assert signature.options["retries"] == 1
    assert signature.options["headers"] == {"mine": 1}
    assert signature.options["queue"] == "other"
