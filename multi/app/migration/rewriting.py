"""Rewrites a file of settings: old names become new ones, and all else stays as it is, comments too."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Iterator

import msgspec

from multi.app.migration.scopes import bound, scopes
from multi.config.removed import OTHERS_TOO, why
from multi.config.table import upper_names
from multi.errors import ConfigurationError

#: Calls whose keyword arguments are settings.
_CALLS = ("Celery", "App")


class Rewritten(msgspec.Struct):
    """The new text, what was renamed (line, old, new), what can't be (line, reason), and the encoding of the file."""

    text: str
    renamed: list[tuple[int, str, str]]
    left: list[tuple[int, str]]
    encoding: str = "utf-8"

    @property
    def data(self) -> bytes:
        return self.text.encode(self.encoding)


class Change(msgspec.Struct, frozen=True, order=True):
    """Bytes `start` to `end` of a line become `text`."""

    line: int
    start: int
    end: int
    text: str
    old: str
    new: str


def rewrite(source: bytes, file: str, *, django: bool = False) -> Rewritten:
    """The settings of `source` under their new names; with `django` under CELERY_, in capitals.

    Renamed are names that the file assigns or imports, and what reads them; keyword arguments and keys that an app or its
    `conf` is given, `conf.NAME`, and what a class of settings is asked for. Not what belongs to another object or file,
    and no setting that has two names in one place. Raises `ConfigurationError` for what is no Python.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
        tree = ast.parse(text, file)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigurationError(f"{file}{f':{line}' if line else ''} is no Python that can be read: {error}") from None
    rewriter = _Rewriter(tree, text, django)
    lines = rewriter.lines
    # from the end to the beginning, so that positions stay right
    for change in sorted(rewriter.changes, reverse=True):
        row = lines[change.line - 1]
        lines[change.line - 1] = row[: change.start] + change.text.encode() + row[change.end :]
    told = {(change.line, change.old, change.new): None for change in sorted(rewriter.changes)}
    return Rewritten(b"".join(lines).decode(), list(told), sorted(set(rewriter.left)), encoding)


class _Rewriter:
    """What is to be changed in one file."""

    def __init__(self, tree: ast.Module, text: str, django: bool) -> None:
        self.lines = text.encode().splitlines(keepends=True)
        self.changes: set[Change] = set()
        self.left: list[tuple[int, str]] = []
        self._django = django
        self._uppers = upper_names()
        self._kept: set[str] = set()
        self._conflicts(tree)
        for scope in scopes(tree):
            names = {name: new for name in scope.settings if (new := self._new(name)) is not None}
            for node in scope.nodes:
                self._node(node, names)
        self._classes(tree)
        self._given(tree)

    def _new(self, name: str) -> str | None:
        """What `name` is to be called, None for what stays."""
        setting = self._uppers.get(name)
        if setting is None or setting in self._kept:
            return None
        new = f"CELERY_{setting.upper()}" if self._django else setting
        return None if new == name else new

    def _setting(self, name: str) -> str | None:
        found = self._uppers.get(name)
        return found or (name if name in self._uppers.values() and not self._django else None)

    def _conflicts(self, tree: ast.Module) -> None:
        """Leave alone what has two names in one place: renamed, one would silently stand in for the other."""
        for names in _together(tree):
            seen: dict[str, str] = {}
            for name, line in names:
                setting = self._setting(name)
                if setting is None:
                    continue
                first = seen.setdefault(setting, name)
                if first != name:
                    self._kept.add(setting)
                    self.left.append(
                        (line, f"{first} and {name} are two names of the setting {setting}: keep one of them")
                    )

    def _gone(self, line: int, name: str) -> None:
        if (gone := why(name)) and not (self._django and name in OTHERS_TOO):
            self.left.append((line, gone))

    def _put(self, line: int, start: int, end: int, old: str, new: str, text: str = "") -> None:
        self.changes.add(Change(line, start, end, text or new, old, new))

    def _node(self, node: ast.AST, names: dict[str, str]) -> None:
        """A node of a scope in which `names` are to be renamed."""
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Store):
                self._gone(node.lineno, node.id)
            if node.id in names:
                self._put(node.lineno, node.col_offset, node.end_col_offset or 0, node.id, names[node.id])
        elif isinstance(node, ast.alias):
            name = node.asname or node.name
            if name in names and node.end_col_offset is not None and node.end_lineno is not None:
                if node.asname:
                    end = node.end_col_offset
                    self._put(node.end_lineno, end - len(name), end, name, names[name])
                else:
                    text = f"{name} as {names[name]}"
                    self._put(node.lineno, node.col_offset, node.end_col_offset, name, names[name], text)
        elif isinstance(node, ast.Global):
            line = self.lines[node.lineno - 1]
            for name in node.names:
                for found in re.finditer(rb"\b%s\b" % name.encode(), line) if name in names else ():
                    self._put(node.lineno, found.start(), found.end(), name, names[name])
        elif isinstance(node, ast.JoinedStr):
            self._formatted(node, names)

    def _formatted(self, node: ast.JoinedStr, names: dict[str, str]) -> None:
        """The names in an f-string: its text is searched, as the positions in it are not to be relied on before 3.12."""
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)} & names.keys()
        if not used:
            return
        words = b"|".join(map(str.encode, sorted(used)))
        # first wherever the names stand, then, as they may be in the string's text too, at the beginning of a field only
        for before in (rb"(?<![\w.'\"])", rb"(?<=\{)"):
            found = self._found(node, re.compile(before + rb"(%s)(?![\w'\"])" % words), names)
            if _same(node, names, self._changed(node, found)):
                self.changes.update(found)
                return
        for name in sorted(used):
            self.left.append((node.lineno, f"{name} in this f-string is to be renamed by hand, to {names[name]}"))

    def _found(self, node: ast.expr, pattern: re.Pattern[bytes], names: dict[str, str]) -> list[Change]:
        return [
            Change(line, start + match.start(1), start + match.end(1), names[name], name, names[name])
            for line, start, end in self._spans(node)
            for match in pattern.finditer(self.lines[line - 1][start:end])
            if (name := match[1].decode())
        ]

    def _changed(self, node: ast.expr, changes: list[Change]) -> str:
        """The text of a node with these changes."""
        pieces = []
        for line, start, end in self._spans(node):
            row = self.lines[line - 1][start:end]
            for change in sorted((each for each in changes if each.line == line), reverse=True):
                row = row[: change.start - start] + change.text.encode() + row[change.end - start :]
            pieces.append(row)
        return b"".join(pieces).decode()

    def _spans(self, node: ast.expr) -> list[tuple[int, int, int]]:
        """The lines of a node, and where in each it begins and ends."""
        last = node.end_lineno or node.lineno
        return [
            (
                line,
                node.col_offset if line == node.lineno else 0,
                (node.end_col_offset or 0) if line == last else len(self.lines[line - 1]),
            )
            for line in range(node.lineno, last + 1)
        ]

    def _classes(self, tree: ast.Module) -> None:
        """`Config.NAME`, where the file has a class Config with that setting."""
        classes = {
            node.name: {name for name, _ in bound(node)} for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.attr in classes.get(node.value.id, ()) and (new := self._new(node.attr)):
                    self._attribute(node, new)

    def _attribute(self, node: ast.Attribute, new: str) -> None:
        end = node.end_col_offset or 0
        self._put(node.end_lineno or node.lineno, end - len(node.attr), end, node.attr, new)

    def _given(self, tree: ast.Module) -> None:
        """What an app and its `conf` are given: keyword arguments, keys of dictionaries, `conf.NAME`, `conf["NAME"]`."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and _takes_settings(node):
                for each in _settings_in(node):
                    self._key(each)
            elif isinstance(node, ast.Attribute) and _is_conf(node.value):
                self._gone(node.lineno, node.attr)
                if new := self._new(node.attr):
                    self._attribute(node, new)
            elif isinstance(node, ast.Subscript) and _is_conf(node.value) and isinstance(node.slice, ast.Constant):
                self._key(node.slice)

    def _key(self, node: ast.keyword | ast.Constant) -> None:
        name = node.arg if isinstance(node, ast.keyword) else node.value
        if not isinstance(name, str):
            return
        self._gone(node.lineno, name)
        new = self._new(name)
        if new is None:
            return
        start, end = node.col_offset, node.col_offset + len(name)
        if isinstance(node, ast.keyword):
            self._put(node.lineno, start, end, name, new)
        elif node.end_col_offset is not None and node.lineno == node.end_lineno:
            written = self.lines[node.lineno - 1][start : node.end_col_offset].decode()
            self._put(node.lineno, start, node.end_col_offset, name, new, written.replace(name, new))


