"""What units say: of systemd, of supervisord, and the files that go with them."""

from __future__ import annotations

import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from multi.errors import ConfigurationError
from multi.nodes.description import describe
from multi.nodes.spec import NodeSpec
from multi.units import find
from multi.units.base import File, Target
from multi.units.spans import stop_time

HEAD = """
name = "shop"
[defaults]
app = "shop.tasks:app"
python = "/srv/shop/venv/bin/python"
directory = "/srv/shop/current"
user = "shop"
"""
TARGET = Target("shop", host="h1", manager_version=252)


def nodes(text: str, head: str = HEAD) -> list[NodeSpec]:
    return [node.spec for node in describe(head + text, "/srv/shop/current/multi.toml", host="h1").check().nodes]


def rendered(text: str, kind: str = "systemd", target: Target = TARGET, head: str = HEAD) -> dict[str, File]:
    return {file.path.rpartition("/")[2]: file for file in find(kind).render(nodes(text, head), target)}


def unit(text: str, name: str = "multi-shop@.service", target: Target = TARGET) -> dict[str, list[str]]:
    """What a unit says: its directives, each with all that it was given."""
    found: dict[str, list[str]] = {}
    for line in rendered(text, target=target)[name].text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def program(text: str, node: str = "w", target: Target = TARGET) -> dict[str, str]:
    lines = rendered(text, "supervisord", target)[f"multi-shop.{node}.conf"].text.splitlines()
    return dict(line.partition("=")[::2] for line in lines if "=" in line and not line.startswith(";"))


# ---- systemd


def test_nodes_that_differ_in_their_names_only_share_a_template_unit_and_others_have_their_own() -> None:
    files = rendered(
        '[nodes.w]\ncount = 3\n[nodes.images]\nqueues = ["images"]\n[nodes.beat]\nkind = "beat"\nengine = "celery"'
    )
    assert [*files] == [
        "multi-shop@.service",
        "multi-shop@images.service",
        "multi-shop@beat.service",
        "multi-shop.target",
        "multi-shop.slice",
    ]
    assert files["multi-shop@.service"].nodes == ("w1", "w2", "w3")
    wanted = re.findall("^Wants=(.*)$", files["multi-shop.target"].text, re.MULTILINE)
    assert wanted == [f"multi-shop@{name}.service" for name in ("w1", "w2", "w3", "images", "beat")]


def test_one_node_more_changes_nothing_for_the_others() -> None:
    before, after = rendered("[nodes.w]\ncount = 3"), rendered("[nodes.w]\ncount = 4")
    assert before["multi-shop@.service"].text == after["multi-shop@.service"].text
    kind = find("systemd")
    old, new = kind.effective(before.values()), kind.effective(after.values())
    assert [name for name in new if old.get(name) != new[name]] == ["multi-shop@w4.service"]


def test_what_a_unit_means_changes_with_its_directives_and_its_secrets_but_not_with_comments() -> None:
    kind = find("systemd")
    before = [*rendered('[nodes.w]\nbroker = "redis://:one@h/0"').values()]
    meant = kind.effective(before)
    commented = [file._replace(text=f"# more\n\n{file.text}") if "@" in file.path else file for file in before]
    assert kind.effective(commented) == meant
    other = [*rendered('[nodes.w]\nbroker = "redis://:two@h/0"').values()]
    assert kind.effective(other) != meant
    assert "one" not in str(meant)


def test_a_worker_of_ours_says_when_it_is_ready_and_that_it_lives() -> None:
    said = unit("[nodes.w]\nconcurrency = 4")
    assert said["Type"] == ["notify"]
    assert said["NotifyAccess"] == ["main"]
    assert said["ExecStart"] == ["/srv/shop/venv/bin/python -m multi worker -A shop.tasks:app -c 4 -n %i@%%h"]
    assert said["ExecReload"] == ["/srv/shop/venv/bin/python -m multi.worker.reloading $MAINPID"]
    assert said["WatchdogSec"] == ["60"]
    assert said["KillMode"] == ["mixed"]
    assert said["RuntimeDirectory"] == ["multi-shop/%i"]
    assert "MULTI_RUN_DIR=%t/multi-shop/%i" in said["Environment"]
    assert said["User"] == ["shop"]
    assert said["WorkingDirectory"] == ["/srv/shop/current"]


