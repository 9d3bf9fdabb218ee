"""What releases are made of: commits, folders and wheels, and what a plan has to know of them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from support.deploys import inventory

from multi.deploy.base import Result
from multi.deploy.connections.simulation import Fault, Simulation
from multi.deploy.fleet import Fleet, parse_batch
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.hosts.settings import Canary, Settings
from multi.deploy.members import Member, Place
from multi.deploy.releases.making import find, make
from multi.deploy.releases.source import MANIFEST, Commit, Digests, Folder, Source, Wheel, read_manifest
from multi.deploy.rollout import hooks, secrets
from multi.deploy.rollout.canary import Counter, Tally, verdict
from multi.errors import ConfigurationError, DeployError, NodeError, StepFailed
from multi.nodes.description import describe


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "project"
    (found / "pack").mkdir(parents=True)
    (found / "pack" / "a.py").write_text("a\n")
    (found / "run").write_text("#!/bin/sh\n")
    (found / "run").chmod(0o755)
    (found / "ä b").write_text("odd\n")
    (found / "link").symlink_to("pack/a.py")
    return found


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def content(source: Source, paths: list[str] | None = None) -> dict[str, bytes | str]:
    """What an archive of these files holds: contents, and where links lead."""
    data = b"".join(source.tar(list(source.entries) if paths is None else paths))
    found: dict[str, bytes | str] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isreg() else None
            found[member.name] = file.read() if file is not None else member.linkname
            if member.name == "run":
                assert member.mode == 0o755
    return found


def test_an_archive_has_the_files_and_as_its_last_member_the_manifest(folder: Path) -> None:
    source = Folder(str(folder))
    found = content(source)
    assert list(found)[-1] == MANIFEST
    manifest = found.pop(MANIFEST)
    assert isinstance(manifest, bytes)
    assert read_manifest(manifest.decode()) == source.entries
    assert found == {"pack/a.py": b"a\n", "run": b"#!/bin/sh\n", "ä b": b"odd\n", "link": "pack/a.py"}
    assert set(content(source, ["run"])) == {"run", MANIFEST}


def test_what_no_release_needs_and_what_is_excluded_is_left_out(folder: Path) -> None:
    for name in ("pack/__pycache__/a.pyc", ".git/HEAD", ".venv/bin/python", "media/x.png", "docs/old/x", "docs/new"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    assert set(Folder(str(folder), ("media", "docs/old")).entries) == {"pack/a.py", "run", "ä b", "link", "docs/new"}


def test_the_digest_is_that_of_the_files_wherever_and_whenever(folder: Path, tmp_path: Path) -> None:
    first = Folder(str(folder)).digest
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", folder, copy], check=True)
    assert Folder(str(copy)).digest == first
    (folder / "run").chmod(0o644)
    assert Folder(str(folder)).digest != first


def test_a_file_is_read_again_only_when_it_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = time.time() - 100
    for name in ("pack/a.py", "run", "ä b"):
        os.utime(folder / name, (old, old))
    before = Folder(str(folder)).digest
    opened: list[str] = []
    real = open

    def noted(path: str, *more: str, **options: str) -> object:
        opened.append(path)
        return real(path, *more, **options)  # type: ignore[call-overload]

    monkeypatch.setattr("multi.deploy.releases.source.open", noted, raising=False)
    assert Folder(str(folder), cache=Digests()).digest == before
    assert not [path for path in opened if path.startswith(str(folder))]
    (folder / "run").write_text("#!/bin/no\n")
    os.utime(folder / "run", (old, old))  # the same size and time
    assert Folder(str(folder), cache=Digests()).digest != before


def test_a_file_that_changes_while_it_is_sent_is_an_error_and_no_wrong_release(folder: Path) -> None:
    source = Folder(str(folder))
    (folder / "run").write_text("longer than before\n")
    with pytest.raises(DeployError, match="was changed while it was sent"):
        content(source)


def test_a_commit_has_what_git_archive_has_and_nothing_of_the_working_tree(folder: Path) -> None:
    (folder / "tests").mkdir()
    (folder / "tests" / "t.py").write_text("t\n")
    (folder / "secret").write_text("s\n")
    (folder / ".gitattributes").write_text("tests/ export-ignore\nsecret export-ignore\n.gitattributes export-ignore\n")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "one")
    (folder / "run").write_text("changed\n")
    (folder / "untracked").write_text("u\n")
    source = Commit(str(folder))
    assert set(source.entries) == {"pack/a.py", "run", "ä b", "link"}
    found = content(source)
    assert (found["run"], found["link"]) == (b"#!/bin/sh\n", "pack/a.py")
    assert "not committed" in source.note
    assert source.read("run") == b"#!/bin/sh\n"
    assert Commit(str(folder / "pack")).entries.keys() == {"a.py"}
    assert content(source, ["pack/a.py"]).keys() == {"pack/a.py", MANIFEST}


def test_sources_that_are_none_are_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is in no git repository"):
        find("git", str(folder), (), "multi.toml")
    assert isinstance(find(None, str(folder), (), "multi.toml"), Folder)
    git(folder, "init", "-q")
    with pytest.raises(ConfigurationError, match="no commit 'nope'"):
        find("git:nope", str(folder), (), "multi.toml")
    with pytest.raises(ConfigurationError, match="there is no folder and no wheel"):
        find("../nowhere", str(folder), (), "multi.toml")
    with pytest.raises(ConfigurationError, match="--source is empty"):
        make(inventory(), " ")


def test_a_wheel_is_sent_with_what_a_deploy_needs_beside_it(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "shop-1.2-py3-none-any.whl", "w") as archive:
        archive.writestr("shop-1.2.dist-info/METADATA", "Name: shop\nRequires-Dist: multi-workers\n")
    (folder / "multi.toml").write_text("")
    source = find("../shop-1.2-py3-none-any.whl", str(folder), (), "multi.toml")
    assert isinstance(source, Wheel)
    assert source.version == "1.2"
    assert set(content(source)) == {"shop-1.2-py3-none-any.whl", "multi.toml", MANIFEST}


# ---- secrets and hooks


def test_secrets_come_from_variables_files_and_commands_and_are_never_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from a file\n")
    sources = {"A": ("env", ("X",)), "B": ("file", ("key",)), "C": ("command", ("sh", "-c", "echo one; echo two"))}
    found = secrets.resolve(sources, str(tmp_path), {"X": "from a variable", "PATH": os.environ["PATH"]})
    assert {name: one.reveal() for name, one in found.items()} == {
        "A": "from a variable",
        "B": "from a file",
        "C": "one",
    }
    assert "from" not in repr(found) + str(found["A"]) + f"{found['B']}"


def test_all_secrets_that_cannot_be_had_are_told_at_once_and_no_output_of_a_command(tmp_path: Path) -> None:
    shell = ("sh", "-c", "echo hunter2; echo locked >&2; exit 3")
    sources = {"A": ("env", ("NO",)), "B": ("file", ("no",)), "C": ("command", shell), "D": ("command", ("true",))}
    with pytest.raises(ConfigurationError) as error:
        secrets.resolve(sources, str(tmp_path), {"PATH": os.environ["PATH"]})
    text = str(error.value)
    assert (
        "A: the variable NO is not set" in text
        and "B: the file" in text
        and "D: the command true prints nothing" in text
    )
    assert "exit code 3): locked" in text and "hunter2" not in text


def test_hooks_run_in_order_and_the_first_that_fails_ends_them(tmp_path: Path) -> None:
    said: list[str] = []
    commands = [("sh", "-c", "echo $MULTI_DEPLOY_RELEASE; pwd"), ("sh", "-c", "echo bad; exit 2"), ("touch", "never")]
    with pytest.raises(StepFailed, match="hook before.*exit code 2") as error:
        hooks.run("before", commands, str(tmp_path), {"release": "r1"}, said.append)
    assert said == ["r1", str(tmp_path), "bad"]
    assert error.value.output == "bad"
    assert not (tmp_path / "never").exists()
    with pytest.raises(StepFailed, match="can't be run"):
        hooks.run("after", [("no-such-program",)], str(tmp_path), {})


def test_a_hook_that_is_one_text_is_a_line_for_the_shell(tmp_path: Path) -> None:
    text = "[deploy]\nhooks = { after = 'echo $MULTI_DEPLOY_RELEASE > a.txt; touch b.txt && echo done' }\n[hosts.a]\n"
    described = describe(text, str(tmp_path / "multi.toml"), host="here").check()
    commands = Inventory(described, text).settings.hooks["after"]
    said: list[str] = []
    hooks.run("after", commands, str(tmp_path), {"release": "r1"}, said.append)
    assert (tmp_path / "a.txt").read_text() == "r1\n"
    assert (tmp_path / "b.txt").exists()
    assert said == ["done"]


# ---- the canary


def test_a_canary_is_judged_by_failures_and_by_how_long_tasks_take() -> None:
    canary = Canary(failures=0.01, latency=1.5)
    old = Tally(1000, 10, 100.0)  # 1 % fail, 0.1 s each
    assert verdict(Tally(100, 2, 10.0), old, canary) is None
    assert "3 of 100 tasks have failed" in str(verdict(Tally(100, 3, 10.0), old, canary))
    assert "2.0 times" in str(verdict(Tally(100, 0, 20.0), old, canary))
    assert verdict(Tally(10, 0, 20.0), old, canary) is None  # too few to say how long they take


def test_what_nodes_do_is_counted_between_looks_and_over_restarts() -> None:
    counter = Counter()
    for now, done, failed, active in ((0.0, 100, 5, 2), (1.0, 150, 5, 2), (2.0, 3, 0, 1), (3.0, 13, 1, 1)):
        counter.add({"h/w1": {"succeeded": done - failed, "failed": failed, "active": active}}, now)
    assert counter.tally == Tally(60, 1, 3.0)


# ---- the fleet


class _NoBackend:
    def connect(self, host: Host) -> object:
        raise AssertionError("nobody is asked")

    def close(self) -> None: ...


def fleet_of(*members: Member) -> Fleet:
    found = Fleet([], _NoBackend(), lambda event: None)  # type: ignore[arg-type]
    for name in dict.fromkeys(member.host for member in members):
        host = Host(name, name, (), (), Settings(path="/srv/x"))
        mine = tuple(member for member in members if member.host == name)
        found.places[name] = Place(host, "/usr/bin/multi", "/srv/x", None, mine)
    return found


def member(full: str, *queues: str, state: str = "running", paused: tuple[str, ...] = ()) -> Member:
    host, _, name = full.partition("/")
    return Member(host, name, state, queues=queues or None, paused=paused)


def test_the_last_nodes_of_the_fleet_that_consume_a_queue_are_not_taken_away() -> None:
    a, b = member("h1/w1", "mails", "images"), member("h2/w1", "mails")
    down, resting = member("h2/w2", "images", state="stopped"), member("h3/w1", "images", paused=("*",))
    fleet = fleet_of(a, b, down, resting)
    assert fleet.uncovered([b]) == {}
    assert fleet.uncovered([a]) == {"images": ["h1/w1"]}
    with pytest.raises(NodeError, match="h1/w1 would leave the queue 'images' without a consumer"):
        fleet.guard([a])
    fleet.guard([b, down, resting])
    own = member("h1/w1", "mails", "w1@h1.dq2", "bcast.reload.w1@h1")._replace(told={"node": "w1@h1"})
    assert fleet_of(own, b).uncovered([own]) == {}


def test_waves_take_one_node_of_each_host_of_a_batch() -> None:
    nodes = [member(f"h{host}/w{node}") for host in (1, 2, 3) for node in (1, 2)]
    fleet = fleet_of(*nodes)
    named = [[one.full for one in wave] for wave in fleet.waves(nodes, "67%")]
    assert named == [["h1/w1", "h2/w1"], ["h1/w2", "h2/w2"], ["h3/w1"], ["h3/w2"]]
    assert len(fleet.waves(nodes, 1)) == 6


def test_nodes_are_chosen_by_patterns_and_an_unknown_one_tells_what_there_is() -> None:
    fleet = fleet_of(member("h1/img1"), member("h1/w1"), member("h2/img1"))
    assert [one.full for one in fleet.select(("img*",))] == ["h1/img1", "h2/img1"]
    assert [one.full for one in fleet.select((), ["h1"])] == ["h1/img1", "h1/w1"]
    with pytest.raises(NodeError, match="there are img1, w1"):
        fleet.select(("x*",))


def test_batches_are_numbers_or_shares() -> None:
    assert (parse_batch("3"), parse_batch("25%"), parse_batch(2)) == (3, "25%", 2)
    for wrong in ("0", "0%", "120%", "many", "-1"):
        with pytest.raises(ConfigurationError, match="batch"):
            parse_batch(wrong)


def test_a_node_of_roots_supervisord_is_reloaded_by_its_own_user_where_sudo_wants_a_password() -> None:
    host = Host("h1", "h1", (), (), Settings(path="/srv/x"))
    denied = Fault("sudo -n", "", Result(1, "", "sudo: a password is required"), None)
    simulation = Simulation([host], {"h1": HostFacts("h1")}, faults=[denied])
    fleet = Fleet([host], simulation, lambda event: None)
    one = member("h1/w1")._replace(run_by="supervisord")
    fleet.places["h1"] = Place(host, "/usr/bin/multi", "/srv/x", None, (one,))
    done = fleet.all_at_once("reload", [one])
    assert done.results == {"h1/w1": ""}
    assert [line.partition("/usr")[0] for _, line in simulation.done[-2:]] == ["cd /srv/x && sudo -n ", "cd /srv/x && "]
    done = fleet.all_at_once("stop", [one])
    assert done.results == {
        "h1/w1": "its nodes are root's to stop (supervisord), and sudo wants a password; give it with --ask-sudo-password"
    }
