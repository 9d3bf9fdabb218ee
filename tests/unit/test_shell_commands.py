"""`multi call`, `tasks`, `peek`, `move`, `purge`, `list` and `migrate` on files of their own, without a worker."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multi.brokers.base import Broker
from multi.brokers.sqlite import SQLiteBroker
from multi.cli.group import run
from multi.control_key import Guard
from multi.outcome import Publication
from multi.testing.rig import in_child, message

PROJECT = """\
from multi import App

app = App("shop", broker="{url}", set_as_current=False)
app.conf.task_routes = {{"shop.mail": "mail"}}


@app.task(name="shop.charge")
def charge(account, password, amount=1):
    pass


@app.task(name="shop.mail", ignore_result=True, rate_limit="5/s")
def mail(to):
    pass
"""
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = SQLiteBroker(f"sqlite:///{tmp_path}/queue.db", {"create": "all"})
    made.check()
    yield made
    made.close()


@pytest.fixture
def say(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Say]:
    """Runs `multi` in a project's folder: its exit code, what it printed and what it complained of."""
    (tmp_path / "shop_of_calls.py").write_text(PROJECT.format(url=broker.url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in os.environ if name.startswith(("MULTI_", "CELERY_"))]:
        monkeypatch.delenv(name)
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "PWD"):  # which the commands set
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def said(*words: str, app: bool = True) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*(("-A", "shop_of_calls") if app else ()), *words])
        out, err = capsys.readouterr()
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            os.environ.pop(name, None)
        return code, out, err

    yield said
    sys.modules.pop("shop_of_calls", None)


def waiting(broker: Broker, queue: str = "celery") -> list[str]:
    return [str(each.message.headers["id"]) for each in broker.peek(queue, 100) if each.message is not None]


# calling -------------------------------------------------------------------------------------------------------------


def test_a_task_of_the_app_goes_where_the_app_sends_it_and_its_id_is_printed(say: Say, broker: Broker) -> None:
    code, out, err = say("call", "shop.mail", "-a", '["you"]')
    assert (code, err) == (0, "")
    assert waiting(broker, "mail") == [out.strip()]
    code, out, _ = say("call", "shop.charge", "-a", "[7]", "-k", '{"password": "p"}', "--queue", "slow", "--json")
    told = json.loads(out)
    assert (code, told["task"], told["checked_by"]) == (0, "shop.charge", "app")
    assert waiting(broker, "slow") == [told["id"]]


