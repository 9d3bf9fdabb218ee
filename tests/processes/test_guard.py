"""A queue's last consumer on this host isn't taken down by mistake while other nodes stay up."""

from __future__ import annotations

import pytest
from support.nodes import HOST, Nodes


@pytest.fixture
def mixed(nodes: Nodes) -> Nodes:
    """w1 alone consumes images; mail is consumed by two."""
    nodes.start("w1", more=("-Q", "images,mail"))
    nodes.start("w2", more=("-Q", "mail"))
    return nodes


@pytest.mark.parametrize("words", [("stop",), ("stopwait",), ("restart",), ("restart", "--when-idle")])
def test_a_queues_last_consumer_goes_only_by_force(mixed: Nodes, words: tuple[str, ...]) -> None:
    worker = mixed.worker("w1")
    done = mixed.run(*words, "w1", code=1)
    assert (
        f"refused: w1@{HOST} is the last node here to consume from the queue 'images', while w2 stays up" in done.stderr
    )
    assert "add --force" in done.stderr
    assert ("multi reload w1" in done.stderr) == (words[0] == "restart"), "nobody else wants to load code"
    assert ("have another node consume from images first" in done.stderr) == (words[0] != "restart")
    assert mixed.record("w1")["state"] == "running"
    assert mixed.worker("w1") == worker
    mixed.run(*words, "w1", "--force")


def test_a_reload_is_no_advice_to_who_changes_a_node(mixed: Nodes) -> None:
    for more in ((), ("--rolling",)):
        done = mixed.run("restart", "w1", "-Q", "mail", *more, code=1)
        assert "refused: " in done.stderr
        assert "reload" not in done.stderr
        assert "have another node consume from images first" in done.stderr


def test_a_node_whose_queues_others_consume_too_goes(mixed: Nodes) -> None:
    mixed.run("stopwait", "w2")


def test_a_nodes_own_queues_are_no_reason_to_stay(nodes: Nodes) -> None:
    own = ("w1@{0}.dq2", "bcast.reload.w1@{0}", "shared.reload.w1@{0}")
    nodes.start("w1", more=("-Q", ",".join(["mail", *(name.format(HOST) for name in own)])))
    nodes.start("w2", more=("-Q", "mail"))
    nodes.run("restart", "w1")
    nodes.run("stopwait", "w1")


def test_all_together_go(mixed: Nodes) -> None:
    mixed.run("restart", "w1", "w2")
    mixed.run("stopwait", "--all")


def test_a_single_node_goes_and_so_does_one_beside_nodes_that_are_down(nodes: Nodes) -> None:
    nodes.start("w1", "w2")
    nodes.run("stopwait", "w2")
    nodes.run("restart", "w1")
    nodes.run("stopwait", "w1")


def test_what_a_node_was_paused_from_it_does_not_consume(mixed: Nodes) -> None:
    mixed.run("pause", "-Q", "mail", "w2")
    done = mixed.run("stopwait", "w1", code=1)
    assert "'images'" in done.stderr
    assert "'mail'" in done.stderr


def test_nodes_of_another_project_are_no_help(nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "images"))
    nodes.project.write("other/multi.toml", 'name = "other"\n')
    nodes.run("start", "x1", "-A", "ready", "--executable", str(nodes.python), "--workdir", "other", "-Q", "mail")
    nodes.run("stopwait", "w1")
    nodes.run("kill", "x1", "--workdir", "other")
