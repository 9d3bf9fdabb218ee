"""Where the keeper of a node is that supervisord runs as another user: where that user's own commands would look."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from multi.controller.managers.supervisord import Supervisord, SupervisordUnit
from multi.controller.node import Node
from multi.controller.places import Places
from multi.controller.project import Project
from multi.nodes.names import NodeName

OTHER = next(one for one in pwd.getpwall() if one.pw_uid != os.geteuid())


def unit(folder: Path, command: str, *, user: str = OTHER.pw_name, environment: str = "") -> SupervisordUnit:
    """The node w1 of the project shop, by a file as `multi render supervisord` writes it."""
    (folder / "conf.d").mkdir()
    (folder / "supervisord.conf").write_text("[supervisord]\n[include]\nfiles = conf.d/*.conf\n")
    (folder / "conf.d/multi-shop.w1.conf").write_text(
        f"[program:shop-w1]\ncommand={command}\nuser={user}\ndirectory={folder}\nenvironment={environment}\n"
    )
    return SupervisordUnit(Supervisord("", config=str(folder / "supervisord.conf")), "shop-w1", "w1")


def found(one: SupervisordUnit) -> str:
    places = one.places
    assert places is not None
    assert places.uid == OTHER.pw_uid
    return places.run


def test_by_default_it_is_in_the_home_of_that_user(tmp_path: Path) -> None:
    assert found(unit(tmp_path, "multi start w1 --foreground")) == f"{OTHER.pw_dir.rstrip('/')}/.local/state/multi/run"


def test_what_the_program_is_given_says_where(tmp_path: Path) -> None:
    given = f'HOME="{tmp_path}/home",MULTI_STATE_DIR="~/kept"'
    assert found(unit(tmp_path, "multi start w1 --foreground", environment=given)) == f"{tmp_path}/home/kept/run"


def test_the_command_line_says_where_before_all_else(tmp_path: Path) -> None:
    one = unit(tmp_path, f"multi start w1 --foreground --state-dir={tmp_path}/s", environment='MULTI_STATE_DIR="/x"')
    assert found(one) == f"{tmp_path}/s/run"


@pytest.mark.parametrize(
    ("command", "user"),
    [
        ("celery -A proj worker", OTHER.pw_name),
        ("multi start w1 --foreground", pwd.getpwuid(os.geteuid()).pw_name),
        ("multi start w1 --foreground", "no-such-user"),
    ],
)
def test_what_is_no_keeper_of_another_user_is_where_our_own_nodes_are(tmp_path: Path, command: str, user: str) -> None:
    assert unit(tmp_path, command, user=user).places is None


def test_a_directory_that_is_not_that_users_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    assert unit(tmp_path, f"multi start w1 --foreground --state-dir={tmp_path}/s").places is None


def test_nothing_is_made_there_by_anybody_else(tmp_path: Path) -> None:
    ours = Places(*(str(tmp_path / "ours" / one) for one in ("nodes", "run", "log")))
    project = Project("shop", str(tmp_path))
    node = Node(NodeName("w1", "h"), ours.node(project, "w1@h"))
    node.have(unit(tmp_path, f"multi start w1 --foreground --state-dir={tmp_path}/theirs"))
    assert node.place.run == f"{tmp_path}/theirs/run/shop/w1@h"
    node.place.make()
    assert not (tmp_path / "theirs").exists()
