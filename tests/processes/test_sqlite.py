"""The embedded file under real processes: killed, stopped, forked, many at once, on bad disks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import select
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.wait import until

from multi.backends.sqlite import SQLiteBackend
from multi.brokers.base import Settlement, WatchEvents
from multi.brokers.sqlite import SQLiteBroker
from multi.connections.sqlite import Database
from multi.connections.sqlite_results import expire
from multi.errors import BackendUnavailable, BrokerRefused, BrokerUnavailable
from multi.loop import Loop
from multi.outcome import Publication
from multi.store import Store
from multi.testing.nodes import Node, nodes
from multi.testing.rig import QUEUE, Elsewhere, claim_of, ended, id_of, ids, in_child, message, names, send

MakeNode = Callable[..., Node]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queues/q.db"


@pytest.fixture
def broker(url: str) -> Iterator[SQLiteBroker]:
    broker = SQLiteBroker(url, {"create": "all"})
    yield broker
    broker.close()


@pytest.fixture
def node() -> Iterator[MakeNode]:
    with nodes(forks=True) as make:
        yield make


def another(broker: SQLiteBroker, lease: float = 30.0) -> SQLiteBroker:
    return SQLiteBroker(broker.url, {"create": "all"}, lease=lease)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of one megabyte; not below pytest's folder, which other runs clear meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="multi-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("can't mount a small disk here (needs root)")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def forked(work: Callable[[int], object]) -> tuple[int, int]:
    """`work(write end of a pipe)` in a process of its own; its id and the read end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            work(writer)
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader


def lines(reader: int) -> list[str]:
    """All that comes until the other end is closed."""
    with os.fdopen(reader) as file:
        return file.read().split()


# -- death


def test_what_was_published_survives_the_death_of_its_publisher(broker: SQLiteBroker) -> None:
    broker.check()

    def publish(writer: int) -> None:
        mine = another(broker)
        while True:
            (task_id,) = send(mine, message())
            os.write(writer, f"{task_id}\n".encode())

    pid, reader = forked(publish)
    until(lambda: broker.depth(QUEUE) > 50, what="fifty messages are there")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    told = lines(reader)
    with nodes(forks=True) as make:
        found = ids(make(broker).lane().take(broker.depth(QUEUE)))
    # the last one may have been committed just before it could be told
    assert found[: len(told)] == told
    assert len(found) - len(told) in (0, 1)


def test_a_process_killed_within_a_transaction_leaves_nothing_of_it_and_stops_nobody(broker: SQLiteBroker) -> None:
    send(broker, message("before"))

    def write(writer: int) -> None:
        database = Database(broker.path, RuntimeError, RuntimeError)  # type: ignore[arg-type]
        with database.write() as connection:
            connection.execute("DELETE FROM messages")
            os.write(writer, b"inside")
            time.sleep(60)

    pid, reader = forked(write)
    assert os.read(reader, 10) == b"inside"
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    began = time.monotonic()
    send(broker, message("after"))
    assert time.monotonic() - began < 2
    assert broker.depth(QUEUE) == 2


def test_killed_at_any_moment_no_outcome_is_lost_and_none_recorded_twice(
    broker: SQLiteBroker, node: MakeNode, tmp_path: Path
) -> None:
    results = SQLiteBackend(broker.url, {"create": "all"})
    sent = send(broker, *[message() for _ in range(600)])

    def work(writer: int) -> None:
        mine = SQLiteBroker(broker.url, lease=0.5)
        with nodes(forks=True) as make:
            worker = make(mine, storage=SQLiteBackend(broker.url))
            lane = worker.lane()
            os.write(writer, b"%d\n" % lane.pid)
            done: list[Settlement] = []
            while True:
                batch = lane.exchange(done, 5)
                done = [ended(one, stores=[results.encode(id_of(one), b'{"status": "SUCCESS"}')]) for one in batch]

    for round_ in range(6):
        pid, reader = forked(work)
        assert select.select([reader], [], [], 10)[0]
        lane_pid = int(os.read(reader, 20))
        left = broker.depth(QUEUE)
        until(lambda left=left: broker.depth(QUEUE) < left - 20, what="some are done")  # type: ignore[misc]
        for victim in (lane_pid, pid) if round_ % 2 else (pid, lane_pid):
            os.kill(victim, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
    lane = node(SQLiteBroker(broker.url, lease=0.5), storage=results).lane()
    deadline = time.monotonic() + 20
    while missing := results.fetch(sent).count(None):
        assert time.monotonic() < deadline, f"{missing} outcomes are missing"
        for one in lane.exchange([], 50):
            # what has a record was acknowledged in the same step, and can't come again
            assert results.fetch([id_of(one)]) == [None]
            lane.settle(ended(one, stores=[results.encode(id_of(one), b'{"status": "SUCCESS"}')]))
    assert broker.depth(QUEUE) == 0
    results.close()


def test_a_stopped_writer_is_reported_and_not_waited_for_for_ever(broker: SQLiteBroker) -> None:
    broker.check()

    def write(writer: int) -> None:
        with Database(broker.path, RuntimeError, RuntimeError).write():  # type: ignore[arg-type]
            os.write(writer, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)

    pid, reader = forked(write)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    database = Database(broker.path, BrokerUnavailable, BrokerRefused)
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match=r"write lock for 0\.3 s.*stopped"), database.write(wait=0.3):
            pass
    assert broker.depth(QUEUE) == 0  # who only reads waits for nobody
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    broker.check()
    database.close()


