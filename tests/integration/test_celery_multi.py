"""`multi` understands command lines as the real `celery multi` does, and does right what that gets wrong."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
import pytest
from celery.bin.beat import beat
from celery.bin.celery import celery
from celery.bin.worker import worker
from support.multi_lines import FILES, Lines, options, ours, shown, theirs
from support.project import OURS, Project

from multi.nodes import options as table

HOST = os.uname().nodename
#: How many lines are made at random; more by hand: MULTI_TEST_LINES=5000 pytest tests/integration/test_celery_multi.py
AT_RANDOM = int(os.environ.get("MULTI_TEST_LINES", "300"))
TEMPLATE = "%n|%N|%h|%d|%p|%i%I|100%%"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in, and nothing of this person's own settings."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MULTI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(words: list[str]) -> None:
    """Both programs make the same of this line: the names, a pattern for each, the options of each node."""
    assert ours("names", *words) == theirs("names", *words)
    assert ours("expand", TEMPLATE, *words) == theirs("expand", TEMPLATE, *words)
    assert [options(line) for line in shown(*words)] == [options(line) for line in theirs("show", *words)]


@pytest.mark.parametrize(
    "line",
    [
        # the examples of its own help
        "Leslie -E",
        "Leslie -E --pidfile=/var/run/celery/%n.pid --logfile=/var/log/celery/%n%I.log",
        "3 -c 3",
        "3 --range-prefix=worker -c 3",
        "image video data -c 3",
        "2 --hostname=worker.example.com -c 3",
        "foo@worker.example.com bar@worker.example.com -c 3",
        "foo@%h bar@%h",
        "10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -l:4,5 DEBUG",
        "3 -c 3 -c:1 10",
        "image video data -c 3 -c:image 10",
        "5 -c 3 -c:1-3 10",
        "foo bar baz xuzzy -c 3 -c:foo,bar,baz 10",
        # and of its documentation
        "10 -A proj -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -P threads --max-tasks-per-child=1000",
        "w1 -A proj -l INFO --pidfile=/var/run/celery/%n.pid --time-limit=300 --concurrency=8",
        "worker1 --app=proj --broker=amqp://guest@localhost// --workdir=/ --uid=0 --gid=0 --umask=022",
        # names
        "1",
        "w1@foo w2",
        "w1 w2@%h w3@x.%h --prefix=p-",
        "w1 w2 --suffix=example.com",
        "2 --prefix=ignored --suffix=h --hostname=also-ignored",
        "w1 w2 -n node.example.com",
        "w1 -n x-%h",
        "w-%n@%h",
        "1-3",
        "w1 3",
        # options for single nodes
        "w1 w2 w3 -c:1,3 10",
        "w1 w2 w3 -c:w1,3 10 -c 2",
        "w1 w2 -c:2 10 --loglevel:1=DEBUG -E:2",
        "w1 w2 -E:w1 -B:w2 --without-mingle:2 --purge:w1",
        "5 -c:2,4-5 10 -c:1-4 3",
        "3 -c:2-9 10",
        f"w1 w2 -c:w1@{HOST} 10",
        f"w1@a w1@b -c:w1@a 10 -c:w1@{HOST} 3 w1",
        f"w1 w2 w3 -c:w1@{HOST},w2@{HOST} 10",
        "p w --prefix=x -c:p 5 -c:2 6",
        # a value in one word with its option, and the nodes behind it
        "w1 w2 -A proj -Ofair:w1",
        "2 -Psolo:1 -c10:1-2 -Qa,b:2 -Aproj",
        "w1 w2 -EB:w1 -c10:w2",
        # what keepers do in a worker's place
        "w1 -A proj --pidfile=/var/run/%n.pid --umask=077 --workdir=/ --uid=0 --gid=0",
        "w1 w2 --umask:w1=027 --workdir:2=/tmp --logfile=/var/log/%n%I.log",
        # what wins: a list over one, a number over a name, whatever the order
        "w1 w2 -c:w1,w2 10 -c:w1 4",
        "w1 w2 -c:1 10 -c:w1 4",
        "4 -c:2 3 -c:1-3 10 -c:1,4 5",
        # the rest
        "w1 -Q q-%n,%d -S /var/lib/%n.db -s %p --append=a.b=%n -- x=1 y=2",
        "w1 --append=--tenant=%n",
        "--quiet w1 --nosplash -A proj --no-color --verbose",
        "w1 --tenant=acme --tenant:1=other --debug",
        "2 --cmd=-m\\ celery\\ worker\\ -E -A proj -c 3",
    ],
)
def test_the_same_words_mean_the_same(line: str) -> None:
    same(shlex.split(line))


def test_what_is_put_together_at_random_means_the_same() -> None:
    for seed in range(AT_RANDOM):
        words = Lines(seed).line()
        try:
            same(words)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: multi show --engine celery {' '.join(words)}") from error


def test_get_gives_the_line_of_one_node_by_its_short_name_as_well() -> None:
    line = ("3", "-A", "proj", "-c", "3", "-c:2", "10")
    (wanted,) = theirs("get", f"celery2@{HOST}", *line)
    for name in (f"celery2@{HOST}", "celery2", "2"):
        (found,) = ours("get", name, "--engine", "celery", *line, *FILES)
        assert options(found) == options(f"python {wanted}")
    with pytest.raises(AssertionError):
        theirs("get", "celery2", *line)  # says nothing and fails


def test_the_table_has_every_option_of_celerys_worker_and_beat() -> None:
    for command, kind in ((worker, "worker"), (beat, "beat"), (celery, "worker")):
        for param in command.params:
            if not isinstance(param, click.Option) or param.name in ("help", "version"):
                continue
            for spelling in (*param.opts, *param.secondary_opts):
                option = table.by_spelling(spelling, kind)
                assert option is not None, f"{kind}: {spelling}"
                assert (option.metavar is None) == param.is_flag, f"{kind}: {spelling}"


# ---- what celery multi gets wrong


def of_each(*words: str) -> list[dict[str, object]]:
    return [options(line) for line in ours("show", "--engine", "celery", *words)]


def refused(*words: str) -> str:
    with pytest.raises(AssertionError) as caught:
        ours("show", *words)
    return str(caught.value)


def test_a_space_in_a_path_stays_in_it(folder: Path) -> None:
    assert "--statedb=/opt/my" in shlex.split(theirs("show", "w1", "--statedb=/opt/my app.db")[0])
    (found,) = of_each("w1", "--statedb=/opt/my app.db")
    assert found["statedb"] == "/opt/my app.db"
    there = folder / "my app"
    there.mkdir()
    assert f'"cwd": "{there}"' in "\n".join(ours("show", "w1", f"--workdir={there}", "--json"))


def test_a_percent_sign_in_a_password_is_no_mark() -> None:
    url = "redis://:p%40ss%n@host/1"
    with pytest.raises(ValueError, match="Unknown format %4"):
        theirs("show", "w1", "-b", url)
    for engine in ("celery", "multi"):
        (line,) = ours("show", "--engine", engine, "w1", "-b", url)
        assert line.startswith(f"{'CELERY' if engine == 'celery' else 'MULTI'}_BROKER_URL=redis://:**@host/1 ")
    (found,) = of_each("w1", "-Q", "100%,%x,%n")
    assert found["queues"] == "100%,%x,w1"


def test_a_flag_takes_no_node_for_its_value() -> None:
    assert theirs("names", "-E", "w1") == [""]
    assert ours("names", "-E", "w1") == [f"w1@{HOST}"]
    (found,) = of_each("-E", "w1")
    assert found["task_events"] is True
    first, second = of_each("-E:1", "w1", "w2")
    assert ("task_events" in first, "task_events" in second) == (True, False)


def test_a_long_option_may_have_its_value_behind_it() -> None:
    assert theirs("names", "w1", "--loglevel", "INFO") == [f"w1@{HOST}", f"INFO@{HOST}"]
    (found,) = of_each("w1", "--loglevel", "INFO", "--range-prefix", "w")
    assert found["loglevel"] == "INFO"
    assert [one["concurrency"] for one in of_each("w1", "--concurrency:2", "3", "w2", "-c4")] == ["4", "3"]


def test_a_value_of_a_projects_own_option_is_not_guessed() -> None:
    assert theirs("names", "w1", "--foo", "INFO") == [f"w1@{HOST}", f"INFO@{HOST}"]
    said = refused("--engine", "celery", "w1", "--foo", "INFO")
    assert (
        "--foo INFO: there is no option --foo. If it is one of your project's own, write its value as in --foo=INFO"
        in said
    )
    assert "if it takes none, put INFO before it" in said
    assert "write its value as in -ZINFO" in refused("--engine", "celery", "w1", "-Z", "INFO")
    assert "(did you mean --loglevel?)" in refused("--engine", "celery", "w1", "--loglvel", "INFO")
    assert "(did you mean -l?)" in refused("--engine", "celery", "2", "-L:1", "INFO")
    assert "goes through with --engine celery" in refused("w1", "--foo=1")
    (found,) = of_each("--foo", "--bar=1", "w1", "-Zx")
    assert (found["--foo"], found["--bar"], found["-Zx"]) == ([""], ["1"], [""])


def test_a_repeated_option_is_kept() -> None:
    assert options(theirs("show", "w1", "-I", "a", "-I", "b")[0])["include"] == "b"
    (found,) = of_each("w1", "-I", "a", "-I", "b", "-Q", "x", "--queues=y,z", "--tag=1", "--tag=2")
    assert (found["include"], found["queues"], found["--tag"]) == ("a,b", "x,y,z", ["1", "2"])
    first, second = of_each("w1", "w2", "-Q", "a", "-Q", "b", "-Q:2", "c", "--tag=1", "--tag=2", "--tag:1=3")
    assert (first["queues"], second["queues"]) == ("a,b", "c")
    assert (first["--tag"], second["--tag"]) == (["3"], ["1", "2"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("2", "-c:3", "10"), "-c:3: there is no node number 3; there are 2: celery1, celery2"),
        (("w1", "-c:0", "10"), "-c:0: there is no node number 0: they are counted from 1"),
        (("w1", "w2", "-c:w3", "10"), "-c:w3: no node is called w3; there are 2: w1, w2"),
        (("w1", "w2", "-c:w1,w4", "10"), "no node is called w4"),
        (("w1", "w2", "-c:3-4", "10"), "there is no node number 3-4"),
        (("3", "-c:3-1", "10"), "there is no node in 3-1: write the smaller number first"),
        (("w1", "-c:w1@elsewhere", "10"), "no node is called w1@elsewhere"),
        (("w1", "--loglevel:w9=DEBUG"), "--loglevel:w9=DEBUG: no node is called w9"),
        (("w1", "-c:", "10"), "which nodes? Name them behind the colon"),
    ],
)
def test_an_option_for_no_node_is_an_error_that_names_it(words: tuple[str, ...], text: str) -> None:
    assert text in refused(*words)


def test_a_range_works_for_nodes_with_names_too() -> None:
    assert [options(line).get("concurrency") for line in theirs("show", "a", "b", "c", "-c:1-2", "10")] == [None] * 3
    assert [one.get("concurrency") for one in of_each("a", "b", "c", "-c:1-2", "10")] == ["10", "10", None]
    assert [one.get("concurrency") for one in of_each("1-2", "b", "-c:1-2", "10")] == ["10", None]  # a name is a name


def test_a_number_means_a_node_whose_host_is_a_mark_too() -> None:
    assert "concurrency" not in options(theirs("show", "w1@%h", "-c:1", "10")[0])
    (found,) = of_each("w1@%h", "-c:1", "10")
    assert found["concurrency"] == "10"
    both = of_each(
        "w1@a", "w2@a", "-c:1", "10", "-l:w1", "INFO"
    )  # there the number takes the place of all that has the name
    assert (both[0]["concurrency"], both[0]["loglevel"]) == ("10", "INFO")


def test_a_count_is_meant_by_the_names_as_well() -> None:
    assert "concurrency" not in options(theirs("show", "2", "-c:celery1", "10")[0])
    assert [one.get("concurrency") for one in of_each("2", "-c:celery1", "10")] == ["10", None]


def test_any_program_can_be_run() -> None:
    with pytest.raises(ValueError, match="'celery' is not in"):
        theirs("show", "w1", "--cmd=dramatiq proj")
    assert ours("show", "w1", "w2", "--cmd=/bin/sleep 60 --name=%n") == [f"/bin/sleep 60 --name=w{n}" for n in (1, 2)]
    (line,) = ours("show", "w1", "--engine", "celery", f"--executable={os.path.realpath('/bin/true')}")
    assert line.startswith(os.path.realpath("/bin/true"))
    assert "executable" not in line


def test_nothing_is_made_by_looking(folder: Path) -> None:
    for words in (("show", "w1"), ("names", "3"), ("expand", "%n", "2"), ("get", "w1")):
        ours(*words, "--pidfile=made/%n.pid", "--logfile=made/%n.log")
    assert list(folder.iterdir()) == []


def test_the_commands_name_in_what_celery_is_told_does_not_matter(project: Project) -> None:
    project.write("multi_project.py", "")
    assert project.multi("-A", "multi", "names", "w1").stdout == f"w1@{HOST}\n"
