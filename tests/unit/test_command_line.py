"""The words of a command for nodes: which are names, which options, and whom each option is for."""

from __future__ import annotations

import pytest

from multi.errors import ConfigurationError
from multi.nodes.commandline import Line, Scope, expanded, own_words, parse, values
from multi.nodes.names import Label, Naming, NodeName, label
from multi.nodes.options import Value, by_spelling, words

OWN = {"--timeout": True, "--all": False, "-f": False, "--signal": True, "--env": True}


def of(line: Line, *names: str) -> list[dict[str, object]]:
    """The options of each of these nodes, the common ones among them."""
    labels = label(list(names), Naming(), "h")
    nodes = [NodeName(*(one.text.split("@") if "@" in one.text else (one.text, "h"))) for one in labels]
    return [dict(values([line.common, *scopes])) for scopes in line.scopes(labels, nodes)]


@pytest.mark.parametrize(
    ("text", "names", "options"),
    [
        ("w1 w2", ["w1", "w2"], {}),
        ("-c 3 w1", ["w1"], {"concurrency": "3"}),
        ("-c3 w1 -c=4", ["w1"], {"concurrency": "4"}),
        ("w1 --concurrency 3 w2 --concurrency=4", ["w1", "w2"], {"concurrency": "4"}),
        ("-E w1 -EB w2", ["w1", "w2"], {"task_events": True, "beat": True}),
        ("-EQ a,b w1", ["w1"], {"task_events": True, "queues": "a,b"}),
        ("-EBc3 w1", ["w1"], {"task_events": True, "beat": True, "concurrency": "3"}),
        ("w1 -c -3", ["w1"], {"concurrency": "-3"}),
        ("w1 -b --", ["w1"], None),
        ("w1 -Q a -Q b --queues=c", ["w1"], {"queues": "a,b,c"}),
        ("w1 --events --schedule x", ["w1"], {"task_events": True, "schedule_filename": "x"}),
        ("w1 --foo --bar=1 --bar=2 -Zx", ["w1"], {"--foo": True, "--bar": ["1", "2"], "-Z": "x"}),
        ("w1 --logfile=a=b:c", ["w1"], {"logfile": "a=b:c"}),
        ("w1 -A proj:app -b amqp://u:p@h//", ["w1"], {"app": "proj:app", "broker": "amqp://u:p@h//"}),
    ],
)
def test_the_table_tells_which_word_is_a_value(text: str, names: list[str], options: dict[str, object] | None) -> None:
    if options is None:
        with pytest.raises(ConfigurationError, match="^-b takes a value, but -- follows"):
            parse(text.split(), OWN)
        return
    line = parse(text.split(), OWN)
    assert line.names == names
    assert values([line.common]) == options


def test_an_empty_word_is_no_name_but_may_be_a_value() -> None:
    line = parse(["", "w1", "-Q", "", "--pidfile="], OWN)
    assert line.names == ["w1"]
    assert values([line.common]) == {"queues": "", "pidfile": ""}


def test_what_follows_two_dashes_is_left_alone() -> None:
    line = parse(["w1", "--", "-c", "w2", "--", "--foo"], OWN)
    assert (line.names, line.rest) == (["w1"], ["-c", "w2", "--", "--foo"])
    assert parse(["w1"], OWN).rest is None
    assert parse(["w1", "--"], OWN).rest == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("w1 -", "'-' is neither an option nor a node's name"),
        ("w1 -E=1", "-E=1: -E takes no value"),
        ("w1 -E:w1=2", "-E:w1=2: -E takes no value"),
        ("w1 --beat=yes", "--beat=yes: --beat takes no value"),
        ("w1 -Q -c 3", "^-Q takes a value, but -c follows"),
        ("w1 -Q --loglevel=INFO", "-Q takes a value, but --loglevel=INFO follows"),
        ("w1 -Q -c:w1 3", "-Q takes a value, but -c:w1 follows"),
        ("w1 -Q", "^-Q takes a value$"),
        ("w1 -EZ", "-EZ: there is no option -Z"),
        ("w1 --foo:w1 x", "there is no option --foo. If it is one .* write its value as in --foo:w1=x"),
        ("w1 -9", "this command takes no signal"),
        ("w1 -TERM", "this command takes no signal"),
        ("w1 -c:=3", "which nodes"),
    ],
)
def test_what_is_wrong_or_ambiguous_is_refused_with_the_way_to_write_it(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text.split(), OWN)