def test_a_watch_reports_a_stopped_writer_and_goes_on_after_it(broker: SQLiteBroker, node: MakeNode) -> None:
    worker = node(another(broker, lease=0.6))
    send(broker, message())
    delivery = worker.lane().one()

    def write(writer: int) -> None:
        with Database(broker.path, RuntimeError, RuntimeError).write():  # type: ignore[arg-type]
            os.write(writer, b"x")
            os.kill(os.getpid(), signal.SIGSTOP)

    pid, reader = forked(write)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    worker.ask("settle", [ended(delivery)])
    worker.until(lambda: worker.told("down"), "the watch says that it can't go on")
    assert "is one stopped?" in worker.told("down")[0]
    assert worker.ask("pending")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is up again")
    worker.until(lambda: not worker.ask("pending"), "what it kept is settled")
    assert worker.recall(delivery.tag, delivery.fence) is None


def test_claims_of_an_earlier_start_of_the_machine_come_back_at_once(broker: SQLiteBroker, node: MakeNode) -> None:
    send(broker, message())
    dying = node(another(broker))
    dying.lane().one()
    dying.kill()
    broker.close()
    connection = sqlite3.connect(broker.path)
    with connection:
        connection.execute("UPDATE facts SET value = 'another start' WHERE name = 'boot'")
        connection.execute("UPDATE messages SET until = 1e12")  # the clock of that time ran far ahead of ours
    connection.close()
    delivery = node(another(broker)).lane().one(patience=5)
    assert (delivery.starts, delivery.redelivered) == (1, True)


def test_claims_stay_when_a_process_of_the_same_start_sees_another_id_of_it(
    broker: SQLiteBroker, node: MakeNode
) -> None:
    """As a hardened service in a container does, whose /proc is not that of the programs around it."""
    send(broker, message())
    holder = node(another(broker))
    delivery = holder.lane().one()
    with sqlite3.connect(broker.path) as connection:
        ((known,),) = connection.execute("SELECT value FROM facts WHERE name = 'boot'").fetchall()
        connection.execute("UPDATE facts SET value = ? WHERE name = 'boot'", (f"another-id {known.split()[1]}",))
    connection.close()
    node(another(broker)).lane().expect_nothing()
    assert holder.recall(delivery.tag, delivery.fence) is not None


def test_what_dead_processes_had_registered_is_swept_away(broker: SQLiteBroker, node: MakeNode) -> None:
    dying = node(another(broker))
    dying.arm(5)
    dying.quiet()
    connection = sqlite3.connect(broker.path)
    ((path,),) = connection.execute("SELECT path FROM waiters").fetchall()
    assert os.path.exists(path)
    dying.kill()
    send(broker, message())
    assert connection.execute("SELECT count(*) FROM waiters").fetchone() == (0,)
    connection.close()
    folder = os.path.dirname(path)
    assert os.stat(folder).st_mode & 0o077 == 0
    in_child(
        lambda: subprocess.run([sys.executable, "-c", "from multi.connections.ring import Ring; Ring()"], check=True)
    )
    assert not os.path.exists(path)


