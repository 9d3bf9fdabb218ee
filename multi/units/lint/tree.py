"""YAML with the place of everything in it, so that a change leaves all else as it is: comments, order, the way it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError, MissingExtra
from multi.units.lint.rules import Edit

if TYPE_CHECKING:
    import yaml


class Table:
    """A mapping of a YAML document. What it has from others (`<<`) is read with it, and never changed."""

    def __init__(self, text: str, node: Any) -> None:
        self.text = text
        self.node = node

    @property
    def line(self) -> int:
        return int(self.node.start_mark.line) + 1

    @property
    def is_flow(self) -> bool:
        return bool(self.node.flow_style)

    def pairs(self) -> Iterator[tuple[str, Any]]:
        """Keys and nodes of values, those that are merged in last."""
        merged: list[Any] = []
        for key, value in self.node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                merged += value.value if _is_list(value) else [value]
            else:
                yield str(key.value), value
        for one in merged:
            if _is_table(one):
                yield from Table(self.text, one).pairs()

    def own(self, key: str) -> tuple[Any, Any] | None:
        """The nodes of key and value, if the key stands here itself."""
        return next(((one, value) for one, value in self.node.value if one.value == key), None)

    def has_own(self, key: str) -> bool:
        """Whether key and value are written here themselves, so that nobody else has a share in them."""
        own = self.own(key)
        return own is not None and not self._is_elsewhere(own)

    def find(self, *keys: str) -> Any:
        """The node below these keys; None where there is none."""
        node: Any = self.node
        for key in keys:
            if node is None or not _is_table(node):
                return None
            node = dict(reversed([*Table(self.text, node).pairs()])).get(key)
        return node

    def table(self, *keys: str) -> Table | None:
        """The table below these keys."""
        node = self.find(*keys)
        return Table(self.text, node) if node is not None and _is_table(node) else None

    def tables(self, *keys: str) -> list[Table]:
        """The tables in the list below these keys."""
        node = self.find(*keys)
        return (
            [Table(self.text, one) for one in node.value if _is_table(one)]
            if node is not None and _is_list(node)
            else []
        )

    def value(self, *keys: str) -> Any:
        """The value below these keys, as YAML understands it; None where there is none."""
        node = self.find(*keys)
        return None if node is None else plain(node)

    def line_of(self, *keys: str) -> int:
        """Where the key stands; where it is missing, the line of the table that it is missing from."""
        for count in range(len(keys), 0, -1):
            node = self.find(*keys[:count])
            if node is not None:
                home = self.find(*keys[: count - 1]) if count > 1 else self.node
                own = Table(self.text, home).own(keys[count - 1])
                return int((own[0] if own else node).start_mark.line) + 1
        return self.line

    # ---- changes

    def put(self, key: str, value: Any) -> Edit:
        """The edit that gives the key this plain value."""
        as_json = self._is_json
        written = json.dumps(value, ensure_ascii=False) if as_json else _written(value)
        own = self.own(key)
        if own is not None and not _is_table(own[1]) and not _is_list(own[1]) and not self._is_elsewhere(own):
            node = own[1]
            if node.end_mark.index > node.start_mark.index:
                return Edit(node.start_mark.index, node.end_mark.index, written)
            return Edit(own[0].end_mark.index, own[0].end_mark.index + 1, f": {written}")
        if self.is_flow:
            at = self.node.start_mark.index + 1
            name = json.dumps(key) if as_json else key
            return Edit(at, at, f"{name}: {written}{', ' if self.node.value else ''}")
        first, first_value = self.node.value[0]
        at = _line_end(self.text, _last_line(first_value, first))
        gap = "" if at == 0 or self.text[at - 1] == "\n" else "\n"
        return Edit(at, at, f"{gap}{' ' * first.start_mark.column}{key}: {written}\n")

    def put_table(self, key: str, inner: str, value: Any) -> Edit:
        """The edit that gives `inner` in the table `key` this value; the table is made where there is none."""
        below = self.own(key)
        if below is not None and _is_table(below[1]) and below[1].value:
            return Table(self.text, below[1]).put(inner, value)
        return self.put(key, {inner: value})

    def comment_out(self, key: str) -> Edit | None:
        """The edit that makes comments of a key and all below it; None where that would leave nothing, or break the list."""
        own = self.own(key)
        if own is None or self.is_flow or len(self.node.value) < 2:
            return None
        name, value = own
        column = name.start_mark.column
        begin = name.start_mark.index - column
        if self.text[begin : name.start_mark.index].strip():
            return None  # it stands behind the dash of a list
        end = _line_end(self.text, _last_line(value, name))
        lines = self.text[begin:end].splitlines(keepends=True)
        return Edit(
            begin, end, "".join(f"{line[:column]}# {line[column:]}" if line.strip() else line for line in lines)
        )

    @property
    def _is_json(self) -> bool:
        """Whether it is written as JSON, with all of its keys in quotes."""
        return self.is_flow and bool(self.node.value) and all(key.style == '"' for key, _ in self.node.value)

    def _is_elsewhere(self, own: tuple[Any, Any]) -> bool:
        """Whether the value is an alias: its place is that of the anchor, which others may share."""
        key, value = own
        return bool(value.start_mark.index < key.end_mark.index)


def documents(text: str, path: str) -> list[Table]:
    """The documents of a file that are tables."""
    yaml = yaml_module()
    try:
        return [
            Table(text, node)
            for node in yaml.compose_all(text, Loader=yaml.SafeLoader)
            if node is not None and _is_table(node)
        ]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        hint = "; if it is a template: have it filled in first (helm template)" if "{{" in text else ""
        raise ConfigurationError(
            f"{path}{where}: this is no YAML: {getattr(error, 'problem', None) or error}{hint}"
        ) from None


def plain(node: yaml.Node) -> Any:
    """A node as plain values."""
    module = yaml_module()
    loader = module.SafeLoader("")
    try:
        return loader.construct_document(node)
    except module.YAMLError:
        return None  # a tag of somebody's own
    finally:
        loader.dispose()


def yaml_module() -> Any:
    try:
        import yaml
    except ImportError:
        raise MissingExtra("PyYAML", "multi-workers[containers]", "multi lint of this file") from None
    return yaml


def _is_table(node: Any) -> bool:
    return type(node).__name__ == "MappingNode"


def _is_list(node: Any) -> bool:
    return type(node).__name__ == "SequenceNode"


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key}: {_written(one)}" for key, one in value.items()) + " }"
    if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum():
        return (
            value
            if not value.isdecimal() and value not in ("on", "off", "yes", "no", "true", "false")
            else f'"{value}"'
        )
    return json.dumps(value, ensure_ascii=False)


def _last_line(value: Any, before: Any) -> int:
    """The number, from 0, of the last line that belongs to a value; `before` is what it follows, or what it is in."""
    if value.start_mark.index < before.start_mark.index:
        return int(before.end_mark.line)  # an alias: its marks are those of the anchor
    if _is_table(value) and not value.flow_style and value.value:
        last_key, last = value.value[-1]
        return _last_line(last, last_key)
    if _is_list(value) and not value.flow_style and value.value:
        return max(int(value.start_mark.line), _last_line(value.value[-1], value))
    if value.end_mark.column == 0 and value.end_mark.line > value.start_mark.line:
        return int(value.end_mark.line) - 1  # a text of several lines
    return int(value.end_mark.line)


def _line_end(text: str, line: int) -> int:
    """The offset where the line after this one begins."""
    at = 0
    for _ in range(line + 1):
        found = text.find("\n", at)
        if found < 0:
            return len(text)
        at = found + 1
    return at