def test_the_options_of_a_call_reach_the_message(say: Say, broker: Broker) -> None:
    code, out, _ = say(
        *("call", "shop.charge", "-a", '[7, "p"]', "--countdown", "10m", "--expires", "1h", "--priority", "3"),
        *("--serializer", "yaml", "--task-id", "mine"),
    )
    assert (code, out) == (0, "mine\n")
    (seen,) = broker.peek("celery", 10)
    assert seen.message is not None
    assert (seen.message.content_type, seen.message.properties["priority"]) == ("application/x-yaml", 3)
    assert seen.message.headers["eta"] < seen.message.headers["expires"]
    code, _, _ = say("call", "shop.charge", "-a", '[7, "p"]', "--eta", "2036-11-21T10:00:00+01:00")
    assert code == 0
    assert broker.peek("celery", 10)[-1].message.headers["eta"] == "2036-11-21T10:00:00+01:00"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["shop.charge", "-a", "[1,, 2]"], ["-a", "at character 4", "[1,, 2]\n       ^"]),
        (["shop.charge", "-k", "{'x': 1}"], ["-k", "at character 2", "double quotes"]),
        (["shop.charge", "-a", '{"x": 1}'], ["-a takes an array", "is an object"]),
        (["shop.charge", "-k", "[1]"], ["-k takes an object", "is an array"]),
        (["shop.charge", "-a", "[1]"], ["shop.charge(account, password, amount=1)", "'password'"]),
        (["shop.charge", "-a", "[1,2,3,4]"], ["shop.charge(account", "4 were given"]),
        (["shop.mail", "-a", '["x"]', "--wait"], ["ignore_result", "shop.mail"]),
        (["shop.mail", "-a", '["x"]', "--timeout", "3"], ["--wait"]),
        (["shop.mail", "-a", '["x"]', "--countdown", "3", "--eta", "2036-01-01"], ["--countdown and --eta"]),
        (["shop.mail", "-a", '["x"]', "--eta", "tomorrow"], ["--eta 'tomorrow'", "2026-11-21T10:00:00+01:00"]),
        (["shop.charge", "-a", "[1, NaN]"], ["-a", "JSON has no NaN"]),
        (["shop.charge", "-k", '{"x": -Infinity}'], ["-k", "JSON has no -Infinity"]),
        (["shop.mail", "-a", '["x"]', "--expires", "2020-01-01"], ["--expires is past"]),
        (["shop.mail", "-a", '["x"]', "--expires", "1h", "--countdown", "2h"], ["--expires comes before"]),
        (
            ["shop.mail", "-a", '["x"]', "--expires", "1h", "--eta", "2096-01-01T00:00:00+01:00"],
            ["--expires comes before"],
        ),
        (["shop.mail", "-a", '["x"]', "--countdown", "soon"], ["--countdown 'soon'", "10m"]),
        (["shop.mail", "-a", '["x"]', "--serializer", "xml"], ["xml"]),
    ],
)
def test_calls_that_can_not_be_are_refused_before_anything_is_sent(
    say: Say, broker: Broker, words: list[str], told: list[str]
) -> None:
    code, out, err = say("call", *words)
    assert (code, out) == (2, ""), err
    assert [text for text in told if text not in err] == [], err
    assert broker.counts(["celery", "mail"])[0].waiting == broker.counts(["mail"])[0].waiting == 0


def test_an_unknown_task_is_sent_with_a_note_where_no_worker_answers(say: Say, broker: Broker) -> None:
    code, out, err = say("call", "shop.charg", "-a", "[1]")
    assert code == 0
    assert waiting(broker) == [out.strip()]
    assert "shop.charg isn't known here" in err
    assert "did you mean 'shop.charge'?" in err
    code, out, err = say("call", "anything", "-b", broker.url, app=False)
    assert (code, "unchecked" in err) == (0, True)
    assert waiting(broker)[-1] == out.strip()


def test_nobody_waits_where_no_result_is_kept(say: Say, tmp_path: Path) -> None:
    code, _, err = say("call", "shop.charge", "-a", '[1, "p"]', "--wait", "--result-backend", "disabled://")
    assert code == 2
    assert "no result backend" in err


# results -------------------------------------------------------------------------------------------------------------


def test_an_id_of_which_nothing_is_recorded_is_told_apart(say: Say) -> None:
    code, out, err = say("result", "no-such-id")
    assert (code, out) == (4, "")
    assert "nothing is recorded of no-such-id" in err
    assert say("result", "no-such-id", "--wait", "--timeout", "0.1")[0] == 3
    assert json.loads(say("result", "no-such-id", "--json")[1])["state"] == "PENDING"
    assert say("result", "")[0] == 2
    assert say("result", "x", "--timeout", "1")[0] == 2
    code, _, err = say("result", "x", "--result-backend", "disabled://")
    assert (code, "no result backend" in err) == (2, True)
    code, _, err = say("result", "x", "--task", "shop.charg")
    assert (code, "did you mean 'shop.charge'?" in err) == (2, True)


def test_revoking_is_kept_for_workers_that_come_later(say: Say, broker: Broker) -> None:
    code, out, _ = say("revoke", "one", "two", "one")
    assert (code, out) == (0, "one: revoked\ntwo: revoked\n")
    assert isinstance(broker, SQLiteBroker)
    assert broker.agreements is not None
    assert len(broker.agreements.revoked()) == 2
    assert json.loads(say("revoke", "three", "--json")[1]) == [{"id": "three", "state": None}]
    code, _, err = say("revoke", "x", "--terminate", "--signal", "WINCH")
    assert (code, "--signal 'WINCH'" in err) == (2, True)
    assert say("revoke", "x", "--signal", "KILL")[0] == 2
    assert say("revoke", " ")[0] == 2


