"""What the managers' own tools say of files: each is run on copies in a temporary directory, and nothing is installed."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from multi.units.base import ERROR, WARNING, File, Problem

#: What `systemd-analyze security` may say of the level strict, of 10.
EXPOSURE = 2.5
_PATHS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
#: In a message of systemd-analyze: about what isn't on this machine, and may well be on that for which the file is.
_ELSEWHERE = re.compile(
    r"is not executable: No such file|No such file or directory|not found\b.*, ignoring", re.IGNORECASE
)
_EXPOSURE = re.compile(r"Overall exposure level for (\S+): ([0-9.]+)")
_TIMEOUT = 60


def check_systemd(files: Sequence[File]) -> list[Problem]:
    """systemd-analyze verify is silent, and security finds the level strict strict."""
    units = [file for file in files if file.path.endswith((".service", ".target", ".slice"))]
    if not units:
        return []
    tool = _tool("systemd-analyze")
    if tool is None:
        return [_missing(units[0].path, "systemd-analyze", "systemd")]
    found: list[Problem] = []
    scope = "--user" if "/systemd/user" in units[0].path else "--system"
    with _copies(units) as (folder, paths):
        # an instance before the template of its name
        names = {os.path.basename(one.path): one for one in sorted(units, key=lambda one: "@." in one.path)}
        variables = {"SYSTEMD_UNIT_PATH": f"{folder}:", "SYSTEMD_LOG_LEVEL": "warning"}
        if not os.environ.get("XDG_RUNTIME_DIR"):
            variables["XDG_RUNTIME_DIR"] = (
                folder  # without a session there is none, and a user's units have files there
            )
        options = ["--man=no", scope]
        if _version(tool) >= 250:
            options.append("--recursive-errors=no")
        done = _run([tool, "verify", *options, *paths], variables)
        said = [line for line in done.stderr.splitlines() if line.strip()]
        for line in said:
            file = next((one for name, one in names.items() if _unit(name) in line), units[0])
            number = re.search(r":(\d+): ", line)
            text = line.replace(f"{folder}/", "").strip()
            level = WARNING if _ELSEWHERE.search(line) else ERROR
            found.append(Problem(file.path, text, level, int(number[1]) if number else 0))
        if done.returncode and not said:
            found.append(Problem(units[0].path, f"systemd-analyze verify ends with {done.returncode}"))
        for file in units:
            if "\nProtectSystem=strict\n" in file.text and _version(tool) >= 250:
                found += _exposure(tool, file, folder)
    return found


def _exposure(tool: str, file: File, folder: str) -> list[Problem]:
    name = os.path.basename(file.path)
    if "@." in name:  # only an instance can be looked at
        instance = name.replace("@.", "@node.")
        shutil.copyfile(os.path.join(folder, name), os.path.join(folder, instance))
        name = instance
    done = _run([tool, "security", "--offline=yes", "--no-pager", os.path.join(folder, name)], {})
    said = _EXPOSURE.search(done.stdout)
    if said is None:
        why = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        return [Problem(file.path, f"systemd-analyze security says nothing of it: {''.join(why)}")]
    if float(said[2]) > EXPOSURE:
        return [
            Problem(
                file.path,
                f"systemd-analyze security: its exposure is {said[2]}, and {EXPOSURE} is the most for the level strict",
            )
        ]
    return []


def check_supervisord(files: Sequence[File]) -> list[Problem]:
    """supervisord's own parser reads them."""
    configs = [file for file in files if file.path.endswith(".conf")]
    if not configs:
        return []
    try:
        from supervisor.options import ServerOptions
    except ImportError:
        return [_missing(configs[0].path, "the package supervisor", "multi-workers[supervisor]", by="pip install")]
    found: list[Problem] = []
    mains = [file for file in configs if re.search(r"^\[supervisord\]", file.text, re.MULTILINE)]
    with tempfile.TemporaryDirectory(prefix="multi-check-") as folder:
        parts = []
        for number, file in enumerate(file for file in configs if file not in mains):
            text, strangers = _here(file, folder)
            found = _once([*found, *strangers])
            part = os.path.join(folder, f"{number}.conf")
            _write(part, text)
            parts.append((file, part))
        mine = mains[0] if mains else None
        main = os.path.join(folder, "supervisord.conf")
        head = _here(mine, folder)[0] if mine else "[supervisord]\n"
        head = re.sub(r"^\[include\]\nfiles=.*$", "", head, flags=re.MULTILINE)
        # each by itself first, so that what is wrong is told of the file that it is in
        for file, part in [*parts, (mine or configs[0], "")]:
            if file.path.endswith(".conf") and "[group:" in file.text:
                continue  # it is about the others
            _write(main, f"{head}\n[include]\nfiles={part}\n" if part else head)
            if why := _parse(ServerOptions, main):
                found.append(Problem(file.path, f"supervisord doesn't read it: {why}"))
        if not found or all(problem.level == WARNING for problem in found):
            _write(main, f"{head}\n[include]\nfiles={' '.join(part for _, part in parts)}\n" if parts else head)
            if why := _parse(ServerOptions, main):
                found.append(Problem(configs[-1].path, f"supervisord doesn't read it: {why}"))
    return found


