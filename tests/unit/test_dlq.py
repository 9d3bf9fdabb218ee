"""`multi dlq` and `multi queues` on the embedded broker; what of dead letters may be shown."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from multi import App
from multi.app.letters import describe
from multi.brokers.base import Broker, DeadLetter
from multi.brokers.sqlite import SQLiteBroker
from multi.cli.group import run
from multi.message import Message
from multi.outcome import Publication
from multi.testing.nodes import nodes
from multi.testing.rig import ended

PROJECT = """\
from multi import App

app = App("shop", broker="{url}", set_as_current=False)


@app.task(name="shop.charge")
def charge(account, password, token=None):
    pass
"""
Say = Callable[..., tuple[int, str, str]]


def call(
    task: str, task_id: str, args: Any = (), kwargs: Any = None, *, body: bytes | None = None, **more: Any
) -> Message:
    """A message as a client sends it."""
    args, kwargs = list(args), dict(kwargs or {})
    headers = {
        "task": task,
        "id": task_id,
        "root_id": task_id,
        "retries": 2,
        "origin": "web@host",
        "argsrepr": repr(tuple(args)),
        "kwargsrepr": repr(kwargs),
        **more,
    }
    return Message(headers, json.dumps([args, kwargs, {}]).encode() if body is None else body)


def bury(broker: Broker, queue: str, *messages: Message, reason: str = "begun 3 times without an end") -> None:
    """Have a worker set these aside."""
    broker.publish([Publication(queue, message) for message in messages])
    with nodes(False) as make:
        lane = make(broker, [queue]).lane()
        for delivery in lane.take(len(messages)):
            lane.settle(ended(delivery, "bury", reason=reason, detail="Traceback\n  password='pw' and more\nKilled"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = SQLiteBroker(f"sqlite:///{tmp_path}/queue.db", {"create": "all"})
    yield made
    made.close()


@pytest.fixture
def shop(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A project in the present folder, with three dead letters in two queues."""
    (tmp_path / "shop_of_letters.py").write_text(PROJECT.format(url=broker.url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith(("MULTI_", "CELERY_"))]:
        monkeypatch.delenv(name)
    for name in ("CELERY_BROKER_URL", "PWD"):  # which the command sets
        monkeypatch.setenv(name, os.getcwd())
    monkeypatch.delenv("CELERY_BROKER_URL")
    bury(broker, "celery", call("shop.charge", "aa-1", [7, "pw"]), call("shop.mail", "ab-2", [], {"token": "sesame"}))
    bury(broker, "other", call("shop.charge", "ac-3", [8, "pw"]), reason="no task is registered")
    yield broker
    sys.modules.pop("shop_of_letters", None)


@pytest.fixture
def say(shop: Broker, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs `multi` for that project: its exit code, what it printed and what it complained of."""

    def said(*words: str, app: bool = True) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*words, *(("-A", "shop_of_letters") if app else ())])
        out, err = capsys.readouterr()
        return code, out, err

    return said


def ids(broker: Broker) -> list[str]:
    return [letter.task_id for queue in ("celery", "other") for letter in broker.dead(queue)]


def test_dead_letters_of_all_queues_are_listed_without_being_named(say: Say) -> None:
    code, out, _ = say("dlq", "list")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["ID", "TASK", "QUEUE"],
        ["aa-1", "shop.charge", "celery"],
        ["ab-2", "shop.mail", "celery"],
        ["ac-3", "shop.charge", "other"],
    ]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (["-Q", "other"], ["ac-3"]),
        (["-Q", "nobody"], []),
        (["--task", "*.charge"], ["aa-1", "ac-3"]),
        (["--task", "*.charge", "-Q", "celery"], ["aa-1"]),
        (["--task", "shop.m*", "--task", "*.charge"], ["aa-1", "ab-2", "ac-3"]),
        (["--reason", "registered"], ["ac-3"]),
        (["--older-than", "1h"], []),
        (["--newer-than", "1h"], ["aa-1", "ab-2", "ac-3"]),
        (["aa-1", "ac"], ["aa-1", "ac-3"]),
    ],
)
def test_filters_choose_dead_letters(say: Say, filters: list[str], found: list[str]) -> None:
    code, out, _ = say("dlq", "list", "--json", *filters)
    assert code == 0
    assert [row["task_id"] for row in json.loads(out)] == found


def test_a_dead_letter_is_shown_whole_but_for_its_secrets(say: Say) -> None:
    code, out, _ = say("dlq", "show", "aa-1", "ab-2")
    assert code == 0
    for text in ("(7, ***)", "{'token': ***}", "begun 3 times without an end", "web@host", "1, 2 retries", "Killed"):
        assert text in out
    assert "pw" not in out
    assert "sesame" not in out
    code, out, _ = say("dlq", "show", "aa-1", "--json")
    (row,) = json.loads(out)
    assert (row["args"], row["starts"], row["retries"], row["queue"]) == ("(7, ***)", 1, 2, "celery")
    assert "pw" not in out


def test_dead_letters_are_sent_again(say: Say, shop: Broker) -> None:
    assert say("dlq", "replay", "--task", "*.charge", "--dry-run")[1].endswith("2 would be replayed\n")
    assert ids(shop) == ["aa-1", "ab-2", "ac-3"]
    code, out, _ = say("dlq", "replay", "--task", "*.charge", "--json")
    assert (code, json.loads(out)) == (0, {"replayed": 2, "queues": {"celery": 1, "other": 1}})
    assert ids(shop) == ["ab-2"]
    assert (shop.depth("celery"), shop.depth("other")) == (1, 1)
    assert say("dlq", "replay", "--all")[1] == "celery: 1 replayed\n"
    assert say("dlq", "replay", "--all")[1] == "no dead letters match\n"


def test_dead_letters_are_dropped_only_when_the_user_means_it(say: Say, shop: Broker) -> None:
    code, _, err = say("dlq", "purge", "--all")
    assert (code, "Drop 3 dead letters of celery, other for good: nobody can be asked" in err) == (2, True)
    assert len(ids(shop)) == 3
    assert say("dlq", "purge", "-Q", "celery", "--yes")[:2] == (0, "celery: 2 dropped\n")
    assert ids(shop) == ["ac-3"]
    assert shop.depth("celery") == 0


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["replay"], 2, "which dead letters?"),
        (["purge", "--yes"], 2, "which dead letters?"),
        (["show"], 2, "which dead letters?"),
        (["replay", "--all", "aa-1"], 2, "two things"),
        (["replay", "zz"], 1, "no dead letter has the id 'zz'"),
        (["show", "a"], 2, "the beginning of 3 ids: aa-1, ab-2, ac-3"),
        (["list", "--older-than", "soon"], 2, "--older-than: 'soon' is no span of time"),
        (["list", "-Q", ","], 2, "-Q names no queue"),
    ],
)
def test_what_is_meant_must_be_clear(say: Say, shop: Broker, words: list[str], code: int, text: str) -> None:
    found, _, err = say("dlq", *words)
    assert found == code
    assert text in err
    assert len(ids(shop)) == 3


def test_an_id_that_is_not_there_keeps_nothing_from_the_others(say: Say, shop: Broker) -> None:
    code, out, err = say("dlq", "replay", "aa-1", "zz")
    assert (code, out, "'zz'" in err) == (1, "celery: 1 replayed\n", True)


def test_the_app_of_a_described_node_is_taken(say: Say, tmp_path: Path) -> None:
    (tmp_path / "multi.toml").write_text(
        f'[nodes.w1]\napp = "shop_of_letters"\nqueues = ["emails"]\npython = "{sys.executable}"\n'
    )
    code, out, err = say("queues", "list", "--json", app=False)
    assert (code, err) == (0, ""), err
    assert [row["name"] for row in json.loads(out)] == ["celery", "emails", "other"]


def test_without_an_app_it_is_asked_for(say: Say) -> None:
    code, _, err = say("dlq", "list", app=False)
    assert (code, "Say it with -A APP, or with -b URL" in err) == (2, True)


def test_a_broker_needs_no_app(say: Say, shop: Broker) -> None:
    code, out, _ = say("queues", "list", "--json", "-b", shop.url, app=False)
    assert code == 0
    assert [(row["name"], row["dead"]) for row in json.loads(out)] == [("celery", 2), ("other", 1)]


def test_queues_are_counted_and_emptied(say: Say, shop: Broker) -> None:
    shop.publish([Publication("celery", call("t", "1")), Publication("celery", call("t", "2"), time.time() + 60)])
    code, out, _ = say("queues", "list")
    assert code == 0
    rows = [line.split() for line in out.splitlines()][1:]
    assert [[*row[:2], *row[3:]] for row in rows] == [
        ["celery", "1", "1", "0", "2", "-"],
        ["other", "0", "0", "0", "1", "-"],
    ]
    assert [row[2].endswith("s") for row in rows] == [True, False]  # the age of the oldest
    assert say("queues", "purge", "celery", "--dry-run")[:2] == (0, "celery: 1 would be dropped\n")
    assert say("queues", "purge", "celery")[0] == 2
    assert say("queues", "purge", "celery", "nobody", "-y")[:2] == (0, "celery: 1 dropped\nnobody: 0 dropped\n")
    assert [(each.name, each.waiting, each.parked, each.dead) for each in shop.counts(["celery"])][:1] == [
        ("celery", 0, 1, 2)
    ]


def test_the_embedded_broker_has_nobody_to_hand_back_to(say: Say) -> None:
    code, _, err = say("queues", "handback")
    assert (code, "only multi's workers consume from it" in err) == (2, True)


@pytest.mark.parametrize("url", ["redis://:pw@127.0.0.1:1/0", "amqp://guest:pw@127.0.0.1:1//"])
@pytest.mark.parametrize("words", [["queues", "handback"], ["queues", "list", "-Q", "a"], ["dlq", "list", "-Q", "a"]])
def test_a_broker_that_is_away_is_named_without_its_password(say: Say, words: list[str], url: str) -> None:
    code, out, err = say(*words, "-b", url, app=False)
    assert (code, out) == (1, "")
    assert "127.0.0.1:1" in err
    assert "pw" not in err


def dead(message: Message | None, task: str = "t") -> DeadLetter:
    return DeadLetter("1", "celery", task, "", "reason", "", 1, 0.0, message)


@pytest.fixture
def app() -> App:
    return App("letters", broker="memory://letters", backend=None, set_as_current=False)


def test_a_pickle_is_not_opened_for_a_look(app: App, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    app.conf.accept_content = ["json", "pickle"]
    message = call("t", "1", ["a"], {"password": "pw"}, body=pickle.dumps(((Trap(),), {}, {})))
    message = Message(message.headers, message.body, "application/x-python-serialize", "binary")
    letter = describe(app, dead(message))
    assert (letter.args, letter.kwargs) == ("('a',)", "{'password': ***}")
    assert "pickle" in letter.unread
    assert not (tmp_path / "sprung").exists()


def test_what_the_sender_has_hidden_stays_hidden(app: App) -> None:
    @app.task(name="pay")
    def pay(card: str, secret: str) -> None: ...

    letter = describe(app, dead(call("pay", "1", ["4111"], {"x": 1}, argsrepr="('****1',)", kwargsrepr="{...}")))
    assert (letter.args, letter.kwargs) == ("('****1',)", "{...}")
    letter = describe(app, dead(call("pay", "1", ["4111", "pw"], argsrepr="['4111', 'pw']  "), "pay"))
    assert letter.args == "***"


def test_what_is_no_message_is_told_as_that(app: App) -> None:
    letter = describe(app, dead(None, ""))
    assert (letter.args, letter.size, letter.unread) == ("", 0, "it is no message that can be read")
    letter = describe(app, dead(call("t", "1", ["a"], body=b"no json")))
    assert letter.args == "('a',)"
    assert letter.unread


def test_headers_are_shown_without_secrets(app: App) -> None:
    message = call("t", "1", api_key="kk", stamps={"token": ["sesame"], "tenant": ["a"]}, url="redis://:pw@host/0")
    letter = describe(app, dead(message))
    assert letter.headers["api_key"] == "***"
    assert letter.headers["url"] == "redis://:**@host/0"
    assert letter.headers["stamps"]["tenant"] == ["a"]
    assert "sesame" not in json.dumps(letter.headers)