def test_celery_says_it_through_the_launcher_where_multi_is_and_not_at_all_where_it_isnt() -> None:
    text = '[nodes.w]\nengine = "celery"'
    with_multi = unit(text, target=replace(TARGET, launcher="/opt/multi/celery_node.py"))
    assert with_multi["Type"] == ["notify"]
    assert with_multi["ExecStart"][0].startswith(
        "/srv/shop/venv/bin/python /opt/multi/celery_node.py -A shop.tasks:app"
    )
    without = unit(text)
    assert without["Type"] == ["exec"]
    assert without["ExecStart"] == ["/srv/shop/venv/bin/python -m celery -A shop.tasks:app worker -n %i@%%h"]
    assert "ExecReload" not in without
    assert "WatchdogSec" not in without


def test_a_beat_is_one_and_keeps_its_schedule_where_a_release_doesnt_take_it_away() -> None:
    said = unit('[nodes.beat]\nkind = "beat"\nengine = "celery"', "multi-shop@beat.service")
    assert said["ExecStart"][0].endswith(" beat -s %S/multi-shop/%i/schedule")
    assert said["TimeoutStopSec"] == ["30"]
    assert "multi-shop@.service" not in rendered('[nodes.beat]\nkind = "beat"\nengine = "celery"')


@pytest.mark.parametrize(
    ("keys", "seconds", "why"),
    [
        ("", 630, "10 minutes"),
        ('time_limit = "20m"', 1230, "time_limit"),
        ('longest_task = "1h"', 3630, "longest_task"),
        ('time_limit = "20m"\nlongest_task = "1h"', 1230, "time_limit"),
        ('stop = { quit_after = "5m" }', 330, "quit_after"),
        ('stop = { quit_after = "5m", kill_after = "6m" }\ntime_limit = "20m"', 360, "kill_after"),
        ('drain_timeout = "2m"\ntime_limit = "20m"', 150, "drain_timeout"),
    ],
)
def test_a_stop_may_take_as_long_as_the_longest_task(keys: str, seconds: int, why: str) -> None:
    (node,) = nodes(f"[nodes.w]\n{keys}")
    found = stop_time(node, TARGET)
    assert found.seconds == seconds
    assert why in found.why
    assert unit(f"[nodes.w]\n{keys}")["TimeoutStopSec"] == [str(seconds)]
    assert f"# {found.why}" in rendered(f"[nodes.w]\n{keys}")["multi-shop@.service"].text
    assert program(f"[nodes.w]\n{keys}")["stopwaitsecs"] == str(seconds)


def test_where_no_keeper_sends_quit_a_worker_of_ours_hands_back_by_itself() -> None:
    assert "--drain-timeout=300" in unit('[nodes.w]\nstop = { quit_after = "5m" }')["ExecStart"][0]


def test_percent_signs_dollars_and_blanks_reach_the_program_as_they_are() -> None:
    said = unit("""[nodes.w]\ncommand = ["/bin/echo", "100%", "$HOME", "a b", 'say "x"', "back\\\\slash", ";"]""")
    assert said["ExecStart"] == [r'/bin/echo 100%% "$$HOME" "a b" "say \"x\"" "back\\slash" ";"']


def test_variables_are_quoted_and_those_with_secrets_stand_in_a_file_of_their_own() -> None:
    text = """[nodes.w]
broker = "redis://:hunter2@h/0"
env = { A = "1 2%", API_TOKEN = "top$ecret", PLAIN = "x" }
env_files = ["/etc/shop.env", "-/etc/more.env"]
"""
    files = rendered(text)
    said = unit(text)
    assert said["Environment"] == ["PYTHONUNBUFFERED=1", '"A=1 2%%"', "PLAIN=x", "MULTI_RUN_DIR=%t/multi-shop/%i"]
    assert said["EnvironmentFile"] == ["/etc/multi/shop/%i.env", "/etc/shop.env", "-/etc/more.env"]
    secrets = files["w.env"]
    assert (secrets.path, secrets.mode, secrets.secret) == ("/etc/multi/shop/w.env", 0o600, True)
    assert secrets.text == 'API_TOKEN="top\\$ecret"\nMULTI_BROKER_URL="redis://:hunter2@h/0"\n'
    for name, file in files.items():
        assert name == "w.env" or not re.search("hunter2|ecret", file.text)


