"""The tests' own helpers, as far as they are pure."""

from __future__ import annotations

import pytest
from support.wait import until


def test_until_gives_the_first_true_value() -> None:
    values = iter(["", "", "there"])
    assert until(lambda: next(values)) == "there"


def test_until_names_what_it_waited_for() -> None:
    with pytest.raises(AssertionError, match=r"after 0\.01 s still not: the moon"):
        until(lambda: False, 0.01, what="the moon")
