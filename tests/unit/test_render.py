"""`multi render` as its users type it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.commands import Shop

DESCRIPTION = """
    name = "shop"

    [defaults]
    app = "proj.tasks:app"

    [nodes.w]
    count = 2
    broker = "redis://:hunter2@h/0"

    [nodes.images]
    queues = ["images"]
    longest_task = "1h"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shop:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MULTI_STATE_DIR", str(tmp_path / "state"))
    return Shop(tmp_path, capsys)


@pytest.fixture
def shop(project: Shop) -> Shop:
    project.describe(DESCRIPTION)
    return project


def test_the_nodes_of_a_description_are_printed_file_by_file_and_secrets_are_not(shop: Shop) -> None:
    done = shop.multi("render", "systemd")
    heads = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("# ====")]
    assert heads == [
        *("/etc/systemd/system/multi-shop@.service:", "/etc/systemd/system/multi-shop@images.service:"),
        *("/etc/systemd/system/multi-shop.target:", "/etc/systemd/system/multi-shop.slice:"),
        *("/etc/multi/shop/w1.env", "/etc/multi/shop/w2.env"),
    ]
    assert "\nTimeoutStopSec=3630\n" in done.stdout
    as_json = shop.multi("render", "systemd", "--json")
    assert json.loads(as_json.stdout)["units"]["w1"] == "multi-shop@w1.service"
    assert "hunter2" not in done.stdout + done.stderr + as_json.stdout


def test_nothing_is_made_by_looking(shop: Shop) -> None:
    shop.multi("render", "systemd", "--check")
    assert sorted(os.listdir(shop.path)) == ["multi.toml"]


def test_files_are_written_with_their_rights_and_again_only_when_they_change(shop: Shop) -> None:
    shop.multi("render", "systemd", "-o", "out")
    out = shop.path / "out"
    assert "hunter2" in (out / "w1.env").read_text()
    assert (out / "w1.env").stat().st_mode & 0o777 == 0o600
    before = (out / "multi-shop@.service").stat().st_ino
    done = shop.multi("render", "systemd", "-o", "out", "--longest-task", "2h")
    assert "multi-shop@images.service: unchanged" in done.stdout, "it says itself how long its tasks take"
    assert "TimeoutStopSec=7230" in (out / "multi-shop@.service").read_text()
    assert (out / "multi-shop@.service").stat().st_ino != before
    again = shop.multi("render", "systemd", "-o", "out", "--longest-task", "2h")
    assert again.stdout.count(": unchanged (") == 6
    assert not [name for name in os.listdir(out) if name[-1].isdecimal()], "a temporary file is left"


@pytest.mark.parametrize(
    ("words", "units"),
    [
        (("w",), ["w1", "w2"]),
        (("w2", "images"), ["w2", "images"]),
        (("--node", "im*"), ["images"]),
        (("--node", "w?", "--node", "images"), ["w1", "w2", "images"]),
    ],
)
def test_some_of_the_nodes_are_chosen_by_table_name_or_pattern(
    shop: Shop, words: tuple[str, ...], units: list[str]
) -> None:
    done = shop.multi("render", "systemd", *words, "--json")
    assert [*json.loads(done.stdout)["units"]] == units


def test_a_command_line_describes_nodes_as_for_start(project: Shop) -> None:
    words = ("render", "systemd", "w1", "w2", "-A", "proj", "-c", "4", "-c:w2", "8", "--uid", "shop", "--agentless")
    shown = json.loads(project.multi(*words, "--json").stdout)
    said = {file["path"].rpartition("/")[2]: file["text"] for file in shown["files"]}
    unit = f"multi-{shown['project']}@"
    assert " -c 4 -n %i@%%h\n" in said[f"{unit}.service"]
    assert " -c 8 -n %i@%%h\n" in said[f"{unit}w2.service"]
    assert all("\nUser=shop\n" in text for name, text in said.items() if name.endswith(".service"))


def test_options_change_what_a_description_says(shop: Shop) -> None:
    (file, *_) = json.loads(shop.multi("render", "systemd", "images", "-c", "7", "--json").stdout)["files"]
    assert " -c 7 -Q images " in file["text"]


def test_a_single_file_is_printed_as_it_is(shop: Shop) -> None:
    done = shop.multi("render", "sudoers", "--set", "who=ops")
    assert done.stdout.startswith("# ops may start")
    assert done.stdout.endswith("MULTI_SHOP_3\n")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("systemdd",), "there are: "),
        (("systemd", "imags"), "describes no node 'imags'; did you mean images?"),
        (("systemd", "--set", "writeable=/x"), "did you mean writable?"),
        (("systemd", "--set", "writable"), "write NAME=VALUE"),
        (("systemd", "--hardening", "paranoid"), "off"),
        (("systemd", "--templates", "none"), "there is no directory"),
        (("systemd", "w1", "-A", "proj", "--kind", "beat", "-c", "3"), "a beat has no such option"),
        (("supervisord", "--home", "shop"), "write USER=DIRECTORY"),
        ((), "Which format?"),
    ],
)
def test_a_mistake_is_told_with_what_to_write_instead(shop: Shop, words: tuple[str, ...], why: str) -> None:
    done = shop.multi("render", *words, code=2)
    assert why in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_managers_tool_finds_is_an_error_of_the_command(shop: Shop) -> None:
    shop.multi("render", "systemd", "--eject", "mine")
    template = shop.path / "mine/systemd/service.j2"
    template.write_text(template.read_text().replace("KillMode=mixed", "KillMod=mixed"))
    good = shop.multi("render", "systemd", "--check")
    assert "systemd: 6 files, OK" in good.stdout or "not looked at" in good.stderr
    bad = shop.multi("render", "systemd", "--check", "--templates", "mine", code=None)
    assert (bad.returncode == 1 and "KillMod" in bad.stderr) or "not looked at" in bad.stderr


def test_templates_of_ones_own_are_used_from_then_on_and_never_overwritten(shop: Shop) -> None:
    shop.multi("render", "--eject", "mine")
    template = shop.path / "mine/systemd/slice.j2"
    template.write_text("[Slice]\nMemoryMax=8G\n")
    assert "is there already, and stays as it is" in shop.multi("render", "systemd", "--eject", "mine").stdout
    assert template.read_text() == "[Slice]\nMemoryMax=8G\n"
    assert "\nMemoryMax=8G\n" not in shop.multi("render", "systemd").stdout
    shop.describe(DESCRIPTION.replace('name = "shop"', 'name = "shop"\n    templates = "mine"'))
    assert "\nMemoryMax=8G\n" in shop.multi("render", "systemd").stdout


def test_every_setting_of_a_format_is_listed(shop: Shop) -> None:
    for name, word in (("systemd", "writable"), ("supervisord", "minfds"), ("tmpfiles", "tmpfiles has no settings")):
        assert word in shop.multi("render", name, "--set", "help").stdout