def _parse(kind: type, path: str) -> str | None:
    """Why supervisord would not read the file; None when it would."""
    options = kind()
    options.configfile = path
    try:
        options.read_config(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def _here(file: File, folder: str) -> tuple[str, list[Problem]]:
    """A text in which nothing is named that need not be on this machine: users, directories of logs."""
    text = re.sub(
        r"^((?:std(?:out|err)_)?logfile|pidfile|file|childlogdir)=/.*$",
        rf"\1={folder}/x",
        file.text,
        flags=re.MULTILINE,
    )
    text = re.sub(r"^(childlogdir)=.*$", rf"\1={folder}", text, flags=re.MULTILINE)
    unknown = [user for user in re.findall(r"^user=(.*)$", text, re.MULTILINE) if not _is_known(user)]
    for user in unknown:
        text = re.sub(rf"^user={re.escape(user)}$", "", text, flags=re.MULTILINE)
    return text, [_stranger(file, user) for user in unknown]


def _is_known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return user.isdecimal()
    return True


def _stranger(file: File, user: str) -> Problem:
    return Problem(file.path, f"there is no user {user} on this machine", WARNING)


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Without those that say the same of another file."""
    return [*{problem.text: problem for problem in reversed(problems)}.values()][::-1]


def check_logrotate(files: Sequence[File]) -> list[Problem]:
    """logrotate reads them."""
    tool = _tool("logrotate")
    if not files:
        return []
    if tool is None:
        return [_missing(files[0].path, "logrotate", "logrotate")]
    found = []
    with _copies(files) as (folder, paths):
        for file, path in zip(files, paths, strict=True):
            text = file.text
            for user in dict.fromkeys(re.findall(r"^    su (\S+) ", file.text, re.MULTILINE)):
                if not _is_known(user):
                    found.append(_stranger(file, user))
                    text = re.sub(rf"^    su {re.escape(user)} .*$", "", text, flags=re.MULTILINE)
                    _write(path, text)
            done = _run([tool, "--debug", "--state", os.path.join(folder, "state"), path], {})
            for line in done.stderr.splitlines():
                if line.startswith("error:"):
                    level = WARNING if "unknown group" in line else ERROR
                    number = re.search(r":(\d+)[: ]", line)
                    text = line.removeprefix("error:").replace(f"{folder}/", "").strip()
                    found.append(Problem(file.path, text, level, int(number[1]) if number else 0))
    return found


def check_tmpfiles(files: Sequence[File]) -> list[Problem]:
    """systemd-tmpfiles makes the directories, below a temporary one."""
    tool = _tool("systemd-tmpfiles")
    if not files:
        return []
    if tool is None:
        return [_missing(files[0].path, "systemd-tmpfiles", "systemd")]
    found = []
    with tempfile.TemporaryDirectory(prefix="multi-check-") as folder:
        for file in files:
            # whose they are can't be looked up below that directory
            text = re.sub(r"^([df] (?:\"[^\"]*\"|\S+) \S+) \S+ \S+", r"\1 - -", file.text, flags=re.MULTILINE)
            path = os.path.join(folder, os.path.basename(file.path))
            _write(path, text)
            os.makedirs(os.path.join(folder, "root"), exist_ok=True)
            done = _run([tool, "--create", f"--root={folder}/root", path], {})
            for line in done.stderr.splitlines():
                if line.strip():
                    number = re.search(r":(\d+): ", line)
                    text = line.replace(f"{folder}/", "").strip()
                    found.append(Problem(file.path, text, ERROR, int(number[1]) if number else 0))
    return found


def check_sudoers(files: Sequence[File]) -> list[Problem]:
    """visudo reads them. A file that sudo can't read takes away everybody's rights, so this one is worth having."""
    tool = _tool("visudo")
    if not files:
        return []
    if tool is None:
        return [_missing(files[0].path, "visudo", "sudo")]
    found = []
    with _copies(files) as (folder, paths):
        for file, path in zip(files, paths, strict=True):
            done = _run([tool, "-c", "-f", path], {})
            if done.returncode:
                text = " ".join((done.stderr or done.stdout).split()).replace(f"{folder}/", "")
                number = re.search(r":(\d+):", text)
                found.append(Problem(file.path, text, ERROR, int(number[1]) if number else 0))
    return found


# ---- how they are run


def _run(words: Sequence[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", **variables}
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=environment,
        timeout=_TIMEOUT,
        check=False,
    )


def _tool(name: str) -> str | None:
    """A program, also where the PATH of ordinary users doesn't lead."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *_PATHS))
    return shutil.which(name, path=path)


def _version(tool: str) -> int:
    found = re.match(r"systemd (\d+)", _run([tool, "--version"], {}).stdout)
    return int(found[1]) if found else 0


def _missing(path: str, what: str, package: str, by: str = "apt install") -> Problem:
    return Problem(path, f"not looked at: {what} is not on this machine ({by} '{package}')", WARNING)


def _unit(name: str) -> str:
    """What a message calls a unit: a template is made an instance of, to be looked at."""
    return name.split("@.", maxsplit=1)[0] + "@" if "@." in name else name


@contextmanager
def _copies(files: Sequence[File]) -> Iterator[tuple[str, list[str]]]:
    """The files under their own names in a directory of their own, and nobody else's to read."""
    with tempfile.TemporaryDirectory(prefix="multi-check-") as folder:
        paths = []
        for file in files:
            path = os.path.join(folder, os.path.basename(file.path))
            _write(path, file.text)
            os.chmod(path, 0o600 if file.secret else 0o644)
            paths.append(path)
        yield folder, paths


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