# tasks ---------------------------------------------------------------------------------------------------------------


def test_tasks_are_shown_with_their_signatures_and_options(say: Say) -> None:
    code, out, _ = say("tasks", "--task", "shop.*")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["TASK", "SIGNATURE", "OPTIONS"],
        ["shop.charge", "(account,", "password,", "amount=1)"],
        ["shop.mail", "(to)", "rate_limit=5/s,", "ignore_result=True"],
    ]
    (row,) = json.loads(say("tasks", "--task", "*.mail", "--json")[1])
    assert row == {
        "name": "shop.mail",
        "signature": "(to)",
        "options": {"rate_limit": "5/s", "ignore_result": True},
    }
    assert "celery.group" in say("tasks", "--builtin")[1]
    assert say("tasks", "nobody", "--timeout", "0.1")[0] == 4


def test_a_broker_alone_tells_no_tasks(say: Say, broker: Broker) -> None:
    code, _, err = say("tasks", "-b", broker.url, app=False)
    assert (code, "-A" in err) == (2, True)


def test_a_project_that_can_not_be_imported_is_told_without_our_traceback(say: Say, tmp_path: Path) -> None:
    (tmp_path / "shop_of_calls.py").write_text(
        PROJECT.format(url="memory://") + "app.conf.include = ['shop_of_nothing']\n"
    )
    code, _, err = say("tasks", "-b", f"sqlite:///{tmp_path}/queue.db")
    assert code == 2
    assert "'shop_of_nothing'" in err
    assert "Traceback" not in err


# queues --------------------------------------------------------------------------------------------------------------


def fill(broker: Broker, *names: str, queue: str = "celery") -> list[str]:
    sent = [message(name) for name in names]
    broker.publish([Publication(queue, each) for each in sent])
    return [str(each.headers["id"]) for each in sent]


def test_a_look_masks_secrets_and_takes_nothing(say: Say, broker: Broker) -> None:
    say("call", "shop.charge", "-a", '[7, "sesame"]')
    say("call", "shop.charge", "-k", '{"account": 8, "password": "sesame", "amount": 2}')
    code, out, _ = say("peek", "celery")
    assert code == 0
    assert "sesame" not in out
    assert "7, ***" in out
    assert out.splitlines()[0].split() == ["ID", "TASK", "AGE", "PRIORITY", "STARTS", "ARGUMENTS"]
    code, out, _ = say("peek", "celery", "-n", "1", "--json")
    (row,) = json.loads(out)
    assert (row["task"], row["args"], row["starts"]) == ("shop.charge", "(7, ***)", 0)
    assert "sesame" not in out
    assert broker.depth("celery") == 2
    assert say("peek", "nobody")[1] == "nothing waits in nobody\n"
    assert say("peek", "celery", "--dead")[1] == "nothing is dead in celery\n"
    assert say("peek", "celery", "--dead", "--parked")[0] == 2
    broker.publish([Publication("celery", message("later"), time.time() + 4000)])
    assert "in 1h06m" in say("peek", "celery", "--parked")[1]


def test_messages_are_moved(say: Say, broker: Broker) -> None:
    sent = fill(broker, "a", "b", "c")
    code, out, _ = say("move", "celery", "other", "--count", "1")
    assert (code, out) == (0, "1 moved from celery to other, 2 left\n")
    assert json.loads(say("move", "celery", "other", "--task", "nobody.*", "--json")[1])["moved"] == 0
    assert say("move", "celery", "other", "--task", "contract.*")[1] == "2 moved from celery to other\n"
    assert waiting(broker, "other") == sent
    assert say("move", "celery", "celery")[0] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("move", "celery", ""),
        ("move", " ", "celery"),
        ("peek", ""),
        ("call", "shop.mail", "-a", '["you"]', "--task-id", ""),
        ("call", "shop.mail", "-a", '["you"]', "--queue", ""),
        ("queues", "purge", "", "-y"),
        ("dlq", "purge", "", "-y"),
        ("dlq", "show", ""),
    ],
)
def test_a_name_that_is_empty_is_refused(say: Say, broker: Broker, words: tuple[str, ...]) -> None:
    fill(broker, "a")
    code, out, err = say(*words)
    assert (code, out) == (2, "")
    assert "is a variable empty?" in err
    assert [(each.name, each.waiting) for each in broker.counts([])] == [("celery", 1)]


