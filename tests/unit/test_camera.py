"""Which class a name of a camera stands for, and what is no camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from sys import modules
from typing import Any

import pytest
from celery.events.snapshot import Polaroid as Celerys

from multi import App
from multi.cli.events import camera
from multi.cli.main import main
from multi.errors import ConfigurationError

FILM = """
from celery.events.snapshot import Polaroid as Celerys
from multi import Polaroid

class Camera(Polaroid):
    class Inner(Polaroid):
        pass

class Theirs(Celerys):
    pass

class NotCam:
    pass

def made(state, **options):
    return NotCam()
"""


@pytest.fixture(autouse=True)
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "film_of_tests.py").write_text(FILM)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    modules.pop("film_of_tests", None)


def test_a_camera_is_named_by_its_path() -> None:
    found: Any = camera.find("film_of_tests.Camera")
    assert found.__name__ == "Camera"
    assert camera.find("film_of_tests:Camera.Inner") is found.Inner
    assert issubclass(camera.find("film_of_tests.Theirs"), Celerys)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("film_of_tests.None", "film_of_tests has no class None; it should be one made of multi.Polaroid"),
        ("film_of_tests.NotCam", "that class is no camera; it should be one made of multi.Polaroid"),
        ("film_of_tests.made", "what it makes is no camera but NotCam; it should be one made of multi.Polaroid"),
        ("film_of_nobody.Camera", "No module named 'film_of_nobody'"),
        ("Camera", "name a class as module.Camera"),
    ],
)
def test_what_is_no_camera_is_told_so(name: str, told: str) -> None:
    app = App("camera", broker="memory://", set_as_current=False)
    with pytest.raises(ConfigurationError, match=f"--camera {name}: .*{told}"):
        camera.run(app, name, frequency=1.0, maxrate=None, enable=False)


@pytest.mark.parametrize("words", [(), ("--dump",)])
def test_an_empty_name_of_a_camera_is_refused(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "-b", "memory://", "-c", "", *words]) == 2
    assert "--camera" in capsys.readouterr().err