def test_only_what_the_targets_systemd_understands_is_written() -> None:
    new, old = (
        unit("[nodes.w]", target=replace(TARGET, manager_version=version, hardening="strict")) for version in (256, 239)
    )
    for name in ("RestartSteps", "RestartMaxDelaySec", "OOMPolicy", "ProtectProc", "ProtectClock"):
        assert name in new
        assert name not in old
    assert "KillMode" in old
    assert [*unit("[nodes.w]", target=replace(TARGET, manager_version=None))] == [
        *unit("[nodes.w]", target=replace(TARGET, manager_version=239))
    ]


def test_levels_of_hardening_are_off_basic_and_strict() -> None:
    said = {level: unit("[nodes.w]", target=replace(TARGET, hardening=level)) for level in ("off", "basic", "strict")}
    assert "NoNewPrivileges" not in said["off"]
    assert said["basic"]["ProtectSystem"] == ["full"]
    assert said["strict"]["ProtectSystem"] == ["strict"]
    assert said["strict"]["ProtectHome"] == ["yes"]
    with pytest.raises(ConfigurationError, match="no level of hardening"):
        replace(TARGET, hardening="paranoid")


def test_hardening_leaves_alone_what_the_node_needs() -> None:
    strict = replace(TARGET, hardening="strict", settings={"writable": "/srv/media"})
    home = unit('[nodes.w]\npython = "/home/shop/venv/bin/python"\nstatedb = "/var/db/w.state"', target=strict)
    assert home["ProtectHome"] == ["read-only"]
    assert home["ReadWritePaths"] == ["-/srv/media -/var/db"]
    assert home["PrivateTmp"] == ["yes"]
    assert "PrivateTmp" not in unit('[nodes.w]\nbroker = "redis+socket:///tmp/redis.sock"', target=strict)


def test_a_users_own_systemd_gets_units_without_what_only_root_can_have() -> None:
    target = replace(TARGET, user=True, owner="me", homes={"me": "/home/me"}, hardening="strict")
    files = rendered("[nodes.w]", target=target)
    assert files["multi-shop@.service"].path == "/home/me/.config/systemd/user/multi-shop@.service"
    assert "WantedBy=default.target" in files["multi-shop.target"].text
    said = unit("[nodes.w]", target=target)
    assert "User" not in said
    assert "ProtectSystem" not in said
    with pytest.raises(ConfigurationError, match="home directory"):
        rendered("[nodes.w]", target=replace(target, homes={}))


def test_a_projects_name_with_a_dash_makes_no_slice_within_another_projects() -> None:
    assert "multi-shop_eu.slice" in rendered("[nodes.w]", target=replace(TARGET, project="shop-eu"))


def test_what_a_node_depends_on_is_started_before() -> None:
    target = replace(TARGET, after={"w": ["beat"]}, needs=("redis-server.service",))
    said = unit('[nodes.w]\ndepends_on = ["beat"]\n[nodes.beat]\nkind = "beat"\nengine = "celery"', target=target)
    assert said["After"] == ["network-online.target", "redis-server.service multi-shop@beat.service"]


def test_limits_memory_age_and_credentials_are_systemds_to_keep() -> None:
    text = '[nodes.w]\nlimits = { nofile = [1024, 65536], core = "unlimited" }\nmax_memory = "1GB"\nmax_age = "12h"\nnice = 5'
    said = unit(text, target=replace(TARGET, credentials={"broker": "/etc/shop/broker"}))
    assert said["LimitNOFILE"] == ["1024:65536"]
    assert said["LimitCORE"] == ["infinity"]
    assert (said["MemoryHigh"], said["MemoryMax"]) == (["1073741824"], ["1342177280"])
    assert (said["RuntimeMaxSec"], said["RuntimeRandomizedExtraSec"]) == (["43200"], ["4320"])
    assert said["Nice"] == ["5"]
    assert said["LoadCredential"] == ["broker:/etc/shop/broker"]


# ---- supervisord


def test_a_node_is_a_program_of_its_own_that_is_stopped_as_prefork_needs_it() -> None:
    said = program("[nodes.w]")
    assert said["command"] == (
        "/usr/bin/env -u HOME /srv/shop/venv/bin/python -m multi worker -A shop.tasks:app -n w@%%h"
    )
    assert said["stopasgroup"] == "false"
    assert said["killasgroup"] == "true"
    assert said["stopsignal"] == "TERM"
    assert said["user"] == "shop"
    assert find("supervisord").units(nodes("[nodes.w]\ncount = 2"), TARGET) == {"w1": "shop-w1", "w2": "shop-w2"}