def test_purging_wants_to_be_confirmed_and_says_what_it_drops(say: Say, broker: Broker) -> None:
    fill(broker, "a", "b")
    fill(broker, "c", queue="mail")
    code, _, err = say("purge")
    assert code == 2
    assert "2 of celery" in err
    assert "give -f" in err
    assert say("purge", "--dry-run")[1] == "celery: 2 would be dropped\n"
    assert broker.depth("celery") == 2
    assert say("purge", "-f", "-Q", "celery,mail", "-X", "mail")[:2] == (0, "celery: 2 dropped\n")
    assert broker.depth("mail") == 1
    assert json.loads(say("purge", "-f", "-Q", "mail", "--json")[1]) == {"dry_run": False, "purged": {"mail": 1}}
    assert say("purge", "-f")[:2] == (0, "celery: 0 dropped\n")
    assert say("purge", "-f", "-X", "celery")[0] == 2
    assert say("purge", "-f", "-X", "celary")[0] == 2


def test_queues_are_listed_without_a_further_word(say: Say, broker: Broker) -> None:
    fill(broker, "a")
    code, out, _ = say("queues")
    assert code == 0
    assert out.splitlines()[0].split() == ["QUEUE", "WAITING", "OLDEST", "PARKED", "CLAIMED", "DEAD", "CONSUMERS"]
    (row,) = json.loads(say("queues", "--json")[1])
    assert (row["name"], row["waiting"]) == ("celery", 1)
    assert 0 <= row["oldest"] < 60
    assert say("queues", "-b", broker.url, "purge", "celery", "--dry-run", app=False)[0] == 0
    assert say("queues", "--json", "purge", "celery")[0] == 2


def test_bindings_are_listed(say: Say) -> None:
    say("call", "shop.mail", "-a", '["you"]')
    code, out, _ = say("list", "bindings", "--json")
    assert code == 0
    assert {"exchange": "celery", "queue": "celery", "key": "celery"} in json.loads(out)
    assert say("list", "bindings")[1].splitlines()[0].split() == ["EXCHANGE", "QUEUE", "ROUTING", "KEY"]


# another broker ------------------------------------------------------------------------------------------------------


def test_messages_migrate_with_and_without_being_taken_away(say: Say, broker: Broker, tmp_path: Path) -> None:
    sent = fill(broker, "a", "b", "c")
    fill(broker, "d", queue="mail")
    broker.publish([Publication("celery", message("later"), time.time() + 4000)])
    other = SQLiteBroker(f"sqlite:///{tmp_path}/other.db", {"create": "all"})
    code, out, err = say("migrate", broker.url, other.url, app=False)
    assert code == 0, err
    assert f"5 were copied from {broker.url} to {other.url}" in out
    assert "-a takes them away" in err
    assert (broker.depth("celery"), other.depth("celery"), other.depth("mail")) == (3, 4, 1)
    for queue in ("celery", "mail"):
        other.purge(queue)
    code, out, _ = say("migrate", "-a", "-n", "2", "-Q", "celery:new", broker.url, other.url, "--json")
    assert json.loads(out)["queues"] == {"celery": 2}
    assert waiting(other, "new") == sent[:2]
    assert say("migrate", "-a", "-T", "nobody", broker.url, other.url)[1].startswith("0 went")
    assert say("migrate", "-a", broker.url, other.url)[0] == 0
    assert [each.waiting + (each.parked or 0) for each in broker.counts(["celery", "mail"])] == [0, 0]
    assert (other.depth("celery"), other.depth("mail")) == (2, 1)
    other.close()


