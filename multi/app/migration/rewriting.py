"""Rewrites a file of settings: old names become new ones, and all else stays as it is, comments too."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator

import msgspec

from multi.config.removed import why
from multi.config.table import upper_names
from multi.errors import ConfigurationError


class Rewritten(msgspec.Struct):
    """The new text, what was renamed (line, old, new), and what can't be (line, reason)."""

    text: str
    renamed: list[tuple[int, str, str]]
    left: list[tuple[int, str]]


def rewrite(source: bytes, file: str, *, django: bool = False) -> Rewritten:
    """The settings of `source` under their new names; with `django` under CELERY_, in capitals.

    Renamed are names that are assigned or read in the file, keyword arguments, `conf.NAME`, and keys of dictionaries;
    not what belongs to another object. Raises `ConfigurationError` for what is no Python.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        text = source.decode(encoding)
        tokens = list(tokenize.generate_tokens(io.StringIO(text, newline="").readline))
        compile(text, file, "exec", dont_inherit=True)
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ConfigurationError(f"{file}{f':{line}' if line else ''} is no Python that can be read: {error}") from None
    uppers = upper_names()
    lines = text.splitlines(keepends=True)
    renamed: list[tuple[int, str, str]] = []
    left: list[tuple[int, str]] = []
    # from the end to the beginning, so that positions stay right
    for token, name in reversed(list(_names(tokens))):
        row, column = token.start
        setting = uppers.get(name)
        if setting is None:
            if gone := why(name):
                left.append((row, gone))
            continue
        new = f"CELERY_{setting.upper()}" if django else setting
        if new == name:
            continue
        line = lines[row - 1]
        written = token.string.replace(name, new)
        lines[row - 1] = line[:column] + written + line[column + len(token.string) :]
        renamed.append((row, name, new))
    return Rewritten("".join(lines), renamed[::-1], left[::-1])


_QUIET = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


#: Calls whose keyword arguments are settings.
_CALLS = ("Celery", "App")


def _names(tokens: list[tokenize.TokenInfo]) -> Iterator[tuple[tokenize.TokenInfo, str]]:
    """Names and texts that are settings: variables, `conf.NAME`, and what `conf.update(...)` or `Celery(...)` are given.

    A keyword or a key that goes elsewhere (an environment, say) is somebody else's.
    """
    told = [token.string for token in tokens if token.type not in _QUIET]
    given = [False]  # for each open bracket, whether settings are given in it
    index = 0
    for token in tokens:
        if token.type in _QUIET:
            continue
        before, after = told[index - 1] if index else "", told[index + 1] if index + 1 < len(told) else ""
        text = token.string
        if text in ("(", "[", "{"):
            opened = text == "(" and (before in _CALLS or told[max(0, index - 3) : index] == ["conf", ".", "update"])
            given.append(opened or (given[-1] and text == "{"))
        elif text in (")", "]", "}") and len(given) > 1:
            given.pop()
        elif token.type == tokenize.NAME:
            keyword = after == "=" and before in ("(", ",") and len(given) > 1
            of_conf = before == "." and told[index - 2] == "conf"
            if of_conf or (before != "." and (given[-1] or not keyword)):
                yield token, text
        elif token.type == tokenize.STRING:
            name = text.strip("\"'")
            key = after == ":" and given[-1]
            item = before == "[" and after == "]" and told[max(0, index - 2)] == "conf"
            if name.isidentifier() and (key or item):
                yield token, name
        index += 1
