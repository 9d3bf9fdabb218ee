"""What goes out: protocol 2, header by header."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.inline import claim, make_app, work

from multi import App, AsyncResult, chain, clock
from multi.app.saferepr import saferepr
from multi.brokers.memory import MemoryBroker
from multi.errors import BrokerUnavailable, ConfigurationError, EncodeError, UnsupportedOption
from multi.outcome import Publication

HEADERS = [
    "lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit", "root_id",
    "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result", "replaced_task_nesting", "stamped_headers",
    "stamps",
]  # fmt: skip
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.fixture
def app() -> App:
    return make_app()


@pytest.fixture
def add(app: App) -> Any:
    @app.task(name="proj.add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    return add


def test_delay_sends_a_message_of_protocol_2(app: App, add: Any) -> None:
    result = add.delay(1, y=2)
    message = claim(app)
    assert isinstance(result, AsyncResult)
    assert UUID4.match(result.id)
    assert list(message.headers)[: len(HEADERS)] == HEADERS
    assert message.headers == {
        "lang": "py",
        "task": "proj.add",
        "id": result.id,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": result.id,
        "parent_id": None,
        "argsrepr": "(1,)",
        "kwargsrepr": "{'y': 2}",
        "origin": f"gen{os.getpid()}@{socket.gethostname()}",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    assert json.loads(message.body) == [[1], {"y": 2}, EMBED]
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.properties["correlation_id"] == result.id
    assert UUID4.match(message.properties["reply_to"])
    assert message.properties["delivery_mode"] == 2


@pytest.mark.parametrize(
    "args",
    [(), (1, "a", None, True), (1.5, float("inf")), (2**70,), ("\ud800", "é"), ([1, (2, 3)], {"a": b"x"}),
     (datetime(2026, 1, 1, tzinfo=UTC),), ("x" * 5000,)],
    ids=lambda args: repr(args)[:40],
)  # fmt: skip
def test_arguments_arrive_as_they_were_sent(app: App, args: tuple[Any, ...]) -> None:
    seen: list[Any] = []

    @app.task
    def note(*got: Any) -> None:
        seen.append(got)

    note.delay(*args)
    work(app)
    lists = json.loads(json.dumps(args, default=str)) if not any(isinstance(a, dict | datetime) for a in args) else None
    assert list(seen[0]) == (
        lists if lists is not None else [[1, [2, 3]], {"a": b"x"}] if len(args) == 2 else list(args)
    )


def test_reprs_are_cut_to_1024_characters(app: App, add: Any) -> None:
    add.delay("x" * 5000, y=["y" * 5000])
    headers = claim(app).headers
    assert len(headers["argsrepr"]) == 1024
    assert headers["argsrepr"].endswith("...")
    assert len(headers["kwargsrepr"]) == 1024


def test_wrong_arguments_are_refused_before_anything_is_sent(app: App, add: Any) -> None:
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'x'"):
        add.delay()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        add.apply_async((1,), {"z": 1})
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        add.s(1, 2, 3).apply_async()
    assert app.broker.depth("celery") == 0


def test_a_bound_task_is_checked_without_its_self(app: App) -> None:
    @app.task(bind=True)
    def bound(self: Any, x: int, /, *, y: int = 1) -> None: ...

    bound.delay(1, y=2)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        bound.delay()  # type: ignore[call-arg]


def test_the_check_can_be_switched_off(app: App) -> None:
    @app.task(typing=False)
    def loose(x: int) -> None: ...

    loose.delay(1, 2, 3)  # type: ignore[call-arg]
    assert app.broker.depth("celery") == 1


def test_what_cannot_be_expressed_is_refused_before_anything_is_sent(app: App, add: Any) -> None:
    with pytest.raises(EncodeError, match="object"):
        add.delay(object())
    assert app.broker.depth("celery") == 0


def test_options_become_headers_and_properties(app: App, add: Any) -> None:
    result = add.apply_async(
        (1,), {"y": 2}, task_id="my-id", headers={"tenant": "blue"}, shadow="shown", time_limit=9, soft_time_limit=5,
        ignore_result=True, priority=7, queue="slow", reply_to="somebody", group_id="g", group_index=3, root_id="r",
        parent_id="p",
    )  # fmt: skip
    message = claim(app, ["slow"])
    assert result.id == "my-id"
    wanted: dict[str, Any] = {
        "id": "my-id", "tenant": "blue", "shadow": "shown", "timelimit": [9, 5], "ignore_result": True, "group": "g",
        "group_index": 3, "root_id": "r", "parent_id": "p",
    }  # fmt: skip
    assert wanted.items() <= message.headers.items()
    assert message.properties["priority"] == 7
    assert message.properties["reply_to"] == "somebody"
    assert message.properties["correlation_id"] == "my-id"


def test_the_tasks_own_options_count_where_the_call_says_nothing(app: App) -> None:
    @app.task(queue="slow", priority=3, time_limit=9, soft_time_limit=5, ignore_result=True, compression="zlib")
    def task() -> None: ...

    result = task.delay()
    message = claim(app, ["slow"])
    assert message.headers["timelimit"] == [9, 5]
    assert message.headers["ignore_result"] is True
    assert message.headers["compression"] == "application/x-gzip"
    assert json.loads(zlib.decompress(message.body)) == [[], {}, EMBED]
    assert message.properties["priority"] == 3
    assert result.get() is None
    task.apply_async(soft_time_limit=2)
    assert claim(app, ["slow"]).headers["timelimit"] == [9, 2]


def test_a_countdown_becomes_an_eta_with_offset(app: App, add: Any) -> None:
    before = time.time()
    add.apply_async((1,), countdown=60)
    eta = claim(app).headers["eta"]
    assert eta.endswith("+00:00")
    assert before + 59 < clock.to_epoch(eta) < time.time() + 61


def test_a_countdown_of_nothing_is_no_eta(app: App, add: Any) -> None:
    add.apply_async((1,), countdown=0)
    assert claim(app).headers["eta"] is None


def test_an_eta_passes_through_as_it_is(app: App, add: Any) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - as users write it
    add.apply_async((1,), eta=moment)
    assert claim(app).headers["eta"] == "2026-01-02T03:04:05"
    add.apply_async((1,), eta="2026-01-02T03:04:05+08:00")
    assert claim(app).headers["eta"] == "2026-01-02T03:04:05+08:00"


@pytest.mark.parametrize("kind", ["seconds", "span", "moment"])
def test_expires_is_a_moment_in_the_header_and_milliseconds_in_the_properties(app: App, add: Any, kind: str) -> None:
    minute = timedelta(minutes=1)
    forms: dict[str, Any] = {"seconds": 60, "span": minute, "moment": datetime.now(UTC) + minute}
    add.apply_async((1,), expires=forms[kind])
    message = claim(app)
    assert 50 < clock.to_epoch(message.headers["expires"]) - time.time() < 61
    assert 50_000 < int(message.properties["expiration"]) < 61_000


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"countdwon": 3}, "'countdwon'; did you mean 'countdown'"),
        ({"eta": 5}, "eta should be a datetime"),
        ({"countdown": "3"}, "countdown should be a number"),
        ({"countdown": True}, "countdown should be a number"),
    ],
)
def test_a_wrong_option_is_told(app: App, add: Any, options: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        add.apply_async((1,), **options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"priority": "x"}, "priority should be a whole number, not 'x'"),
        ({"priority": True}, "priority should be a whole number"),
        ({"priority": 10}, "priority should be from 0 .* to 9"),
        ({"priority": 1000}, "priority should be from 0 to 9"),
        ({"priority": -1}, "priority should be from 0 to 9"),
        ({"queue": ""}, "queue should be the name of a queue, not an empty text"),
        ({"queue": 3}, "queue should be the name of a queue, not 3"),
        ({"time_limit": "x"}, "time_limit should be a number of seconds, not 'x'"),
        ({"time_limit": -1}, "time_limit should be a number of seconds from 0 on, not -1"),
        ({"soft_time_limit": timedelta(seconds=1)}, "soft_time_limit should be a number of seconds from 0 on"),
        ({"time_limit": 1, "soft_time_limit": 2}, "soft_time_limit .* should not be above time_limit"),
        ({"task_id": 3}, "task_id should be a text, not 3"),
        ({"task_id": uuid.UUID(int=1)}, "task_id should be a text, .*str"),
        ({"countdown": float("nan")}, "countdown should be a number"),
        ({"expires": float("inf")}, "expires should be a number"),
        ({"headers": ["x"]}, "headers should be a dictionary"),
        ({"shadow": 3}, "shadow should be a text"),
        ({"serializer": 3}, "serializer should be a text"),
        ({"retry_policy": {"max_retry": 3}}, "retry_policy has no 'max_retry'; it has max_retries"),
        ({"retry_policy": {"interval_start": "x"}}, r"interval_start'\] should be a number"),
        ({"link": "proj.add"}, "link should be a signature or a list of them, not 'proj.add'"),
        ({"link_error": [3]}, "link_error should be a signature"),
    ],
    ids=str,
)
def test_a_value_that_makes_no_sense_is_told_at_the_call(
    app: App, add: Any, options: dict[str, Any], told: str
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: add.apply_async((1,), **options),
        lambda: app.send_task("elsewhere", (1,), **options),
        lambda: app.send_many([add.s(1).set(**options)]),
        lambda: add.s(1).set(**options).delay(),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match=told):
            call()
    assert app.broker.depth("celery") == 0


def test_a_task_in_the_place_of_a_signature_is_told_with_the_remedy(add: Any) -> None:
    with pytest.raises(TypeError, match=r"link should be a signature .*write proj\.add\.s\(\)"):
        add.apply_async((1,), link=add)


def test_what_makes_sense_is_sent(app: App, add: Any) -> None:
    class Queue:
        name = "celery"

    add.apply_async((1,), priority=9, queue=Queue(), time_limit=3, soft_time_limit=3, task_id="mine", countdown=0,
                    retry_policy={"max_retries": None, "interval_step": 0.1}, link=[add.s()], link_error=dict(add.si(1)),
                    shadow=None, headers={"a": 1}, expires=60)  # fmt: skip
    sent = claim(app)
    assert sent.headers["id"] == "mine"
    assert sent.properties["priority"] == 9


def test_on_rabbitmq_priorities_go_as_far_as_the_queue_says() -> None:
    app = App("x", broker="amqp://localhost:1", set_as_current=False)
    app.check_options({"priority": 200})
    with pytest.raises(ValueError, match="priority"):
        app.check_options({"priority": 256})


def test_a_body_that_is_no_signature_is_refused_at_the_call(add: Any) -> None:
    with pytest.raises(TypeError, match="chord"):
        add.apply_async((1,), chord="add")
    add.apply_async((1,), chord=None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"priority": 300}, "priority should be from 0"),
        ({"queue": ""}, "queue should be the name"),
        ({"time_limit": -5}, "time_limit should be"),
        ({"time_limit": 5, "soft_time_limit": 6}, "soft_time_limit"),
    ],
    ids=str,
)
def test_what_makes_no_sense_as_a_tasks_attribute_is_told_when_it_is_made(
    app: App, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"task mine: {told}"):
        app.task(name="mine", **options)(print)


def test_a_default_queue_has_a_name() -> None:
    with pytest.raises(ConfigurationError, match="task_default_queue should be the name of a queue"):
        make_app(task_default_queue="")


def test_a_retry_that_makes_no_sense_is_the_failure_of_its_task(app: App) -> None:
    @app.task(bind=True)
    def again(self: Any) -> None:
        raise self.retry(countdown="soon")

    again.delay()
    (outcome,) = work(app)
    assert outcome.state == "FAILURE"
    assert "countdown should be a number of seconds, not 'soon'" in str(outcome.result)


def test_a_task_by_name_has_one(app: App) -> None:
    for name in (None, "", 3):
        with pytest.raises(TypeError, match="send_task takes the name of a task"):
            app.send_task(name)  # type: ignore[arg-type]


def test_a_hint_is_given_only_where_it_is_near(add: Any) -> None:
    with pytest.raises(TypeError, match="has no option 'prioritize_me'$"):
        add.apply_async((1,), prioritize_me=3)


def test_an_option_that_is_not_acted_upon_is_refused(app: App, add: Any) -> None:
    with pytest.raises(UnsupportedOption, match="producer"):
        add.apply_async((1,), producer="mine")


def test_an_unknown_serializer_is_told(app: App, add: Any) -> None:
    with pytest.raises(ConfigurationError, match="jason"):
        add.apply_async((1,), serializer="jason")


def test_a_message_can_be_a_pickle(app: App, add: Any) -> None:
    import pickle

    add.apply_async(({1, 2},), serializer="pickle")
    message = claim(app)
    assert (message.content_type, message.content_encoding) == ("application/x-python-serialize", "binary")
    assert pickle.loads(message.body)[0] == ({1, 2},)


def test_signatures_in_a_pickle_are_plain_dicts(app: App, add: Any) -> None:
    import pickle

    callback = add.s(2)
    callback.link(add.s(3))
    add.apply_async((1,), serializer="pickle", link=callback)
    embed = pickle.loads(claim(app).body)[2]
    assert type(embed["callbacks"][0]) is dict
    assert type(embed["callbacks"][0]["options"]["link"][0]) is dict


def test_links_travel_in_the_embed(app: App, add: Any) -> None:
    add.apply_async((1,), link=add.s(2), link_error=[add.si(3)])
    embed = json.loads(claim(app).body)[2]
    wanted: dict[str, Any] = {
        "task": "proj.add",
        "args": [2],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    assert embed["callbacks"] == [wanted]
    assert embed["errbacks"] == [{**wanted, "args": [3], "immutable": True}]


def test_a_task_can_be_sent_by_name(app: App, add: Any) -> None:
    result = app.send_task("far.away", (1,), {"a": 2}, queue="q")
    message = claim(app, ["q"])
    assert message.headers["task"] == "far.away"
    assert message.headers["id"] == result.id
    assert message.headers["argsrepr"] == "(1,)"
    app.send_task("proj.add", [1])
    assert claim(app).headers["argsrepr"] == "[1]"


def test_arguments_must_be_a_list_and_a_mapping(app: App, add: Any) -> None:
    with pytest.raises(TypeError, match="list or tuple, not int"):
        add.apply_async(5)
    with pytest.raises(TypeError, match="mapping, not list"):
        add.apply_async((1,), [2])


def test_parking_can_be_left_to_the_sender(app: App, add: Any) -> None:
    app.conf.delayed_delivery = "broker"
    add.apply_async((1,), countdown=60)
    assert app.broker.depth("celery") == 0
    app.conf.delayed_delivery = "sometimes"
    with pytest.raises(ConfigurationError, match='"worker" or "broker"'):
        add.delay(1)


def test_only_protocol_2_is_sent(app: App, add: Any) -> None:
    app.conf.task_protocol = 1
    with pytest.raises(UnsupportedOption, match="task_protocol"):
        add.delay(1)


# many at once ----------------------------------------------------------------------------------------------------


def test_many_go_out_in_one_step(app: App, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    publish = MemoryBroker.publish

    def count(self: MemoryBroker, publications: Sequence[Publication]) -> None:
        steps.append(len(publications))
        publish(self, publications)

    monkeypatch.setattr(MemoryBroker, "publish", count)
    calls = [add.s(1, 1), (add, (2, 2)), ("proj.add", [3], {"y": 3}), add.s(4).set(queue="slow", priority=2)]
    results = app.send_many(calls)
    assert steps == [4]
    work(app, ["celery", "slow"])
    assert [result.get(timeout=1) for result in results] == [2, 4, 6, 4]
    assert len({result.id for result in results}) == 4
    results = add.send_many((n, n) for n in range(3))
    work(app)
    assert [result.get(timeout=1) for result in results] == [0, 2, 4]


def test_one_wrong_call_among_many_sends_nothing(app: App, add: Any) -> None:
    with pytest.raises(TypeError, match="positional"):
        app.send_many([(add, (1,)), (add, (1, 2, 3))])
    with pytest.raises(TypeError, match="send_many takes signatures"):
        app.send_many([(add, (1,)), 5])
    assert app.broker.depth("celery") == 0


# a broker that is away -------------------------------------------------------------------------------------------


class Failing:
    """A broker's `publish` that fails for a number of times."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.calls = 0

    def __call__(self, publications: Sequence[Publication]) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise BrokerUnavailable("away")


