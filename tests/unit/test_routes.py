"""Where messages go: task_queues, task_routes, and what a call says."""

from __future__ import annotations

import importlib
import re
import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest
from support.inline import make_app, work

from multi import App, Broadcast, Exchange, Queue, binding, worker_direct
from multi.app.routes import Routes
from multi.errors import ConfigurationError, QueueNotFound
from multi.topology import TOPIC, matches
from multi.worker.options import Given, combine

#: They have no types.
kombu: Any = importlib.import_module("kombu")
common: Any = importlib.import_module("kombu.common")
MEDIA = Exchange("media", "topic")


def goes(app: App, name: str, **options: Any) -> tuple[str, str]:
    """Exchange and routing key of a call; the exchange without a name has queues for keys."""
    made = app.publisher.build(name, app._tasks.get(name), "id", (1,), {}, options)
    return made.exchange, made.queue


def routed(routes: Any = None, **settings: Any) -> App:
    return make_app(task_routes=routes, **settings)


@pytest.mark.parametrize(
    "routes",
    [
        {"feed.tasks.import_feed": "feeds"},
        {"feed.tasks.import_feed": {"queue": "feeds"}},
        {"feed.*": {"queue": "feeds"}, "other.*": "others"},
        {re.compile(r"feed\..*import"): {"queue": "feeds"}},
        [("feed.*", {"queue": "feeds"}), ("*", "rest")],
        ([("feed.*", {"queue": "feeds"}), ("*", "rest")],),
        [{"web.*": "web"}, {"feed.*": "feeds"}],
        {"feed.*": "rest", "feed.tasks.import_feed": "feeds"},
        lambda name, args, kwargs, options, task=None, **_: {"queue": "feeds"} if name.startswith("feed") else None,
        [lambda *_, **__: None, lambda *_, **__: "feeds"],
        {"feed.*": kombu.Queue("feeds")},
    ],
)
def test_every_form_of_task_routes_is_understood(routes: Any) -> None:
    app = routed(routes)
    assert goes(app, "feed.tasks.import_feed") == ("", "feeds")


def test_a_route_may_be_named_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldRouter:
        def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
            return {"queue": f"old-{args[0]}"} if task == "old" else None

    module = ModuleType("some_routers")
    module.function = lambda name, *_, **__: "new" if name == "new" else None  # type: ignore[attr-defined]
    module.OldRouter = OldRouter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_routers", module)
    app = routed(["some_routers.function", "some_routers:OldRouter"])
    assert [goes(app, name) for name in ("new", "old", "neither")] == [("", "new"), ("", "old-1"), ("", "celery")]


def test_a_function_is_asked_with_the_arguments_of_each_call_also_by_delay() -> None:
    app = routed(lambda name, args, kwargs, options, task=None, **_: {"queue": f"shard-{args[0] % 2}", "priority": 3})
    task = app.task(name="t")(lambda n: n)
    task.delay(4)
    task.delay(5)
    app.send_many([(task, (7,))])
    assert [app.broker.depth(f"shard-{n}") for n in (0, 1)] == [1, 2]


