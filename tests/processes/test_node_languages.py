"""Names, paths, queues and logs in any script, also where the locale knows of none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.nodes import HOST, Nodes
from support.project import Project
from support.wait import until

MODULE, NODE, IMAGES, MAILS = "\u4efb\u52a1", "\u5de5\u4eba", "\u56fe\u7247", "\u90ae\u4ef6"
TASKS = """
import logging
from multi import App

app = App("proj")
log = logging.getLogger(__name__)

@app.task(name="\u4efb\u52a1.\u52a0")
def add(x, y):
    print("\u6253\u5370", x)
    log.warning("\u65e5\u5fd7 %s", y)
    return x + y

@app.task(name="\u4efb\u52a1.\u574f")
def bad():
    raise ValueError("\u574f\u4e86")
"""
CLIENT = f"""
import importlib
tasks = importlib.import_module({MODULE!r})
print(ascii(tasks.add.apply_async(("\u4f60", "\u597d"), queue={IMAGES!r}).get(timeout=15)))
try:
    tasks.bad.apply_async(queue={MAILS!r}).get(timeout=15)
except ValueError as error:
    print(ascii(str(error)))
"""


@pytest.fixture
def chinese(tmp_path: Path, mark: str, no_leftovers: None) -> Project:
    folder = tmp_path / "\u9879\u76ee \u4e00"
    folder.mkdir()
    project = Project(folder, mark)
    for name in ("LANG", "LANGUAGE", "LC_CTYPE"):
        project.env.pop(name, None)
    project.env["LC_ALL"] = "C"
    (project.path / f"{MODULE}.py").write_text(TASKS, encoding="utf-8")
    return project


def test_everything_may_have_chinese_names_in_the_locale_c(chinese: Project) -> None:
    nodes = Nodes(chinese)
    try:
        queues = f"{IMAGES},{MAILS}"
        nodes.run("start", NODE, "-A", MODULE, "-l", "INFO", "-c", "1", "-Q", queues)
        done = chinese.python(CLIENT)
        assert done.stdout.split() == [ascii("\u4f60\u597d"), ascii("\u574f\u4e86")]
        # all that is said about it is whole
        (status,) = json.loads(nodes.run("status", NODE, "--json").stdout)
        assert (status["node"], status["queues"]) == (f"{NODE}@{HOST}", [IMAGES, MAILS])
        assert NODE in nodes.run("status").stdout
        log = Path(status["log_file"])
        assert NODE in log.name
        for text in ("\u6253\u5370 \u4f60", "\u65e5\u5fd7 \u597d", f"{MODULE}.\u574f", "ValueError('\u574f\u4e86')"):
            until(lambda: log.read_text("utf-8").find(text) >= 0, what=f"{text!a} in {log}")  # noqa: B023
        assert "\u6253\u5370 \u4f60" in nodes.run("logs", NODE).stdout
        # pausing and resuming, by names of queues
        nodes.run("pause", NODE, "-Q", IMAGES, "--force")
        assert nodes.status(NODE)["queues"] == [MAILS]
        assert MODULE in nodes.run("describe", NODE).stdout
        nodes.run("restart", NODE)
        assert nodes.status(NODE)["queues"] == [MAILS]
        assert "worker" in nodes.run("stack", NODE).stdout
        nodes.run("stopwait", NODE)
        assert nodes.run("status", NODE, code=3).stdout.count("stopped") == 1
    finally:
        nodes.stop_all()


def test_names_that_no_file_could_have_are_refused_in_words(chinese: Project) -> None:
    for name in (NODE * 20, "a/b", "\u5de5 \u4eba", ".w1"):
        done = chinese.multi("start", name, "-A", MODULE, code=2)
        assert "Traceback" not in done.stderr
        assert "name" in done.stderr