def test_with_multi_there_the_keeper_runs_in_the_foreground_with_all_that_the_node_is() -> None:
    text = """[nodes.w]
engine = "celery"
concurrency = 4
env_files = ["/etc/shop.env"]
limits = { nofile = 65536 }
stop = { quit_after = "5m" }
env = { TZ = "UTC", COLOR = "50%" }
args = ["--my-option", "a b"]
"""
    target = replace(TARGET, multi="/srv/shop/venv/bin/multi", homes={"shop": "/home/shop"})
    said = program(text, target=target)
    assert shlex.split(said["command"].replace("%%", "%")) == [
        *("/srv/shop/venv/bin/multi", "start", "w", "--foreground", "--engine=celery", "--workdir=/srv/shop/current"),
        *(
            "--executable=/srv/shop/venv/bin/python",
            "--umask=022",
            "-A",
            "shop.tasks:app",
            "-c",
            "4",
            "--quit-after=300",
        ),
        *("--env=COLOR", "--env-file=/etc/shop.env", "--limit=nofile=65536", "--append=--my-option 'a b'"),
    ]
    assert 'HOME="/home/shop"' in said["environment"]
    assert 'COLOR="50%%"' in said["environment"]


def test_a_keeper_that_ends_its_worker_by_force_has_the_time_for_it() -> None:
    target = replace(TARGET, multi="/srv/shop/venv/bin/multi")
    text = '[nodes.w]\nstop = { kill_after = "6s" }'
    said = program(text, target=target)
    assert (said["stopwaitsecs"], "--kill-after=6" in said["command"]) == ("16", True)
    assert program(text)["stopwaitsecs"] == "6"
    assert program("[nodes.w]", target=target)["stopwaitsecs"] == "630"


def test_a_program_with_secrets_can_be_read_by_root_alone() -> None:
    plain = rendered("[nodes.w]", "supervisord")["multi-shop.w.conf"]
    secret = rendered('[nodes.w]\nbroker = "redis://:hunter2@h/0"', "supervisord")["multi-shop.w.conf"]
    assert (plain.mode, plain.secret) == (0o644, False)
    assert (secret.mode, secret.secret) == (0o600, True)
    assert "hunter2" not in program('[nodes.w]\nbroker = "redis://:hunter2@h/0"')["command"]


@pytest.mark.parametrize("value", ["""both ' and \\" of them""", "'begins", "a ;b", "two\\nlines"])
def test_a_value_that_supervisord_cant_hold_is_an_error_and_no_other_value(value: str) -> None:
    with pytest.raises(ConfigurationError, match="can't be written for supervisord"):
        rendered(f'[nodes.w]\nenv = {{ A = "{value}" }}', "supervisord")


def test_env_files_are_read_by_a_shell_that_becomes_the_program(tmp_path: Path) -> None:
    file = tmp_path / "shop.env"
    file.write_text("# a comment\nA=\"x y\"\nexport B='1 $HOME'\n\nC=a=b;c\nno line of ours\nD=")
    text = f"""[nodes.w]\ncommand = ["/usr/bin/env"]\nenv_files = ["{file}", "-/nowhere/at/all"]"""
    command = shlex.split(program(text)["command"].replace("%%", "%"))
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)
    said = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    assert {name: said[name] for name in "ABCD"} == {"A": "x y", "B": "1 $HOME", "C": "a=b;c", "D": ""}
    file.unlink()
    done = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(file) in done.stderr


def test_a_group_is_made_when_it_is_asked_for_and_then_all_change_together() -> None:
    target = replace(TARGET, settings={"group": "yes"})
    files = rendered("[nodes.w]\ncount = 2", "supervisord", target)
    assert "[group:shop]\nprograms=shop-w1,shop-w2\n" in files["multi-shop.conf"].text
    kind = find("supervisord")
    assert kind.units(nodes("[nodes.w]\ncount = 2"), target) == {"w1": "shop:w1", "w2": "shop:w2"}
    more = rendered("[nodes.w]\ncount = 3", "supervisord", target)
    before, after = kind.effective(files.values()), kind.effective(more.values())
    assert [*before] == ["shop:w1", "shop:w2"]
    assert all(before[name] != after[name] for name in before)