def test_a_fork_behind_pythons_back_is_told_and_harms_nothing(broker: SQLiteBroker) -> None:
    """As uWSGI forks. SQLite would believe that both processes hold the locks of one."""
    send(broker, message())
    pid = ctypes.CDLL(None).fork()
    if pid == 0:
        try:
            send(broker, message())
        except BrokerUnavailable as error:
            os._exit(3 if "lazy-apps" in str(error) else 4)
        finally:
            os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    send(broker, message())
    assert broker.depth(QUEUE) == 2


# -- many


def test_two_nodes_on_one_file_get_fair_shares_and_are_fast(broker: SQLiteBroker) -> None:
    total = 10_000
    send(broker, *[message() for _ in range(total)])
    start_read, start_write = os.pipe()

    def drain(owner: str) -> Callable[[int], None]:
        def work(writer: int) -> None:
            mine = SQLiteBroker(broker.url)
            storage = SQLiteBackend(broker.url)
            nothing = WatchEvents(lambda: None, print, print, lambda count: None, lambda: ())
            lane = mine.watch(Loop(), [QUEUE], storage, owner, nothing).port(owner).open()
            lane.exchange([], 0)
            os.write(writer, b"ready\n")
            os.read(start_read, 1)
            done: list[Settlement] = []
            count = 0
            while batch := lane.exchange(done, 32):
                count += len(batch)
                done = [ended(one, stores=[storage.encode(id_of(one), b'{"status": "SUCCESS"}')]) for one in batch]
            lane.exchange(done, 0)
            os.write(writer, b"%d\n" % count)

        return work

    children = [forked(drain(f"node{place}:{child}")) for place in range(2) for child in range(2)]
    for _, reader in children:
        assert os.read(reader, 10) == b"ready\n"
    began = time.monotonic()
    os.write(start_write, b"gogo")
    counts = [int(lines(reader)[0]) for _, reader in children]
    seconds = time.monotonic() - began
    for pid, _ in children:
        os.waitpid(pid, 0)
    os.close(start_read)
    os.close(start_write)
    assert sum(counts) == total
    assert broker.depth(QUEUE) == 0
    shares = [counts[0] + counts[1], counts[2] + counts[3]]
    assert min(shares) >= total / 3, shares
    # 40,000 a second and more on an idle machine; this one may be busy with other tests
    assert total / seconds > 2_500


def test_one_message_wakes_one_of_many_that_wait(broker: SQLiteBroker, node: MakeNode) -> None:
    waiting = [node(another(broker)) for _ in range(3)]
    lane = waiting[0].lane()
    for worker in waiting:
        worker.arm(1)
        worker.quiet(0.05)
    for expected in (1, 2, 3):
        send(broker, message())
        lane.settle(ended(lane.one()))  # before anybody looks around
        until(lambda expected=expected: sum(worker.rings() for worker in waiting) == expected, 5.0, what="one is rung")  # type: ignore[misc]
    assert [worker.rings() for worker in waiting] == [1, 1, 1]


def test_who_waits_idly_costs_next_to_nothing(broker: SQLiteBroker) -> None:
    loop = Loop()
    up: list[bool] = []
    watch = broker.watch(
        loop, [QUEUE], None, "idle", WatchEvents(lambda: up.append(True), print, print, print, lambda: ())
    )
    watch.start()
    while not up:
        loop.turn(0.1)
    watch.arm(2)
    loop.turn(0.1)
    began, turns = time.monotonic(), 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    while time.monotonic() - began < 2.5:
        loop.turn(2.5 - (time.monotonic() - began))
        turns += 1
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert turns < 15
    assert spent < 0.02, f"{spent} s of 2.5"
    watch.stop()
    loop.close()


def test_a_round_trip_takes_no_look_around(broker: SQLiteBroker, node: MakeNode) -> None:
    results = SQLiteBackend(broker.url)
    worker = node(broker, storage=results)
    lane = worker.lane()
    for _ in range(5):
        rung = worker.rings()
        worker.arm(1)
        began = time.monotonic()
        (key,) = send(broker, message())
        worker.await_ring(rung)
        lane.settle(ended(lane.one(), stores=[results.encode(key, b'{"status": "SUCCESS"}')]))
        assert next(iter(results.wait(key, 5))) == b'{"status": "SUCCESS"}'
        assert time.monotonic() - began < 0.5
    results.close()


# -- bad disks and bad files


