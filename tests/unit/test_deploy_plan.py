"""Plans of deploys: what is found and what is wanted give the steps; and a fleet in memory that they are carried out on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.deploys import TOML, Fleet, fresh, inventory, release

from multi.deploy.connections.simulation import Fault, Simulation, answer
from multi.deploy.hosts.facts import RUNNING, HostFacts, NodeFact, ReleaseFact, parse, unreachable
from multi.deploy.hosts.question import FOLDERS, Question
from multi.deploy.releases.wanted import Kept, Release, kept_at
from multi.deploy.steps import PREPARE, SWITCH, Command, Plan, Secret, batches
from multi.errors import DeployError


def titles(plan: Plan, host: str, phase: str | None = None) -> list[str]:
    return [step.title for step in plan.hosts[host].steps if phase in (None, step.phase)]


# ---- what a push does


def test_a_first_push_lays_everything_down_and_the_next_one_has_nothing_to_do() -> None:
    fleet = Fleet()
    plan = fleet.plan(release())
    assert titles(plan, "app2", PREPARE)[1:2] == ["upload r1"]
    assert titles(plan, "app2", PREPARE)[2].startswith("build environment ")
    assert [line for line in titles(plan, "app2", SWITCH) if line.startswith(("current", "start", "enable"))] == [
        "current -> r1",
        "enable multi-shop.target",
        "start w1",
        "start w2",
        "start multi-shop.target",
    ]
    assert plan.batches == [["app1"], ["app2", "app3"], ["app4"]]
    assert fleet.push(release())
    assert fleet.ages() == {("r1", "r1")}
    again = fleet.plan(release("1")._replace(name="made-later"))
    assert again.is_empty, [step.title for step in again.steps()]
    assert again.release == "r1"  # the same content, under the name that it has


def test_a_change_of_code_uploads_and_restarts_one_node_after_the_other_and_builds_nothing() -> None:
    fleet = Fleet()
    fleet.push(release())
    plan = fleet.plan(release("2"))
    kinds = [step.kind for step in plan.hosts["app1"].steps]
    assert "build" not in kinds
    assert "write" not in [step.kind for step in plan.hosts["app1"].steps if "/etc/" in step.title]
    assert [step.reason for step in plan.hosts["app1"].steps if step.kind == "restart"] == ["it runs r1", "it runs r1"]
    upload = next(step.do for step in plan.hosts["app1"].steps if step.kind == "upload")
    assert str(upload) == "/srv/shop/releases/r2, what is the same from /srv/shop/releases/r1"
    assert fleet.push(release("2"))
    lines = fleet.of("app1")
    first, second = (lines.index(f"sudo -n systemctl restart multi-shop@{name}.service") for name in ("w1", "w2"))
    assert first < second
    assert any("systemctl show" in line for line in lines[first:second]), "the second waits until the first is up"
    assert fleet.ages() == {("r2", "r2")}


def test_other_requirements_get_an_environment_of_their_own_and_the_same_ones_share_one() -> None:
    fleet = Fleet()
    fleet.push(release())
    assert any(step.kind == "build" for step in fleet.plan(release("2", requirements_digest="r2")).steps())
    fleet.push(release("2", requirements_digest="r2"))
    assert len(fleet.facts["app1"].environments) == 2
    assert not any(step.kind == "build" for step in fleet.plan(release("3")).steps())


def test_settings_of_units_reach_them_and_restart_the_nodes() -> None:
    fleet = Fleet()
    fleet.push(release())
    fleet.inventory = inventory(
        TOML.replace(
            "[deploy]", "[deploy]\nhardening = 'strict'\nunit_settings = { systemd = { writable = '/srv/media' } }"
        )
    )
    plan = fleet.plan(release())
    text = next(step.do for step in plan.steps() if "@.service" in step.title)
    assert "/srv/media" in next(line for line in str(text.text).splitlines() if line.startswith("ReadWritePaths="))  # type: ignore[union-attr]
    assert titles(plan, "app1").count("restart w1") == 1


def test_a_changed_node_is_restarted_and_no_other() -> None:
    text = TOML + "[nodes.images]\n"
    fleet = Fleet(text)
    fleet.push(release())
    fleet.inventory = inventory(text + "concurrency = 3\n")
    plan = fleet.plan(release())
    assert [step.node for step in plan.hosts["app1"].steps if step.kind == "restart"] == ["images"]
    assert fleet.push(release())
    assert fleet.plan(release()).is_empty


def test_a_node_more_restarts_no_other() -> None:
    fleet = Fleet()
    fleet.push(release())
    fleet.inventory = inventory(TOML.replace("count = 2", "count = 3"))
    plan = fleet.plan(release())
    assert "write /etc/systemd/system/multi-shop.target" in titles(plan, "app1")
    assert [(step.kind, step.node) for step in plan.hosts["app1"].steps if step.node and step.kind != "gate"] == [
        ("start", "w3")
    ]


def test_a_unit_that_somebody_has_changed_is_written_again_and_its_nodes_are_restarted() -> None:
    fleet = Fleet()
    fleet.push(release())
    path = "/etc/systemd/system/multi-shop@.service"
    fleet.facts["app1"] = fleet.facts["app1"]._replace(files={**fleet.facts["app1"].files, path: "other"})
    plan = fleet.plan(release())
    assert [step.node for step in plan.hosts["app1"].steps if step.kind == "restart"] == ["w1", "w2"]
    assert not plan.hosts["app2"].steps


def test_nodes_that_are_gone_from_the_description_are_stopped_and_their_units_removed() -> None:
    text = TOML + "[nodes.images]\nconcurrency = 3\n"
    fleet = Fleet(text)
    fleet.push(release())
    fleet.inventory = inventory(TOML)
    plan = fleet.plan(release())
    found = titles(plan, "app1")
    assert found.index("stop images") < found.index("remove /etc/systemd/system/multi-shop@images.service")
    assert fleet.push(release())
    assert fleet.facts["app1"].nodes["multi-shop@images.service"].state == "stopped"
    assert fleet.plan(release()).is_empty


def test_a_node_that_runs_an_older_release_than_the_link_says_is_restarted() -> None:
    fleet = Fleet()
    fleet.push(release())
    nodes = dict(fleet.facts["app3"].nodes)
    nodes["multi-shop@w2.service"] = nodes["multi-shop@w2.service"]._replace(release="r0")
    nodes["multi-shop@w1.service"] = nodes["multi-shop@w1.service"]._replace(state="failed")
    fleet.facts["app3"] = fleet.facts["app3"]._replace(nodes=nodes)
    steps = [step for step in fleet.plan(release()).steps() if step.kind == "restart"]
    assert [(step.host, step.node, step.reason) for step in steps] == [
        ("app3", "w1", "it has failed"),
        ("app3", "w2", "it runs r0 still"),
    ]


def test_secrets_are_written_for_the_owner_alone_and_are_never_shown() -> None:
    text = TOML.replace("[deploy]", '[deploy]\nowner = "shop"\nsecrets = { DB = { env = "DB" } }')
    fleet = Fleet(text)
    secrets = {"DB": Secret('hunter2 "x"')}
    plan = fleet.plan(release(), secrets=secrets)
    step = next(step for step in plan.hosts["app1"].steps if step.title == "write secret variables")
    assert (step.do.path, step.do.mode, step.do.owner) == ("/srv/shop/shared/secrets.env", 0o600, "shop")  # type: ignore[union-attr]
    assert step.do.content == b'DB="hunter2 \\"x\\""\n'  # type: ignore[union-attr]
    assert "hunter2" not in str(plan.json())
    assert "hunter2" not in repr(plan)
    assert fleet.push(release(), secrets=secrets)
    assert fleet.plan(release(), secrets=secrets).is_empty
    changed = fleet.plan(release(), secrets={"DB": Secret("other")})
    assert {step.reason for step in changed.steps() if step.kind == "restart"} == {"secret variables have changed"}


def test_a_migration_runs_once_on_a_host_that_has_the_release_before_any_node_does() -> None:
    fleet = Fleet(
        TOML.replace("[deploy]", '[deploy]\nhooks = { migrate = "python manage.py migrate", after_restart = "true" }')
    )
    assert fleet.push(release())
    lines = [line for _, line in fleet.done]
    (number,) = (number for number, line in enumerate(lines) if "manage.py migrate" in line)
    assert "cd /srv/shop/releases/r1 && env PATH=/srv/shop/releases/r1/.venv/bin:" in lines[number]
    assert sum(line.startswith("upload") for line in lines[:number]) == 4
    assert not any("systemctl start" in line for line in lines[:number])
    assert fleet.plan(release()).is_empty


def test_releases_that_were_never_healthy_push_out_none_that_was() -> None:
    fleet = Fleet(TOML.replace("[deploy]", "[deploy]\nkeep = 2"))
    for version in ("1", "2"):
        assert fleet.push(release(version))
    for version in ("3", "4", "5"):
        assert not fleet.push(release(version), [Fault("systemctl restart", "app1")])
        assert fleet.plan(release("2")).is_empty
    assert fleet.push(release("6"))
    assert {one.name for one in fleet.facts["app2"].releases} == {"r2", "r6"}


def test_hooks_of_hosts_are_lines_for_the_shell_and_run_for_each_new_release() -> None:
    hooks = """hooks = { before_build = "make assets && touch x", after_restart = [["make", "a b"]] }"""
    fleet = Fleet(TOML.replace("[deploy]", f"[deploy]\n{hooks}"))
    for version in ("1", "2"):  # the second one uses the environment of the first
        plan = fleet.plan(release(version))
        assert "before_build: make assets && touch x" in titles(plan, "app1", PREPARE)
        assert "after_restart: make 'a b'" in titles(plan, "app1", SWITCH)
        assert fleet.push(release(version))
    (line,) = (line for line in fleet.of("app1") if "make assets" in line)
    assert line.endswith(" sh -c 'make assets && touch x'")
    assert not any(step.kind == "build" for step in plan.steps())


def test_old_releases_go_and_the_one_before_stays() -> None:
    fleet = Fleet(TOML.replace("[deploy]", "[deploy]\nkeep = 2"))
    for version in "1234":
        assert fleet.push(release(version, requirements_digest=version))
    assert [one.name for one in fleet.facts["app1"].releases] == ["r3", "r4"]
    assert len(fleet.facts["app1"].environments) == 2


# ---- managers


def supervised(**more: Any) -> HostFacts:
    given = {"systemd": None, "supervisord": "4.2.5", "supervisor_dir": "/etc/supervisor/conf.d", **more}
    return fresh("app1", **given)["app1"]


def test_one_push_covers_systemd_supervisord_and_keepers() -> None:
    text = TOML.replace("[hosts.", '[hosts.old]\ninstaller = "none"\npython = "/opt/py36/bin/python"\n[hosts.', 1)
    facts = fresh("app1", "app2")
    facts["app3"] = supervised()._replace(host="app3")
    facts["app4"] = fresh("app4", systemd=None)["app4"]
    facts["old"] = supervised(python="3.6.9")._replace(host="old")
    fleet = Fleet(text, facts)
    assert fleet.push(release()), fleet.done
    assert fleet.ages() == {("r1", "r1")}
    assert {(name, node.manager) for name, one in fleet.facts.items() for node in one.nodes.values()} == {
        ("app1", "systemd"),
        ("app2", "systemd"),
        ("app3", "supervisord"),
        ("app4", "multi"),
        ("old", "supervisord"),
    }
    assert "sudo -n supervisorctl update shop-w1" in fleet.of("old")
    assert "cd /srv/shop/current && /srv/shop/current/.venv/bin/multi up --only w1 --timeout=120" in fleet.of("app4")
    assert fleet.plan(release()).is_empty


def test_keepers_of_another_owner_are_told_the_path_that_follows_the_release() -> None:
    text = TOML.replace('"app[1:4]"', "app1").replace("[deploy]", '[deploy]\nowner = "shop"')
    fleet = Fleet(text, fresh("app1", systemd=None))
    assert fleet.push(release())
    multi = "env PWD=/srv/shop/current /srv/shop/current/.venv/bin/multi"
    start = f"cd /srv/shop/current && sudo -n -u shop {multi} up --only w1"
    assert any(line.startswith(start) for line in fleet.of("app1"))


def test_agentless_units_need_nothing_of_multi() -> None:
    text = (
        TOML.replace("[deploy]", '[deploy]\ninstaller = "none"\npython = "/opt/py36/bin/python"')
        + 'engine = "celery"\n'
    )
    plan = Fleet(
        text, {name: supervised(python="3.6.9")._replace(host=name) for name in fresh("app1", "app2", "app3", "app4")}
    ).plan(release())
    (step,) = (step for step in plan.hosts["app1"].steps if step.title.endswith("multi-shop.w1.conf"))
    text = step.do.content.decode()  # type: ignore[union-attr]
    assert "command=/opt/py36/bin/python -m celery -A shop.tasks worker" in text
    assert "current/.venv" not in text


def test_a_node_that_goes_from_supervisord_to_systemd_is_stopped_there_before_it_starts_here() -> None:
    both = fresh("app1", supervisord="4.2.5", supervisor_dir="/etc/supervisor/conf.d")
    text = TOML.replace("app[1:4]", "app1")
    fleet = Fleet(text.replace("[deploy]", '[deploy]\nmanager = "supervisord"'), both)
    assert fleet.push(release())
    assert {node.manager for node in fleet.facts["app1"].nodes.values()} == {"supervisord"}
    fleet.inventory = inventory(text)
    plan = fleet.plan(release())
    found = titles(plan, "app1")
    # a machine that is switched off in between starts them once, too: nothing of supervisord's is left by then
    order = [
        "remove /etc/supervisor/conf.d/multi-shop.w1.conf",
        *("enable multi-shop.target", "stop w1", "start w1", "w1 is up", "stop w2", "start w2"),
        *("have supervisord forget shop-w1", "have supervisord forget shop-w2"),
    ]
    assert [title for title in found if title in order] == order
    before = fleet.facts["app1"].files
    assert not fleet.push(release(), [Fault("start multi-shop@w2")])
    there = {node.unit for node in fleet.facts["app1"].nodes.values() if node.state == RUNNING}
    assert there == {"shop-w1", "shop-w2"}, fleet.done
    assert fleet.facts["app1"].files == before
    assert fleet.push(release())
    up = [(node.unit, node.manager) for node in fleet.facts["app1"].nodes.values() if node.state == RUNNING]
    assert up == [("multi-shop@w1.service", "systemd"), ("multi-shop@w2.service", "systemd")]
    assert fleet.plan(release()).is_empty


@pytest.mark.parametrize("text", ["supervisorctl update shop-w2", "supervisorctl update shop-images"])
def test_under_supervisord_too_whatever_fails_all_is_as_before(text: str) -> None:
    toml = TOML.replace("app[1:4]", "app1") + "[nodes.images]\n"
    fleet = Fleet(toml, {"app1": supervised()})
    assert fleet.push(release())
    before = fleet.facts["app1"].files
    fleet.inventory = inventory(
        toml.replace("count = 2", "count = 2\nconcurrency = 3").replace(
            "[nodes.images]", "[nodes.images]\nconcurrency = 9"
        )
    )
    assert not fleet.push(release("2"), [Fault(text)])
    assert fleet.facts["app1"].files == before
    assert fleet.ages() == {("r1", "r1")}
    back = fleet.of("app1")[next(n for n, line in enumerate(fleet.of("app1")) if line.startswith("restore")) :]
    turns = [line for line in back if "supervisorctl" in line and "reread" not in line]
    assert len(turns) == len(set(turns)), "no node is restarted twice"


def test_a_program_that_is_gone_is_forgotten_by_supervisord() -> None:
    text = TOML.replace("app[1:4]", "app1")
    fleet = Fleet(text, {"app1": supervised()})
    assert fleet.push(release())
    fleet.inventory = inventory(text.replace("count = 2", "count = 1"))
    assert fleet.push(release())
    lines = fleet.of("app1")
    assert lines.index("sudo -n supervisorctl stop shop-w2") < lines.index("sudo -n supervisorctl update shop-w2")
    assert set(fleet.facts["app1"].nodes) == {"shop-w1"}


def test_programs_of_others_whose_names_begin_alike_are_left_alone() -> None:
    theirs = {
        "shop-web": NodeFact("shop-web", "supervisord", RUNNING),
        "nginx": NodeFact("nginx", "supervisord", RUNNING),
        "multi-shop.eu@w1.service": NodeFact("multi-shop.eu@w1.service", "systemd", RUNNING),
    }
    files = {"/etc/systemd/system/multi-shop.eu.target": "x", "/etc/systemd/system/multi-shop.eu@.service": "x"}
    fleet = Fleet(TOML, fresh("app1", "app2", "app3", "app4", nodes=theirs, files=files))
    plan = fleet.plan(release())
    assert not [step.title for step in plan.steps() if step.kind in ("stop", "remove") and "way back" not in step.title]


def test_what_is_one_in_the_project_runs_on_one_host_and_moves_only_after_it_has_stopped() -> None:
    text = TOML + '[nodes.beat]\nkind = "beat"\nengine = "celery"\nhosts = ["app2"]\n'
    fleet = Fleet(text)
    assert fleet.push(release())
    assert [name for name, one in fleet.facts.items() if "multi-shop@beat.service" in one.nodes] == ["app2"]
    fleet.inventory = inventory(text.replace('hosts = ["app2"]', 'hosts = ["app1", "app3"]'))
    plan = fleet.plan(release())
    assert [(step.host, step.title) for step in plan.once] == [("app2", "stop beat")]
    assert plan.notes == ("beat is one in the project and runs on app1 only",)
    assert fleet.push(release())
    up = [
        name
        for name, one in fleet.facts.items()
        for node in one.nodes.values()
        if "beat" in node.unit and node.state == RUNNING
    ]
    assert up == ["app1"]


# ---- what can't be


@pytest.mark.parametrize(
    ("facts", "keys", "told"),
    [
        ({"sudo": "password"}, "", "sudo asks deploy for a password there; give it with --ask-sudo-password"),
        ({"sudo": "none"}, "", "there is no sudo for deploy"),
        ({"lacks": "shop"}, 'owner = "shop"', "there is no user shop, the owner; multi deploy setup makes it"),
        ({"systemd": None}, 'manager = "systemd"', "it is not run by systemd"),
        ({"systemd": None}, "agentless = true", "neither systemd nor supervisord runs there"),
        (
            {"systemd": None, "supervisor_error": "no such file"},
            'manager = "supervisord"',
            "supervisord doesn't answer there (no such file)",
        ),
        ({"python": None}, 'python = "python3.13"', "there is no interpreter python3.13 there that runs"),
        ({"python": "3.9.2"}, "", "its python3 is Python 3.9.2, and multi, which the requirements name, needs 3.11"),
        ({"disk_free": 1 << 20}, "", "1 MB are free on its disk, and a release wants 500 MB"),
        ({"inodes_free": 7}, "", "only 7 inodes are free"),
        (
            {"systemd_user": False},
            'manager = "systemd-user"',
            "no systemd runs for deploy; as root: loginctl enable-linger deploy",
        ),
    ],
)
def test_what_would_fail_half_way_is_refused_before_anything_is_done(
    facts: dict[str, Any], keys: str, told: str
) -> None:
    fleet = Fleet(TOML.replace("[deploy]", f"[deploy]\n{keys}"), fresh("app1", "app2", "app3", "app4"))
    fleet.facts["app2"] = fresh("app2", **facts)["app2"]
    plan = fleet.plan(release())
    error = plan.hosts["app2"].error
    assert error is not None
    assert told in error
    assert not plan.hosts["app2"].steps


def test_a_host_that_is_unreachable_has_no_steps_and_comes_into_line_with_the_next_push() -> None:
    fleet = Fleet()
    fleet.push(release())
    before = fleet.facts["app3"]
    fleet.facts["app3"] = unreachable("app3", "no route to host")
    assert fleet.plan(release("2")).errors == {"app3": "no route to host"}
    fleet.push(release("2"))
    fleet.facts["app3"] = before
    plan = fleet.plan(release("2")._replace(name="another-name"))
    assert {step.host for step in plan.steps()} == {"app3"}
    assert plan.release == "r2"
    fleet.push(release("2"))
    assert fleet.ages() == {("r2", "r2")}


def test_the_same_content_under_another_name_is_no_reason_for_a_restart() -> None:
    fleet = Fleet()
    fleet.push(release())
    facts = fleet.facts["app2"]
    nodes = {unit: node._replace(release="r0") for unit, node in facts.nodes.items()}
    fleet.facts["app2"] = facts._replace(current="r0", releases=(facts.releases[0]._replace(name="r0"),), nodes=nodes)
    plan = fleet.plan(release())
    assert plan.is_empty, [step.title for step in plan.steps()]
    assert plan.release == "r1"


# ---- failures and the way back


@pytest.mark.parametrize(
    "text", ["upload", "build", "link /srv/shop/current", "restart multi-shop@w2", "daemon-reload", "write /etc"]
)
@pytest.mark.parametrize("host", ["app1", "app3"])
def test_whatever_fails_all_hosts_end_on_the_release_before(text: str, host: str) -> None:
    fleet = Fleet()
    assert fleet.push(release())
    before = {name: one.files for name, one in fleet.facts.items()}
    fleet.inventory = inventory(TOML.replace("count = 2", "count = 2\nconcurrency = 3"))
    assert not fleet.push(release("2", requirements_digest="r2"), [Fault(text, host)])
    assert fleet.ages() == {("r1", "r1")}
    assert {name: one.files for name, one in fleet.facts.items()} == before
    assert fleet.push(release("2", requirements_digest="r2")), fleet.done
    assert fleet.ages() == {("r2", "r2")}


def test_a_failed_first_push_leaves_nothing_that_runs() -> None:
    fleet = Fleet()
    assert not fleet.push(release(), [Fault("start multi-shop@w2", "app3")])
    assert {one.current for one in fleet.facts.values()} == {None}
    assert {node.state for one in fleet.facts.values() for node in one.nodes.values()} == {"stopped"}
    assert {path for one in fleet.facts.values() for path in one.files} == set()


def test_a_rollback_takes_the_units_that_the_release_had_and_builds_nothing() -> None:
    fleet = Fleet()
    assert fleet.push(release())
    hosts = list(fleet.inventory.hosts.values())
    first = Simulation(hosts, fleet.facts)
    assert fleet.push(release("1"))
    plan = Fleet().plan(release())
    kept = next(step.do for step in plan.hosts["app1"].steps if step.title == "keep the units")
    assert kept.path == kept_at("/srv/shop/.multi", "r1")  # type: ignore[union-attr]
    found = Kept.read(kept.content.decode())  # type: ignore[union-attr]
    assert found is not None
    before = {name: one.files for name, one in first.facts.items()}
    fleet.inventory = inventory(TOML.replace("count = 2", "count = 2\nconcurrency = 3"))
    assert fleet.push(release("2", requirements_digest="r2"))
    back = Release("r1", "1", "digest-1", is_there=True)
    plan = fleet.plan(back, kept=dict.fromkeys(fleet.inventory.hosts, found))
    assert {step.kind for step in plan.steps()}.isdisjoint({"upload", "build"})
    assert fleet.push(back, kept=dict.fromkeys(fleet.inventory.hosts, found))
    assert fleet.ages() == {("r1", "r1")}
    assert {name: one.files for name, one in fleet.facts.items()} == before
    assert fleet.plan(Release("r9", "9", "d9", is_there=True)).errors["app1"] == (
        "the release r9 is not there; there are: r1, r2"
    )


def test_secrets_for_keepers_need_a_file_that_the_description_names() -> None:
    text = TOML.replace("[deploy]", '[deploy]\nsecrets = { DB = { env = "DB" } }')
    facts = fresh("app1", "app2", "app3", "app4", systemd=None)
    secrets = {"DB": Secret("x")}
    error = Fleet(text, facts).plan(release(), secrets=secrets).errors["app1"]
    assert (
        "w1, w2 under multi's own keepers only by a file that multi.toml names: put env_files = [\"/srv/shop" in error
    )
    named = text.replace("[defaults]", '[defaults]\nenv_files = ["/srv/shop/shared/secrets.env"]')
    fleet = Fleet(named, facts)
    assert fleet.push(release(), secrets=secrets), fleet.done


def test_nodes_with_one_name_on_several_hosts_are_told_of() -> None:
    fleet = Fleet(TOML.replace("[nodes.w]", '[nodes.w]\nhostname = "shop"'))
    assert fleet.plan(release()).notes[0] == "w1@shop is on 4 hosts under this one name; put %h into its hostname"
    assert Fleet(TOML.replace("[nodes.w]", '[nodes.w]\nhostname = "shop-%h"')).plan(release()).notes == ()


# ---- how it is shown


def test_hosts_that_are_treated_alike_are_shown_together() -> None:
    from multi.cli.planning import lines

    fleet = Fleet(TOML.replace("[deploy]", '[deploy]\nhooks = { migrate = "python manage.py migrate" }'))
    fleet.push(release())
    nodes = dict(fleet.facts["app4"].nodes)
    nodes["multi-shop@w1.service"] = nodes["multi-shop@w1.service"]._replace(state="failed")
    fleet.facts["app4"] = fleet.facts["app4"]._replace(nodes=nodes)
    fleet.facts["app3"] = unreachable("app3", "no route to host")
    shown = lines(fleet.plan(release("2")))
    assert shown[0] == "shop, release r2: 3 of 4 hosts to be changed"
    assert [line for line in shown if line.startswith("app")] == ["app1, app2: r1 -> r2", "app4: r1 -> r2"]
    assert any(line.split() == ["restart", "w1", "it", "has", "failed"] for line in shown)
    assert any(line.startswith("    app1: migrate: python manage.py migrate") for line in shown)
    assert shown[-1] == "3 batches of 1, 1, 1; the first is app1"
    assert any(
        "systemctl restart multi-shop@w1.service" in line for line in lines(fleet.plan(release("2")), verbose=True)
    )
    assert lines(fleet.plan(release()))[0] == "shop, release r1: 1 of 4 hosts to be changed"
    fleet.facts["app4"] = fleet.facts["app1"]._replace(host="app4")
    assert lines(fleet.plan(release())) == ["shop, release r1: nothing is to be done on 3 hosts"]


# ---- parts


def test_what_releases_share_is_taken_from_the_first_and_linked_in_each(tmp_path: Path) -> None:
    import subprocess

    path = tmp_path / "shop"
    text = TOML.replace("[deploy]", f'[deploy]\npath = "{path}"\nshared = ["media", "data/x.db", "log"]')
    fleet = Fleet(text)
    for version in "12":
        folder = path / "releases" / f"r{version}"
        (folder / "media").mkdir(parents=True)
        (folder / "media" / "a").write_text(version)
        (folder / "data").mkdir()
        (folder / "data" / "x.db").write_text(version)
        step = next(step for step in fleet.plan(release(version)).steps() if step.title == "link media, data/x.db, log")
        assert isinstance(step.do, Command)
        for _ in range(2):  # a cut connection has it done once more
            subprocess.run(list(map(str, step.do.argv)), check=True, timeout=30)
    new = path / "releases" / "r2"
    assert (new / "media" / "a").read_text() == (new / "data" / "x.db").read_text() == "1"
    assert (new / "log").is_dir()
    (new / "log" / "b").write_text("x")
    assert (path / "releases" / "r1" / "log" / "b").read_text() == "x"
    assert (path / "shared" / "data" / "x.db").read_text() == "1"


@pytest.mark.parametrize(
    ("count", "serial", "sizes"),
    [
        (10, [1, "25%"], [1, 2, 2, 2, 2, 1]),
        (10, [1, 5, "20%"], [1, 5, 2, 2]),
        (3, ["25%"], [1, 1, 1]),
        (4, ["100%"], [4]),
        (4, [100], [4]),
        (0, [1], []),
    ],
)
def test_batches(count: int, serial: list[int | str], sizes: list[int]) -> None:
    hosts = [f"h{number}" for number in range(count)]
    found = batches(hosts, serial)
    assert [len(batch) for batch in found] == sizes
    assert [name for batch in found for name in batch] == hosts


def test_a_command_is_quoted_once_and_reaches_its_user() -> None:
    command = Command(("echo", "a b", "$x", Secret("pw")), cwd="/a b", env={"N": "1 2"}, user="shop")
    assert str(command) == "cd '/a b' && sudo -n -u shop env N='1 2' echo 'a b' '$x' ***"
    assert command.line(login="shop", reveal=True) == "cd '/a b' && env N='1 2' echo 'a b' '$x' pw"
    assert command.line(login="root") == "cd '/a b' && runuser -u shop -- env N='1 2' echo 'a b' '$x' ***"
    assert Command(("id",), sudo=True).line(login="root") == "id"
    assert Command(("id",), sudo=True).line(login="x") == "sudo -n id"


def test_a_secret_can_not_be_joined_formatted_or_stored() -> None:
    import pickle

    secret = Secret("hunter2")
    assert f"{secret} {secret!r} {secret!s}" == "*** *** ***"
    assert secret == Secret("hunter2")
    with pytest.raises(TypeError):
        " ".join([secret])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_what_a_host_says_of_itself_is_read_as_it_was() -> None:
    node = NodeFact("multi-shop@w1.service", "systemd", RUNNING, 7, "r1", 12.0)
    facts = HostFacts(
        "h",
        hostname="box",
        system="Linux 6.1",
        user="deploy",
        home="/home/deploy",
        uid=1000,
        sudo="free",
        lacks="shop",
        python="3.12.1",
        uv=True,
        systemd=252,
        linger=True,
        supervisord="4.2.5",
        supervisor_dir="/etc/supervisor/conf.d",
        multi="0.1.0",
        current="r1",
        current_age=20.0,
        releases=(ReleaseFact("r1", "abc", "e1", True), ReleaseFact("r0", "abd")),
        environments=frozenset({"e1"}),
        folders=frozenset({"/srv/shop"}),
        files={"/etc/x y": "d"},
        wanted=frozenset({"multi-shop.target"}),
        active=frozenset({"multi-shop.target"}),
        recorded_units={"u": "d"},
        recorded_files={"/f": "d"},
        nodes={node.unit: node, "w9": NodeFact("w9", "multi", RUNNING, 9, "r1", 3.0)},
        lock="somebody",
        disk_free=1024,
        inodes_free=5,
        clock=1000.0,
        nofile=1024,
    )
    assert parse("h", "Welcome!\n" + answer(facts)) == facts


def test_an_answer_that_was_cut_is_none() -> None:
    text = answer(fresh("h")["h"])
    for cut in (text[: len(text) // 2], "", text.removesuffix("end\n"), "Account expired\n"):
        with pytest.raises(DeployError, match="its answer about itself was cut"):
            parse("h", cut)


def test_a_process_of_unknown_folder_runs_what_was_current_when_it_began() -> None:
    def told(age: int) -> str | None:
        node = NodeFact("multi-shop@w1.service", "systemd", RUNNING, 7, None, float(age))
        facts = fresh("h", current="r1", current_age=100.0, nodes={node.unit: node})["h"]
        return parse("h", answer(facts)).nodes[node.unit].release

    assert (told(50), told(100), told(101)) == ("r1", "r1", None)


def test_the_question_is_one_that_any_shell_understands() -> None:
    import shutil
    import subprocess

    command = Question("/nonexistent/shop", "shop", "python3", ("/etc/passwd",), FOLDERS, "nobody-at-all").command()
    shells = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
    assert shells
    for shell in shells:
        words = [shell, *(["sh"] if shell == "busybox" else []), *map(str, command.argv[1:])]
        said = subprocess.run(words, input=command.stdin, capture_output=True, timeout=60, check=True)
        facts = parse("h", said.stdout.decode())
        assert facts.current is None
        assert facts.lacks == "nobody-at-all"
        assert len(facts.files["/etc/passwd"]) == 64
        assert facts.disk_free
        assert said.stderr == b""
