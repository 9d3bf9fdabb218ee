"""Names of nodes as `-n` gives them, and file names made from them."""

from __future__ import annotations

import pytest

from multi.errors import ConfigurationError
from multi.worker.names import expand, node_name


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "celery@web.example.org"),
        ("w1", "w1@web.example.org"),
        ("w1@%h", "w1@web.example.org"),
        ("w1@%n", "w1@web"),
        ("w1@%d", "w1@example.org"),
        ("w1@", "w1@web.example.org"),
        ("@other", "celery@other"),
        ("w1@other", "w1@other"),
    ],
)
def test_a_name_is_completed_with_the_host(given: str | None, name: str) -> None:
    assert node_name(given, "web.example.org") == name


@pytest.mark.parametrize("given", ["w 1", "w1@a/b", "../w1", "w1@%x"])
def test_what_can_be_no_name_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError):
        node_name(given, "web")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/var/log/%n%I.log", "/var/log/w1.log"),
        ("%n-%i.log", "w1-0.log"),
        ("%p.pid", "w1@web.example.org.pid"),
        ("%h/%d/100%%", "web.example.org/example.org/100%"),
        ("plain.log", "plain.log"),
        (None, None),
    ],
)
def test_file_names_are_made_from_the_nodes_name(pattern: str | None, path: str | None) -> None:
    assert expand(pattern, "w1@web.example.org") == path


def test_the_number_of_the_child_can_be_left_for_later() -> None:
    assert expand("%n%I-%i-%%.log", "w1@web", keep="iI") == "w1%I-%i-%%.log"


def test_an_unknown_field_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'%x' is no field; there are %I, %d, %h, %i, %n, %p, and %% for %"):
        expand("%x.log", "w1@web")
