"""Environment files, as the keeper reads them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from multi.controller.keeper.envfile import EnvFileError, parse, read


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("A=", ""),
        ("A =b", "b"),
        ("  A=b c  ", "b c"),
        ("export A=b", "b"),
        ("export\tA=b", "b"),
        ("A='b c'", "b c"),
        ('A="b c" ', "b c"),
        ("A='b \"c\" \\n $d'", 'b "c" \\n $d'),
        ('A="b \\"c\\" \\\\ \\$d `e`"', 'b "c" \\ $d `e`'),
        ('A="one\\ntwo\\tthree"', "one\ntwo\tthree"),
        ('A="C:\\windows"', "C:\\windows"),
        ('A="one\ntwo"', "one\ntwo"),
        ("A='one\ntwo'", "one\ntwo"),
        ("A=one\\\ntwo", "onetwo"),
        ("A=b\\ c\\#", "b c#"),
        ("A=b # a comment", "b"),
        ("A=b#c", "b#c"),
        ("A='b' # a comment", "b"),
        ("A=# nothing", "# nothing"),
        ("A= # nothing", ""),
        ('A=b"c d"e', "bc de"),
        ("A=${HOME}/x $B", "${HOME}/x $B"),
        ("A=a=b=c", "a=b=c"),
        ("A=postgres://u:p%40ss@h/db?x=1&y=2", "postgres://u:p%40ss@h/db?x=1&y=2"),
        ("A=ü", "ü"),
        ("A=b\r\n", "b"),
    ],
)
def test_a_value_is_read_as_it_is_meant(line: str, value: str) -> None:
    assert parse(f"BEFORE=1\n{line}\nAFTER=2", "file") == {"BEFORE": "1", "A": value, "AFTER": "2"}


def test_blank_lines_comments_and_bare_names_set_nothing() -> None:
    assert parse("\n  # a\n; b\n\t\nHOME\nexport PATH\n#A=1\n", "file") == {}


def test_the_last_of_two_counts() -> None:
    assert parse("A=1\nA=2", "file") == {"A": "2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A=1\n\n2B=x", "file, line 3: '2B' is no variable's name; a line is NAME=VALUE"),
        ("A=1\nset A=2", "file, line 2: 'set A' is no variable's name"),
        ("=x", "file, line 1: '' is no variable's name"),
        ("A=1\nB='x\ny\n", "file, line 2: the quote ' is not closed"),
        ('A="x', 'file, line 1: the quote " is not closed'),
        ("A=x\0y", "file, line 1: the value of A holds a NUL character"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    with pytest.raises(EnvFileError) as error:
        parse(text, "file")
    assert said in str(error.value)


def test_a_value_is_never_in_the_error() -> None:
    with pytest.raises(EnvFileError) as error:
        parse("PASSWORD='hush\n", "file")
    assert "hush" not in str(error.value)


def test_a_file_may_be_missing_only_if_it_says_so(tmp_path: Path) -> None:
    path = str(tmp_path / "env")
    assert read(f"-{path}") == {}
    with pytest.raises(EnvFileError, match=r"env is missing; put - before its name"):
        read(path)
    Path(path).write_bytes(b"\xef\xbb\xbfA=\xff")
    assert read(path) == read(f"-{path}") == {"A": os.fsdecode(b"\xff")}


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(EnvFileError, match="no plain file"):
        read(str(tmp_path / "pipe"))
    (tmp_path / "large").write_bytes(b"#" * (1 << 21))
    with pytest.raises(EnvFileError, match="larger than 1 MB"):
        read(str(tmp_path / "large"))


def test_a_directory_is_no_environment_file_and_is_told_by_name(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(EnvFileError, match=f"the environment file {tmp_path} is no plain file"):
        read(str(tmp_path))
    assert len(os.listdir("/proc/self/fd")) == before
