"""Rolling restarts: batch after batch, each ready before the next; where one doesn't come back, the rest stays up."""

from __future__ import annotations

import os
import signal

import pytest
from support.nodes import HOST, Nodes
from support.wait import until


def start_of(nodes: Nodes, name: str) -> int:
    return nodes.worker(name)


def test_batch_after_batch_the_nodes_come_back_before_the_next_go(nodes: Nodes) -> None:
    names = ["w1", "w2", "w3", "w4", "w5"]
    nodes.start(*names)
    before = {name: nodes.worker(name) for name in names}
    said = nodes.run("restart", "--rolling", "--batch", "40%", *names).stdout
    assert [line for line in said.splitlines() if "Batch" in line] == [
        f"> Batch 1 of 3: w1@{HOST}, w2@{HOST}",
        f"> Batch 2 of 3: w3@{HOST}, w4@{HOST}",
        f"> Batch 3 of 3: w5@{HOST}",
    ]
    assert said.index(f"Restarting node w2@{HOST}: OK") < said.index(f"w3@{HOST}: TERM")
    assert not {*before.values()} & {nodes.worker(name) for name in names}


def test_never_more_than_the_batch_is_away(nodes: Nodes) -> None:
    nodes.start("w1", "w2", "w3", plan="ready.slow")
    rolling = nodes.project.popen("restart", "--rolling", "--all")
    for name in ("w1", "w2", "w3"):
        nodes.until_state(name, "stopping")
        others = {other: nodes.record(other)["state"] for other in ("w1", "w2", "w3") if other != name}
        assert {*others.values()} == {"running"}, (name, others)
        nodes.nudge(name)
    rolling.communicate(timeout=30)
    assert rolling.returncode == 0