def test_sending_is_tried_again(app: App, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(2)
    monkeypatch.setattr(app.broker, "publish", failing)
    add.apply_async((1,), retry_policy={"interval_step": 0.001})
    assert failing.calls == 3


def test_sending_gives_up_after_its_retries(app: App, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = Failing(100)
    monkeypatch.setattr(app.broker, "publish", failing)
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1,), retry_policy={"max_retries": 2, "interval_step": 0})
    assert failing.calls == 3
    with pytest.raises(BrokerUnavailable):
        add.apply_async((1,), retry=False)
    assert failing.calls == 4


# signatures ------------------------------------------------------------------------------------------------------


def test_a_signature_is_a_dict_as_celery_writes_it(add: Any) -> None:
    assert add.s(1, y=2).set(queue="q") == {
        "task": "proj.add",
        "args": (1,),
        "kwargs": {"y": 2},
        "options": {"queue": "q"},
        "subtask_type": None,
        "immutable": False,
    }
    assert repr(add.s(1, y=2)) == "proj.add(1, y=2)"


def test_further_arguments_go_in_front(app: App, add: Any) -> None:
    add.s(2).delay(1)
    assert json.loads(claim(app).body)[0] == [1, 2]
    add.si(2).apply_async((1,), queue="q")
    assert json.loads(claim(app, ["q"]).body)[0] == [2]
    assert add.s(2)(1) == 3
    assert add.s(2).clone((1,)).args == (1, 2)