def _same(node: ast.JoinedStr, names: dict[str, str], text: str) -> bool:
    """Whether `text` is the f-string with its names renamed, and with nothing else changed."""
    try:
        wanted = ast.parse(ast.unparse(node), mode="eval")
        for each in ast.walk(wanted):
            if isinstance(each, ast.Name):
                each.id = names.get(each.id, each.id)
        return ast.dump(wanted) == ast.dump(ast.parse(ast.unparse(ast.parse(f"({text})", mode="eval")), mode="eval"))
    except (SyntaxError, ValueError):
        return False


def _is_conf(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "conf") or (
        isinstance(node, ast.Attribute) and node.attr == "conf"
    )


def _takes_settings(call: ast.Call) -> bool:
    """Whether it is `Celery(...)`, or `conf.update(...)`."""
    function = call.func
    if isinstance(function, ast.Attribute) and function.attr == "update":
        return _is_conf(function.value)
    return (function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")) in _CALLS


def _settings_in(call: ast.Call) -> Iterator[ast.keyword | ast.Constant]:
    for argument in call.args:
        yield from _settings_of(argument)
    for each in call.keywords:
        if each.arg is not None:
            yield each
        yield from _settings_of(each.value) if each.arg in (None, "changes") else ()


def _settings_of(node: ast.expr) -> Iterator[ast.keyword | ast.Constant]:
    """The keys of a dictionary that is written down, or made by `dict(...)`."""
    if isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield from _settings_of(value)
            elif isinstance(key, ast.Constant):
                yield key
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        yield from _settings_in(node)


def _together(tree: ast.Module) -> Iterator[Iterable[tuple[str, int]]]:
    """The names that stand in one place, with their lines: of the module, of a class, of a call."""
    yield bound(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield bound(node)
        elif isinstance(node, ast.Call) and _takes_settings(node):
            keys = [
                (each.arg if isinstance(each, ast.keyword) else each.value, each.lineno) for each in _settings_in(node)
            ]
            yield [(key, line) for key, line in keys if isinstance(key, str)]