def test_what_a_killed_migration_holds_is_told_as_that(say: Say, broker: Broker, tmp_path: Path) -> None:
    def die() -> None:
        broker.hand_over("celery", lambda messages: os._exit(0))

    fill(broker, "a", "b")
    fill(broker, "c", queue="mail")
    broker.close()
    in_child(die)
    other = f"sqlite:///{tmp_path}/other.db?create=all"
    code, out, err = say("migrate", "-a", "-Q", "celery", broker.url, other)
    assert (code, out.partition(" ")[0]) == (5, "0")
    assert "2 of" in err
    assert re.search(
        r"a multi migrate holds them that was killed.* is back within 1[12]\d s: give this once more then", err
    )
    assert "workers" not in err
    assert json.loads(say("queues", "--json", "-Q", "celery")[1])[0]["claimed"] == 2
    code, out, err = say("migrate", "-a", "-Q", "mail", broker.url, other, "--json")
    told = json.loads(out)
    assert (code, err, told["migrated"], told["claimed"], told["unfinished"]) == (0, "", 1, 0, 0)


def test_what_was_meant_and_is_not_there_is_told(say: Say, broker: Broker, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path}/other.db?create=all"
    fill(broker, "a")
    code, _, err = say("migrate", "-Q", "nothere,celery", "-T", "contract.task,shop.mial", broker.url, other)
    assert code == 0
    assert "nothing of these tasks waited in nothere\n" in err
    assert "no message of shop.mial was found" in err
    assert say("migrate", "-a", "-n", "1", "-Q", "celery,mail", broker.url, other)[1:] == (
        f"celery: 1\n1 went from {broker.url} to {other}\n",
        "",
    )


def test_what_had_gone_before_an_error_is_told(say: Say, broker: Broker, tmp_path: Path) -> None:
    other = SQLiteBroker(f"sqlite:///{tmp_path}/other.db", {"create": "all"})
    other.publish([Publication("celery", message("first"))])  # which makes the tables
    other.close()
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON messages WHEN NEW.queue = 'mail' BEGIN SELECT RAISE(FAIL, 'full'); END"
        )
    connection.close()
    fill(broker, "a", "b")
    fill(broker, "c", queue="mail")
    code, _, err = say("migrate", "-a", "-Q", "celery,mail", broker.url, other.url)
    assert code == 1
    assert f"2 had gone from {broker.url} before this" in err
    assert "full" in err
    assert (broker.depth("celery"), broker.depth("mail")) == (0, 1)