def test_a_batch_that_does_not_come_back_stops_the_roll_and_it_is_told_who_is_where(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", "w2", "w3", plan="file")
    third = nodes.worker("w3")
    # the second start from now on dies: the first has taken the plan before
    nodes.python.write_text(nodes.python.read_text().replace("exec", 'case "$*" in *w2@*) echo die >plan;; esac\nexec'))
    done = nodes.run("restart", "--rolling", "w1", "w2", "w3", code=1)
    assert f"The roll has stopped: w2@{HOST} did not come back" in done.stderr
    assert f"on the new start: w1@{HOST}" in done.stderr
    assert f"failed: w2@{HOST}" in done.stderr
    assert f"on the old start, untouched: w3@{HOST}" in done.stderr
    assert "to go on: multi restart --rolling w2 w3" in done.stderr
    assert nodes.worker("w3") == third


def test_so_many_failures_as_are_allowed_do_not_stop_it(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", "w2", "w3", plan="file")
    third = nodes.worker("w3")
    change = 'case "$*" in *w2@*) echo die >plan;; *) echo ready >plan;; esac\nexec'
    nodes.python.write_text(nodes.python.read_text().replace("exec", change))
    done = nodes.run("restart", "--rolling", "--max-failures", "1", "w1", "w2", "w3", code=1)
    assert f"The roll is over: w2@{HOST} did not come back" in done.stderr
    assert nodes.worker("w3") != third
    assert nodes.record("w3")["state"] == "running"


def test_nodes_of_a_batch_are_told_in_the_order_of_their_names_whoever_fails_first(nodes: Nodes) -> None:
    nodes.project.write("plan", "ready")
    nodes.start("w1", "w2", "w3", plan="file")
    change = 'case "$*" in *w1@*) sleep 2;; *w2@*) sleep 1; echo a word of its own;; esac\necho die >plan\nexec'
    nodes.python.write_text(nodes.python.read_text().replace("exec", change))
    done = nodes.run("restart", "--rolling", "--batch", "3", "--force", "w1", "w2", "w3", code=1)
    told = [done.stderr.index(f"{name}@{HOST} did not start") for name in ("w1", "w2", "w3")]
    assert told != sorted(told), "they failed in another order"
    assert "a word of its own" in done.stderr
    assert "stopping:" not in done.stdout, "what failed is told as that only"
    assert done.stdout.count(f"w1@{HOST}: starting") == 1
    assert f"failed: w1@{HOST}, w2@{HOST}, w3@{HOST}" in done.stderr
    assert "to go on: multi restart --rolling w1 w2 w3" in done.stderr


def test_control_c_ends_it_between_batches(nodes: Nodes) -> None:
    nodes.start("w1", "w2", plan="ready.slow")
    second = nodes.worker("w2")
    rolling = nodes.project.popen("restart", "--rolling", "w1", "w2")
    nodes.until_state("w1", "stopping")
    rolling.send_signal(signal.SIGINT)
    assert rolling.stderr is not None
    assert "interrupted; the roll ends after this batch" in rolling.stderr.readline()
    nodes.nudge("w1")
    _, err = rolling.communicate(timeout=30)
    assert rolling.returncode == 130
    assert f"on the new start: w1@{HOST}" in err
    assert f"on the old start, untouched: w2@{HOST}" in err
    assert nodes.worker("w2") == second
    assert nodes.record("w1")["state"] == "running"


def test_a_second_control_c_lets_go_and_what_was_stopped_comes_back_all_the_same(nodes: Nodes) -> None:
    nodes.start("w1", "w2", plan="ready.slow")
    first = nodes.worker("w1")
    rolling = nodes.project.popen("restart", "--rolling", "w1", "w2")
    nodes.until_state("w1", "stopping")
    rolling.send_signal(signal.SIGINT)
    assert rolling.stderr is not None
    rolling.stderr.readline()
    rolling.send_signal(signal.SIGINT)
    _, err = rolling.communicate(timeout=30)
    assert rolling.returncode == 130
    assert f"being restarted in the background: w1@{HOST}\n" in err
    assert f"on the old start, untouched: w2@{HOST}\n" in err
    assert "to go on: multi restart --rolling w2\n" in err
    nodes.nudge("w1")
    until(lambda: nodes.record("w1").get("state") == "running" and nodes.worker("w1") != first, what="w1 runs again")


def test_a_roll_that_would_take_a_queues_last_consumer_is_refused_before_it_begins(nodes: Nodes) -> None:
    nodes.start("w1", "w2", more=("-Q", "mail"))
    nodes.start("w3", more=("-Q", "images"))
    before = [nodes.worker(name) for name in ("w1", "w2", "w3")]
    done = nodes.run("restart", "--rolling", "--all", code=1)
    assert f"w3@{HOST} is the last node here to consume from the queue 'images'" in done.stderr
    assert "multi reload w3" in done.stderr
    assert [nodes.worker(name) for name in ("w1", "w2", "w3")] == before
    nodes.run("restart", "--rolling", "--all", "--force")


def test_a_pause_between_batches(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    rolling = nodes.project.popen("restart", "--rolling", "w1", "w2", "--pause", "1h")
    assert rolling.stdout is not None
    while "Pausing" not in rolling.stdout.readline():
        assert rolling.poll() is None
    os.kill(rolling.pid, signal.SIGINT)
    _, err = rolling.communicate(timeout=30)
    assert rolling.returncode == 130
    assert f"on the old start, untouched: w2@{HOST}" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--batch", "2"), "--batch goes with --rolling"),
        (("--deadline", "2h"), "--deadline goes with --when-idle"),
        (("--rolling", "--batch", "0"), "--batch 0: it should be a number of nodes"),
        (("--rolling", "--batch", "150%"), "--batch 150%: it should be"),
        (("--rolling", "--pause", "soon"), "'soon' is no span of time"),
    ],
)
def test_wrong_words_of_a_roll_are_named(nodes: Nodes, words: tuple[str, ...], message: str) -> None:
    nodes.start("w1")
    worker = nodes.worker("w1")
    assert message in nodes.run("restart", "w1", *words, code=2).stderr
    assert nodes.worker("w1") == worker