@pytest.mark.parametrize(
    ("text", "common", "single"),
    [
        ("w1 w2 -Ofair:w1", {}, {"w1": {"optimization": "fair"}}),
        ("w1 w2 -c10:w1,2 -c3", {"concurrency": "3"}, {"w1,2": {"concurrency": "10"}}),
        ("2 -Psolo:1 -Qa,b:1-2", {}, {"1": {"pool": "solo"}, "1-2": {"queues": "a,b"}}),
        ("w1@h w2 -Qa:w1@h -Qb", {"queues": "b"}, {"w1@h": {"queues": "a"}}),
        ("w1 w2 -EB:w1", {}, {"w1": {"task_events": True, "beat": True}}),
        ("w1 w2 -EBc10:w1 -E:2", {}, {"w1": {"task_events": True, "beat": True, "concurrency": "10"}, "2": ...}),
        ("w1 w2 -EBc:w1 10", {}, {"w1": {"task_events": True, "beat": True, "concurrency": "10"}}),
        ("w1 -c9:w7", {}, {"w7": {"concurrency": "9"}}),  # of which it is said that there is no such node
        ("w1 -Aproj:app -bredis://:p@h:1/0 -bh:6379", {"app": "proj:app", "broker": "h:6379"}, {}),
        ("w1 -f/var/a:/b", {"logfile": "/var/a:/b"}, {}),
    ],
)
def test_a_value_in_one_word_with_its_option_may_be_for_some_nodes(
    text: str, common: dict[str, object], single: dict[str, object]
) -> None:
    line = parse(text.split(), {})
    assert values([line.common]) == common
    found = {nodes: values([scope]) for nodes, scope in line.single.items()}
    assert found == {nodes: found[nodes] if what is ... else what for nodes, what in single.items()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app w2 -Aproj:app", "^-Aproj:app: is this proj:app, or proj for app\\? Write -A proj:app, or -A:app proj$"),
        ("w -Qimages:w2", "^-Qimages:w2: is this images:w2, or images for w2\\? Write -Q images:w2, or -Q:w2 images$"),
        ("w1 -c10:", "which nodes"),
    ],
)
def test_a_colon_that_may_mean_two_things_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(text.split(), {})


def test_in_the_command_line_of_one_worker_no_colon_means_a_node() -> None:
    line = parse(["-Qa:b", "-c10:w1"], {}, is_worker=True)
    assert values([line.common]) == {"queues": "a:b", "concurrency": "10:w1"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("-FOO", "^-FOO: there is no such signal$"),
        ("-USR", r"^-USR: there is no such signal \(did you mean -USR[12]\?\)$"),
        ("-SIGTREM", r"\(did you mean -TERM\?\)"),
        ("-QIT", r"\(did you mean -QUIT\?\); if IT is the value of -Q, write -Q IT"),
        ("-usr1", r"\(did you mean -USR1\?\)"),
        ("-cont", r"\(did you mean -CONT\?\)"),
    ],
)
def test_what_looks_like_a_signal_and_is_none_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse([word, "w1"], {}, takes_signal=True)
    parse([word.replace("-FOO", "-Qa"), "w1"], {})  # where no signal is taken, it is an option


def test_options_that_stand_in_one_word_are_no_signals() -> None:
    line = parse(["-EBC", "-QIMAGES", "-c10", "w1"], {}, takes_signal=True)
    assert line.signal is None
    assert values([line.common]) == {
        "task_events": True,
        "beat": True,
        "no_color": True,
        "queues": "IMAGES",
        "concurrency": "10",
    }


@pytest.mark.parametrize(
    ("word", "signal"), [("-9", "9"), ("-10", "10"), ("-TERM", "TERM"), ("-SIGINT", "SIGINT"), ("-USR1", "USR1")]
)
def test_a_signal_is_one_only_where_one_is_taken(word: str, signal: str) -> None:
    line = parse([word, "w1"], OWN, takes_signal=True)
    assert (line.names, line.signal) == (["w1"], signal)


def test_options_of_the_command_are_told_from_those_of_the_worker() -> None:
    line = parse(["--timeout", "3", "w1", "-f", "-f", "--env:w1", "A=1", "--env=B=2", "-c", "3"], OWN)
    assert own_words([line.common]) == ["--timeout=3", "-f", "-f", "--env=B=2"]
    assert own_words([line.single["w1"]]) == ["--env=A=1"]
    assert values([line.common]) == {"concurrency": "3"}


