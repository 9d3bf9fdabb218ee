"""What a release is made of: the files of a commit, of a folder, or one wheel; each with a digest, so that only what a host
doesn't have is sent.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import stat
import subprocess
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from multi.errors import ConfigurationError, DeployError

#: Written into each release: what it was made of.
MANIFEST = ".multi-manifest"
#: Never part of a folder's release: other tools' files, and what Python writes by itself.
LEFT_OUT = (
    *(".git", ".hg", ".svn", ".venv", "venv", "__pycache__", "*.pyc", ".tox", ".nox", "*.egg-info", "node_modules"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", MANIFEST),
)
FILE, PROGRAM, LINK = "f", "x", "l"
_BLOCK = 1024 * 1024
_PATHS = 500  # so many stand on one command line of git


class Entry(NamedTuple):
    """One file: what kind it is, how long, and what tells it from others."""

    kind: str
    size: int
    digest: str


class Source:
    """The files of a release by their paths in it. `version` names it for people, `note` is what they should know of it."""

    def __init__(self, entries: Mapping[str, Entry], version: str, note: str = "") -> None:
        for path in entries:
            if "\n" in path:
                raise DeployError(f"{path!r} has a line break in its name; rename it, or leave it out with `exclude`")
        self.entries = dict(entries)
        self.version = version
        self.note = note

    @property
    def digest(self) -> str:
        """Of all of it: the same files give the same."""
        return hashlib.sha256(write_manifest(self.entries).encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries.values())

    def tar(self, paths: Sequence[str]) -> Iterator[bytes]:
        """An archive of these files, and of the manifest as its last member."""
        yield from self._members(paths)
        manifest = write_manifest(self.entries).encode("utf-8", "surrogateescape")
        info = _info(MANIFEST, FILE, len(manifest))
        yield _header(info) + manifest + _padding(len(manifest))
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _members(self, paths: Sequence[str]) -> Iterator[bytes]:
        raise NotImplementedError

    def read(self, path: str) -> bytes:
        """The content of one of the files."""
        raise NotImplementedError


# ---- the manifest


def write_manifest(entries: Mapping[str, Entry]) -> str:
    """A line for each file: kind, size, digest, path."""
    return "".join(f"{one.kind} {one.size} {one.digest} {path}\n" for path, one in sorted(entries.items()))


def read_manifest(text: str) -> dict[str, Entry]:
    """The files of a manifest; lines that are none are passed over, as files that are not known."""
    found = {}
    for line in text.split("\n"):
        kind, _, rest = line.partition(" ")
        size, _, rest = rest.partition(" ")
        digest, _, path = rest.partition(" ")
        if path and size.isdigit():
            found[path] = Entry(kind, int(size), digest)
    return found


# ---- archives


def _info(path: str, kind: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.size, info.mtime = size, int(time.time())
    info.mode = 0o755 if kind == PROGRAM else 0o644
    return info


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


# ---- a folder


class Folder(Source):
    """The files below a folder as they are now."""

    def __init__(self, folder: str, exclude: Sequence[str] = (), cache: Digests | None = None) -> None:
        self.folder = folder
        digests = cache or Digests()
        entries = dict(_walk(folder, (*LEFT_OUT, *exclude), digests))
        digests.save()
        if not entries:
            raise ConfigurationError(f"there are no files in {folder}: nothing can be deployed from there")
        super().__init__(entries, "")
        self.version = self.digest[:10]

    def _members(self, paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            yield from _file(os.path.join(self.folder, path), path, self.entries[path])

    def read(self, path: str) -> bytes:
        return _read(os.path.join(self.folder, path))


def _read(place: str) -> bytes:
    try:
        with open(place, "rb") as file:
            return file.read()
    except OSError as error:
        raise DeployError(f"{place} can't be read: {error.strerror}") from None


def _walk(top: str, patterns: Sequence[str], digests: Digests) -> Iterator[tuple[str, Entry]]:
    """The files below `top`. A pattern with a slash is one of the whole path, one without of any name."""
    whole = [pattern.strip("/") for pattern in patterns if "/" in pattern.rstrip("/")]
    single = [pattern.rstrip("/") for pattern in patterns if "/" not in pattern.rstrip("/")]
    todo = [""]
    while todo:
        below = todo.pop()
        with os.scandir(os.path.join(top, below)) as found:
            for item in found:
                path = f"{below}/{item.name}" if below else item.name
                if any(fnmatch.fnmatchcase(item.name, one) for one in single):
                    continue
                if any(fnmatch.fnmatchcase(path, one) for one in whole):
                    continue
                if item.is_symlink():
                    target = os.readlink(item.path)
                    yield path, Entry(LINK, 0, hashlib.sha256(os.fsencode(target)).hexdigest())
                elif item.is_dir():
                    todo.append(path)
                elif item.is_file():
                    status = item.stat()
                    kind = PROGRAM if status.st_mode & 0o100 else FILE
                    yield path, Entry(kind, status.st_size, digests.of(item.path, status))


def _file(place: str, path: str, entry: Entry) -> Iterator[bytes]:
    """One file as a member of an archive."""
    changed = DeployError(f"{place} was changed while it was sent; deploy again when nobody writes there")
    try:
        if entry.kind == LINK:
            info = _info(path, FILE, 0)
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(place)
            yield _header(info)
            return
        with open(place, "rb") as file:
            if os.fstat(file.fileno()).st_size != entry.size:
                raise changed
            yield _header(_info(path, entry.kind, entry.size))
            left = entry.size
            while left:
                block = file.read(min(_BLOCK, left))
                if not block:
                    raise changed
                left -= len(block)
                yield block
            yield _padding(entry.size)
    except OSError as error:
        raise DeployError(f"{place} can't be read: {error.strerror}") from None


class Digests:
    """Digests of files, kept by what a file was when it was read, so that a large tree is read once."""

    def __init__(self, path: str | None = None) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        self._path = Path(path or os.path.join(cache, "multi", "digests.json"))
        self._used: dict[str, list[object]] = {}
        try:
            self._known: dict[str, list[object]] = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            self._known = {}
        if not isinstance(self._known, dict):
            self._known = {}

    def of(self, path: str, status: os.stat_result) -> str:
        """The digest of a file. One that was written just now may be written again in the same moment, and is not kept."""
        key = os.path.abspath(path)
        what: list[object] = [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        known = self._known.get(key)
        if isinstance(known, list) and known[:-1] == what:
            self._used[key] = known
            return str(known[-1])
        try:
            with open(path, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise DeployError(f"{path} can't be read: {error.strerror}") from None
        if time.time() - status.st_mtime > 2:
            self._used[key] = [*what, digest]
        return digest

    def save(self) -> None:
        """Keep them; where that can't be, the next deploy reads the files again."""
        if self._used == self._known:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            new.write_text(json.dumps({**self._known, **self._used}))
            new.replace(self._path)
        except OSError:
            pass


