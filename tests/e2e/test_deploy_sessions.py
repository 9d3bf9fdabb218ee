"""Sessions with hosts over real ssh: host keys, commands, files that are whole or not there, cut connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hosts import SshHost, write_config
from support.servers import free_port
from support.wait import until

from multi.deploy.connections.pool import Connections, Ways
from multi.deploy.connections.ssh import SshSession
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Settings
from multi.deploy.releases.source import Folder
from multi.deploy.rollout import audit, locking
from multi.deploy.steps import Build, Command, File, Link, Remove, Restore, Secret, Upload
from multi.errors import DeployLocked, HostRefused, HostUnreachable, StepFailed


@pytest.fixture
def where(hosts: list[SshHost], tmp_path: Path) -> Host:
    """The first host, with a place of the test's own."""
    return Host("app1", "app1", (), (), Settings(path=f"/srv/{tmp_path.name}"))


@pytest.fixture
def ways(hosts: list[SshHost], tmp_path: Path) -> Ways:
    return Ways(ssh_config=str(write_config(tmp_path, hosts)), attempts=1, connect_timeout=5, silence=8)


@pytest.fixture
def session(ways: Ways, where: Host) -> Iterator[SshSession]:
    with Connections(ways) as connections:
        yield connections.connect(where)


def text_of(session: SshSession, path: str) -> str:
    return session.run(Command(("cat", path))).out


def test_a_command_has_its_output_apart_its_exit_code_its_input_and_its_lines_while_it_runs(
    session: SshSession,
) -> None:
    lines: list[str] = []
    result = session.run(Command(("sh", "-c", "cat; echo bad >&2; exit 3"), stdin=b"one\ntwo\n"), lines.append)
    assert result == (3, "one\ntwo\n", "bad\n")
    assert sorted(lines) == ["bad", "one", "two"]
    awkward = 'it\'s $HOME; `x` "y" \\ *'
    there = Command(("sh", "-c", 'printf %s "$1$WORD"', "sh", awkward), cwd="/srv", env={"WORD": awkward})
    assert session.run(there).out == awkward * 2


def test_a_command_that_takes_too_long_and_one_that_leaves_something_behind_both_return(session: SshSession) -> None:
    began = time.monotonic()
    result = session.run(Command(("sh", "-c", "echo begun; sleep 20"), timeout=0.5))
    assert (result.code, result.out) == (124, "begun\n")
    assert "longer than 0.5 s" in result.err
    assert session.run(Command(("sh", "-c", "sleep 20 & echo done"))).out == "done\n"
    assert time.monotonic() - began < 10


