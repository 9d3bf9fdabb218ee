"""Hosts in multi.toml: what may stand there, which hosts are meant, and which nodes run where."""

from __future__ import annotations

from typing import Any

import pytest

from multi import units
from multi.deploy.hosts.inventory import SOME_HOST, Inventory, named, problems
from multi.deploy.hosts.settings import Canary
from multi.errors import ConfigurationError
from multi.nodes.description import DescriptionError, describe
from multi.nodes.description.deploying import DEPLOY_KEYS, keys_of

PATH = "/home/me/shop/multi.toml"
TOML = """
name = "my shop"
[defaults]
app = "shop.tasks"
python = "venv/bin/python"
env_files = ["shop.env"]
[deploy]
keep = 3
owner = "shop:www"
env = { A = "1", B = "1" }
canary = { nodes = 2 }
[environments.staging]
hosts = ["st*"]
keep = 1
[environments.production]
hosts = ["app*", "south"]
env = { B = "2" }
[hosts."app[01:03]"]
address = "%h.example.com"
roles = ["web", "mail"]
[hosts.old]
tags = ["south", "old"]
path = "/opt/shop"
installer = "none"
python = "/opt/py/bin/python3.6"
env = { B = "3" }
[hosts.st1]
[nodes.w]
count = 2
[nodes.mail]
roles = ["mail"]
[nodes.first]
hosts = ["app01", "old"]
[nodes.beat]
kind = "beat"
engine = "celery"
"""


def inventory(environment: str | None = "production", text: str = TOML) -> Inventory:
    return Inventory(describe(text, PATH, host="here").check(), text, environment=environment)


def told(text: str) -> list[str]:
    try:
        found = describe(text, PATH, host="h").problems
    except DescriptionError as error:
        found = error.problems
    return [f"{one.line} {one.key}: {one.text}" for one in found]


def test_ranges_addresses_and_what_overrides_what() -> None:
    found = inventory()
    assert list(found.hosts) == ["app01", "app02", "app03", "old"]
    assert found.project == "my-shop"
    one, old = found.hosts["app02"], found.hosts["old"]
    assert (one.address, one.roles, one.settings.path) == ("app02.example.com", ("web", "mail"), "/srv/my-shop")
    assert (old.address, old.tags, old.settings.current) == ("old", ("south", "old"), "/opt/shop/current")
    assert (one.settings.keep, dict(one.settings.env)) == (3, {"A": "1", "B": "2"})
    assert dict(old.settings.env) == {"A": "1", "B": "3"}
    assert one.settings.canary == Canary(nodes=2)
    assert one.settings is found.hosts["app03"].settings, "what doesn't differ is kept once"
    assert inventory("staging").hosts["st1"].settings.keep == 1


def test_nodes_are_described_as_they_are_on_their_host() -> None:
    found = inventory()
    one, old = found.hosts["app01"], found.hosts["old"]
    assert [spec.name.short for spec in found.nodes(one)] == ["w1", "w2", "mail", "first", "beat"]
    assert found.names(found.hosts["app02"]) == ["w1", "w2", "mail"]
    assert found.names(old) == ["w1", "w2", "first"]
    spec = found.nodes(one)[0]
    # the developer's environment inside of the project is not the release's
    assert (spec.executable, spec.cwd) == ("/srv/my-shop/current/.venv/bin/python", "/srv/my-shop/current")
    assert spec.env_files == ["/srv/my-shop/current/shop.env"]
    assert str(spec.name) == f"w1@{SOME_HOST}"
    assert str(named(spec, "box")) == "w1@box"
    assert found.nodes(old)[0].executable == "/opt/shop/current/venv/bin/python"


def test_what_is_one_in_the_project_has_one_host() -> None:
    found = inventory()
    assert found.places("beat") == ["app01"]
    assert found.fitting("beat") == ["app01", "app02", "app03", "old"]
    assert found.places("w1") == ["app01", "app02", "app03", "old"]


@pytest.mark.parametrize(
    ("hosts", "roles", "expected"),
    [
        ([], [], ["app01", "app02", "app03", "old"]),
        (["app02"], [], ["app02"]),
        (["app0[13],old"], [], ["app01", "app03", "old"]),
        (["south", "app01"], [], ["app01", "old"]),
        ([], ["web"], ["app01", "app02", "app03"]),
        (["*1"], ["mail,web"], ["app01"]),
    ],
)
def test_which_hosts_are_meant(hosts: list[str], roles: list[str], expected: list[str]) -> None:
    assert [host.name for host in inventory().select(hosts, roles)] == expected