def test_what_the_call_says_goes_before_the_route_and_that_before_the_default() -> None:
    app = routed({"t": {"queue": "routed", "priority": 2, "serializer": "yaml", "delivery_mode": "transient"}})
    made = app.publisher.build("t", None, "id", (), {}, {})
    assert (made.queue, made.message.content_type) == ("routed", "application/x-yaml")
    assert {key: made.message.properties[key] for key in ("priority", "delivery_mode")} == {
        "priority": 2,
        "delivery_mode": 1,
    }
    made = app.publisher.build("t", None, "id", (), {}, {"queue": "mine", "priority": 7, "serializer": "json"})
    assert (made.queue, made.message.content_type, made.message.properties["priority"]) == (
        "mine",
        "application/json",
        7,
    )
    own = app.task(name="own", queue="attribute")(lambda: None)
    assert goes(app, own.name) == ("", "attribute")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"queue": "images"}, ("media", "media.image.*")),
        ({"queue": "images", "routing_key": "media.image.png"}, ("media", "media.image.png")),
        ({"exchange": "media", "routing_key": "media.film"}, ("media", "media.film")),
        ({"exchange": MEDIA, "routing_key": "media.film"}, ("media", "media.film")),
        ({"queue": "letters"}, ("", "letters")),
        ({"queue": "letters", "routing_key": "ignored"}, ("", "letters")),
        ({"queue": "letters", "exchange": "post", "routing_key": "parcel"}, ("post", "parcel")),
        ({"queue": "reload"}, ("reload", "celery")),
        ({"exchange": "reload"}, ("reload", "celery")),
        ({"queue": "unknown"}, ("", "unknown")),
        ({"routing_key": "any"}, ("", "celery")),
        ({"queue": "images", "exchange": ""}, ("", "images")),
        ({"queue": Queue("own", Exchange("mine", "topic"), "x.y")}, ("mine", "x.y")),
        ({"queue": kombu.Queue("theirs", kombu.Exchange("others", type="fanout"))}, ("others", "celery")),
        ({"exchange": "new", "exchange_type": "fanout"}, ("new", "")),
    ],
    ids=str,
)
def test_queue_exchange_and_routing_key_of_a_call_mean_what_they_mean_in_celery(
    options: dict[str, Any], expected: tuple[str, str]
) -> None:
    queues = [
        Queue("images", MEDIA, "media.image.*"),
        Queue("letters", Exchange("post"), "letter"),
        Broadcast("reload"),
    ]
    assert goes(routed(task_queues=queues), "t", **options) == expected


def test_celery_sends_to_the_same_place() -> None:
    """The same declarations and calls, given to the real one."""
    import celery

    queues = [
        kombu.Queue("images", kombu.Exchange("media", type="topic"), "media.image.*"),
        kombu.Queue("letters", kombu.Exchange("post"), "letter"),
        common.Broadcast("reload"),
        kombu.Queue("bare"),
    ]
    routes = {"a": {"queue": "images", "routing_key": "media.image.png"}, "b": "letters", "c": {"queue": "reload"}}
    theirs = celery.Celery(broker="memory://", set_as_current=False)
    theirs.conf.update(task_queues=queues, task_routes=routes)
    ours = routed(routes, task_queues=queues)
    sent: list[tuple[str, str]] = []

    class Producer:
        connection = None

        def publish(self, body: Any, exchange: str, routing_key: str | None, **_: Any) -> None:
            sent.append((exchange, routing_key or ""))

        def __enter__(self) -> Producer:
            return self

    for name in "abcd":
        for options in (
            {},
            {"queue": "bare"},
            {"queue": "bare", "exchange": "celery"},
            {"queue": "bare", "exchange": "media"},
            {"queue": "images"},
            {"routing_key": "k"},
            {"exchange": "media", "routing_key": "media.x"},
        ):
            sent.clear()
            message = theirs.amqp.as_task_v2("id", name, (), {})
            found = theirs.amqp.router.route(dict(options), name, (), {})
            theirs.amqp.send_task_message(Producer(), name, message, retry=False, **found)
            assert goes(ours, name, **options) == sent[0], (name, options)


