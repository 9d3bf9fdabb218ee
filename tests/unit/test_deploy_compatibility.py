"""What a release lacks or has changed, against what still waits; pure, and with a script that any Python runs."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from support.deploys import TOML, inventory

from multi.deploy.base import Result
from multi.deploy.hosts.inventory import Host
from multi.deploy.releases import compatibility
from multi.deploy.releases.compatibility import App, answer, check, compare, fits, question, signature
from multi.deploy.steps import LINK, Command, HostPlan, Link, Plan, Step
from multi.nodes.description import describe

ANY, NAMED, POSITIONAL, STAR, STARS = (
    "POSITIONAL_OR_KEYWORD",
    "KEYWORD_ONLY",
    "POSITIONAL_ONLY",
    "VAR_POSITIONAL",
    "VAR_KEYWORD",
)
A, B, K = ["a", ANY, True], ["b", ANY, False], ["k", NAMED, True]


def app(*, waiting: dict[str, Any] | None = None, schedule: tuple[str, ...] = (), **tasks: Any) -> App:
    known = {name.replace("__", "."): {"parameters": parameters} for name, parameters in tasks.items()}
    return App("celery 5.4", "3.12", known, schedule, waiting={"tasks": waiting or {}, "cut": False, "error": None})


def waits(count: int, *calls: list[Any]) -> dict[str, Any]:
    return {"count": count, "calls": list(calls)}


@pytest.mark.parametrize(
    ("parameters", "count", "names", "expected"),
    [
        ([A, B], 1, [], True),
        ([A, B], 2, [], True),
        ([A, B], 3, [], False),
        ([A, B], 0, ["b"], False),
        ([A, B], 0, ["a"], True),
        ([A, B], 1, ["a"], False),
        ([A, B], 1, ["c"], False),
        ([A, K], 1, [], False),
        ([A, K], 1, ["k"], True),
        ([A, K], 2, [], False),
        ([["args", STAR, True]], 9, [], True),
        ([A, ["kw", STARS, True]], 0, ["a", "z"], True),
        ([["p", POSITIONAL, True]], 0, ["p"], False),
        ([["p", POSITIONAL, True], ["kw", STARS, True]], 1, ["p"], True),
        ([], 0, [], True),
    ],
)
def test_whether_a_call_fits_is_what_python_says(parameters: Any, count: int, names: list[str], expected: bool) -> None:
    assert fits(parameters, count, names) is expected
    # the same by Python itself
    marks = {STAR: "*", STARS: "**"}
    words = []
    for position, (name, kind, required) in enumerate(parameters):
        if kind == NAMED and not any(one[1] in (STAR, NAMED) for one in parameters[:position]):
            words.append("*")
        words.append(f"{marks.get(kind, '')}{name}" + ("" if required or kind in marks else "=0"))
        if kind == POSITIONAL:
            words.append("/")
    scope: dict[str, Any] = {}
    exec(f"def call({', '.join(words)}): return True", scope)
    try:
        scope["call"](*range(count), **dict.fromkeys(names))
    except TypeError:
        assert not expected
    else:
        assert expected


def test_what_waits_and_is_gone_or_changed_stops_and_the_rest_is_told() -> None:
    waiting = {
        "t.gone": waits(2, [0, []]),
        "t.changed": waits(1, [1, []], [2, []]),
        "t.fine": waits(5, [1, ["b"]]),
        "celery.chord_unlock": waits(1, [0, []]),
    }
    old = app(t__gone=[], t__changed=[A, B], t__fine=[A, B], t__quiet=[A], t__more=[A], t__unknown=None)
    new = app(
        waiting=waiting,
        schedule=("t.nobody", "t.fine"),
        t__changed=[A],
        t__fine=[A, B],
        t__more=[A, B, K],
        t__unknown=[A],
    )
    assert [(str(one), one.stops) for one in compare(old, new)] == [
        ("t.changed: takes (a) now, and 1 message waits, of which some were sent with 2 arguments", True),
        ("t.gone: the new release doesn't have it, and 2 messages wait for it", True),
        ("t.nobody: the schedule of the new release sends it, and the release doesn't have it", True),
        ("t.quiet: is gone; whoever runs the old release may still send it", False),
        ("t.more: took (a), and takes (a, b=…, k) now", False),
    ]
    assert compare(None, app(waiting={"t.fine": waits(5, [1, ["b"]])}, t__fine=[A, B])) == []


def test_an_app_that_can_not_be_imported_stops_and_what_can_not_be_seen_is_told() -> None:
    (broken,) = compare(app(), App(error="ImportError: no module named x"))
    assert broken.stops and broken.broken
    assert str(broken) == "the release's app can't be imported: ImportError: no module named x"
    (long,) = compare(app(), App(error="Traceback:\n  File x\nImportError: y"), "app1")
    first = "on app1 the release's app can't be imported: ImportError: y"
    assert str(long).splitlines() == [first, "Traceback:", "  File x", "ImportError: y"]
    blind = app()._replace(waiting={"tasks": {}, "cut": True, "error": "redis://h: Connection refused"})
    assert [(one.stops, str(one)) for one in compare(None, blind)] == [
        (False, "of the longest queues only 10000 messages were looked at"),
        (False, "what waits could not be looked at: redis://h: Connection refused"),
    ]


def test_signatures_are_shown_as_they_are_written() -> None:
    assert signature([A, B, ["args", STAR, True], K, ["kw", STARS, True]]) == "(a, b=…, *args, k, **kw)"


def test_the_script_is_one_that_an_old_python_understands() -> None:
    text = Path(compatibility.__file__).with_name("asked.py").read_text()
    ast.parse(text, feature_version=(3, 6))
    assert "from __future__" not in text


def test_an_app_tells_of_itself_and_no_secret_stands_on_a_command_line(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text(
        "import multi\nprint('noise')\napp = multi.App('proj', broker='redis://:hunter2@127.0.0.1:1/0')\n"
        "@app.task\ndef add(a, b=1): pass\n@app.task(bind=True, time_limit=5)\ndef bound(self, a, *, k): pass\n"
    )
    text = "[nodes.w]\napp = 'proj'\nenv = { PASSWORD = 'hunter3' }\n"
    nodes = [node.spec for node in describe(text, f"{tmp_path}/multi.toml").check().nodes]
    command = question(nodes, str(tmp_path), sys.executable)
    assert command is not None
    assert "hunter" not in str(command)
    done = subprocess.run(
        list(map(str, command.argv)), cwd=command.cwd, input=command.stdin, capture_output=True, timeout=60, check=False
    )
    found = answer(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert found.error is None
    assert {name: one["parameters"] for name, one in found.tasks.items()} == {"proj.add": [A, B], "proj.bound": [A, K]}
    assert found.tasks["proj.bound"]["time_limit"] == 5
    assert found.broker["url"] == "redis://:***@127.0.0.1:1/0"
    assert found.not_looked is not None
    assert "hunter" not in done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("line", ["import no_such_module", "raise SystemExit('no settings')", "def ("])
def test_an_app_that_raises_gives_its_traceback_from_its_own_first_line_on(tmp_path: Path, line: str) -> None:
    (tmp_path / "proj.py").write_text(f"import os\n{line}\n")
    nodes = [node.spec for node in describe("[nodes.w]\napp = 'proj'\n", f"{tmp_path}/multi.toml").check().nodes]
    command = question(nodes, str(tmp_path), sys.executable)
    assert command is not None
    done = subprocess.run(
        list(map(str, command.argv)), cwd=command.cwd, input=command.stdin, capture_output=True, timeout=60, check=False
    )
    said = str(answer(done.returncode, done.stdout.decode(), done.stderr.decode()).error)
    assert said.splitlines()[-1].startswith(("ModuleNotFoundError: ", "SystemExit: ", "SyntaxError: "))
    assert line in said and f'File "{tmp_path}/proj.py", line 2' in said
    assert "multi/app/find.py" not in said and said.count("Error: ") + said.count("SystemExit: ") == 1
    assert len(said.splitlines()) <= 5
    assert "exit code 3 and said nothing" in str(answer(3, "", "").error)


def test_nodes_without_an_app_are_not_asked() -> None:
    nodes = [node.spec for node in describe("[nodes.x]\ncommand = 'sleep 9'\n", "/srv/multi.toml").check().nodes]
    assert question(nodes, "/srv", "python3") is None


def test_an_import_that_hangs_ends_by_itself_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "proj.py").write_text("import time\ntime.sleep(300)\n")
    nodes = [node.spec for node in describe("[nodes.w]\napp = 'proj'\n", f"{tmp_path}/multi.toml").check().nodes]
    command = question(nodes, str(tmp_path), sys.executable, seconds=1)
    assert command is not None
    done = subprocess.run(
        list(map(str, command.argv)), cwd=command.cwd, input=command.stdin, capture_output=True, timeout=60, check=False
    )
    said = str(answer(done.returncode, done.stdout.decode(), done.stderr.decode()).error)
    assert (done.returncode, said) == (124, "it has not told of itself within 1 s")


class Here:
    """A session with this machine, and the backend that gives it."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def connect(self, _: Host) -> Here:
        return self

    def run(self, command: Command, _: object = None) -> Result:
        done = subprocess.run(
            list(map(str, command.argv)),
            cwd=command.cwd,
            input=command.stdin,
            capture_output=True,
            timeout=90,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_who_goes_back_from_a_release_that_hangs_does_not_wait_for_it(tmp_path: Path) -> None:
    for name, line in (("r1", "app = multi.App('proj', broker='memory://')"), ("r2", "time.sleep(12)")):
        (tmp_path / "releases" / name).mkdir(parents=True)
        (tmp_path / "releases" / name / "proj.py").write_text(f"import multi, time\n{line}\n")
    text = TOML.replace('"app[1:4]"', "app1").replace("shop.tasks", "proj")
    given = f'installer = "none"\npython = "{sys.executable}"\npath = "{tmp_path}"\nhealthy_deadline = "15s"'
    made = inventory(text.replace("[deploy]", f"[deploy]\n{given}"))
    (host,) = made.hosts.values()
    link = Step("app1", LINK, "", "", Link(f"{tmp_path}/current", "releases/r1"))
    plan = Plan("shop", "r1", {"app1": HostPlan("app1", "r2", (link,))}, [["app1"]])
    begun = time.monotonic()
    found = check(made, [host], plan, cast(Any, Here(host)))
    assert time.monotonic() - begun < 11
    assert [(one.stops, "did not tell of its tasks in time" in str(one)) for one in found] == [(False, True)]
