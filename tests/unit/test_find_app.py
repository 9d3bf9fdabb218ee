from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from multi.app import current, find
from multi.errors import AppImportFailed, AppNotFound

APP = "from multi import App\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Writes a project, which is forgotten again after the test."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(current, "_current", None)

    def write(**files: str) -> str:
        """Files by their paths, with two underscores for a slash; `_init` stands for `__init__`."""
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/').replace('/_init', '/__init__')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return str(tmp_path)

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    current.set_current(None)


def test_an_attribute_is_named_by_colon(write: Callable[..., str]) -> None:
    folder = write(proja=APP + "x = App('x')\napp = App('app')")
    assert find.find("proja:x", directory=folder).main == "x"


def test_in_a_module_app_comes_first_then_celery(write: Callable[..., str]) -> None:
    folder = write(projb=APP + "a = App('a')\ncelery = App('celery')\napp = App('app')")
    assert find.find("projb", directory=folder).main == "app"
    folder = write(projc=APP + "a = App('a')\ncelery = App('celery')")
    assert find.find("projc", directory=folder).main == "celery"


def test_in_a_package_its_celery_module_comes_before_any_attribute(write: Callable[..., str]) -> None:
    folder = write(projd___init=APP + "other = App('other')", projd__celery=APP + "app = App('in celery')", projd__x="")
    assert find.find("projd", directory=folder).main == "in celery"
    assert find.find("projd.celery", directory=folder).main == "in celery"
    assert find.find("projd.celery:app", directory=folder).main == "in celery"
    assert find.find("projd.celery.app", directory=folder).main == "in celery"


def test_a_celery_module_that_the_package_has_imported_is_no_app(write: Callable[..., str]) -> None:
    folder = write(proje___init="from . import celery", proje__celery=APP + "app = App('in celery')")
    assert find.find("proje", directory=folder).main == "in celery"


def test_last_comes_any_attribute_that_is_an_app(write: Callable[..., str]) -> None:
    folder = write(projf=APP + "n = 1\nqueue = App('queue')")
    assert find.find("projf", directory=folder).main == "queue"


def test_an_app_that_is_not_found_is_told_with_all_that_was_tried(write: Callable[..., str]) -> None:
    folder = write(projg___init="", projg__other="")
    with pytest.raises(AppNotFound) as caught:
        find.find("projg", directory=folder)
    for tried in ("projg.app", "projg.celery", "none of its attributes is an App", folder):
        assert tried in str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [("nowhere", "nowhere: there is no such module"), ("no-name", "can't be the name of a module"), ("projh:y", "'y'")],
)
def test_a_name_that_leads_nowhere_is_told(name: str, told: str, write: Callable[..., str]) -> None:
    folder = write(projh=APP + "app = App('x')")
    with pytest.raises(AppNotFound, match=told):
        find.find(name, directory=folder)


def test_something_else_under_the_name_is_told_by_its_type(write: Callable[..., str]) -> None:
    folder = write(proji="app = 5")
    with pytest.raises(AppNotFound, match="is no App but a int"):
        find.find("proji:app", directory=folder)


def test_a_project_that_raises_is_shown_by_its_own_line_and_nothing_of_ours(write: Callable[..., str]) -> None:
    folder = write(projj="from helperj import x\n", helperj="\n\nraise RuntimeError('no database')\n")
    with pytest.raises(AppImportFailed) as caught:
        find.find("projj", directory=folder)
    text = str(caught.value)
    assert "RuntimeError: no database" in text
    assert 'helperj.py", line 3' in text
    assert "find.py" not in text
    assert "importlib" not in text


def test_a_project_with_a_missing_import_is_not_a_missing_project(write: Callable[..., str]) -> None:
    folder = write(projk="import no_such_library_here\n")
    with pytest.raises(AppImportFailed, match="no_such_library_here"):
        find.find("projk", directory=folder)


def test_a_syntax_error_is_shown_with_its_line(write: Callable[..., str]) -> None:
    folder = write(projl="x = (\n")
    with pytest.raises(AppImportFailed, match=r"projl\.py"):
        find.find("projl", directory=folder)


def test_without_a_name_and_without_celeryconfig_it_is_said_how_to_name_one(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELERY_CONFIG_MODULE", raising=False)
    with pytest.raises(AppNotFound, match="-A"):
        find.find(None, directory=write())


def test_without_a_name_a_celeryconfig_makes_the_default_app(write: Callable[..., str]) -> None:
    folder = write(celeryconfig='BROKER_URL = "memory://"\nCELERY_IMPORTS = ("tasksm",)\n', tasksm=(
        "from multi import shared_task\n@shared_task\ndef add(x, y):\n    return x + y\n"))  # fmt: skip
    app = find.find(None, directory=folder)
    app.import_modules()
    assert app.broker.url == "memory://"
    assert "tasksm.add" in app.tasks


def test_an_app_that_the_modules_of_celeryconfig_make_is_the_one(write: Callable[..., str]) -> None:
    folder = write(
        celeryconfig='BROKER_URL = "memory://"\nCELERY_IMPORTS = ("tasksn",)\n',
        tasksn=APP + "app = App()\n@app.task\ndef add(x, y):\n    return x + y\n",
    )
    assert "tasksn.add" in find.find(None, directory=folder).tasks


@pytest.mark.parametrize("arguments", [["-m", "proj.celery"], ["proj/celery.py"]], ids=str)
def test_a_module_that_is_run_as_a_program_is_not_imported_twice(
    write: Callable[..., str], arguments: list[str]
) -> None:
    end = """
if __name__ == "__main__":
    app.start(["--version"])
    import proj.tasks
    print(proj.tasks.app is app, [name for name in app.tasks if not name.startswith("celery.")])
"""
    folder = write(
        proj___init="",
        proj__celery=APP + "app = App('proj')\n" + end,
        proj__tasks="from .celery import app\n@app.task\ndef add(x, y):\n    return x + y\n",
    )
    done = subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[1:] == ["True ['proj.tasks.add']"], done.stderr
