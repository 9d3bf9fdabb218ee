"""Completion as it is typed: bash on a terminal, with the script that multi gives it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from support.nodes import Nodes
from support.terminal import Terminal
from support.wait import until

BASH = ("bash", "--norc", "--noprofile", "-i")


@pytest.fixture
def shell(nodes: Nodes) -> Iterator[Terminal]:
    if shutil.which("bash") is None or shutil.which("multi", path=nodes.project.env["PATH"]) is None:
        pytest.skip("needs bash, and multi on the PATH")
    nodes.project.write("multi.toml", '[defaults]\napp = "ready"\n\n[nodes.images]\ncount = 2\n\n[nodes.mail]\n')
    nodes.project.write("proj/__init__.py", "")
    nodes.project.write("proj/tasks.py", "")
    nodes.start("w1", "w2", "other")
    nodes.run("stopwait", "--all")
    with Terminal(nodes.project, program=BASH, columns=100, PS1="$ ") as found:
        found.until("$")
        found.press('eval "$(_MULTI_COMPLETE=bash_source multi)"; echo set-up\n')
        found.until("\nset-up")
        until(lambda: _last(found) == "$", 15, what="it reads the next line")
        yield found


def typed(shell: Terminal, words: str, whole: str) -> None:
    """Type words and TAB; the line is to become `whole`."""
    shell.press(f"{words}\t")
    until(lambda: _last(shell) == f"$ {whole}", 15, what=f"{words!r} is completed: {shell.text}")
    shell.press("\x15")  # an empty line again
    until(lambda: _last(shell) == "$", 15, what="the line is empty")


def _last(shell: Terminal) -> str:
    shell.read(0.05)
    return next((line for line in reversed(shell.lines) if line), "")


def test_names_of_nodes_are_completed_also_behind_a_colon_which_bash_takes_words_apart_at(shell: Terminal) -> None:
    typed(shell, "multi stopw", "multi stopwait")
    typed(shell, "multi stop o", "multi stop other")
    typed(shell, "multi restart w1 other -c:o", "multi restart w1 other -c:other")
    typed(shell, "multi restart w1 w2 --loglevel:w1,o", "multi restart w1 w2 --loglevel:w1,other")
    typed(shell, "multi restart w1 -l:w1 DEB", "multi restart w1 -l:w1 DEBUG")
    typed(shell, "multi scale w", "multi scale w=")
    typed(shell, "multi start w1 --loglevel:w1=DEB", "multi start w1 --loglevel:w1=DEBUG")
    typed(shell, "multi logs --level W", "multi logs --level WARNING")
    typed(shell, "multi stop w1 --signal K", "multi stop w1 --signal KILL")
    typed(shell, "multi restart w1 --signal=Q", "multi restart w1 --signal=QUIT")
    typed(shell, "multi start w9 -A proj.ta", "multi start w9 -A proj.tasks")
    # what multi.toml describes can be started before it is known
    typed(shell, "multi start m", "multi start mail")
    typed(shell, "multi up --only ima", "multi up --only images")
    typed(shell, "multi stop m", "multi stop m")


def test_queues_are_completed_also_behind_a_comma(shell: Terminal, nodes: Nodes) -> None:
    nodes.start("w1", more=("-Q", "images,mail"))
    typed(shell, "multi pause w1 -Q im", "multi pause w1 -Q images")
    typed(shell, "multi pause w1 -Q images,m", "multi pause w1 -Q images,mail")
    nodes.run("pause", "w1", "-Q", "mail", "--force")
    typed(shell, "multi resume -Q m", "multi resume -Q mail")