def test_without_a_group_only_the_changed_program_changes() -> None:
    kind = find("supervisord")
    before = kind.effective(rendered("[nodes.a]\n[nodes.b]", "supervisord").values())
    after = kind.effective(rendered("[nodes.a]\n[nodes.b]\nconcurrency = 2", "supervisord").values())
    assert [name for name in after if before[name] != after[name]] == ["shop-b"]


def test_a_supervisord_of_the_projects_own_has_its_socket_for_its_user_alone() -> None:
    target = replace(TARGET, user=True, owner="me", homes={"me": "/home/me"})
    text = rendered("[nodes.w]", "supervisord", target)["supervisord.conf"].text
    assert "file=/home/me/.config/multi/shop/supervisor.sock\nchmod=0700" in text
    assert "files=/home/me/.config/multi/shop/conf.d/*.conf" in text


# ---- what goes with them


def test_logs_are_rotated_without_a_signal() -> None:
    text = '[nodes.w]\ncount = 2\nlog = { file = "/var/log/shop/%n.log", keep = 3, every = "7d" }'
    (file,) = rendered(text, "logrotate").values()
    assert file.path == "/etc/logrotate.d/multi-shop"
    assert re.findall('^"(.*)" {$', file.text, re.MULTILINE) == ["/var/log/shop/w1.log", "/var/log/shop/w2.log"]
    for line in ("copytruncate", "weekly", "rotate 3", "su shop shop", "missingok", "notifempty", "dateext"):
        assert f"    {line}\n" in file.text
    assert not rendered("[nodes.w]", "logrotate")
    assert find("logrotate").notes(nodes("[nodes.w]"), TARGET)


def test_directories_are_made_with_their_owner() -> None:
    target = replace(TARGET, state_dir="/var/lib/shop", owner="shop", group="www")
    (file,) = rendered('[nodes.w]\nlog = { file = "/var/log/shop 1/%n.log" }', "tmpfiles", target).values()
    assert [line for line in file.text.splitlines() if line.startswith("d ")] == [
        "d /var/lib/shop 0700 shop www -",
        'd "/var/log/shop 1" 0750 shop www -',
    ]


def test_sudo_gets_whole_command_lines_and_no_wildcard() -> None:
    (file,) = rendered("[nodes.w]\ncount = 2", "sudoers").values()
    assert (file.path, file.mode, file.owner) == ("/etc/sudoers.d/zz-multi-shop", 0o440, "root:root")
    rules = "\n".join(line for line in file.text.splitlines() if not line.startswith("#"))
    assert "/usr/bin/systemctl restart multi-shop@w1.service" in rules
    assert "*" not in rules
    assert rules.splitlines()[-1] == "deploy ALL=(root) NOPASSWD: MULTI_SHOP_ALL, MULTI_SHOP_1, MULTI_SHOP_2"
    target = replace(TARGET, settings={"manager": "supervisord", "group": "yes", "who": "%ops"})
    (file,) = rendered("[nodes.w]", "sudoers", target).values()
    assert r"/usr/bin/supervisorctl restart shop\:w" in file.text
    assert "\n%ops ALL=(root)" in file.text
    with pytest.raises(ConfigurationError, match="who=a b"):
        rendered("[nodes.w]", "sudoers", replace(TARGET, settings={"who": "a b"}))


# ---- templates


def test_a_template_of_the_users_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/slice.j2").write_text("[Slice]\nMemoryMax=8G # {{ project }}\n")
    files = rendered("[nodes.w]", target=replace(TARGET, templates_dir=str(tmp_path)))
    assert files["multi-shop.slice"].text == "[Slice]\nMemoryMax=8G # shop\n"
    assert "[Service]" in files["multi-shop@.service"].text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n{{ projct }}\n", "slice.j2:2: 'projct' is undefined"),
        ("\n{% if %}", r"slice\.j2:2: "),
        ("a\n\n{{ project + 1 }}", r"slice\.j2:3: "),
    ],
)
def test_a_mistake_in_a_template_is_told_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/slice.j2").write_text(text)
    with pytest.raises(ConfigurationError, match=why):
        rendered("[nodes.w]", target=replace(TARGET, templates_dir=str(tmp_path)))


def test_a_directory_of_templates_that_is_missing_is_told_with_the_way_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--eject"):
        rendered("[nodes.w]", target=replace(TARGET, templates_dir=str(tmp_path / "none")))
