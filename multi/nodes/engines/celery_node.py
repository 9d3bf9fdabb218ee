"""Runs Celery as a node of multi's: `PYTHON celery_node.py WORDS…` is `PYTHON -m celery WORDS…`, and tells its keeper.

This file is run by the project's own interpreter, in which multi is not installed: it uses the standard library and Celery
only, and has to go on working with Python 3.8 and Celery 5.3. With `-m MODULE` before the words it runs that module instead.

It connects to Celery's signals and adds one step to the worker's consumer; the project is left as it is. What it does is what
multi's own worker does for its keeper: it says when it is ready and when it stops (sd_notify), keeps the stats page and leaves
word why it ends (`multi/stats.py`, `multi/rundir.py`), pauses queues, proves that its main loop turns, and shows its stacks.
"""

from __future__ import annotations

import os
import sys

# As for `python -m celery`, modules are looked for in the working directory, and never beside this file.
_HERE = os.path.dirname(os.path.realpath(__file__))
if __name__ == "__main__":
    if sys.path and os.path.realpath(sys.path[0] or ".") == _HERE:
        sys.path.pop(0)
    if not os.environ.get("PYTHONSAFEPATH"):
        sys.path.insert(0, os.getcwd())

import collections
import faulthandler
import json
import mmap
import select
import signal
import socket
import struct
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any

STARTING, READY, STOPPING = range(3)
EVERY = "*"  # in place of queues' names

HELLO = "MULTI 1"
LONGEST_PATH = 107
CREDENTIALS = struct.Struct("3i")
STACKS = signal.SIGRTMIN + 1

PREFIX = struct.Struct("<8sHHHH")
HEADER = struct.Struct("<IIIIddQ32s1024s")
HEADER_AT, HEADER_SIZE = PREFIX.size, 2048
TASK = struct.Struct("<IId128s64s256s")
COUNTS = struct.Struct("<QQQ")
ROW_SIZE = 512
SPARE_ROWS = 32  # for what the pool may still grow
MOST_ROWS = 512

TICK = 1.0  # seconds between two looks at what isn't told by itself
TURN = 5.0  # seconds between two proofs that the main loop turns


def address(path: str) -> str:
    """The socket that belongs to `path`: a path that is too long gives way to an abstract name made from it."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        return path
    value = 14695981039346656037
    for byte in os.fsencode(path):
        value = (value ^ byte) * 1099511628211 % (1 << 64)
    return f"\0multi/{value:016x}"


class Keeper:
    """The way to whoever started this process, and what that one has put into the environment for it alone."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        take = environment.pop
        self.pid = os.getpid()
        self.folder = take("MULTI_RUN_DIR", "")
        self.generation = int(take("MULTI_GENERATION", "1"))
        self.paused = [name for name in take("MULTI_PAUSED", "").split(",") if name]
        take("MULTI_LOG_FILE", "")
        self.lock = int(take("MULTI_LOCK_FD", "-1"))
        self.manager = take("NOTIFY_SOCKET", "")
        usec, whose = take("WATCHDOG_USEC", ""), take("WATCHDOG_PID", "")
        self.watchdog = int(usec) / 1e6 if usec and whose in ("", str(self.pid)) else None
        if self.manager.startswith("@"):
            self.manager = "\0" + self.manager[1:]
        self.speaker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if self.manager else None
        if self.speaker is not None:
            self.speaker.setblocking(False)
        self.control = self._bind() if self.folder else None
        if self.lock >= 0:
            os.set_inheritable(self.lock, False)
        os.register_at_fork(after_in_child=self._release)

    def _release(self) -> None:
        """In a fork: the lock and the sockets belong to the main process alone."""
        if self.lock >= 0:
            try:
                os.close(self.lock)
            except OSError:
                pass  # closed with all other descriptors already
        for one in (self.speaker, self.control):
            if one is not None:
                one.close()
        self.lock, self.speaker, self.control = -1, None, None

    def path(self, name: str) -> str:
        return os.path.join(self.folder, f"{name}.{self.generation}")

    def _bind(self) -> socket.socket | None:
        path = self.path("control")
        found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        found.setblocking(False)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        where = address(path)
        try:
            if where == path and os.path.exists(path):
                os.unlink(path)
            found.bind(where)
            if where == path:
                os.chmod(path, 0o600)
        except OSError as error:
            sys.stderr.write(f"multi: {path}: {error.strerror}; this node can't be paused\n")
            found.close()
            return None
        return found

    def say(self, *states: str) -> None:
        """Never blocks and never fails: a keeper that is gone must not harm the worker."""
        if self.speaker is not None:
            try:
                self.speaker.sendto("\n".join(states).encode("utf-8", "replace"), self.manager)
            except OSError:
                pass

    def requests(self) -> Iterator[dict[str, str]]:
        """What has come for this process since the last look, from its own user or root."""
        while self.control is not None:
            try:
                data, extra, _, _ = self.control.recvmsg(65536, 256)
            except OSError:
                return
            for level, kind, value in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    _, uid, _ = CREDENTIALS.unpack(value[: CREDENTIALS.size])
                    lines = data.decode("utf-8", "replace").split("\n")
                    if uid in (0, os.geteuid()) and lines[0] == HELLO:
                        yield dict(line.split("=", 1) for line in lines if "=" in line)

    def leave_word(self, kind: str, code: int, reason: str) -> None:
        """Why this process ends: only a parent learns an exit status, and it may have another parent by now."""
        if not self.folder:
            return
        path = os.path.join(self.folder, f"exit.{self.generation}.json")
        word = {"pid": self.pid, "kind": kind, "code": code, "reason": reason, "time": time.time()}
        try:
            with open(f"{path}.{self.pid}", "w", encoding="utf-8") as file:
                json.dump(word, file)
            os.replace(file.name, path)
        except OSError:
            pass  # the exit status has to do