def test_options_are_for_nodes_by_name_number_list_and_range() -> None:
    line = parse(["-c", "1", "-c:a", "2", "-c:3", "3", "-l:a,4", "INFO", "-E:2-3", "-P:4-9", "solo"], OWN)
    assert of(line, "a", "b", "c", "d") == [
        {"concurrency": "2", "loglevel": "INFO"},
        {"concurrency": "1", "task_events": True},
        {"concurrency": "3", "task_events": True},
        {"concurrency": "1", "loglevel": "INFO", "pool": "solo"},
    ]


@pytest.mark.parametrize(
    "text",
    ["-c:1,2 9 -c:a 1", "-c:a 1 -c:1,2 9", "-c:1 9 -c:a,b 1", "-c:a@h 9 -c:1-2 1 -c:a 1 -c:1 2", "-c:1-2 9 -c:1 1"],
)
def test_a_list_wins_over_one_a_number_over_a_name_a_full_name_over_all(text: str) -> None:
    assert of(parse(text.split(), OWN), "a", "b")[0] == {"concurrency": "9"}


def test_of_two_alike_the_later_wins() -> None:
    assert of(parse(["-c:1-2", "3", "-c:1,3", "4"], OWN), "a", "b", "c")[0] == {"concurrency": "4"}


def test_a_name_with_a_dash_and_numbers_is_a_name() -> None:
    line = parse(["-c:1-2", "3", "-E:a-b"], OWN)
    assert of(line, "1-2", "a-b", "c") == [{"concurrency": "3"}, {"task_events": True}, {}]


def test_with_a_prefix_a_node_is_meant_with_and_without_it() -> None:
    labels = label(["a", "b@x"], Naming(prefix="p-", suffix="s"), "h")
    assert labels == [Label("a", "p-a@s"), Label("b@x", "b@x")]
    nodes = [NodeName("p-a", "s"), NodeName("b", "x")]
    for text in ("a", "p-a", "p-a@s", "1"):
        first, second = parse([f"-c:{text}", "3"], OWN).scopes(labels, nodes)
        assert (len(first), second) == (1, [])


def test_names_are_made_as_celery_multi_makes_them() -> None:
    assert label(["2"], Naming(), "h") == [Label("1", "celery1"), Label("2", "celery2")]
    assert label(["2"], Naming("w", "p", "", "x.%h"), "h") == [Label("1", "w1@x.h"), Label("2", "w2@x.h")]
    assert label(["a@%h", "b"], Naming(suffix="x", host="y"), "h.org") == [Label("a@%h", "a@h.org"), Label("b", "b@x")]
    assert label(["a"], Naming(suffix='""', host="y"), "h") == [Label("a", "a@h")]


def test_to_a_beat_the_short_options_mean_something_else() -> None:
    scope: Scope = parse(["-S", "proj:Scheduler", "-s", "file"], OWN).common
    assert values([scope], "beat") == {"scheduler": "proj:Scheduler", "schedule_filename": "file"}
    assert values([scope]) == {"statedb": "proj:Scheduler", "schedule_filename": "file"}
    option = by_spelling("--max-interval", "beat")
    assert option is not None
    assert option.metavar is not None


def test_marks_are_filled_in_in_names_and_paths_and_nowhere_else() -> None:
    given: dict[str, Value] = {
        "queues": "%n,%x",
        "statedb": "/var/%p.db",
        "broker": "redis://:%40%n@h",
        "--url": "http://h/%n",
        "--tag": ["%n", "%d"],
        "logfile": "%n.log",
        "beat": True,
    }
    assert expanded(given, NodeName("w1", "h")) == {
        **given,
        "queues": "w1,%x",
        "statedb": "/var/w1@h.db",
        "--tag": ["w1", "h"],
    }


def test_values_become_words_that_mean_the_same() -> None:
    text = ["-c", "3", "--time-limit", "9", "-E", "--foo", "--bar=1", "--bar=2", "-Zx", "-Q", "a b"]
    found = values([parse(text, OWN).common])
    assert values([parse(words(found), OWN).common]) == found


def test_a_comma_too_many_is_told_as_one() -> None:
    line = parse(["w1", "w2", "-c:1,,2", "3"], {})
    with pytest.raises(ConfigurationError, match="-c:1,,2: a comma too many"):
        of(line, *line.names)
