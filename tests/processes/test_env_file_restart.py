"""A node isn't stopped for a start that can't be: its files of variables are looked at before."""

from __future__ import annotations

from support.nodes import HOST, Nodes


def test_a_broken_file_of_variables_leaves_what_runs_as_it_is(nodes: Nodes) -> None:
    path = nodes.project.write("w1.env", "SHOW_A=1\n")
    nodes.start("w1", plan="ready.shows", more=("--env-file", str(path)))
    worker = nodes.worker("w1")
    path.write_text('SHOW_A="open\n')
    for words in (("restart", "w1"), ("restart", "--rolling", "w1"), ("restart", "--when-idle", "w1")):
        done = nodes.run(*words, code=2)
        assert f'w1@{HOST}: {path}, line 1: the quote " is not closed; nothing was stopped or started' in done.stderr
    assert nodes.worker("w1") == worker
    nodes.run("stopwait", "w1")
    assert "line 1" in nodes.run("start", "w1", code=2).stderr
    path.write_text("SHOW_A=2\n")
    nodes.run("start", "w1")
    assert "SHOW_A='2'" in nodes.log("w1")