class Page:
    """The node's stats page. The main process writes the header, every pool child its own row."""

    def __init__(self, path: str, pid: int, generation: int, rows: int) -> None:
        self.rows = rows
        self.pid = pid
        self.started = time.time()
        self.generation = generation
        size = HEADER_SIZE + rows * ROW_SIZE
        temporary = f"{path}.{pid}"
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            left = size
            while left:  # with a hole, a disk that is full would end the worker by SIGBUS later
                left -= os.write(fd, bytes(left))
            self.memory = mmap.mmap(fd, size)
        finally:
            os.close(fd)
        PREFIX.pack_into(self.memory, 0, b"MULTISTA", 2, HEADER_SIZE, ROW_SIZE, rows)
        self.header(STARTING, 0, 0.0, "", [])
        os.replace(temporary, path)

    def header(self, state: int, concurrency: int, last_loop: float, pool: str, queues: list[str]) -> None:
        try:
            with open("/proc/self/statm", "rb") as file:
                resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError:
            resident = 0
        names = ",".join(queues).encode()
        values = (self.pid, self.generation, concurrency, self.started, last_loop, resident, pool.encode(), names)
        HEADER.pack_into(self.memory, HEADER_AT, state, *values)

    def task(
        self, row: int, pid: int, active: int, since: float = 0.0, name: str = "", id: str = "", arguments: str = ""
    ) -> None:
        at = HEADER_SIZE + row * ROW_SIZE
        TASK.pack_into(
            self.memory, at, pid, active, since, name.encode(), id.encode(), arguments.encode("utf-8", "replace")
        )

    def owner(self, row: int) -> tuple[int, int]:
        """The pid in that row, and how many tasks it runs."""
        pid, active = struct.unpack_from("<II", self.memory, HEADER_SIZE + row * ROW_SIZE)
        return pid, active

    def count(self, row: int, index: int) -> None:
        """One more task that succeeded (0), failed (1) or is retried (2)."""
        at = HEADER_SIZE + row * ROW_SIZE + TASK.size + 8 * index
        (before,) = struct.unpack_from("<Q", self.memory, at)
        struct.pack_into("<Q", self.memory, at, before + 1)


