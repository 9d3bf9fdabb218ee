"""Names of nodes, counts and patterns."""

from __future__ import annotations

import pytest

from multi.errors import ConfigurationError
from multi.nodes.names import Naming, NodeName, expand, expand_count, label, parse, this_host

W1 = NodeName("w1", "a.example.com")


def test_a_bare_name_is_on_this_host() -> None:
    assert parse("w1") == NodeName("w1", this_host())
    assert str(parse("w1", "h")) == "w1@h"


@pytest.mark.parametrize(("text", "host"), [("w1@foo", "foo"), ("w1@%h", "a.b"), ("w1@x.%d", "x.b")])
def test_the_host_part_is_taken_as_it_is_or_filled_in(text: str, host: str) -> None:
    assert parse(text, "else.where", "a.b") == NodeName("w1", host)


@pytest.mark.parametrize("text", ["", "@h", "w1@", "w/1", "..", ".w", "-w", "w1@h@i", "w 1", "w1\n", "w" * 120])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="node's name"):
        parse(text, "h")


def test_one_number_stands_for_as_many_names() -> None:
    assert expand_count(["3"]) == ["celery1", "celery2", "celery3"]
    assert expand_count(["2"], "mail") == ["mail1", "mail2"]
    assert expand_count(["3", "4"]) == ["3", "4"]
    assert expand_count([]) == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("%n|%N|%h|%d|%p", "w1|w1|w1@a.example.com|a.example.com|w1@a.example.com"),  # as celery multi expands it
        ("%n%I.log", "w1.log"),
        ("%n-%i.log", "w1-0.log"),
        ("100%%", "100%"),
        ("%x%", "%x%"),
    ],
)
def test_patterns_are_filled_in_as_celery_multi_does(pattern: str, text: str) -> None:
    assert expand(pattern, W1) == text


def test_what_another_expansion_fills_in_later_is_left_for_it() -> None:
    assert expand("%n%I.log", W1, keep_index=True) == "w1%I.log"
    assert expand("%n%%%i", W1, keep_index=True) == "w1%%%i"


def test_a_mark_for_a_domain_that_is_not_there_is_told_as_it_was_typed() -> None:
    with pytest.raises(ConfigurationError, match=r"^'w1@%d' is no node's name: %d is empty, for this machine \(box\)"):
        label(["w1@%d"], Naming(), here="box")
    assert label(["w1@%d"], Naming(), here="box.lan")[0].text == "w1@lan"