def test_an_unknown_host_key_is_refused_until_new_ones_are_to_be_believed_and_another_one_always(
    hosts: list[SshHost], where: Host, ways: Ways, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    ways = ways._replace(known_hosts=str(known))
    with (
        Connections(ways) as connections,
        pytest.raises(HostRefused, match=r"app1: nobody knows its host key.*SHA256:"),
    ):
        connections.connect(where)
    with Connections(ways._replace(accept_new=True)) as connections:
        assert connections.connect(where).run(Command(("true",))).ok
    assert known.read_text() == hosts[0].known
    with Connections(ways) as connections:
        assert connections.connect(where).run(Command(("true",))).ok
    known.write_text(hosts[1].known.replace(f":{hosts[1].port}", f":{hosts[0].port}"))
    with (
        Connections(ways._replace(accept_new=True)) as connections,
        pytest.raises(HostRefused, match="is not the one in"),
    ):
        connections.connect(where)


def test_a_wrong_key_and_a_host_that_is_down_are_told_apart(where: Host, ways: Ways, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    os.system(f"ssh-keygen -q -t ed25519 -N '' -f {wrong}")
    config = Path(str(ways.ssh_config))
    config.write_text(config.read_text().replace("IdentityFile", "# IdentityFile"))
    with Connections(ways._replace(key=str(wrong))) as connections, pytest.raises(HostRefused, match="accepts no key"):
        connections.connect(where)
    down = where._replace(settings=where.settings._replace(port=free_port()))
    with Connections(ways) as connections, pytest.raises(HostUnreachable, match="refused") as error:
        connections.connect(down)
    assert not isinstance(error.value, HostRefused)


def test_a_host_is_reached_through_another_one(hosts: list[SshHost], where: Host, ways: Ways) -> None:
    with Connections(ways) as connections:
        behind = where._replace(settings=where.settings._replace(jump="app2"))
        assert connections.connect(behind).run(Command(("echo", "hello"))).out == "hello\n"


def test_a_host_that_falls_silent_is_given_up_and_reached_again_when_it_is_back(
    hosts: list[SshHost], where: Host, ways: Ways
) -> None:
    with Connections(ways) as connections:
        session = connections.connect(where)
        timer = threading.Timer(0.5, hosts[0].freeze)
        timer.start()
        began = time.monotonic()
        try:
            result = session.run(Command(("sleep", "60")))
        finally:
            timer.join()
            hosts[0].thaw()
        assert result.code is None
        assert "may have been done or not" in result.err
        assert time.monotonic() - began < 40
        assert connections.connect(where).run(Command(("true",))).ok


def test_a_file_is_put_whole_with_its_mode_and_can_be_brought_back(session: SshSession, where: Host) -> None:
    path, undo = f"{where.settings.path}/a b/x.conf", f"{where.settings.path}/undo/x"
    session.put(File(path, "one\n", 0o640, backup=undo))
    assert session.run(Command(("stat", "-c", "%a", path))).out == "640\n"
    session.restore(Restore(path, undo))
    assert not session.run(Command(("test", "-e", path))).ok  # there was none before
    session.put(File(path, "one\n"))
    session.put(File(path, Secret("two\n"), 0o600, backup=undo))
    session.put(File(path, "three\n", backup=undo))  # the same deploy again: what was before it counts
    session.restore(Restore(path, undo))
    assert text_of(session, path) == "one\n"
    session.remove(Remove(path, backup=undo))
    assert not session.run(Command(("test", "-e", path))).ok
    session.restore(Restore(path, undo))
    assert text_of(session, path) == "one\n"
    session.restore(Restore(path, undo))  # nothing was replaced since
    assert text_of(session, path) == "one\n"


def test_on_a_full_disk_the_former_file_stays(session: SshSession) -> None:
    session.put(File("/run/full/x", "old\n"))
    with pytest.raises(StepFailed, match="write /run/full/x") as error:
        session.put(File("/run/full/x", "new" * 200_000))
    assert "No space left" in error.value.output
    assert text_of(session, "/run/full/x") == "old\n"
    assert session.run(Command(("ls", "/run/full"))).out == "x\n"


def test_a_link_is_changed_in_one_step_and_a_folder_is_not_taken_for_one(session: SshSession, where: Host) -> None:
    path = f"{where.settings.path}/current"
    for target in ("releases/1", "releases/2"):
        session.link(Link(path, target))
        assert session.run(Command(("readlink", path))).out == f"{target}\n"
    session.link(Link(path, None))
    assert not session.run(Command(("test", "-L", path))).ok
    session.run(Command(("mkdir", path)))
    with pytest.raises(StepFailed, match="is a folder and no link"):
        session.link(Link(path, "releases/3"))


def test_only_what_a_host_does_not_have_is_sent_and_what_was_changed_there_is_put_right(
    ways: Ways, where: Host, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    (project / "gone").mkdir(parents=True)
    (project / "big").write_bytes(os.urandom(300_000))
    (project / "a.py").write_text("one\n")
    (project / "gone" / "b.py").write_text("b\n")
    (project / "run").write_text("#!/bin/sh\n")
    (project / "run").chmod(0o755)
    (project / "link").symlink_to("a.py")
    releases = where.settings.releases

    def send(connections: Connections, name: str, base: str | None) -> int:
        connections.source = source = Folder(str(project))
        found = [0]
        session = connections.connect(where)
        session._source = source
        upload = Upload(f"{releases}/{name}", name, source.digest, f"{releases}/{base}" if base else None)
        session.send(upload, lambda done, total: found.append(total))
        return found[-1]

    with Connections(ways, Folder(str(project))) as connections:
        assert send(connections, "1", None) > 300_000
        session = connections.connect(where)
        session.run(Command(("sh", "-c", "echo touched >> a.py; echo x > extra"), cwd=f"{releases}/1"))
        (project / "new.py").write_text("new\n")
        (project / "gone" / "b.py").unlink()
        assert send(connections, "2", "1") < 100
        listed = session.run(
            Command(("sh", "-c", "find . | sort; cat a.py; ./run; readlink link"), cwd=f"{releases}/2")
        ).out
        assert listed.split() == ["."] + [
            f"./{one}" for one in (".multi-manifest", "a.py", "big", "link", "new.py", "run")
        ] + [
            "one",
            "a.py",
        ]
        same = session.run(Command(("stat", "-c", "%i", f"{releases}/1/big", f"{releases}/2/big"))).out.split()
        assert same[0] == same[1]
        session.run(Command(("truncate", "-s", "0", f"{releases}/2/big")))
        assert send(connections, "3", "2") >= 300_000


def test_an_upload_that_is_cut_leaves_no_release(hosts: list[SshHost], ways: Ways, where: Host, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "big").write_bytes(os.urandom(40_000_000))
    source = Folder(str(project))
    releases = where.settings.releases
    with Connections(ways, source) as connections:
        session = connections.connect(where)
        timer = threading.Timer(0.1, session._connection.transport.sock.close)
        timer.start()
        with pytest.raises(HostUnreachable):
            session.send(Upload(f"{releases}/1", "1", source.digest))
        timer.join()
        again = connections.connect(where)
        until(lambda: releases not in again.run(Command(("ps", "axww"))).out, 10, what="the receiving end has ended")
        assert not again.run(Command(("test", "-e", f"{releases}/1"))).ok
        again.send(Upload(f"{releases}/1", "1", source.digest))
        assert again.run(Command(("stat", "-c", "%s", f"{releases}/1/big"))).out == "40000000\n"


def test_an_environment_that_cannot_be_built_is_not_there(session: SshSession, where: Host) -> None:
    path = f"{where.settings.environments}/1"
    session.put(File(f"{where.settings.path}/requirements.txt", "--no-index\nno-such-distribution\n"))
    result = session.build(Build(path, "/nowhere/python", "pip", f"{where.settings.path}/requirements.txt"))
    assert not result.ok
    assert not session.run(Command(("test", "-e", path))).ok


def test_a_lock_tells_whose_it_is_and_is_only_taken_from_who_is_gone_or_by_force(session: SshSession) -> None:
    first, second = locking.Holder("push 1", 60), locking.Holder("push 2", 60)
    first.take(session)
    with pytest.raises(DeployLocked, match=r"app1 is locked by .* push 1 \(ends by itself in 1 min\)"):
        second.take(session)
    found = locking.show(session)
    assert found is not None
    assert (found.why, found.is_abandoned, found.is_own) == ("push 1", False, True)
    told = second.take(session, breaking=True)
    assert told is not None and "push 1" in told and "broken" in told
    first.release(session)  # it is somebody else's by now
    assert locking.show(session) is not None
    second.release(session)
    assert locking.show(session) is None


def test_the_lock_of_a_process_that_was_killed_and_one_that_has_expired_are_taken_over(session: SshSession) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    killed = locking.Holder("killed", 60)
    killed.text = killed.text.replace(f'"pid": {os.getpid()}', f'"pid": {pid}')
    os.waitpid(pid, 0)
    killed.take(session)
    told = locking.Holder("next", 60).take(session)
    assert told is not None and "killed" in told and "no more" in told
    locking.remove(session, locking.show(session))  # type: ignore[arg-type]
    locking.Holder("short", 0, lasting=True).take(session)
    assert "short" in str(locking.Holder("later", 60).take(session))


def test_of_many_who_want_a_lock_one_gets_it(hosts: list[SshHost], ways: Ways, where: Host) -> None:
    won: list[str] = []

    def take(name: str) -> None:
        with Connections(ways) as connections:
            try:
                locking.Holder(name, 60).take(connections.connect(where))
                won.append(name)
            except DeployLocked:
                pass

    threads = [threading.Thread(target=take, args=(str(number),)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_the_audit_log_keeps_what_was_done(session: SshSession) -> None:
    audit.append(session, audit.entry("push ends", release="1", result='it\'s "done"\n'))
    audit.append(session, audit.entry("setup"))
    assert [one["what"] for one in audit.read(session)] == ["push ends", "setup"]
    assert audit.read(session, 2)[0]["result"] == 'it\'s "done"\n'


def test_sudo_is_given_its_password_where_it_wants_one_and_never_in_a_file(
    hosts: list[SshHost], where: Host, ways: Ways
) -> None:
    if "sudo" not in hosts[0].shell("command -v sudo || true"):
        message = "sudo is not installed; install it with: apt-get install sudo"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    hosts[0].shell(
        "id ops >/dev/null 2>&1 || { useradd --create-home ops && echo ops:right | chpasswd; "
        "echo 'ops ALL=(ALL) ALL' > /etc/sudoers.d/ops; chmod 440 /etc/sudoers.d/ops; }"
    )
    ops = where._replace(settings=where.settings._replace(user="ops", path="/srv/ops"))
    with Connections(ways) as connections:
        assert "password" in connections.connect(ops).run(Command(("id", "-u"), sudo=True)).err
    wrong = ways._replace(sudo_password=Secret("wrong"))
    with Connections(wrong) as connections, pytest.raises(StepFailed, match="the password is not taken"):
        connections.connect(ops).run(Command(("id", "-u"), sudo=True))
    with Connections(ways._replace(sudo_password=Secret("right"))) as connections:
        session = connections.connect(ops)
        for _ in range(2):  # sudo remembers the password, or doesn't
            assert session.run(Command(("cat",), sudo=True, stdin=b"mine")).out == "mine"
        session.put(File("/srv/ops/x", "content", 0o600, sudo=True))
        assert session.run(Command(("cat", "/srv/ops/x"), sudo=True)).out == "content"


def test_an_upload_that_does_not_fit_is_told_and_takes_no_room(ways: Ways, where: Host, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "big").write_bytes(os.urandom(2_000_000))
    source = Folder(str(project))
    with Connections(ways, source) as connections:
        session = connections.connect(where)
        session.run(Command(("rm", "-rf", "/run/full/x", "/run/full/releases")))
        with pytest.raises(StepFailed, match="upload 1") as error:
            session.send(Upload("/run/full/releases/1", "1", source.digest))
        assert "No space left" in error.value.output
        assert session.run(Command(("find", "/run/full", "-type", "f"))).out == ""
