"""User, group and mask of a worker."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from multi.errors import ConfigurationError
from multi.worker import privileges


def test_a_mask_is_octal() -> None:
    assert privileges.parse_umask("022") == 0o22
    assert privileges.parse_umask("0o77") == 0o77


@pytest.mark.parametrize("text", ["9", "rw", "1777", "-1"])
def test_what_is_no_mask_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--umask takes octal digits"):
        privileges.parse_umask(text)


def test_unknown_users_and_groups_are_named() -> None:
    with pytest.raises(ConfigurationError, match="no user is called 'nobody-here'"):
        privileges.drop("nobody-here", None)
    with pytest.raises(ConfigurationError, match="no group is called 'nobody-here'"):
        privileges.drop(None, "nobody-here")


def test_to_become_who_we_are_is_nothing() -> None:
    privileges.drop(str(os.getuid()), str(os.getgid()))


def test_pickle_and_root_do_not_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("C_FORCE_ROOT", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(ConfigurationError, match="run as root and accept pickled messages"):
        privileges.check_root(SimpleNamespace(accept_content=["json", "pickle"]))
    privileges.check_root(SimpleNamespace(accept_content=["json"]))
    monkeypatch.setenv("C_FORCE_ROOT", "1")
    privileges.check_root(SimpleNamespace(accept_content=["json", "pickle"]))
    monkeypatch.delenv("C_FORCE_ROOT")
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    privileges.check_root(SimpleNamespace(accept_content=["json", "pickle"]))
