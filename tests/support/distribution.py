"""What a wheel and an sdist must hold: `python distribution.py dist` checks those in a folder."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Beside the package the sdist holds what is needed to build, test and read it.
SOURCES = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "requirements.lock", "docs/build.py"}


def tracked(*folders: str) -> set[str]:
    """The files that git knows below these folders, symbolic links aside."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *folders]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")
    return {name for name in names if name and not (ROOT / name).is_symlink()}


def expected() -> set[str]:
    """The files of the package as it is installed: deploy/ and templates/ lie inside it."""
    inside = {f"multi/{name}" for name in tracked("deploy", "templates") if not name.endswith(".gitkeep")}
    return tracked("multi") | inside


def wheel_contents(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel, without its metadata folder."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def sdist_names(sdist: Path) -> set[str]:
    """The names in an sdist, without its leading folder."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive if not member.isdir()}


def faults(wheel: Path, sdist: Path) -> list[str]:
    """What is wrong with the two; nothing when all is well."""
    found: list[str] = []
    held = {name for name in wheel_contents(wheel) if not name.endswith(".gitkeep")}
    if tops := {name.partition("/")[0] for name in held} - {"multi"}:
        found.append(f"the wheel would put {sorted(tops)} into site-packages beside multi")
    if missing := expected() - held:
        found.append(f"the wheel lacks {sorted(missing)}")
    if strange := held - expected():
        found.append(f"the wheel holds {sorted(strange)}, which git doesn't know")
    names = sdist_names(sdist)
    if missing := SOURCES - names:
        found.append(f"the sdist lacks {sorted(missing)}")
    if leaked := {name for name in names if name.startswith((".git/", ".venv/", "build/")) or name.endswith(".pyc")}:
        found.append(f"the sdist holds what is no source: {len(leaked)} files, such as {min(leaked)}")
    return found


def main(folder: str) -> int:
    (wheel,) = Path(folder).glob("*.whl")
    (sdist,) = Path(folder).glob("*.tar.gz")
    problems = faults(wheel, sdist)
    for problem in problems:
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{sdist}: {len(sdist_names(sdist))} files")
        print(f"{wheel}: {len(wheel_contents(wheel))} files, nothing but multi at the top")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