# ---- a commit


class Commit(Source):
    """The files of a commit as `git archive` would give them, of those below the project's folder."""

    def __init__(self, folder: str, revision: str = "HEAD") -> None:
        self.folder = folder
        commit = _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", may_fail=True).strip()
        if not commit:
            raise ConfigurationError(_no_commit(folder, revision))
        self.commit = commit.decode()
        listed = _git(folder, "ls-tree", "-r", "-z", "--long", self.commit)
        entries, modules = {}, []
        for line in listed.split(b"\0"):
            if not line:
                continue
            head, _, name = line.partition(b"\t")
            mode, _, sha, size = head.split()
            path = os.fsdecode(name)
            if mode == b"160000":
                modules.append(path)
                continue
            kind = {b"120000": LINK, b"100755": PROGRAM}.get(mode, FILE)
            entries[path] = Entry(kind, int(size), f"git:{sha.decode()}")
        for path in _ignored(folder, entries):
            del entries[path]
        if not entries:
            raise ConfigurationError(f"the commit {revision} has no files below {folder}: nothing can be deployed")
        notes = []
        if modules:
            notes.append(f"submodules are not sent: {', '.join(modules)}")
        if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ".").strip():
            notes.append("there are changes here that are not committed, and not deployed")
        super().__init__(entries, self.commit[:10], "; ".join(notes))

    def _members(self, paths: Sequence[str]) -> Iterator[bytes]:
        wanted = set(paths)
        words = ["archive", "--format=tar", self.commit]
        if not wanted:
            return
        if len(wanted) <= _PATHS:
            words += ["--", *(f":(literal){path}" for path in sorted(wanted))]
        process = subprocess.Popen(["git", *words], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    if member.name in wanted:
                        yield from self._member(archive, member)
                        wanted.discard(member.name)
        finally:
            process.stdout.close()
            process.wait()
        if wanted:
            raise DeployError(f"git archive left out {', '.join(sorted(wanted)[:3])}; see the commit's .gitattributes")

    def read(self, path: str) -> bytes:
        return _git(self.folder, "cat-file", "blob", self.entries[path].digest.removeprefix("git:"))

    def _member(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
        info = _info(member.name, PROGRAM if member.mode & 0o100 else FILE, member.size)
        info.type, info.linkname = member.type, member.linkname
        yield _header(info)
        content = archive.extractfile(member) if member.isreg() else None
        if content is not None:
            while block := content.read(_BLOCK):
                yield block
            yield _padding(member.size)


def _ignored(folder: str, paths: Iterable[str]) -> list[str]:
    """Those that are not for archives, by themselves or by a folder above them."""
    above = {path: [path] for path in paths}
    for path, names in above.items():
        while "/" in path:
            path = path.rpartition("/")[0]
            names.append(f"{path}/")
    every = sorted({name for names in above.values() for name in names})
    asked = b"".join(os.fsencode(name) + b"\0" for name in every)
    said = _git(folder, "check-attr", "-z", "--stdin", "export-ignore", feed=asked).split(b"\0")
    bad = {os.fsdecode(name) for name, value in zip(said[::3], said[2::3], strict=False) if value == b"set"}
    return [path for path, names in above.items() if bad.intersection(names)] if bad else []


def _no_commit(folder: str, revision: str) -> str:
    inside = _git(folder, "rev-parse", "--is-inside-work-tree", may_fail=True).strip()
    if inside != b"true":
        return f'{folder} is in no git repository; commit the project, or deploy its folder with `source = "."`'
    return f"there is no commit {revision!r} in the repository of {folder}"


def _git(folder: str, *words: str, feed: bytes | None = None, may_fail: bool = False) -> bytes:
    try:
        done = subprocess.run(["git", *words], cwd=folder, input=feed, capture_output=True, check=False)
    except FileNotFoundError:
        raise ConfigurationError("git is not installed here; install it, or deploy a folder") from None
    if done.returncode and not may_fail:
        said = done.stderr.decode(errors="replace").strip()
        raise DeployError(f"git {words[0]} has failed in {folder}: {said}")
    return done.stdout if not done.returncode else b""


# ---- a wheel


class Wheel(Source):
    """A wheel, to be installed into the release's environment, and the files of the project that a deploy needs beside it."""

    def __init__(self, path: str, beside: Mapping[str, str] | None = None, digests: Digests | None = None) -> None:
        """`beside`: names in the release → files here."""
        if not path.endswith(".whl"):
            raise ConfigurationError(f"{path} is no wheel (NAME-VERSION-….whl)")
        self.path = path
        self.name = os.path.basename(path)
        self._places = {self.name: path, **(beside or {})}
        known = digests or Digests()
        entries = {}
        for name, place in self._places.items():
            try:
                status = os.stat(place)
            except OSError as error:
                raise ConfigurationError(f"{place} can't be read: {error.strerror}") from None
            if not stat.S_ISREG(status.st_mode):
                raise ConfigurationError(f"{place} is no file")
            entries[name] = Entry(FILE, status.st_size, known.of(place, status))
        super().__init__(entries, "-".join(self.name.split("-")[1:2]) or entries[self.name].digest[:10])

    def _members(self, paths: Sequence[str]) -> Iterator[bytes]:
        for path in paths:
            yield from _file(self._places[path], path, self.entries[path])

    def read(self, path: str) -> bytes:
        return _read(self._places[path])
