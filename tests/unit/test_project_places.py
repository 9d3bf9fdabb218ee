"""Which project is meant, and where its nodes have their things."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from multi.controller import places, project
from multi.controller.places import NotYours
from multi.errors import ConfigurationError, StateDirectoryError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "MULTI_STATE_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_an_app_is_found_without_being_imported(tmp_path: Path) -> None:
    (tmp_path / "proj").mkdir()
    (tmp_path / "proj/__init__.py").write_text("raise SystemExit('imported')")
    here = str(tmp_path)
    for app in ("proj", "proj.celery:app", "proj:app", "proj.tasks"):
        assert project.find(app, here).location == here


def test_of_two_places_the_working_directory_comes_first_and_then_the_python_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "both.py").touch()
    (there / "tasks.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"/nonexistent:{there}")
    assert project.locate("both", str(here)) == str(here)
    assert project.locate("tasks", str(here)) == str(there)
    assert project.locate("nowhere", str(here)) is None
    assert project.find("nowhere", str(here)).location == str(here)


def test_installed_packages_are_projects_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "lib/site-packages"
    for name in ("one", "two"):
        (installed / name).mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    assert project.locate("one.tasks", str(tmp_path)) == str(installed / "one")
    assert project.find("one", str(tmp_path)).key != project.find("two", str(tmp_path)).key


def test_a_name_in_multi_toml_is_the_project_wherever_it_is(tmp_path: Path) -> None:
    (tmp_path / "multi.toml").write_text('name = "My shop"\nstate_dir = "state"\n')
    below = tmp_path / "src/deep"
    below.mkdir(parents=True)
    found = project.find("proj", str(below))
    assert found.key == "My-shop"
    assert found.location == str(tmp_path)
    assert places.resolve(None, str(below)).run == str(tmp_path / "state/run")


def test_a_link_in_the_path_is_not_followed(tmp_path: Path) -> None:
    release = tmp_path / "releases/1"
    release.mkdir(parents=True)
    (release / "tasks.py").touch()
    (tmp_path / "current").symlink_to(release)
    assert project.find("tasks", str(tmp_path / "current")).location == str(tmp_path / "current")


@pytest.mark.parametrize("text", ["name = 3", "name = ''", "name ="])
def test_a_wrong_multi_toml_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "multi.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"multi\.toml"):
        project.find("proj", str(tmp_path))


def test_the_state_directory_is_chosen_by_option_then_environment_then_habit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 12345)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.resolve(None, "/").kept == f"{tmp_path}/.local/state/multi/nodes"
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/xdg")
    assert places.resolve(None, "/").run == f"{tmp_path}/xdg/multi/run"
    monkeypatch.setenv("MULTI_STATE_DIR", f"{tmp_path}/env")
    assert places.resolve(None, "/").log == f"{tmp_path}/env/log"
    assert places.resolve("given", str(tmp_path)).log == f"{tmp_path}/given/log"


def test_root_has_the_system_s_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = places.resolve(None, "/")
    assert (found.kept, found.run, found.log) == ("/var/lib/multi", "/run/multi", "/var/log/multi")


def test_a_directory_of_somebody_else_or_open_to_others_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o770)
    with pytest.raises(StateDirectoryError, match="can be written by others"):
        places.check(str(tmp_path))
    tmp_path.chmod(0o700)
    places.check(str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(NotYours, match="belongs to"):
        places.check(str(tmp_path))


def test_what_is_made_is_for_the_owner_alone(tmp_path: Path) -> None:
    base = tmp_path / "new/state"
    place = places.resolve(str(base), "/").node(project.of("shop", "/srv/shop"), "w1@h")
    place.make()
    place.make()
    for folder in (place.kept, place.run, os.path.dirname(place.log_file)):
        assert os.stat(folder).st_mode & 0o777 == 0o700
    assert place.places.location("shop") == "/srv/shop"
    assert os.readlink(os.path.join(place.run, "spec.json")) == place.spec_file