def test_a_full_disk_is_reported_and_loses_nothing(small_disk: Path) -> None:
    broker = SQLiteBroker(f"sqlite:///{small_disk}/q.db", {"create": "file"})
    sent = 0
    with pytest.raises(BrokerUnavailable, match="make room") as caught:
        for _ in range(100):
            broker.publish([Publication(QUEUE, message(body=b"x" * 30_000))])
            sent += 1
    assert not isinstance(caught.value, BrokerRefused)  # waiting helps, when somebody makes room
    assert sent > 3
    assert broker.depth(QUEUE) == sent
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    broker.publish([Publication(QUEUE, message(body=b"x" * 30_000))])
    assert broker.depth(QUEUE) == sent + 1
    broker.close()


def test_a_worker_goes_on_when_there_is_room_again(small_disk: Path, node: MakeNode) -> None:
    broker = SQLiteBroker(f"sqlite:///{small_disk}/q.db", {"create": "file"})
    worker = node(broker)
    lane = worker.lane()
    send(broker, message())
    delivery = lane.one()
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)
    done = ended(delivery, publications=[Publication(QUEUE, message(body=b"x" * 30_000))])
    worker.ask("settle", [done])
    worker.until(lambda: worker.told("down"), "the watch says that the disk is full")
    assert "make room" in worker.told("down")[0]
    filler.unlink()
    worker.until(lambda: len(worker.told("up")) == 2, "the watch is up again")
    worker.until(lambda: not worker.ask("pending"), "what it kept is settled")
    assert len(lane.one().message.body) == 30_000  # type: ignore[union-attr]
    worker.end()
    broker.close()


def test_a_read_only_disk_is_refused_and_can_still_be_read(small_disk: Path, node: MakeNode) -> None:
    broker = SQLiteBroker(f"sqlite:///{small_disk}/q.db", {"create": "file"})
    send(broker, message())
    broker.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(BrokerRefused, match="must be able to write"):
        send(broker, message())
    with pytest.raises(BrokerRefused, match="must be able to write"):
        broker.check()
    worker = node(SQLiteBroker(broker.url, {"create": "file"}), start=False)
    worker.ask("start")
    worker.until(lambda: worker.told("refused"), "the watch says that it is refused")
    worker.end()
    broker.close()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be looked at" * 40, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_damaged_file_is_refused_and_left_alone(broker: SQLiteBroker, node: MakeNode, content: bytes) -> None:
    os.makedirs(os.path.dirname(broker.path))
    Path(broker.path).write_bytes(content)
    for call in (broker.check, lambda: send(broker, message()), lambda: broker.depth(QUEUE)):
        with pytest.raises(BrokerRefused, match=r"damaged or no SQLite file; move it away"):
            call()
    with pytest.raises(BackendUnavailable, match="damaged"):
        SQLiteBackend(broker.url).fetch(["x"])
    worker = node(broker, start=False)
    worker.ask("start")
    worker.until(lambda: worker.told("refused"), "the watch says that it is refused")
    assert Path(broker.path).read_bytes() == content


def test_somebody_elses_database_is_refused_and_left_alone(broker: SQLiteBroker) -> None:
    os.makedirs(os.path.dirname(broker.path))
    connection = sqlite3.connect(broker.path)
    connection.execute("CREATE TABLE cookies (name TEXT)")
    connection.commit()
    with pytest.raises(BrokerRefused, match="somebody else's SQLite database"):
        broker.check()
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("cookies",)]
    connection.close()