def test_an_interrupted_command_speaks_of_nodes_only_where_it_steers_them(say: Say, tmp_path: Path) -> None:
    (tmp_path / "interrupts.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    assert say("-A", "interrupts", "queues", app=False) == (130, "", "multi: interrupted\n")


def test_a_journey_that_can_not_be_is_refused(say: Say, broker: Broker, tmp_path: Path) -> None:
    assert say("migrate", broker.url, broker.url)[0] == 2
    assert say("migrate", "-F", broker.url, "sqlite:////nowhere/other.db")[0] == 2
    code, _, err = say("migrate", "-a", broker.url, "redis://:sesame@127.0.0.1:1/0")
    assert code == 1
    assert "sesame" not in err
    code, _, err = say("migrate", "memory://x", broker.url)
    assert (code, "SRC_URL" in err) == (2, True)
    assert say("migrate", "-a", f"sqlite:///{tmp_path}/missing.db", broker.url)[0] == 1


# the rest ------------------------------------------------------------------------------------------------------------


def test_code_runs_with_the_app_and_its_tasks_at_hand(say: Say) -> None:
    code, out, _ = say("shell", "-c", "print(app.main, charge.name, mail.name, celery is app, callable(chain))")
    assert (code, out) == (0, "shop shop.charge shop.mail True True\n")
    assert say("shell", "-T", "-c", "charge")[0] == 1
    code, _, err = say("shell", "-c", "1 / 0")
    assert code == 1
    assert "ZeroDivisionError" in err
    assert "multi/cli" not in err
    assert say("shell", "-c", "raise SystemExit(7)")[0] == 7
    assert say("shell", "-I", "-P")[0] == 2


@pytest.mark.parametrize("word", ["amqp", "logtool", "multi", "flower"])
def test_commands_that_celery_has_and_multi_not_say_what_to_use(say: Say, word: str) -> None:
    code, _, err = say(word)
    assert code == 2
    assert f"There is no command '{word}' here: " in err


def test_names_are_completed_from_what_was_seen_before(
    say: Say, broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    say("tasks")  # leaves the names

    def completed(*words: str) -> list[str]:
        line = " ".join(("multi", *words))
        for name, value in (
            ("_MULTI_COMPLETE", "bash_complete"),
            ("COMP_LINE", line),
            ("COMP_POINT", str(len(line))),
            ("COMP_BREAKS", ":="),
        ):
            monkeypatch.setenv(name, value)
        capsys.readouterr()
        with pytest.raises(SystemExit):
            run([])
        monkeypatch.delenv("_MULTI_COMPLETE")
        return [row.partition(",")[2] for row in capsys.readouterr().out.splitlines()]

    assert completed("call", "-A", "shop_of_calls", "shop.") == ["shop.charge", "shop.mail"]
    assert completed("-A", "shop_of_calls", "call", "shop.m") == ["shop.mail"]
    assert completed("peek", "-A", "shop_of_calls", "c") == ["celery"]
    assert completed("purge", "-A", "shop_of_calls", "-Q", "x,ce") == ["x,celery"]
    assert completed("tasks", "-A", "shop_of_calls", "-t", "shop.m") == ["shop.mail"]
    fill(broker, "shop.mail", queue="emails")
    assert completed("purge", "-A", "shop_of_calls", "-Q", "celery,") == [""]  # the broker was looked into a moment ago
    say("queues")
    assert completed("purge", "-A", "shop_of_calls", "-Q", "celery,") == ["celery,emails"]
    assert completed("peek", "-A", "shop_of_calls", "") == ["celery", "emails"]
    assert completed("queues", "-A", "shop_of_calls", "purge", "") == ["celery", "emails"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("(bad", 2),
        ("import no_such_module_anywhere", 2),
        ("raise RuntimeError('not now')", 1),
        ("from multi import App\napp = App('x', include=['nowhere_at_all'], set_as_current=False)", 2),
    ],
    ids=["syntax", "import", "fault", "include"],
)
def test_what_needs_the_projects_tasks_tells_by_its_code_whether_trying_again_may_help(
    say: Say, tmp_path: Path, text: str, code: int
) -> None:
    (tmp_path / "faulty_project.py").write_text(text)
    for words in (["tasks"], ["shell", "-c", "pass"]):
        found, _, err = say(*words, "-A", "faulty_project", app=False)
        sys.modules.pop("faulty_project", None)
        assert (words, found) == (words, code), err
        assert "can't be imported" in err or "nowhere_at_all" in err


def test_workers_are_asked_in_the_name_of_who_has_their_key(say: Say, broker: Broker, tmp_path: Path) -> None:
    key = "a key that nobody guesses"
    with (tmp_path / "shop_of_calls.py").open("a") as file:
        file.write(f"app.conf.control_key = {key!r}\n")
    guard = Guard(key.encode())
    heard = broker.subscribe("celery.pidbox")
    for words, code in ((("tasks", "w1@h", "--timeout", "0.05"), 4), (("call", "no.such"), 0)):
        assert say(*words)[0] == code
        asked = heard.get(30)
        assert asked is not None
        assert guard.check(asked.headers, asked.body) == ""
    heard.close()


def test_an_app_of_celerys_own_stands_for_its_queues_workers_and_results(
    say: Say, broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "of_celerys.py").write_text(
        "from celery import Celery\nfrom kombu import Queue\n"
        f"app = Celery('of_celerys', broker={broker.url!r}, backend={broker.url!r}, set_as_current=False)\n"
        "app.conf.task_queues = [Queue('celery'), Queue('mail')]\n"
    )
    fill(broker, "a", queue="mail")

    def said(*words: str) -> tuple[int, str, str]:
        return say("-A", "of_celerys", *words, app=False)

    assert [(row["name"], row["waiting"]) for row in json.loads(said("queues", "--json")[1])] == [
        ("celery", 0),
        ("mail", 1),
    ]
    assert "contract.task" in said("peek", "mail")[1]
    assert "no worker w1 answers" in said("tasks", "w1", "--timeout", "0.05")[2]
    assert said("result", "no-such-id")[0] == 4
    assert said("revoke", "no-such-id")[:2] == (0, "no-such-id: revoked\n")
    assert said("purge", "-f")[1] == "celery: 0 dropped\nmail: 1 dropped\n"
    for words in (("tasks",), ("call", "contract.task")):
        code, _, err = said(*words)
        assert (code, "is Celery's own app; multi looks into its queues, workers and results" in err) == (2, True)
    sys.modules.pop("of_celerys")


# relative files -------------------------------------------------------------------------------------------------------


def test_a_relative_file_that_is_named_without_an_app_is_one_of_the_folder_that_the_command_works_in(
    say: Say, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.publish([Publication("celery", message())])
    shown = f"sqlite:///{tmp_path}/queue.db"
    code, out, err = say("queues", "list", "-b", "sqlite:///queue.db", "--json", app=False)
    assert (code, err, [each["waiting"] for each in json.loads(out)]) == (0, "", [1])
    code, _, err = say("migrate", "-a", "sqlite:///queue.db", broker.url, app=False)
    assert code == 2
    assert f"{shown} is both" in err  # the same file under its two names
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, err = say("migrate", "-a", broker.url, "sqlite:///new.db", app=False)
    assert (code, err) == (0, "")
    assert f"1 went from {shown} to sqlite:///{elsewhere}/new.db" in out
    assert (elsewhere / "new.db").exists()
    code, out, _ = say("queues", "list", "-b", "sqlite:///new.db", "--workdir", str(elsewhere), "--json", app=False)
    assert (code, [each["waiting"] for each in json.loads(out)]) == (0, [1])


# where options stand --------------------------------------------------------------------------------------------------


def test_options_that_say_where_stand_before_the_command_behind_it_and_behind_its_last_word(
    say: Say, broker: Broker, tmp_path: Path
) -> None:
    place = ["-b", f"sqlite:///{tmp_path}/other.db", "--result-backend", "sqlite:////nowhere/r.db"]
    for words in (
        ["report", "--json", *place, "-A", "shop_of_calls"],
        [*place, "report", "--json", "-A", "shop_of_calls"],
    ):
        code, out, err = say(*words, app=False)
        told = json.loads(out)["app"]
        assert (code, err) == (0, "")
        assert (told["broker"], told["results"]) == (f"sqlite:///{tmp_path}/other.db", "sqlite:////nowhere/r.db")
    for group, last in (("list", "bindings"), ("queues", "list"), ("dlq", "list"), ("schedule", "list")):
        for words in ([group, "-A", "shop_of_calls", last, "--json"], [group, last, "-b", broker.url, "--json"]):
            code, out, err = say(*words, app=False)
            assert (words, code, err) == (words, 0, "")
            assert isinstance(json.loads(out), list)


def test_a_report_finds_the_app_as_all_commands_do_or_goes_without(
    say: Say, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = say("report", "--json", app=False)
    assert (code, err, "app" in json.loads(out)) == (0, "", False)
    (tmp_path / "multi.toml").write_text('[nodes.w1]\napp = "shop_of_calls"\n')
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    code, out, err = say("report", "--json", app=False)
    told = json.loads(out)
    assert (code, err) == (0, "")
    assert (told["app"]["name"], told["app"]["broker"]) == ("shop", broker.url)
    assert told["platform"]["directory"] == str(elsewhere)
    (tmp_path / "multi.toml").write_text("[nodes.w1\n")
    code, out, _ = say("report", "--json", app=False)
    told = json.loads(out)
    assert (code, "python" in told["software"]) == (2, True)
    assert "multi.toml" in told["app"]["error"]


def test_what_drops_messages_is_confirmed_by_force_and_by_yes_alike(say: Say, broker: Broker) -> None:
    for words in (["purge"], ["queues", "purge", "celery"]):
        for option in ("-f", "--force", "-y", "--yes"):
            fill(broker, "shop.charge")
            assert say(*words, option)[0] == 0
            assert waiting(broker) == []