def test_a_signature_that_came_as_json_is_one_again(app: App, add: Any) -> None:
    came = json.loads(json.dumps(add.s(2)))
    result = app.signature(came).apply_async((1,))
    work(app)
    assert result.get(timeout=1) == 3


def test_a_chain_is_one_message_with_the_rest_reversed_in_its_embed(app: App, add: Any) -> None:
    result = (add.s(1, 1) | add.s(2) | add.s(3)).apply_async()
    message = claim(app)
    rest = json.loads(message.body)[2]["chain"]
    assert [step["args"] for step in rest] == [[3], [2]]
    assert rest[0]["options"]["task_id"] == result.id
    assert result.parent is not None
    assert rest[1]["options"]["task_id"] == result.parent.id
    assert result.parent.parent is not None
    assert result.parent.parent.id == message.headers["id"]
    assert {step["options"]["root_id"] for step in rest} == {message.headers["id"]}


def test_the_options_of_a_chain_are_those_of_its_first_task(app: App, add: Any) -> None:
    result = (add.s(1, 1) | add.s(2)).apply_async(queue="slow", task_id="end", link=add.s(5))
    message = claim(app, ["slow"])
    assert result.id == "end"
    (rest,) = json.loads(message.body)[2]["chain"]
    assert rest["options"]["task_id"] == "end"
    assert rest["options"]["link"][0]["args"] == [5]
    assert "queue" not in rest["options"]


