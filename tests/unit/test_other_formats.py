"""Nodes as jobs of launchd and as services of OpenRC and runit."""

from __future__ import annotations

import plistlib
import subprocess
from typing import Any

import pytest

from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec
from multi.units.base import File, Target, UnitFormat
from multi.units.launchd import LaunchdFormat
from multi.units.openrc import OpenrcFormat
from multi.units.runit import RunitFormat

FORMATS: list[UnitFormat] = [LaunchdFormat(), OpenrcFormat(), RunitFormat()]
NASTY = {"A": 'it\'s $HOME `date` "q" \\ & <b>', "B": "äöü ; # no", "URL": "redis://:geheim@h/1"}


def node(name: str = "w1", app: str | None = "shop.tasks", **more: Any) -> NodeSpec:
    options = {**({"app": app} if app else {}), **more.pop("options", {})}
    values: dict[str, Any] = {"executable": "/srv/my shop/bin/python", "cwd": "/srv/my shop", **more}
    return NodeSpec(NodeName(name, "host"), options=options, **values)


def target(**more: Any) -> Target:
    return Target(**{"project": "shop", "host": "host", "multi": "/usr/local/bin/multi", **more})


def rendered(form: UnitFormat, *nodes: NodeSpec, to: Target | None = None) -> dict[str, File]:
    files = form.render(nodes, to or target())
    assert form.check(files) == []
    return {file.path: file for file in files}


def job(spec: NodeSpec, to: Target | None = None) -> dict[str, Any]:
    (file,) = rendered(LaunchdFormat(), spec, to=to).values()
    found: dict[str, Any] = plistlib.loads(file.text.encode())
    return found


def as_openrc_has_it(files: dict[str, File], what: str) -> list[str]:
    """The words of some of a service's variables, evaluated as OpenRC's own script for it does that."""
    script, variables = files["/etc/init.d/multi-shop-w1"].text, files["/etc/conf.d/multi-shop-w1"].text
    program = (
        f'{variables}\nRC_SVCNAME=x\n{script}\neval "set -- {what}"\nfor one in "$@"; do printf "%s\\n" "$one"; done'
    )
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=True, env={})
    return done.stdout.splitlines()


def test_a_job_of_launchd() -> None:
    found = job(node(user="shop", group="www", umask=0o027, env=NASTY, options={"time_limit": "300"}))
    assert found["Label"] == "multi.shop.w1"
    assert found["ProgramArguments"][:4] == ["/usr/local/bin/multi", "start", "w1", "--foreground"]
    assert found["WorkingDirectory"] == "/srv/my shop"
    assert (found["UserName"], found["GroupName"], found["Umask"]) == ("shop", "www", 0o027)
    assert {name: found["EnvironmentVariables"][name] for name in NASTY} == NASTY
    assert (found["ExitTimeOut"], found["RunAtLoad"], found["KeepAlive"]) == (330, True, {"SuccessfulExit": False})
    (file,) = LaunchdFormat().render([node(env=NASTY)], target())
    assert (file.path, file.mode, file.secret) == ("/Library/LaunchDaemons/multi.shop.w1.plist", 0o600, True)


def test_an_agent_of_a_user_of_macos() -> None:
    to = target(user=True, owner="me", homes={"me": "/Users/me"})
    (path,) = rendered(LaunchdFormat(), node(user="shop"), to=to)
    assert path == "/Users/me/Library/LaunchAgents/multi.shop.w1.plist"
    assert "UserName" not in job(node(user="shop"), to)
    with pytest.raises(ConfigurationError, match="home directory"):
        LaunchdFormat().render([node()], target(user=True))