class Tasks:
    """Writes into the page which tasks run. In a pool of processes each child has a row; else each task has one."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.own: int | None = None  # of a pool child: its row
        self.free = list(range(page.rows - 2, -1, -1))  # the last row is for counts that belong to none
        self.taken: dict[str, int] = {}

    def in_child(self) -> None:
        """This process is a pool child from now on."""
        from billiard.process import current_process

        index = getattr(current_process(), "index", None)
        self.own = index if isinstance(index, int) and index < self.page.rows - 1 else None
        self.free, self.taken = [], {}
        if self.own is not None:
            self.page.task(self.own, os.getpid(), 0)

    def started(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        request = task.request
        if request.is_eager:
            return  # called by another task, inside it
        row = self.own
        if row is None:
            if not self.free:
                return
            row = self.taken[task_id] = self.free.pop()
        arguments = " ".join(text for text in (request.argsrepr, request.kwargsrepr) if text)
        self.page.task(row, os.getpid(), 1, time.time(), task.name, task_id, arguments)

    def ended(self, task_id: str = "", task: Any = None, **_: Any) -> None:
        if task.request.is_eager:
            return
        if self.own is not None:
            self.page.task(self.own, os.getpid(), 0)
            return
        row = self.taken.pop(task_id, None)
        if row is not None:
            self.page.task(row, 0, 0)
            self.free.append(row)

    def counts(self, index: int) -> Callable[..., None]:
        def count(sender: Any = None, **_: Any) -> None:
            request = getattr(sender, "request", None)
            if request is not None and getattr(request, "is_eager", False):
                return
            self.page.count(self.page.rows - 1 if self.own is None else self.own, index)

        return count

    def forget_dead(self) -> None:
        """Clear the rows of children that were killed in the middle of a task and have no successor."""
        for row in range(self.page.rows - 1):
            pid, _ = self.page.owner(row)
            if pid not in (0, self.page.pid) and not os.path.exists(f"/proc/{pid}"):
                self.page.task(row, 0, 0)


class WorkerNode:
    """A Celery worker under its keeper."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.worker: Any = None
        self.page: Page | None = None
        self.tasks: Tasks | None = None
        self.state = STARTING
        self.consumer: Any = None
        self.turning = False  # whether the consumer's loop turns, so that it can be asked to do something
        self.asked = False  # whether somebody wanted the end
        self.held: dict[str, Any] = {}  # queues that are paused: name -> queue
        self.orders: collections.deque[tuple[str, Any]] = collections.deque()
        self.last_turn = 0.0
        self.next_turn = 0.0
        self.bell, self.ringer = os.pipe()
        for fd in (self.bell, self.ringer):
            os.set_blocking(fd, False)

    def connect(self, signals: Any) -> None:
        """Hear what Celery has to tell."""
        for name in ("celeryd_init", "worker_init", "celeryd_after_setup", "worker_ready", "worker_shutting_down"):
            getattr(signals, name).connect(getattr(self, name), weak=False)
        signals.worker_process_init.connect(self.worker_process_init, weak=False)

    # ---- what Celery's signals mean

    def celeryd_init(self, instance: Any = None, **_: Any) -> None:
        self.worker = instance
        instance.app.steps["consumer"].add(consumer_step(self))

    def worker_init(self, **_: Any) -> None:
        if self.keeper.watchdog and self.pool() == "solo":
            raise SystemExit(
                "multi: a watchdog can't be used with the pool solo: there the main loop stands still while a task runs, which "
                "looks like a hung one. Use -P prefork -c 1, or leave the watchdog out"
            )

    def celeryd_after_setup(self, **_: Any) -> None:
        """The options are known and nothing runs yet, neither the pool nor the consumer."""
        self.page_of_tasks()
        threading.Thread(target=self.attend, name="multi", daemon=True).start()
        if self.keeper.paused:
            self.pause(self.keeper.paused)

    def worker_ready(self, **_: Any) -> None:
        self.state = READY
        self.show()
        for number, step in ((signal.SIGTTIN, 1), (signal.SIGTTOU, -1)):
            signal.signal(number, lambda *_, step=step: self.order("resize", step))
        signal.signal(signal.SIGHUP, self.hang_up)
        self.keeper.say("READY=1", "STATUS=")

    def worker_shutting_down(self, **_: Any) -> None:
        """Called by Celery's handler of the signal, amid the loop's wait, which a signal doesn't end.

        Woken now, the loop stops consuming before a message more has come; one would have to wait here for what runs.
        """
        self.asked, self.state, self.turning = True, STOPPING, False
        self.keeper.say("STOPPING=1")
        self.wake()

    def worker_process_init(self, **_: Any) -> None:
        if self.tasks is not None:
            self.tasks.in_child()

    def hang_up(self, *_: Any) -> None:
        """HUP: Celery's worker would replace itself by a process that knows no keeper; ours starts a new generation."""
        if os.getpid() == self.keeper.pid:
            self.keeper.say(HELLO, "request=reload", "by=HUP sent to the worker")

    # ---- the page

    def pool(self) -> str:
        """The pool's name, which Celery has as such or as a class by now."""
        found = self.worker.pool_cls
        name = found if isinstance(found, str) else found.__module__.rpartition(".")[2]
        return {"thread": "threads"}.get(name, name)

    def page_of_tasks(self) -> None:
        if not self.keeper.folder:
            return
        from celery import signals

        most = max(self.worker.autoscale or (0,)) if isinstance(self.worker.autoscale, (list, tuple)) else 0
        try:
            concurrency = int(self.worker.concurrency or 1)
        except ValueError:
            concurrency = os.cpu_count() or 1
        rows = min(max(concurrency, most) + SPARE_ROWS, MOST_ROWS)
        try:
            self.page = Page(self.keeper.path("stats"), self.keeper.pid, self.keeper.generation, rows)
        except OSError as error:
            sys.stderr.write(f"multi: no stats page: {error}\n")
            return
        self.tasks = Tasks(self.page)
        signals.task_prerun.connect(self.tasks.started, weak=False)
        signals.task_postrun.connect(self.tasks.ended, weak=False)
        for index, one in enumerate((signals.task_success, signals.task_failure, signals.task_retry)):
            one.connect(self.tasks.counts(index), weak=False)

    def show(self) -> None:
        """Write what the main process knows into the page."""
        if self.page is None or self.worker is None:
            return
        pool = getattr(self.worker, "pool", None)
        try:
            concurrency = int(getattr(pool, "num_processes", None) or self.worker.concurrency or 0)
        except (TypeError, ValueError):
            concurrency = 0
        queues = self.consumed() if self.state == READY else []
        self.page.header(self.state, concurrency, self.last_turn, self.pool(), queues)

    def consumed(self) -> list[str]:
        """The names of the queues that it consumes from now."""
        found = getattr(self.consumer, "task_consumer", None)
        try:
            return [queue.name for queue in found.queues] if found is not None else []
        except RuntimeError:
            return list(self.worker.app.amqp.queues.consume_from)  # they were just being changed

    # ---- beside the main loop

    def attend(self) -> None:
        """A thread of its own: hears the keeper, rings for the loop, and vouches for it where there is none to turn."""
        interval = min(TICK, (self.keeper.watchdog or TICK * 4) / 4)
        every = min(TURN, (self.keeper.watchdog or TURN * 4) / 4)
        while True:
            listening = [self.keeper.control] if self.keeper.control is not None else []
            try:
                select.select(listening, [], [], interval)
            except (OSError, ValueError):
                return  # the process is about to end
            for request in self.keeper.requests():
                names = [name for name in request.get("queues", EVERY).split(",") if name]
                if request.get("request") in ("pause", "resume"):
                    self.order(request["request"], names)
            now = time.monotonic()
            if now >= self.next_turn:
                self.next_turn = now + every
                if self.turning:
                    self.order("turn", None)
                else:
                    self.last_turn = time.time()
                    self.keeper.say("WATCHDOG=1")
                    self.ring()
                if self.tasks is not None:
                    self.tasks.forget_dead()
            self.show()

    def order(self, what: str, how: Any) -> None:
        """Let the main loop do something; also called by handlers of signals."""
        self.orders.append((what, how))
        self.ring()

    def ring(self) -> None:
        consumer = self.consumer
        if consumer is None or not self.orders:
            return
        if consumer.hub is None:
            consumer.call_soon(self.obey)
            return
        self.wake()

    def wake(self) -> None:
        """Let the loop turn now; called from other threads and handlers of signals, too."""
        try:
            os.write(self.ringer, b"!")
        except OSError:
            pass  # it has not heard the last ones yet

    # ---- in the main loop

    def looping(self, consumer: Any) -> None:
        """The consumer is about to turn its loop, for the first time or on a new connection."""
        self.consumer = consumer
        if consumer.hub is not None:
            consumer.hub.add_reader(self.bell, self.rung)
        self.turning = self.state != STOPPING
        self.obey()
        if self.state == READY:
            self.keeper.say("STATUS=")

    def halted(self) -> None:
        """The loop has ended: the connection is lost, or the worker stops."""
        if self.stopping():
            self.hand_back()
        elif self.turning:
            self.keeper.say("STATUS=the connection to the broker is lost; connecting again")
        self.turning = False

    def hand_back(self) -> None:
        """Put back what Redis hands to the last BRPOP, which nobody reads until all that runs here is done.

        Celery sends one after the other, each for a second or until a message is there, and looks at the last one's answer
        when the connection is closed, after the last task. A message in it would wait that long, and be lost in a kill.
        """
        tasks: Any = getattr(self.consumer, "task_consumer", None)
        channel: Any = getattr(tasks, "channel", None)
        if not getattr(channel, "_in_poll", None):
            return  # another broker, or nothing asked for
        try:
            tasks.cancel()
            channel._brpop_read()  # no consumer is left, so kombu puts a message back to where it was
        except Exception as error:
            if type(error).__name__ != "Empty":
                sys.stderr.write(f"multi: the last answer of the broker could not be read: {error!r}\n")

    def stopping(self) -> bool:
        from celery.worker import state

        return self.state == STOPPING or state.should_stop not in (None, False) or bool(state.should_terminate)

    def rung(self, *_: Any) -> None:
        try:
            os.read(self.bell, 4096)
        except OSError:
            pass  # nothing in it
        self.obey()

    def obey(self) -> None:
        while self.orders:
            what, how = self.orders.popleft()
            try:
                getattr(self, what)(how)
            except Exception as error:  # whatever the broker answers; the loop has to go on
                from celery.utils.log import get_logger

                get_logger("celery.worker").warning("multi: %s %s: %r", what, how, error)
        self.show()

    def turn(self, _: Any) -> None:
        self.last_turn = time.time()
        self.keeper.say("WATCHDOG=1")

    def pause(self, names: list[str]) -> None:
        queues = self.worker.app.amqp.queues
        for name in list(queues.consume_from):
            if EVERY in names or name in names:
                self.held[name] = queues[name]
                if getattr(self.consumer, "task_consumer", None) is not None:
                    self.consumer.cancel_task_queue(name)
                else:
                    queues.deselect(name)

    def resume(self, names: list[str]) -> None:
        queues = self.worker.app.amqp.queues
        for name in list(self.held):
            if EVERY in names or name in names:
                queues.select_add(self.held.pop(name))
                if getattr(self.consumer, "task_consumer", None) is not None:
                    self.consumer.add_task_queue(name)

    def resize(self, step: int) -> None:
        if getattr(self.worker, "autoscaler", None):
            raise ValueError("the number of processes follows --autoscale")
        if step < 0 and self.worker.pool.num_processes <= 1:
            raise ValueError("it has one process only")
        (self.worker.pool.grow if step > 0 else self.worker.pool.shrink)(1)
        self.consumer._update_prefetch_count(step)


