"""What is built, and what a user gets who installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import distribution

#: What is built takes some seconds, so one process of a parallel run does all of it.
pytestmark = pytest.mark.xdist_group("distribution")


def run(*command: object, cwd: Path | None = None) -> str:
    """The output of a command that has to succeed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An sdist, the wheel made from it, and a wheel made from the tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in run("git", "-C", distribution.ROOT, "ls-files", "-z").split("\0"):
        source = distribution.ROOT / name
        if name and (source.exists() or source.is_symlink()):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tree / name, follow_symlinks=False)
    (tree / "tests" / "__pycache__").mkdir()
    (tree / "tests" / "__pycache__" / "old.pyc").touch()  # as in a tree that somebody works in
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "whole", tree)
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tree / "direct", tree)
    (wheel,) = (tree / "whole").glob("*.whl")
    (sdist,) = (tree / "whole").glob("*.tar.gz")
    (direct,) = (tree / "direct").glob("*.whl")
    return wheel, sdist, direct


def test_the_wheel_holds_multi_and_what_is_linked_into_it_and_nothing_else(built: tuple[Path, Path, Path]) -> None:
    wheel, sdist, _ = built
    assert distribution.faults(wheel, sdist) == []
    held = distribution.wheel_contents(wheel)
    assert {"multi/py.typed", "multi/deploy/__init__.py", "multi/templates/README.md"} <= set(held)
    assert {"multi/units/schemas/kubernetes.json", "multi/templates/kubernetes/deployment.yaml.j2"} <= set(held)


def test_the_wheel_made_from_the_sdist_is_the_one_made_from_the_tree(built: tuple[Path, Path, Path]) -> None:
    wheel, _, direct = built
    assert distribution.wheel_contents(wheel) == distribution.wheel_contents(direct)


def test_a_wheel_with_something_beside_multi_is_found_out(built: tuple[Path, Path, Path], tmp_path: Path) -> None:
    wheel, sdist, _ = built
    spoiled = tmp_path / wheel.name
    shutil.copy(wheel, spoiled)
    with zipfile.ZipFile(spoiled, "a") as archive:
        archive.writestr("deploy/__init__.py", "")
    assert any("beside multi" in fault for fault in distribution.faults(spoiled, sdist))


def test_pip_install_into_an_empty_environment_gives_the_command(
    built: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    wheel, _, _ = built
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    bin_ = tmp_path / "venv" / "bin"
    run(bin_ / "python", "-m", "pip", "install", "--quiet", wheel)
    assert run(bin_ / "multi", "--version", cwd=tmp_path) == run(
        bin_ / "python", "-m", "multi", "--version", cwd=tmp_path
    )
    program = """
        from importlib.metadata import distribution
        files = [str(file) for file in distribution("multi-workers").files]
        print(*sorted({file.partition("/")[0] for file in files if not file.startswith("..")}))
    """
    tops = run(bin_ / "python", "-c", "if True:" + program, cwd=tmp_path).split()
    assert [name for name in tops if not name.endswith(".dist-info")] == ["multi"]