def test_default_exchange_type_and_key_are_those_of_queues_that_say_nothing() -> None:
    app = routed(
        {"feed.*": {"queue": "feeds", "routing_key": "feed.import"}},
        task_queues=[Queue("default", routing_key="task.#"), Queue("feeds", routing_key="feed.#")],
        task_default_queue="default",
        task_default_exchange="tasks",
        task_default_exchange_type="topic",
        task_default_routing_key="task.default",
    )
    assert goes(app, "feed.tasks") == ("tasks", "feed.import")
    assert goes(app, "other") == ("tasks", "task.#")
    assert goes(app, "other", routing_key="task.mine") == ("tasks", "task.mine")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task_routes": {"t": {"que": "x"}}}, r"can't say 'que'.*did you mean 'queue'"),
        ({"task_routes": {"t": 5}}, r"task_routes\['t'\] should be the name of a queue"),
        ({"task_routes": "nowhere.router"}, "task_routes names 'nowhere.router'"),
        ({"task_routes": 5}, "is no router"),
        ({"task_queues": [Queue("a"), Queue("a")]}, "queue 'a' twice"),
        ({"task_queues": "a"}, "list of queues"),
        ({"task_queues": {"a": {"exchang": "x"}}}, r"task_queues\['a'\].*exchang"),
        ({"task_queues": {"a": {"exchange": "x", "exchange_type": "headers"}}}, "known here are direct, topic, fanout"),
        ({"task_default_queue_type": "stream"}, "'classic' or 'quorum'"),
        ({"task_default_delivery_mode": "sometimes"}, "'transient'.*'persistent'"),
        ({"task_queues": [Queue("a", MEDIA), Queue("b", Exchange("media"))]}, "'topic' and as 'direct'"),
    ],
    ids=str,
)
def test_what_leads_nowhere_is_refused_with_its_reason(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _ = make_app(**settings).publisher.template("t", None)


def test_a_routers_nonsense_is_refused_at_the_call() -> None:
    app = routed(lambda *_, **__: {"cue": "x"})
    with pytest.raises(ConfigurationError, match="the route of t can't say 'cue'"):
        goes(app, "t")


def test_an_exchange_alone_leads_nowhere_unless_it_sends_to_all() -> None:
    with pytest.raises(ConfigurationError, match="needs a routing_key"):
        goes(routed(), "t", exchange="somewhere")


def test_missing_queues_are_made_or_refused() -> None:
    app = routed(task_queues=[Queue("reports")], task_create_missing_queues=False, task_default_queue="reports")
    assert goes(app, "t", queue="reports") == ("", "reports")
    with pytest.raises(
        QueueNotFound, match=r"'report' is not in task_queues \(there are reports\).*did you mean 'reports'"
    ):
        goes(app, "t", queue="report")
    with pytest.raises(QueueNotFound, match="'other'"):
        combine(Given(hostname="w1@h", queues=["other"]), app.conf, app.topology)
    quorum = routed(
        task_create_missing_queue_type="quorum", task_default_queue_type="quorum", task_queue_max_priority=5
    )
    assert quorum.topology.get("new").arguments == quorum.topology.get("celery").arguments == {"x-queue-type": "quorum"}
    assert routed(task_queue_max_priority=5).topology.get("new").arguments == {"x-max-priority": 5}


def test_a_worker_consumes_from_what_is_declared_or_what_q_and_x_say() -> None:
    def consumed(queues: list[str] | None = None, without: tuple[str, ...] = (), **settings: Any) -> list[str]:
        app = routed(
            task_queues=[Queue("a"), Queue("b"), Broadcast("all"), Broadcast("news", queue="shared")], **settings
        )
        return combine(Given(hostname="w1@h", queues=queues, exclude_queues=without), app.conf, app.topology).queues

    assert consumed() == ["a", "b", "bcast.all.w1@h", "shared"]
    assert consumed(without=("b", "all", "news")) == ["a"]
    assert consumed(["all", "new"]) == ["bcast.all.w1@h", "new"]
    assert consumed(["a"], worker_direct=True) == ["a", "w1@h.dq2"]
    with pytest.raises(ConfigurationError, match="no queue is left to consume from: a without a"):
        consumed(["a"], ("a",))


def test_a_queue_of_one_worker_is_named_as_celery_names_it() -> None:
    from celery.utils.nodenames import worker_direct as theirs

    ours, their = worker_direct("w1@h"), theirs("w1@h")
    assert (ours.name, ours.all_bindings[0].exchange.name, ours.routing_key) == (
        their.name,
        their.exchange.name,
        their.routing_key,
    )
    assert goes(routed(), "t", queue=ours) == ("", "w1@h.dq2")


def test_a_retry_goes_straight_to_the_queue_it_came_from() -> None:
    """Others have had copies of what was sent to all, or to a topic; they must not get the retry of one."""
    queues = [Queue("images", MEDIA, "media.#"), Queue("more", MEDIA, "media.#")]
    app = routed(task_queues=queues)
    assert Routes(app.conf, app.topology).destination({"queue": "images", "exchange": ""}) == ("images", "", None)


@pytest.mark.parametrize(
    ("bound", "key", "taken"),
    [
        ("#", "", True),
        ("#", "a.b", True),
        ("a.#", "a", True),
        ("a.#", "a.b.c", True),
        ("a.#", "ab", False),
        ("#.a", "b.c.a", True),
        ("#.a", "ba", False),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a-b.c+d", "a-b.c+d", True),
        ("a.b", "a-b", False),
    ],
)
def test_topics_match_as_on_rabbitmq(bound: str, key: str, taken: bool) -> None:
    assert matches(TOPIC, bound, key) is taken


def test_queues_take_kombus_arguments() -> None:
    queue = Queue(
        "q", [binding(MEDIA, "a"), binding(MEDIA, "b")], message_ttl=1.5, max_length=3, queue_arguments={"x": 1}
    )
    assert queue.arguments == {"x": 1, "x-message-ttl": 1500, "x-max-length": 3}
    assert [each.routing_key for each in queue.all_bindings] == ["a", "b"]
    with pytest.raises(TypeError, match="colour"):
        Queue("q", colour="red")  # type: ignore[call-arg]


def test_a_broker_that_cannot_send_to_all_says_so() -> None:
    app = routed(task_queues=[Queue("a"), Broadcast("reload")])
    app.broker.abilities = msgspec.structs.replace(app.broker.abilities, fanout=False)
    assert goes(app, "t", queue="a") == ("", "a")
    with pytest.raises(ConfigurationError, match=r"'reload' sends to all its queues, which memory://\S+ can't"):
        goes(app, "t", queue="reload")


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"priority": "high"}, "priority should be a whole number, not 'high'"),
        ({"priority": 99}, "the priority of f should be from 0 to 9, not 99"),
        ({"queue": ""}, "queue should be"),
    ],
)
def test_the_values_of_a_route_are_checked_as_those_of_a_call_are(route: dict[str, Any], said: str) -> None:
    app = make_app(task_routes={"f": route})

    @app.task(name="f")
    def f() -> None: ...

    with pytest.raises(ConfigurationError, match=re.escape(said)):
        f.delay()


def test_a_queue_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a queue needs a name"):
        _ = make_app(task_queues=[Queue("a"), Queue()]).topology
    for wrong in (None, "", 5):
        with pytest.raises(ConfigurationError, match="takes the name of a node"):
            worker_direct(wrong)  # type: ignore[arg-type]


def test_a_priority_of_the_task_or_its_route_comes_before_that_of_the_parent() -> None:
    app = make_app(task_inherit_parent_priority=True, task_default_priority=2, task_routes={"routed": {"priority": 1}})
    seen: dict[str, Any] = {}

    def note(name: str) -> Any:
        @app.task(name=name, bind=True, **({"priority": 3} if name == "own" else {}))
        def child(self: Any) -> None:
            seen[name] = self.request.delivery_info["priority"]

        return child

    children = [note(name) for name in ("plain", "routed", "own")]

    @app.task(name="parent")
    def parent() -> None:
        for child in children:
            child.delay()
            child.apply_async(countdown=0)

    parent.apply_async(priority=8)
    work(app)
    assert seen == {"plain": 8, "routed": 1, "own": 3}
