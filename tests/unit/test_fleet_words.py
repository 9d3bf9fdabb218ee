"""Which words of `multi fleet exec` are ours, and which are the command's."""

from __future__ import annotations

from typing import Any

import click
import pytest

from multi.cli.fleet import exec_
from multi.deploy.base import Result
from multi.deploy.fleet import reason


def parsed(*words: str) -> dict[str, Any]:
    return exec_.make_context("exec", [*words]).params


@pytest.mark.parametrize(
    ("words", "command", "hosts"),
    [
        (["ls | wc -l", "--hosts", "s1"], ("ls | wc -l",), ("s1",)),
        (["--hosts", "s1", "ls", "-l"], ("ls", "-l"), ("s1",)),
        (["--hosts", "s1", "--", "multi", "ls", "--hosts", "s2"], ("multi", "ls", "--hosts", "s2"), ("s1",)),
        (["--", "ls", "--hosts", "s1"], ("ls", "--hosts", "s1"), ()),
        (["uptime"], ("uptime",), ()),
    ],
)
def test_options_may_stand_behind_a_line_for_the_shell(words: list[str], command: tuple[str, ...], hosts: Any) -> None:
    found = parsed(*words)
    assert (found["command"], found["hosts"]) == (command, hosts)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ls", "-l", "--hosts", "s1"], "--hosts stands behind the command"),
        (["--host", "s1", "ls"], "No such option"),
        (["--jason", "--", "ls"], "No such option"),
    ],
)
def test_what_could_mean_all_hosts_by_mistake_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(click.UsageError, match=told):
        parsed(*words)


def test_the_reason_of_a_failure_is_its_cause_and_not_the_last_line() -> None:
    said = (
        "multi: w1@s1 did not start: it ended with exit status 1\nThe last lines of the journal:\n"
        "    ModuleNotFoundError: No module named 'shop'\n    Failed to start multi-shop@w1.service - multi: node w1."
    )
    assert reason(Result(1, "", said)) == (
        "w1@s1 did not start: it ended with exit status 1 (ModuleNotFoundError: No module named 'shop')"
    )
    assert reason(Result(1, "", "multi: w1@s1 did not start: x\n    multi: no app is found at -A shop; tried:\n")) == (
        "w1@s1 did not start: x (no app is found at -A shop; tried)"
    )
    assert reason(Result(1, "", "")) == "it says nothing"
    assert reason(Result(1, "", "one\ntwo")) == "two"