def test_without_a_keeper_the_manager_has_limits_niceness_and_policy() -> None:
    spec = node(
        engine="celery",
        limits={"nofile": [1024, 4096], "core": -1},
        nice=5,
        policy={"restart": "always", "max_age": 9.0},
    )
    bare = target(multi=None)
    found = job(spec, bare)
    assert found["ProgramArguments"][:3] == ["/srv/my shop/bin/python", "-m", "celery"]
    assert (found["SoftResourceLimits"], found["HardResourceLimits"]) == (
        {"NumberOfFiles": 1024},
        {"NumberOfFiles": 4096},
    )
    assert (found["Nice"], found["KeepAlive"]) == (5, True)
    service = rendered(OpenrcFormat(), spec, to=bare)
    assert "rc_ulimit='-Hn 4096 -Sn 1024 -Hc unlimited -Sc unlimited'\n" in service["/etc/init.d/multi-shop-w1"].text
    assert "export SSD_NICELEVEL=5\n" in service["/etc/conf.d/multi-shop-w1"].text
    run = rendered(RunitFormat(), spec, to=bare)["/etc/sv/multi-shop-w1/run"].text
    assert "ulimit -Hn 4096 || exit 1\nulimit -Sn 1024 || exit 1\n" in run
    assert " -n 5 " in run
    for form in FORMATS:
        assert any("nothing for max_age" in note for note in form.notes([spec], bare))
        assert not form.notes([spec], target())


def test_a_service_of_openrc_has_its_words_as_they_are() -> None:
    files = rendered(OpenrcFormat(), node(env=NASTY, user="shop", group="www", rest=["it's", 'a "b" $c']))
    words = as_openrc_has_it(files, "$command $command_args")
    assert words[:4] == ["/usr/local/bin/multi", "start", "w1", "--foreground"]
    assert "--workdir=/srv/my shop" in words
    assert as_openrc_has_it(files, "$directory $command_user $retry") == ["/srv/my shop", "shop:www", "TERM/630/KILL/5"]
    for name, value in NASTY.items():
        assert as_openrc_has_it(files, f'\\"\\${name}\\"') == [value]
    assert files["/etc/conf.d/multi-shop-w1"].mode == 0o600
    assert files["/etc/init.d/multi-shop-w1"].mode == 0o755
    assert "geheim" not in files["/etc/init.d/multi-shop-w1"].text


def test_order_is_told_to_those_who_know_one() -> None:
    to = target(after={"w1": ["w0"]}, needs=["redis.service"])
    script = rendered(OpenrcFormat(), node(), to=to)["/etc/init.d/multi-shop-w1"].text
    assert "\tafter redis multi-shop-w0\n" in script
    for form in (LaunchdFormat(), RunitFormat()):
        assert any("knows no order" in note for note in form.notes([node()], to))


def test_a_service_of_runit_becomes_the_node_and_shows_no_secret() -> None:
    files = rendered(
        RunitFormat(),
        node(env={**NASTY, "LINES_": "a\nb"}, user="shop", hooks={"ready": [{"url": "https://x/geheim"}]}),
    )
    base = "/etc/sv/multi-shop-w1"
    run = files[f"{base}/run"]
    last = run.text.splitlines()[-1]
    assert last.startswith(f"exec chpst -e {base}/env -u shop /usr/local/bin/multi start w1 --foreground ")
    assert (run.mode, run.secret) == (0o700, True), "the address of a hook is often a secret"
    assert files[f"{base}/env/URL"] == File(
        f"{base}/env/URL", f"{NASTY['URL']}\n", 0o600, secret=True, why="one of its variables", nodes=("w1",)
    )
    assert files[f"{base}/env/LINES_"].text == "a\0b\n"
    assert "0 | 2)" in files[f"{base}/finish"].text
    with pytest.raises(ConfigurationError, match="ends in a blank"):
        RunitFormat().render([node(env={"X": "a "})], target())


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_broken_file_is_found(form: UnitFormat) -> None:
    first, *_ = form.render([node()], target())
    broken = first.text.replace("</dict>", "") if form.name == "launchd" else f"{first.text}fi\n"
    assert form.check([first._replace(text=broken)])


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_node_has_a_service_of_its_own(form: UnitFormat) -> None:
    nodes = [node("w1"), node("beat", kind="beat", engine="celery")]
    units = form.units(nodes, target())
    assert sorted(units) == ["beat", "w1"]
    paths = [file.path for file in form.render(nodes, target())]
    assert all(any(unit in path for path in paths) for unit in units.values())
    assert len({*paths}) == len(paths)
    with pytest.raises(ConfigurationError, match="a line break"):
        form.render([node(rest=["a\nb"])], target(multi=None))