def consumer_step(node: WorkerNode) -> type:
    """A step of the consumer's, started anew with each connection, after the tasks' queues and before the loop."""
    from celery import bootsteps

    class Multi(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, parent: Any) -> None:
            node.looping(parent)

        def stop(self, parent: Any) -> None:
            node.halted()

    return Multi


def connect_beat(keeper: Keeper, node: WorkerNode, signals: Any) -> None:
    """A beat is ready when its scheduler begins. That of a worker with -B, in a process or a thread of it, is no node."""

    def beat_init(**_: Any) -> None:
        if node.worker is not None:
            return  # the page is the worker's
        if keeper.folder:
            try:
                Page(keeper.path("stats"), keeper.pid, keeper.generation, 0).header(READY, 0, time.time(), "beat", [])
            except OSError as error:
                sys.stderr.write(f"multi: no stats page: {error}\n")
        keeper.say("READY=1")

    signals.beat_init.connect(beat_init, weak=False)


def log_as_json(signals: Any) -> None:
    """Each record of the log is one line of JSON, with the fields that multi's own worker writes."""
    import logging

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            from celery._state import get_current_task

            local = time.localtime(record.created)
            zone = time.strftime("%z", local)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", local)
            fields = {
                "time": "%s.%03d%s:%s" % (stamp, int(record.msecs), zone[:3], zone[3:]),  # noqa: UP031
                "level": record.levelname,
                "process": record.processName,
                "logger": record.name,
                "message": record.getMessage(),
            }
            task = get_current_task()
            about = record.args if record.name.startswith("celery.") else None
            if isinstance(about, dict) and about.get("name") and about.get("id"):
                fields["task_name"], fields["task_id"] = str(about["name"]), str(about["id"])
            elif task is not None and task.request.id:
                fields["task_name"], fields["task_id"] = task.name, task.request.id
            if record.exc_info and not record.exc_text:
                record.exc_text = self.formatException(record.exc_info)
            if record.exc_text:
                fields["exception"] = str(record.exc_text)
            return json.dumps(fields)

    def after_setup(logger: logging.Logger, **_: Any) -> None:
        for handler in logger.handlers:
            handler.setFormatter(Lines())

    signals.after_setup_logger.connect(after_setup, weak=False)
    signals.after_setup_task_logger.connect(after_setup, weak=False)


