"""Two designs of the worker's pool, measured beside each other; what docs/decisions/pool-transport.md stands on.

claim: every child claims for itself. One script call per batch acknowledges the former batch, stores and publishes its
results, and claims the next one.
slot: the same, and every task is also written to the child's slot in shared memory under an uncontended lock.
tall: as claim, but both sorted sets hold one member of more than 64 bytes. Up to 128 short members Redis keeps a sorted
set as a flat list that every ZADD and ZREM walks; one long member turns it into a skip list.
dispatch: a dispatcher process makes the same script calls and hands the batches to the children over stream
socket pairs (msgpack, length first); results come back the same way. Every child always has a batch in reserve, and
one script call serves all the children that have come back meanwhile.

    python -m benchmarks.transport [--rounds 5] [--tasks 20000] [--batches 1,16,64] [--json]

Needs redis-server, hiredis and msgspec; multi itself is not imported.
"""

from __future__ import annotations

import argparse
import base64
import json
import mmap
import multiprocessing
import os
import resource
import select
import socket
import statistics
import struct
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from benchmarks.resp import Resp
from benchmarks.server import PrivateRedis

# Acknowledge ARGV[4..], store, claim. Claims are recorded where Celery's are (unacked, unacked_index) and as a lease by
# the server's own clock. An acknowledgement whose lease is gone does nothing (ZREM says so).
SCRIPT = r"""
local queue, unacked, index, leases = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local wanted, lease, stores = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local step = stores and 3 or 1
for i = 4, #ARGV, step do
    local tag = ARGV[i]
    if redis.call('ZREM', leases, tag) == 1 then
        redis.call('ZREM', index, tag)
        redis.call('HDEL', unacked, tag)
        if stores then
            local key, value = ARGV[i + 1], ARGV[i + 2]
            local old = redis.call('GET', key)
            if not old or not string.find(old, '"SUCCESS"', 1, true) then
                redis.call('SETEX', key, 86400, value)
                redis.call('PUBLISH', key, value)
            end
        end
    end
end
if wanted == 0 then return {} end
local found = redis.call('RPOP', queue, wanted)
if not found then return {} end
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local records, times, deadlines = {}, {}, {}
for i, envelope in ipairs(found) do
    local tag = string.match(envelope, '"delivery_tag": ?"([^"]+)"')
    records[2 * i - 1], records[2 * i] = tag, '[' .. envelope .. ',"","celery"]'
    times[2 * i - 1], times[2 * i] = now, tag
    deadlines[2 * i - 1], deadlines[2 * i] = now + lease, tag
end
redis.call('HSET', unacked, unpack(records))
redis.call('ZADD', index, unpack(times))
redis.call('ZADD', leases, unpack(deadlines))
return found
"""
KEYS = ("celery", "unacked", "unacked_index", "multi:leases")
CHILDREN = 2
RESERVE = 2  # batches that a child of the dispatcher holds: the one it runs and the one that waits in its socket
TALL = "multi-keeps-this-set-a-skip-list-because-its-name-is-longer-than-64-bytes"
SLOT = struct.Struct("=36s d I")
LENGTH = struct.Struct("=I")

Finished = tuple[str, str, bytes]  # tag, key of the result, result


class Info(msgspec.Struct):
    """The part of an envelope's properties that a worker needs."""

    delivery_tag: str


class Envelope(msgspec.Struct):
    """kombu's envelope of one message."""

    headers: dict[str, Any]
    properties: Info
    body: str


class Setting(msgspec.Struct):
    """One run: what is measured with which batch."""

    port: int
    design: str
    batch: int
    results: bool
    tasks: int


class Figure(msgspec.Struct):
    """What one run gave; times in microseconds of processor time per task."""

    rate: float
    main: float
    children: float
    redis: float


def noop(number: int) -> int:
    return number


TASKS = {"bench.noop": noop}
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_body = msgspec.json.Decoder(tuple[list[Any], dict[str, Any], dict[str, Any] | None]).decode
encode_json = msgspec.json.Encoder().encode
encode_frame = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(list[bytes]).decode
decode_finished = msgspec.msgpack.Decoder(list[Finished]).decode


