"""Asking workers: what is said to them, whose replies are waited for, and what is known of those who are silent."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.peers import PONG, SILENCE, Answer, Peer

from multi import App
from multi.app.control import Replies, flatten_reply, place_of
from multi.app.control.request import checked, matches
from multi.cli.main import main
from multi.connections import memory
from multi.errors import DuplicateNodenameWarning, UnsupportedOption

Peers = Callable[..., Peer]
#: Longer than any of these tests may take: what ends sooner has not waited for it.
LONG = 60.0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    url = f"memory://{tmp_path.name}"
    yield App("proj", broker=url, backend=url, set_as_current=False)
    memory.forget(url)


@pytest.fixture
def peer(app: App) -> Iterator[Peers]:
    """`peer(name, answer)` listens until the end of the test."""
    with ExitStack() as stack:

        def make(name: str, answer: Answer | None = None) -> Peer:
            return stack.enter_context(Peer(app, name, answer))

        yield make


def slow(seconds: float, answer: Any = PONG) -> Answer:
    def reply(method: str, arguments: dict[str, Any]) -> Any:
        time.sleep(seconds)
        return answer

    return reply


def test_it_ends_with_the_last_answer_of_those_who_listen(app: App, peer: Peers) -> None:
    peer("w1@h")
    peer("w2@h", slow(0.3))
    found = app.control.ping(timeout=LONG)
    assert sorted(found, key=str) == [{"w1@h": PONG}, {"w2@h": PONG}]
    assert (found.listeners, found.silent, found.missing) == (2, 0, [])


def test_where_nobody_listens_nobody_is_waited_for(app: App) -> None:
    found = app.control.ping(timeout=LONG)
    assert (found, found.listeners, found.silent) == ([], 0, 0)
    assert app.control.inspect(timeout=LONG).active() is None
    assert app.control.inspect("w1@h", timeout=LONG).active() is None


def test_who_is_silent_is_waited_for_and_counted(app: App, peer: Peers) -> None:
    peer("w1@h")
    peer("deaf@h", lambda method, arguments: SILENCE)
    found = app.control.broadcast("stats", reply=True, timeout=0.4)
    assert found is not None
    assert (found.names, found.listeners, found.silent) == ({"w1@h"}, 2, 1)


def test_the_time_begins_anew_with_each_answer(app: App, peer: Peers) -> None:
    for number in range(3):
        peer(f"w{number}@h", slow(0.2 * (number + 1)))
    peer("deaf@h", lambda method, arguments: SILENCE)
    assert len(app.control.ping(timeout=0.35)) == 3


def test_a_worker_that_is_not_there_is_found_out_by_a_roll_call(app: App, peer: Peers) -> None:
    peer("w1@h")
    found = app.control.ping(["w1@h", "gone@h"], timeout=LONG)
    assert (found.names, found.missing, found.all_there, found.there) == ({"w1@h"}, ["gone@h"], True, {"w1@h"})


def test_who_is_there_and_owes_a_reply_is_waited_for(app: App, peer: Peers) -> None:
    def answer(method: str, arguments: dict[str, Any]) -> Any:
        return PONG if method == "ping" else SILENCE

    peer("w1@h", answer)
    begun = time.monotonic()
    found = app.control.broadcast("pool_restart", destination=["w1@h"], reply=True, timeout=0.5)
    assert time.monotonic() - begun >= 0.5
    assert found is not None
    assert (found, found.missing, found.there) == ([], ["w1@h"], {"w1@h"})


def test_a_worker_that_leaves_without_a_reply_is_not_waited_for(app: App, peer: Peers) -> None:
    leaving: list[Peer] = []

    def leave(method: str, arguments: dict[str, Any]) -> Any:
        if method == "shutdown":
            leaving[0].leave()
        return SILENCE if method == "shutdown" else PONG

    leaving.append(peer("w1@h", leave))
    peer("w2@h", lambda method, arguments: {"ok": "ends"})
    found = app.control.shutdown(reply=True, timeout=LONG)
    assert found is not None
    assert (found.names, found.there, found.silent) == ({"w2@h"}, {"w2@h"}, 1)


def test_who_says_that_he_does_not_answer_is_not_waited_for(app: App, peer: Peers) -> None:
    old: list[Peer] = []

    def decline(method: str, arguments: dict[str, Any]) -> Any:
        old[0].reply(old[0].heard[-1], None, declined="stopping")
        return SILENCE

    # after a reload both have the name, and the old one may be the quicker
    peer("w1@h", slow(0.2))
    old.append(peer("w1@h", decline))
    assert app.control.inspect(["w1@h"], timeout=LONG).ping() == {"w1@h": PONG}
    found = app.control.ping(timeout=LONG)
    assert (found, found.declined, found.listeners, found.silent) == ([{"w1@h": PONG}], {"w1@h": "stopping"}, 2, 0)
    assert old[0].headers[0]["declines"] is True


def test_who_declines_is_missing_where_he_was_meant(app: App, peer: Peers) -> None:
    one: list[Peer] = []

    def decline(method: str, arguments: dict[str, Any]) -> Any:
        one[0].reply(one[0].heard[-1], None, declined="starting")
        return SILENCE

    one.append(peer("w1@h", decline))
    found = app.control.ping(["w1@h"], timeout=LONG)
    assert (found, found.missing, found.declined) == ([], ["w1@h"], {"w1@h": "starting"})


def test_a_pattern_is_over_when_all_have_answered_whose_names_match(app: App, peer: Peers) -> None:
    one, other = peer("mail1@h"), peer("w1@h")
    found = app.control.inspect(pattern="mail*", timeout=LONG).stats()
    assert found == {"mail1@h": PONG}
    assert [request["method"] for request in other.heard] == ["ping"]
    assert (one.heard[0]["pattern"], one.heard[0]["matcher"]) == ("mail*", "glob")
    assert app.control.inspect(pattern="(mail|w)1@", matcher="pcre", timeout=LONG).stats() == {
        "mail1@h": PONG,
        "w1@h": PONG,
    }
    assert app.control.inspect(pattern="none*", timeout=LONG).stats() is None


def test_who_tells_no_name_may_be_meant_by_a_pattern_and_is_counted(app: App, peer: Peers) -> None:
    peer("w1@h")
    peer("w2@h", lambda method, arguments: SILENCE)
    peer("owes@h", lambda method, arguments: PONG if method == "ping" else SILENCE)
    found = app.control.broadcast("stats", pattern="w*", reply=True, timeout=0.3)
    assert found is not None
    assert (found.names, found.missing, found.silent, found.all_there) == ({"w1@h"}, [], 1, False)
    found = app.control.broadcast("stats", pattern="*", reply=True, timeout=0.3)
    assert found is not None
    assert (found.names, found.missing, found.silent) == ({"w1@h"}, ["owes@h"], 2)
    found = app.control.broadcast("stats", pattern="w*", reply=True, timeout=LONG, limit=1)
    assert found is not None
    assert (found.names, found.silent) == ({"w1@h"}, None)


def test_commands_tell_who_may_have_been_meant_and_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    options = {"create": "all"}
    app = App("proj", broker=url, broker_transport_options=options, set_as_current=False)
    broker = ("-b", url, "-t", "0.3")
    with Peer(app, "w1@h"), Peer(app, "w2@h", lambda method, arguments: SILENCE):
        for words in (("inspect", "ping"), ("control", "heartbeat"), ("control", "shutdown")):
            assert main([*words, *broker, "-p", "w*"]) == 1
            told = capsys.readouterr().err
            assert (
                "1 more listens and didn't answer within 0.3 s (its name isn't known, so that it may be meant" in told
            )
        assert main(["control", "shutdown", *broker]) == 1
        assert "1 more listens and didn't answer within 0.3 s (its name isn't known)" in capsys.readouterr().err
    app.close()


def test_so_many_replies_are_enough_and_each_is_told_as_it_comes(app: App, peer: Peers) -> None:
    for number in range(3):
        peer(f"w{number}@h", slow(0.1 * number))
    told: list[dict[str, Any]] = []
    assert app.control.ping(limit=2, timeout=LONG, callback=told.append) == told
    assert len(told) == 2


def test_replies_to_something_else_and_what_nobody_can_read_are_passed_over(app: App, peer: Peers) -> None:
    made: list[Peer] = []

    def answer(method: str, arguments: dict[str, Any]) -> Any:
        request = made[0].heard[-1]
        made[0].reply(request, "late", ticket="of-before")
        app.worker_broker.say(
            request["reply_to"]["exchange"],
            made[0].messages[-1].__class__({"ticket": request["ticket"]}, b"\xff{"),
            key=request["reply_to"]["routing_key"],
            kind="direct",
        )
        return "right"

    made.append(peer("w1@h", answer))
    assert app.control.broadcast("x", reply=True, timeout=LONG) == [{"w1@h": "right"}]


def test_the_logical_clock_goes_with_it_and_beyond_what_comes(app: App, peer: Peers) -> None:
    one = peer("w1@h")
    app.control.ping(timeout=LONG)
    assert app.clock.value > 500
    app.control.ping(timeout=LONG)
    assert one.headers[1]["clock"] > 500 > one.headers[0]["clock"] > 0


def test_one_name_gives_that_workers_answer_alone(app: App, peer: Peers) -> None:
    peer("w1@h")
    peer("w2@h")
    assert app.control.inspect("w2@h", timeout=LONG).ping() == PONG
    assert app.control.inspect(["w2@h"], timeout=LONG).ping() == {"w2@h": PONG}
    assert app.control.inspect(timeout=LONG).ping(["w1@h"]) == {"w1@h": PONG}


def test_each_command_goes_out_with_the_arguments_that_celerys_workers_take(app: App, peer: Peers) -> None:
    one = peer("w1@h", lambda method, arguments: {"ok": method})
    control, inspect = app.control, app.control.inspect(timeout=LONG)
    for ask in (
        lambda: inspect.active(safe=True),
        lambda: inspect.registered("rate_limit"),
        lambda: inspect.registered_tasks(),
        lambda: inspect.query_task("a", "b"),
        lambda: inspect.query_task(["a", "b"]),
        lambda: inspect.conf(with_defaults=True),
        lambda: inspect.hello("w2@h", {"a": 1.0}),
        lambda: inspect.memdump(3),
        lambda: inspect.objgraph("Request", 5, 2),
        lambda: inspect._request("own", level=3),
        lambda: control.rate_limit("t", "5/m", reply=True),
        lambda: control.time_limit("t", soft=1, hard=2, reply=True),
        lambda: control.add_consumer("q", "x", "topic", "k.#", {"durable": False}, reply=True),
        lambda: control.cancel_consumer("q", reply=True),
        lambda: control.pool_grow(2, reply=True),
        lambda: control.pool_shrink(reply=True),
        lambda: control.pool_restart(["m"], reload=True, reply=True),
        lambda: control.autoscale(5, 2, reply=True),
        lambda: control.terminate("a", signal="KILL", reply=True),
        lambda: control.broadcast("own", {"x": 1}, reply=True, y=2),
    ):
        ask()
    assert [(each["method"], each["arguments"]) for each in one.heard] == [
        ("active", {"safe": True}),
        ("registered", {"taskinfoitems": ["rate_limit"]}),
        ("registered", {"taskinfoitems": []}),
        ("query_task", {"ids": ["a", "b"]}),
        ("query_task", {"ids": ["a", "b"]}),
        ("conf", {"with_defaults": True}),
        ("hello", {"from_node": "w2@h", "revoked": {"a": 1.0}}),
        ("memdump", {"samples": 3}),
        ("objgraph", {"num": 5, "max_depth": 2, "type": "Request"}),
        ("own", {"level": 3}),
        ("rate_limit", {"task_name": "t", "rate_limit": "5/m"}),
        ("time_limit", {"task_name": "t", "hard": 2, "soft": 1}),
        (
            "add_consumer",
            {"queue": "q", "exchange": "x", "exchange_type": "topic", "routing_key": "k.#", "durable": False},
        ),
        ("cancel_consumer", {"queue": "q"}),
        ("pool_grow", {"n": 2}),
        ("pool_shrink", {"n": 1}),
        ("pool_restart", {"modules": ["m"], "reload": True, "reloader": None}),
        ("autoscale", {"max": 5, "min": 2}),
        ("revoke", {"task_id": ["a"], "terminate": True, "signal": "SIGKILL"}),
        ("own", {"x": 1, "y": 2}),
    ]


def test_what_needs_no_reply_returns_at_once_and_asks_for_none(app: App, peer: Peers) -> None:
    one = peer("w1@h")
    for tell in (app.control.enable_events, app.control.disable_events, app.control.heartbeat, app.control.shutdown):
        assert tell() is None
    app.control.election("1", "topic")
    app.control.ping(timeout=LONG)
    assert [each["method"] for each in one.heard[:5]] == [
        "enable_events",
        "disable_events",
        "heartbeat",
        "shutdown",
        "election",
    ]
    assert all("reply_to" not in each and "ticket" not in each for each in one.heard[:5])


def test_revoking_waits_for_the_answers_if_wanted(app: App, peer: Peers) -> None:
    one = peer("w1@h", lambda method, arguments: {"ok": "flagged"})
    assert app.control.revoke("a", reply=True, timeout=LONG) == [{"w1@h": {"ok": "flagged"}}]
    app.AsyncResult("b").revoke(wait=True, timeout=LONG)
    app.ResultSet([app.AsyncResult("c"), app.AsyncResult("d")]).revoke(wait=True, timeout=LONG)
    app.AsyncResult("e").revoke_by_stamped_headers({"visit": ["x"]}, wait=True, timeout=LONG)
    assert [each["arguments"].get("task_id") for each in one.heard] == [["a"], ["b"], ["c", "d"], None]
    assert all(each["ticket"] for each in one.heard)
    kept = place_of(app)
    assert kept is not None
    assert sorted(kept.revoked()) == ["id:a", "id:b", "id:c", "id:d", "stamp:visit=x"]


def test_two_workers_of_one_name_are_warned_of(app: App, peer: Peers) -> None:
    peer("w1@h")
    peer("w1@h")
    with pytest.warns(DuplicateNodenameWarning, match="w1@h"):
        assert app.control.inspect(timeout=LONG).ping() == {"w1@h": PONG}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flatten_reply([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
        assert len(app.control.ping(timeout=LONG)) == 2


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ({"destination": "w1@h"}, "destination is a list"),
        ({"pattern": 5}, "pattern is a text"),
        ({"pattern": "w*", "matcher": "fuzzy"}, "matcher is 'glob' or 'pcre'"),
        ({"pattern": "(", "matcher": "pcre"}, r"pattern '\('"),
    ],
)
def test_an_address_that_means_nobody_is_refused(app: App, address: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        app.control.broadcast("ping", **address)


def test_a_connection_of_ones_own_is_refused(app: App) -> None:
    for tell in (app.control.ping, app.control.purge, app.control.heartbeat):
        with pytest.raises(UnsupportedOption, match="leave it out"):
            tell(connection=object())


def test_a_destination_is_stronger_than_a_pattern_and_a_pattern_is_a_glob() -> None:
    assert checked("ping", {}, ["w1@h"], "w*", "pcre").pattern is None
    assert checked("ping", {}, None, "w*", None).matcher == "glob"
    assert checked("ping", {}, (), None, None).destination is None
    assert matches("w1@h", "w?@*", None) and not matches("aw1@h", "w?@*", "glob")
    assert matches("w1@h", "w", "pcre") and not matches("aw1@h", "w", "pcre")


def test_the_queues_of_the_app_are_emptied(app: App) -> None:
    app.conf.task_queues = ["a", "b"]
    stranger = App("stranger", broker=app.conf.broker_url, set_as_current=False)
    for queue in ("a", "b", "b"):
        app.send_task("x", queue=queue)
    stranger.send_task("x", queue="other")
    assert app.control.purge() == 3
    assert app.control.discard_all() == 0
    assert app.broker.depth("other") == 1


def test_replies_are_a_list_as_celerys() -> None:
    replies = Replies([{"a": 1}], listeners=2)
    assert json.dumps(replies) == '[{"a": 1}]'
    assert (replies.names, replies.listeners, replies.silent) == ({"a"}, 2, None)