@pytest.mark.parametrize(
    ("hosts", "roles", "message"),
    [
        (["ap02"], [], '--hosts ap02: there is no host and no tag "ap02" of production; did you mean app02?'),
        (
            ["st1"],
            [],
            '--hosts st1: there is no host and no tag "st1" of production; there are app01, app02, app03, old',
        ),
        ([], ["wep"], '--roles wep: no host has the role "wep"; did you mean web?'),
        ([""], [], "--hosts '': it names none; leave --hosts out to mean all hosts"),
        (["app01", " , "], [], "--hosts ' , ': it names none"),
        ([], [""], "--roles '': it names none"),
        (["old"], ["web"], "no host is both what --hosts and what --roles mean"),
    ],
)
def test_hosts_that_there_are_not(hosts: list[str], roles: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        inventory().select(hosts, roles)
    assert str(error.value).startswith(message)


def test_nodes_are_meant_by_patterns_and_one_that_means_none_is_refused() -> None:
    found = inventory()
    hosts = list(found.hosts.values())
    assert found.matching_nodes([], hosts) == {"w1", "w2", "mail", "first", "beat"}
    assert found.matching_nodes(["w*", "mail"], hosts) == {"w1", "w2", "mail"}
    with pytest.raises(ConfigurationError, match="mial: no node of these hosts has such a name; did you mean mail"):
        found.matching_nodes(["w1", "mial"], hosts)
    with pytest.raises(ConfigurationError, match="mail: no node of these hosts .*; there are w1, w2, first"):
        found.matching_nodes(["mail"], [found.hosts["old"]])


@pytest.mark.parametrize(
    ("environment", "text", "message"),
    [
        (None, TOML, f"{PATH} has several environments: say which with -e: staging, production"),
        ("prod", TOML, f'-e prod: {PATH} has no environment "prod"; there are staging, production'),
        ("x", "[hosts.a]\n", f'-e x: {PATH} has no environment "x"'),
        (None, "[nodes.w]\n", f"{PATH} describes no hosts; add a table for each, such as [hosts.app1]"),
    ],
)
def test_environments_that_there_are_not(environment: str | None, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        inventory(environment, text)
    assert str(error.value).startswith(message)


def test_all_errors_are_told_at_once_each_with_its_line() -> None:
    text = """\
[deploy]
path = "srv/shop"
serial = [1, "0%"]
max_fail_percentage = 101
hooks = { migrat = "x", after = "y" }
secrets = { "A-B" = { env = "X" }, C = { vault = "x" }, D = "hunter2", E = { command = "pass 'x" } }
keep_releases = 3
roles = ["web"]
canary = { nods = 1 }
shared = [3]
[environments.stage]
host = ["a"]
hosts = ["nobody", "app*"]
[hosts.app1]
serial = 1
manager = "systemctl"
gateway = "x"
[hosts."app[1:2]"]
[hosts."app[9:2]"]
[hosts."a b"]
[hosts]
port = 22
[nodes.w]
hosts = ["app9"]
roles = ["wep"]
"""
    assert told(text) == [
        '2 deploy.path: expected an absolute path, such as "/srv/shop", not "srv/shop"',
        '3 deploy.serial[1]: expected a number of hosts, a share such as "25%", or a list of these, not "0%"',
        "4 deploy.max_fail_percentage: expected a number from 0 to 100, not 101",
        "5 deploy.hooks.migrat: there is no such moment; did you mean migrate?",
        "6 deploy.secrets.A-B: 'A-B' can't be a variable's name: letters, digits and '_' can stand in it",
        "6 deploy.secrets.C.vault: there is no such source; there are env, file, command",
        '6 deploy.secrets.D: expected one of { env = "NAME" }, { file = "PATH" } and { command = "pass shop/key" }, not a text',
        "6 deploy.secrets.E.command: the command's quotes don't match (No closing quotation)",
        "7 deploy.keep_releases: there is no such key; it is called keep here",
        "8 deploy.roles: is no key of this table; it belongs into [hosts.NAME]",
        "9 deploy.canary.nods: there is no such key; did you mean nodes?",
        '10 deploy.shared[0]: expected a path below the release, such as "media", not 3',
        "12 environments.stage.host: there is no such key; did you mean hosts?",
        '13 environments.stage.hosts[0]: there is no host and no tag "nobody"; [hosts.NAME] describes them',
        "15 hosts.app1.serial: is no key of this table; it belongs into [deploy] or [environments.NAME]",
        '16 hosts.app1.manager: expected one of "auto", "systemd", "systemd-user", "supervisord", "multi", not "systemctl"; did you mean systemd?',  # noqa: E501
        "17 hosts.app1.gateway: there is no such key; it is called jump here",
        "18 hosts.app[1:2]: describes the host app1, which another table describes already",
        "19 hosts.app[9:2]: the range [9:2] should go up, by less than 10000",
        "20 hosts.a b: can't be a host's name: letters, digits, '-', '_', '.' and ranges as in \"app[1:3]\" can stand in it",
        "22 hosts.port: expected a table, [hosts.NAME], not 22",
        '24 nodes.w.hosts[0]: there is no host and no tag "app9"; did you mean app2?',
        '25 nodes.w.roles[0]: no host has the role "wep", so that it runs nowhere for it',
    ]


@pytest.mark.parametrize("value", ["/", "//x", "/srv/../etc", "/srv/", "srv", "/a//b", "/."])
def test_paths_on_hosts_lead_nowhere_else(value: str) -> None:
    assert told(f'[deploy]\npath = "{value}"') == [
        f'2 deploy.path: expected an absolute path, such as "/srv/shop", not "{value}"'
    ]
    if value != "srv":
        assert "deploy.shared[1]" in told(f'[deploy]\nshared = ["media/", "{value}"]')[0]


def test_what_can_not_be_right_about_hosts_as_a_whole() -> None:
    text = (
        '[hosts.a]\naddress = "x"\n[hosts.b]\naddress = "x"\n[hosts.c]\ninstaller = "none"\nhealthy_deadline = "4s"\n'
    )
    text += "[nodes.w]\n"
    found = problems(Inventory(describe(text, PATH, host="h"), text))
    assert [f"{one.line} {one.key}: {one.text}" for one in found] == [
        "3 hosts.b: is at the same address as a; give each host its own, or a path of its own",
        '5 hosts.c.python: with the installer "none" python is to be the absolute path of the interpreter that runs the project',
        "5 hosts.c.min_healthy_time: 5 s can't be over before healthy_deadline, which is 4 s; make that longer",
    ]


def test_settings_of_units_are_those_that_their_format_knows_and_a_host_adds_to_them() -> None:
    text = (
        "[deploy]\nunit_settings = { systemd = { writable = '/srv/media', start_timeout = 30 } }\n[nodes.w]\n"
        "[hosts.a]\nunit_settings = { systemd = { writable = '/srv/a' }, supervisord = { grup = 'yes' } }\n"
        "[hosts.b]\nunit_settings = { systemd = { group = 'x' } }\n"
    )
    inventory = Inventory(describe(text, PATH, host="h"), text)
    assert inventory.hosts["a"].settings.unit_settings["systemd"] == {"writable": "/srv/a", "start_timeout": "30"}
    assert [f"{one.line} {one.key}: {one.text}" for one in problems(inventory)] == [
        "4 hosts.a.unit_settings.supervisord.grup: supervisord has no such setting; did you mean group?",
        "6 hosts.b.unit_settings.systemd.group: systemd has no such setting; there are "
        + ", ".join(units.find("systemd").settings),
    ]
    assert told("[deploy]\nunit_settings = { openrc = {} }")[0].endswith(
        "deploys write no units of this format; there are systemd, supervisord"
    )
    assert "expected a text or a number" in told("[deploy]\nunit_settings = { systemd = { writable = ['/a'] } }")[0]


def test_every_example_is_right() -> None:
    for key in DEPLOY_KEYS.values():
        for section, head in (("deploy", "deploy"), ("environments", "environments.x"), ("hosts", "hosts.y")):
            if key.name in keys_of(section):
                text = f"[{head}]\n{key.name} = {key.example}\n" + (
                    '[hosts."staging1"]\n' if section != "hosts" else ""
                )
                assert told(text) == [], (section, key.name)
    assert all(key.meaning.endswith((".", ".)")) for key in DEPLOY_KEYS.values())


def test_secrets_hooks_and_sizes_are_read() -> None:
    text = (
        "[deploy]\nserial = '25%'\n"
        "hooks = { migrate = 'python manage.py migrate', after = ['a b', ['c', 'd e']], failed = ['x', 'y'] }\n"
        "secrets = { A = { env = 'A' }, B = { command = ['pass', 'b'] } }\nmin_free_space = '1GB'\n[hosts.a]\n"
    )
    settings = inventory(None, text).settings
    assert settings.serial == ("25%",)
    assert settings.min_free_space == 1 << 30
    assert settings.hooks == {
        "migrate": (("sh", "-c", "python manage.py migrate"),),
        "after": (("sh", "-c", "a b"), ("c", "d e")),
        "failed": (("x", "y"),),
    }
    assert settings.secrets == {"A": ("env", ("A",)), "B": ("command", ("pass", "b"))}


def test_the_schema_knows_hosts_and_deploys() -> None:
    from multi.nodes.description.schema import schema

    found: dict[str, Any] = schema()["properties"]
    assert found["deploy"]["properties"].keys() == keys_of("deploy").keys()
    assert found["hosts"]["additionalProperties"]["properties"].keys() == keys_of("hosts").keys()
    assert "hosts" in found["environments"]["additionalProperties"]["properties"]