def show_stacks(keeper: Keeper) -> None:
    """At a signal, every process of the node adds the stacks of its threads to one file; forks do so too."""
    faulthandler.enable()
    if keeper.folder:
        file = open(keeper.path("stacks"), "a")  # noqa: SIM115 (stays open)
        faulthandler.register(STACKS, file=file, all_threads=True, chain=False)


def run(module: str, words: list[str]) -> tuple[int, str]:
    """Run Celery, or the module that stands in its place; the exit status and, for an error, its text."""
    if module != "celery":
        import runpy

        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        return 0, ""
    import celery
    import click

    sys.argv = [os.path.join(os.path.dirname(celery.__file__), "__main__.py"), *words]
    celery.maybe_patch_concurrency()
    from celery.bin.celery import celery as command

    try:
        code = command.main(args=words, prog_name="celery", standalone_mode=False, auto_envvar_prefix="CELERY")
    except click.ClickException as error:
        error.show()
        text = click.unstyle(error.format_message()).strip()
        # a project that can't be imported is no mistake in the command line
        return (1 if "Traceback (most recent call last)" in text else error.exit_code), text
    except click.Abort:
        return 1, ""
    return code if isinstance(code, int) else 0, ""


def main() -> int:
    words = sys.argv[1:]
    module = "celery"
    if words[:1] == ["-m"]:
        module, words = words[1], words[2:]
    keeper = Keeper(os.environ)
    keeper.say("X_ENGINE=celery")
    show_stacks(keeper)
    try:
        from celery import signals
    except ImportError as error:
        text = f"Celery can't be imported by {sys.executable}: {error}"
        sys.stderr.write(f"multi: {text}; name the project's own interpreter (--executable)\n")
        keeper.leave_word("error", 2, text)
        return 2
    node = WorkerNode(keeper)
    node.connect(signals)
    connect_beat(keeper, node, signals)
    if os.environ.pop("MULTI_LOG_FORMAT", "") == "json":
        log_as_json(signals)
    code, reason = 1, ""
    try:
        code, reason = run(module, words)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 2
        if isinstance(end.code, str):
            reason = end.code
            sys.stderr.write(f"{reason}\n")
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        if os.getpid() == keeper.pid:
            keeper.leave_word("stop" if node.asked or code == 0 else "error", code, reason)
    return code


if __name__ == "__main__":
    sys.exit(main())