def test_a_file_that_is_being_made_by_somebody_is_waited_for(broker: SQLiteBroker) -> None:
    """As when several workers start at once on a file that isn't there yet."""
    os.makedirs(os.path.dirname(broker.path))
    half = sqlite3.connect(broker.path)
    half.execute("CREATE TABLE facts (name TEXT PRIMARY KEY)")
    half.commit()
    troubles: list[Exception] = []

    def look() -> None:
        try:
            broker.check()
        except Exception as error:
            troubles.append(error)

    other = threading.Thread(target=look)
    with open(f"{broker.path}.gate", "w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)  # whoever makes it holds the gate
        other.start()
        other.join(0.3)
        assert other.is_alive() and not troubles
        half.execute("DROP TABLE facts")
        half.commit()
        half.close()
    other.join()
    assert not troubles
    assert broker.depth(QUEUE) == 0


def test_a_file_of_another_version_is_refused(broker: SQLiteBroker) -> None:
    broker.check()
    broker.close()
    connection = sqlite3.connect(broker.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(BrokerRefused, match=r"another version of multi \(its format is 99"):
        broker.check()


def test_a_producer_makes_no_file_and_nobody_an_unknown_folder(tmp_path: Path, node: MakeNode) -> None:
    producer = SQLiteBroker(f"sqlite:///{tmp_path}/q.db")
    with pytest.raises(BrokerUnavailable, match="a worker makes it when it starts"):
        send(producer, message())
    with pytest.raises(BackendUnavailable, match="a worker makes it when it starts"):
        SQLiteBackend(producer.url).fetch(["x"])
    assert os.listdir(tmp_path) == []
    worker = node(SQLiteBroker(producer.url))
    send(producer, message("now"))
    assert names([worker.lane().one()]) == ["now"]
    assert os.stat(producer.path).st_mode & 0o777 == 0o600
    nowhere = SQLiteBroker(f"sqlite:///{tmp_path}/no/such/q.db", {"create": "file"})
    with pytest.raises(BrokerRefused, match="mkdir -p"):
        nowhere.check()
    assert not (tmp_path / "no").exists()
    producer.close()


def test_the_folder_of_the_embedded_file_is_its_users_alone(broker: SQLiteBroker) -> None:
    broker.check()
    assert os.stat(os.path.dirname(broker.path)).st_mode & 0o777 == 0o700


def test_a_deleted_file_is_made_again_by_the_worker(broker: SQLiteBroker, node: MakeNode) -> None:
    worker = node(another(broker))
    lane = worker.lane()
    send(broker, message("lost with its file"))
    for name in os.listdir(os.path.dirname(broker.path)):
        os.unlink(os.path.join(os.path.dirname(broker.path), name))
    worker.arm(1)
    send(broker, message("new"))
    assert names([lane.one()]) == ["new"]


def test_a_queue_of_results_elsewhere_is_settled_by_the_watch_when_they_are_back(
    broker: SQLiteBroker, node: MakeNode, tmp_path: Path
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    elsewhere = Elsewhere(folder)
    (folder / "down").touch()
    send(broker, message())
    worker, other = node(another(broker, lease=0.6), storage=elsewhere), node(another(broker, lease=0.6))
    lane = worker.lane()
    delivery = lane.one()
    worker.hold(claim_of(delivery, started=True))
    worker.ask("settle", [ended(delivery, stores=[Store("late", b"value")])])
    other_lane = other.lane()
    deadline = time.monotonic() + 1.8
    while time.monotonic() < deadline:  # three leases: all else goes on meanwhile
        worker.quiet(0.1)
        assert other_lane.exchange([], 1) == []
    assert worker.ask("pending")
    assert worker.recall(delivery.tag, delivery.fence) is not None
    (folder / "down").unlink()
    worker.until(lambda: not worker.ask("pending"), "it is settled")
    assert elsewhere.value("late") == b"value"
    assert worker.recall(delivery.tag, delivery.fence) is None


def test_expired_results_are_deleted_in_the_end(broker: SQLiteBroker, node: MakeNode) -> None:
    brief, lasting = SQLiteBackend(broker.url, {"create": "all"}, expires=1), SQLiteBackend(broker.url)
    brief.store([brief.encode(f"brief{number}", b"{}") for number in range(30)])
    lasting.store([lasting.encode("lasting", b"{}")])
    until(lambda: brief.fetch(["brief0"]) == [None], what="they have expired")
    database = Database(broker.path, BackendUnavailable, BackendUnavailable)
    with database.write() as connection:
        assert expire(connection, limit=20)
        assert not expire(connection, limit=20)
        assert connection.execute("SELECT key FROM results").fetchall() == [("lasting",)]
    for one in (brief, lasting, database):
        one.close()


def test_a_claim_is_held_while_its_worker_is_busy_for_long(broker: SQLiteBroker, node: MakeNode) -> None:
    """A loaded machine: renewals are late, but within the lease."""
    mine = another(broker, lease=1.0)
    send(broker, message())
    worker, other = node(mine), node(another(broker, lease=1.0))
    delivery = worker.lane().one()
    worker.hold(claim_of(delivery, started=True))
    lane = other.lane()
    for _ in range(4):
        os.kill(worker._pid, signal.SIGSTOP)
        other.quiet(0.4)
        os.kill(worker._pid, signal.SIGCONT)
        worker.quiet(0.4)
        assert lane.exchange([], 1) == []