def message(number: int) -> bytes:
    """A message as a Celery client sends it over Redis."""
    task_id = str(uuid.uuid4())
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    headers: dict[str, Any] = {
        "lang": "py", "task": "bench.noop", "id": task_id, "shadow": None, "eta": None, "expires": None, "group": None,
        "group_index": None, "retries": 0, "timelimit": [None, None], "root_id": task_id, "parent_id": None,
        "argsrepr": f"({number},)", "kwargsrepr": "{}", "origin": "gen4711@host", "ignore_result": False,
        "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }  # fmt: skip
    properties = {
        "correlation_id": task_id, "reply_to": str(uuid.uuid4()), "delivery_mode": 2, "priority": 0,
        "delivery_info": {"exchange": "", "routing_key": "celery"}, "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }  # fmt: skip
    envelope = {
        "body": base64.b64encode(json.dumps([[number], {}, embed]).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }
    return json.dumps(envelope).encode()


def run(raw: bytes, results: bool) -> Finished:
    """Decode one envelope, call its task, encode the result."""
    envelope = decode_envelope(raw)
    args, kwargs, _ = decode_body(base64.b64decode(envelope.body))
    value = TASKS[envelope.headers["task"]](*args, **kwargs)
    task_id = envelope.headers["id"]
    if not results:
        return envelope.properties.delivery_tag, "", b""
    record = {
        "status": "SUCCESS", "result": value, "traceback": None, "children": [],
        "date_done": "2026-01-01T00:00:00.000000+00:00", "task_id": task_id,
    }  # fmt: skip
    return envelope.properties.delivery_tag, f"celery-task-meta-{task_id}", encode_json(record)


class Claims:
    """The script calls of one process."""

    def __init__(self, setting: Setting) -> None:
        self._redis = Resp(setting.port)
        self._sha = self._redis.call("SCRIPT", "LOAD", SCRIPT)
        self._results = setting.results

    def exchange(self, finished: Sequence[Finished], wanted: int) -> list[bytes]:
        """Acknowledge and store all of `finished`, claim up to `wanted` envelopes."""
        words: list[Any] = ["EVALSHA", self._sha, 4, *KEYS, wanted, 30, int(self._results)]
        for tag, key, value in finished:
            if self._results:
                words += (tag, key, value)
            else:
                words.append(tag)
        envelopes: list[bytes] = self._redis.call(*words)
        return envelopes


def claim(setting: Setting, gate: int) -> None:
    """A child that claims for itself."""
    claims = Claims(setting)
    os.read(gate, 1)
    finished: list[Finished] = []
    while batch := claims.exchange(finished, setting.batch):
        finished = [run(raw, setting.results) for raw in batch]


def claim_with_slot(setting: Setting, gate: int) -> None:
    """A child that claims for itself and tells a slot in shared memory what it runs."""
    claims = Claims(setting)
    page = mmap.mmap(-1, mmap.PAGESIZE)
    lock = multiprocessing.get_context("fork").Lock()
    os.read(gate, 1)
    finished: list[Finished] = []
    while batch := claims.exchange(finished, setting.batch):
        finished = []
        for raw in batch:
            done = run(raw, setting.results)
            write_slot(lock, page, done[0].encode(), len(finished))
            finished.append(done)


def write_slot(lock: Any, page: mmap.mmap, tag: bytes, count: int) -> None:
    lock.acquire()
    SLOT.pack_into(page, 0, tag, time.monotonic(), count)
    lock.release()


def send_frame(connection: socket.socket, payload: bytes) -> None:
    connection.sendall(LENGTH.pack(len(payload)) + payload)


class Frames:
    """The reading end of a socket pair; keeps what comes after a frame for the next one."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._buffer = bytearray()

    def buffered(self) -> bytes | None:
        """The next whole frame that is here already."""
        if len(self._buffer) < LENGTH.size:
            return None
        end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[LENGTH.size : end])
        del self._buffer[:end]
        return payload

    def fill(self) -> bool:
        """Read what is there, waiting for the first byte; False at the end of the stream."""
        data = self.connection.recv(1 << 18)
        self._buffer += data
        return bool(data)

    def next(self) -> bytes | None:
        while (payload := self.buffered()) is None:
            if not self.fill():
                return None
        return payload


def serve(connection: socket.socket, results: bool) -> None:
    """A child of the dispatcher."""
    frames = Frames(connection)
    while (payload := frames.next()) is not None:
        send_frame(connection, encode_frame([run(raw, results) for raw in decode_batch(payload)]))


def dispatch(setting: Setting, gate: int, connections: list[socket.socket]) -> None:
    """The dispatcher: all claims and acknowledgements on one connection, batches over socket pairs."""
    claims = Claims(setting)
    poll = select.epoll()
    children = {connection.fileno(): Frames(connection) for connection in connections}
    for fd in children:
        poll.register(fd, select.EPOLLIN)
    os.read(gate, 1)
    hungry = [fd for fd in children for _ in range(RESERVE)]
    finished: list[Finished] = []
    running = 0
    while True:
        # one call for all who came back: children beyond the first cost the server nothing but their messages
        envelopes = claims.exchange(finished, setting.batch * len(hungry))
        finished = []
        for start, fd in zip(range(0, len(envelopes), setting.batch), hungry, strict=False):
            send_frame(children[fd].connection, encode_frame(envelopes[start : start + setting.batch]))
            running += 1
        if not running:
            return
        hungry = []
        for fd, _ in poll.poll():
            frames = children[fd]
            if not frames.fill():
                raise ConnectionError("a child is gone")
            while (payload := frames.buffered()) is not None:
                finished += decode_finished(payload)
                hungry.append(fd)
                running -= 1


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def fork(work: Callable[[], None], report: int, close: Sequence[socket.socket] = ()) -> int:
    """A child that does `work`, then writes the processor time it took to `report`."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        for connection in close:
            connection.close()
        before = processor_time()
        work()
        os.write(report, struct.pack("=d", processor_time() - before))
        status = 0
    except BaseException:  # a forked child must end here, whatever happened
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def measure(setting: Setting) -> Figure:
    """One run over a backlog, from the signal to begin until every process has ended."""
    control = Resp(setting.port)
    control.call("FLUSHALL")
    for start in range(0, setting.tasks, 1000):
        numbers = range(start, min(start + 1000, setting.tasks))
        control.call("LPUSH", KEYS[0], *[message(number) for number in numbers])
    if setting.design == "tall":
        control.calls([("ZADD", key, "+inf", TALL) for key in KEYS[2:]])
    gate, opened = os.pipe()
    main_read, main_write = os.pipe()
    child_read, child_write = os.pipe()
    pids: list[int] = []
    if setting.design == "dispatch":
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(CHILDREN)]
        for _, theirs in pairs:
            others = [end for pair in pairs for end in pair if end is not theirs]
            pids.append(fork(lambda end=theirs: serve(end, setting.results), child_write, others))  # type: ignore[misc]
        fronts = [ours for ours, _ in pairs]
        pids.append(fork(lambda: dispatch(setting, gate, fronts), main_write, [theirs for _, theirs in pairs]))
        for ours, theirs in pairs:
            ours.close()
            theirs.close()
    else:
        work = claim_with_slot if setting.design == "slot" else claim
        pids += [fork(lambda: work(setting, gate), child_write) for _ in range(CHILDREN)]
        os.write(main_write, struct.pack("=d", 0.0))  # the worker's own process has no part in this design
    time.sleep(0.1)  # the processes connect and wait at the gate
    server_before, began = control.processor_time(), time.monotonic()
    os.write(opened, b"go")
    codes = [os.waitpid(pid, 0)[1] for pid in pids]
    took, server = time.monotonic() - began, control.processor_time() - server_before
    main = struct.unpack("=d", os.read(main_read, 8))[0]
    children = sum(struct.unpack("=d", os.read(child_read, 8))[0] for _ in range(CHILDREN)) if not any(codes) else 0.0
    for fd in (gate, opened, main_read, main_write, child_read, child_write):
        os.close(fd)
    control.calls([("ZREM", key, TALL) for key in KEYS[2:]])
    left = control.call("LLEN", KEYS[0]) + control.call("HLEN", KEYS[1]) + control.call("ZCARD", KEYS[3])
    stored = control.call("DBSIZE")
    control.close()
    if any(codes) or left or stored != (setting.tasks if setting.results else 0):
        raise SystemExit(f"transport: {setting} failed: exit codes {codes}, {left} left, {stored} stored")
    scale = 1e6 / setting.tasks
    return Figure(setting.tasks / took, main * scale, children * scale, server * scale)


def slot_cost(calls: int = 200_000) -> float:
    """Microseconds for one locked write of a slot (acquire, pack_into with the time, release)."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    lock = multiprocessing.get_context("fork").Lock()
    tag = b"0" * 36
    before = processor_time()
    for count in range(calls):
        write_slot(lock, page, tag, count)
    return (processor_time() - before) / calls * 1e6


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transport", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks of a run; a quarter of them for batches of 1")
    parser.add_argument("--batches", default="1,16,64")
    parser.add_argument("--json", action="store_true", help="print the figures of every run as JSON")
    options = parser.parse_args(argv)
    batches = [int(word) for word in options.batches.split(",")]
    runs: dict[tuple[int, bool, str], list[Figure]] = {}
    with PrivateRedis() as server:
        for _ in range(options.rounds):
            for batch in batches:
                tasks = options.tasks if batch > 1 else options.tasks // 4
                for results in (False, True):
                    for design in ("claim", "slot", "tall", "dispatch"):
                        figure = measure(Setting(server.port, design, batch, results, tasks))
                        runs.setdefault((batch, results, design), []).append(figure)
    slot = statistics.median(slot_cost() for _ in range(options.rounds))
    load = os.getloadavg()[0]
    if options.json:
        rows = [
            {"batch": batch, "results": results, "design": design, "runs": msgspec.to_builtins(figures)}
            for (batch, results, design), figures in runs.items()
        ]
        print(json.dumps({"runs": rows, "slot_us": slot, "load": load}, indent=1))
        return
    print("| batch | results | design | tasks/s: min, median, max | main | children | node, µs per task | Redis |")
    print("|---|---|---|---|---|---|---|---|")
    for (batch, results, design), figures in sorted(runs.items()):
        rates = sorted(figure.rate for figure in figures)
        main_us, children_us, redis_us = (
            statistics.median(getattr(figure, name) for figure in figures) for name in ("main", "children", "redis")
        )
        node_us = statistics.median(figure.main + figure.children for figure in figures)
        print(
            f"| {batch} | {'yes' if results else 'no'} | {design} | {rates[0]:,.0f}, {statistics.median(rates):,.0f},"
            f" {rates[-1]:,.0f} | {main_us:.1f} | {children_us:.1f} | {node_us:.1f} | {redis_us:.1f} |"
        )
    print(
        f"\nOne locked write of a slot: {slot:.2f} µs. Load average at the end: {load:.1f} on {os.cpu_count()} cores."
    )


if __name__ == "__main__":
    main()
