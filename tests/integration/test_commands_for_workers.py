"""`multi inspect`, `multi control` and `multi status --all-workers` with an app of one's own: commands, key, completion."""

from __future__ import annotations

import json
from pathlib import Path

from support.project import Project
from support.wait import until
from support.workers import bench

KEY = "a key of twenty chars"
COMMANDS = """
    from multi import control_command, inspect_command

    @inspect_command(signature="[FACTOR]", args=[("factor", int)])
    def tasks_times(state, factor=1):
        "How many tasks there are, times a factor."
        return {"count": len([name for name in state.app.tasks if name.endswith("add")]) * factor}

    @control_command(variadic="words")
    def speak(state, words=(), loud=False):
        return {"ok": " ".join(words).upper() if loud else " ".join(words)}
"""


def test_an_app_brings_its_broker_its_key_and_commands_of_its_own(project: Project, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/queue.db"
    with bench(project, url, url, control_key=KEY, include=["extras"]) as made:
        project.write("extras.py", COMMANDS)
        worker = made.start("-c", "1")
        app = ("-A", made.module)
        # with the app: its broker, its key, its own commands
        assert "w1@test" in project.multi("inspect", "ping", *app, "-t", "30").stdout
        assert json.loads(project.multi("inspect", "tasks_times", "3", *app, "--json").stdout) == {
            "w1@test": {"count": 3}
        }
        assert "hear hear" in project.multi("control", "speak", "hear", "hear", *app).stdout
        listed = project.multi("control", "--list", *app).stdout
        assert "speak" in listed and "rate_limit <task>" in listed and "tasks_times" not in listed
        told = project.multi("inspect", "tasks_time", *app, code=2).stderr
        assert "did you mean tasks_times?" in told
        told = project.multi("inspect", "tasks_times", "many", *app, code=2).stderr
        assert "factor should be a whole number, not 'many'" in told
        # without it: it isn't signed, unless the environment has the key
        refused = project.multi("inspect", "clock", "-b", url, code=1)
        assert "not heeded: it is not signed" in refused.stdout
        assert KEY not in refused.stdout + refused.stderr
        project.env["MULTI_CONTROL_KEY"] = KEY
        spoken = project.multi("control", "speak", "--any", "loud=true", 'words=["a", "b"]', "-b", url).stdout
        assert "A B" in spoken
        # the shell completes who answers, and what can be asked
        project.env |= {"_MULTI_COMPLETE": "bash_complete", "COMP_BREAKS": " \t\n\"'><=;|&(:"}
        for line, found in (
            (f"multi inspect ping -b {url} -d w", "plain,w1@test"),
            ("multi control rate", "plain,rate_limit"),
            (f"multi control -A {made.module} sp", "plain,speak"),
        ):
            project.env |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
            assert found in project.multi().stdout.split()
        del project.env["_MULTI_COMPLETE"]
        said = project.multi("status", "--all-workers", *app).stdout.splitlines()
        assert said[1].split()[:5] == ["w1", "test", "multi", "prefork:1", "0"]
        made.tasks.hold.delay("long")
        made.wait_begun("long")
        assert "w1@test" in project.multi("control", "shutdown", *app).stdout
        until(lambda: "Warm shutdown" in worker.said(), 30, what="it ends")
        # it isn't waited for, though it listens until its task is done
        for words in (("inspect", "ping"), ("status", "--all-workers", "w1@test")):
            told = project.multi(*words, *app, "-t", "50", code=69, timeout=40).stderr
            assert "w1@test is shutting down" in told
        made.let_go("long")
        assert until(lambda: worker.process.poll() is not None, 30, what="the worker to end")
        told = project.multi("inspect", "ping", *app, code=69).stderr
        assert "no worker listens on sqlite:" in told
        assert "it is kept in the broker" in project.multi("control", "revoke", "abc", *app).stdout
        # what only some are told isn't kept for all
        assert "no worker listens" in project.multi("control", "revoke", "abc", *app, "-d", "w1@test", code=69).stderr