def test_a_chain_hands_results_on(app: App, add: Any) -> None:
    result = chain(add.s(1, 1), add.s(2), add.si(10, 5)).apply_async()
    work(app)
    assert result.get(timeout=1) == 15
    result = chain(chain(add.s(1), add.s(2)), add.s(3)).apply_async((4,))
    work(app)
    assert result.get(timeout=1) == 10


# reprs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [(), (1,), (1, "a"), [], [1, [2]], {}, {"a": (1,)}, {1}, b"x", None, frozenset((1,))], ids=repr
)
def test_a_short_repr_is_the_usual_one(value: Any) -> None:
    assert saferepr(value) == repr(value)


def test_a_long_repr_is_cut_without_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Costly:
        def __repr__(self) -> str:
            made.append(1)
            return "x" * 100

    text = saferepr([Costly() for _ in range(1000)], 1024)
    assert len(text) == 1024
    assert text.endswith("...")
    assert len(made) < 15


def test_a_repr_that_raises_is_no_error() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert saferepr([Broken()]) == "[<Broken: its repr raises RuntimeError>]"


def test_a_deep_repr_is_cut_at_its_depth() -> None:
    assert saferepr([[[[1]]]], levels=3) == "[[[[...]]]]" or saferepr([[[[1]]]], levels=3) == "[[[...]]]"
