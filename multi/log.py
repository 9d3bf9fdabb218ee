"""The log of a node: one line format, written whole, by all of its processes, to a terminal or to one file.

Every process of a node (the worker and its children) appends to the same file by itself. A record goes out in one
`write` on a descriptor in append mode, so lines of different processes never mix and no process has to wait for
another. When the file has been moved away (by a rotation), each process notices within a second and goes on in the
new one; `reopen` does it at once.

`logging.config` and `logging.handlers` are not imported: they cost every node several milliseconds for nothing.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import re
import sys
from collections.abc import Callable
from select import select
from time import localtime, strftime

FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
OF_TASKS = "multi.task"  # the logger of the lines about tasks: their first arguments are the task's name and id
JSON = "json"  # in place of a format: each record is one line of JSON

LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
    "CRITICAL": logging.CRITICAL,
    "FATAL": logging.CRITICAL,
}
COLORS = {
    logging.DEBUG: "\033[34m",
    logging.WARNING: "\033[33m",
    logging.ERROR: "\033[31m",
    logging.CRITICAL: "\033[35m",
}
PLAIN = "\033[0m"
WATCH_SECONDS = 1.0  # how long a process may go on writing to a file that was moved away

# In free text a number and a slash after "host:" are a port and a path, not a password as `urls.mask` would take them for.
_PASSWORD = re.compile(
    r"(://(?:[^\s:/@]+:(?!\d{1,5}/)|:))(?:(?![;,][A-Za-z][\w+.-]*://)\S)*@"
    r"|([?&][\w.-]*(?:password|passwd|secret|token)=)[^&\s;'\"]*",
    re.IGNORECASE,
)

TaskContext = Callable[[], "tuple[str, str] | None"]


class _State:
    """What this process knows about its own log; a forked child inherits it."""

    process = "MainProcess"
    handler: LineHandler | None = None
    task: TaskContext | None = None
    dump_signal = 0
    dump_when_killed = False


#: The logger above those of tasks.
TASKS = "celery.task"

_state = _State()
_task_loggers: set[str] = set()


def parse_level(text: str | int) -> int:
    """A level as a number, from its name in any case or from digits; `ValueError` names the levels there are."""
    if isinstance(text, int):
        return text
    name = text.strip().upper()
    if name.isdecimal():
        return int(name)
    try:
        return LEVELS[name]
    except KeyError:
        raise ValueError(f"{text!r} is no log level: use DEBUG, INFO, WARNING, ERROR, CRITICAL or a number") from None


def mask_passwords(text: str) -> str:
    """`text` with `**` in place of every password of a URL in it."""
    if "://" not in text:
        return text
    return _PASSWORD.sub(lambda found: f"{found[1]}**@" if found[1] else f"{found[2]}**", text)


def get_logger(name: str) -> logging.Logger:
    """The logger of that name."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """A logger for the code of tasks: its lines tell the name and id of the task that runs.

    What handles the logger `celery.task` handles them, too, as with Celery.
    """
    _task_loggers.add(name)
    logger, above = logging.getLogger(name), logging.getLogger(TASKS)
    if logger is not above and logger.parent is logging.getLogger():
        logger.parent = above
    return logger


def set_task_context(context: TaskContext | None) -> None:
    """Say where the lines of task loggers get the running task's name and id from (None outside of a task)."""
    _state.task = context


def process_name() -> str:
    """The name that this process has in its log lines."""
    return _state.process


def rename_process(name: str) -> None:
    """Give this process another name in its log lines; for a child, right after the fork.

    A log file named with `%i` or `%I` is one per process: the number at the end of `name` chooses it.
    """
    _state.process = name
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:  # records that others format take the name from there
        multiprocessing.current_process().name = name
    if _state.handler is not None and _state.handler.per_process:
        _state.handler.reopen()


def setup(
    level: int | str,
    logfile: str | None = None,
    *,
    color: bool | None = None,
    process: str = "MainProcess",
    format: str | None = None,
    task_format: str | None = None,
    times: str | None = None,
    task_times: str | None = None,
    hijack: bool = True,
) -> None:
    """Send the records of this process, and of those it forks, to `logfile` (None: standard error).

    `color` None means: where standard error is a terminal. With `hijack`, handlers that the project has put on the root
    logger make place for ours; without, they stay, and ours is added only if there are none. `times` are formats of the
    time of day, as `time.strftime` takes them. With `JSON` as format the others don't count. May be called again.
    Raises `OSError` when the file can't be opened.
    """
    _state.process = process
    if format == JSON:
        handler = LineHandler(logfile, color=False)
        handler.setFormatter(JsonFormatter())
    else:
        handler = LineHandler(logfile, color=color)
        handler.setFormatter(LineFormatter(format, task_format, times, task_times))
    root = logging.getLogger()
    if hijack:
        for old in root.handlers[:]:
            root.removeHandler(old)
    elif _state.handler is not None:
        root.removeHandler(_state.handler)
    if _state.handler is not None:
        _state.handler.close()
        _state.handler = None
    if root.handlers:
        handler.close()
    else:
        root.addHandler(handler)
        _state.handler = handler
    root.setLevel(parse_level(level))
    for name, logger in logging.root.manager.loggerDict.items():
        # a project's logging.config, Django's too, disables what it doesn't name
        if name.startswith("multi") and isinstance(logger, logging.Logger):
            logger.disabled = False


def give_up() -> None:
    """Have nothing more to do with where records go: the project sees to it. The level of the root logger stays."""
    if _state.handler is not None:
        logging.getLogger().removeHandler(_state.handler)
        _state.handler.close()
        _state.handler = None


def reopen() -> None:
    """Go on in a new file of the same name (after a rotation); harmless where the log is no file."""
    if _state.handler is not None:
        _state.handler.reopen()


def dump_stacks() -> None:
    """Write what every thread of this process is doing to the log."""
    faulthandler.dump_traceback(_fd(), all_threads=True)


def dump_stacks_on(number: int) -> None:
    """Have signal `number` do the same from now on, even while the interpreter is stuck in foreign code."""
    _state.dump_signal = number
    faulthandler.register(number, _fd(), all_threads=True, chain=False)


def dump_stacks_when_killed() -> None:
    """Have the signals of a crash, and ABRT of whoever takes this process for stuck, do the same before it ends of them."""
    _state.dump_when_killed = True
    faulthandler.enable(_fd(), all_threads=True)


def _fd() -> int:
    return _state.handler.fd if _state.handler is not None else 2


class LineFormatter(logging.Formatter):
    """Celery's format, without what `logging.Formatter` does per record for formats that nobody asked for."""

    def __init__(
        self,
        format: str | None = None,
        task_format: str | None = None,
        times: str | None = None,
        task_times: str | None = None,
    ) -> None:
        super().__init__(format or FORMAT, times)
        self._own = format in (None, FORMAT) and not times
        self._task = logging.Formatter(task_format or TASK_FORMAT, task_times)
        self._second = -1
        self._stamp = ""

    def format(self, record: logging.LogRecord) -> str:
        record.processName = _state.process
        if record.name in _task_loggers:
            context = _state.task() if _state.task is not None else None
            record.task_name, record.task_id = context or ("???", "???")
            return self._task.format(record)
        if not self._own:
            return super().format(record)
        second = int(record.created)
        if second != self._second:
            self._stamp = strftime("%Y-%m-%d %H:%M:%S", localtime(second))
            self._second = second
        record.message = message = record.getMessage()
        text = f"[{self._stamp},{int(record.msecs):03d}: {record.levelname}/{record.processName}] {message}"
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            text = f"{text}\n{record.exc_text}"
        if record.stack_info:
            text = f"{text}\n{self.formatStack(record.stack_info)}"
        return text


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, process, logger, message; inside of a task its name and id; with an exception
    its traceback. Passwords in URLs are masked."""

    def format(self, record: logging.LogRecord) -> str:
        record.processName = _state.process
        local = localtime(record.created)
        zone = strftime("%z", local)
        fields = {
            "time": f"{strftime('%Y-%m-%dT%H:%M:%S', local)}.{int(record.msecs):03d}{zone[:3]}:{zone[3:]}",
            "level": record.levelname,
            "process": record.processName,
            "logger": record.name,
            "message": record.getMessage(),
        }
        context = _state.task() if _state.task is not None else None
        if record.name == OF_TASKS and isinstance(record.args, tuple) and len(record.args) >= 2:
            context = str(record.args[0]), str(record.args[1])
        if context is not None:
            fields["task_name"], fields["task_id"] = context
        if record.exc_info and not record.exc_text:
            record.exc_text = self.formatException(record.exc_info)
        if record.exc_text:
            fields["exception"] = record.exc_text
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        # one by one: in the finished line a password's end could not be told from that of its field
        return _json({name: mask_passwords(str(value)) for name, value in fields.items()})


def _json(fields: dict[str, str]) -> str:
    import msgspec

    try:
        return msgspec.json.encode(fields).decode()
    except UnicodeEncodeError:  # what came in was no proper text
        return msgspec.json.encode(
            {name: value.encode("utf-8", "backslashreplace").decode() for name, value in fields.items()}
        ).decode()


class LineHandler(logging.Handler):
    """Writes each record with one system call, to a file that others append to as well or to standard error.

    Trouble with the log (a full disk, a terminal that is gone) never reaches the code that logs.
    """

    def __init__(self, path: str | None = None, *, color: bool | None = None) -> None:
        super().__init__()
        self.pattern = path
        self.per_process = path is not None and re.search(r"(?<!%)(?:%%)*%[iI]", path) is not None
        self._path = ""
        self._fd = 2
        self._file: tuple[int, int] | None = None
        self._check_at = 0.0
        if path is not None:
            self._open()
            color = False
        elif color is not False:
            color = os.isatty(2) and not os.environ.get("NO_COLOR")
        self._color = bool(color)

    @property
    def fd(self) -> int:
        """Where lines are written now; standard error, where foreign code has closed the file."""
        return self._fd if self._fd >= 0 else 2

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if "://" in text and not isinstance(self.formatter, JsonFormatter):
                text = mask_passwords(text)
            if self._color and (color := COLORS.get(record.levelno)):
                text = f"{color}{text}{PLAIN}"
            if self._file is not None and record.created >= self._check_at:
                self._check(record.created)
            write_whole(self._fd, f"{text}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass  # see above
        except Exception:  # arguments that don't fit their format, as in every handler
            self.handleError(record)

    def reopen(self) -> None:
        """Open the file of that name anew; the old one stays in use when that fails, and a line says so."""
        if self.pattern is None:
            return
        self.acquire()
        try:
            self._open()
        except OSError as error:
            get_logger("multi.log").error("The log can't be opened anew, its old file stays in use: %s", error)
        finally:
            self.release()

    def close(self) -> None:
        if self.pattern is not None and self._fd > 2:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def _open(self) -> None:
        assert self.pattern is not None
        path = os.path.abspath(_process_path(self.pattern))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        old_fd, old_file = self._fd, self._file
        status = os.fstat(fd)
        self._fd, self._path, self._file = fd, path, (status.st_dev, status.st_ino)
        if old_file is not None:
            # Where our standard output is the log as well, what is printed past us must not go to the old file.
            for stream in (1, 2):
                if _identity(stream) == old_file:
                    os.dup2(fd, stream)
            if _state.dump_signal and _state.handler is self:
                dump_stacks_on(_state.dump_signal)
            if _state.dump_when_killed and _state.handler is self:
                dump_stacks_when_killed()
            os.close(old_fd)

    def _check(self, now: float) -> None:
        self._check_at = now + WATCH_SECONDS
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            moved = True
        else:
            moved = (status.st_dev, status.st_ino) != self._file
        if moved:
            try:
                self._open()
            except OSError:
                pass  # no new file can be had now: the old one still takes lines


def write_whole(fd: int, data: bytes) -> None:
    """Write all of `data`, also where the descriptor was made non-blocking by somebody who shares it."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select([], [fd], [], 1.0)


def _process_path(pattern: str) -> str:
    if "%" not in pattern:
        return pattern
    number = _state.process.rpartition("-")[2]
    index = number if number.isdecimal() else ""
    values = {"%%": "%", "%i": index or "0", "%I": f"-{index}" if index else ""}
    return re.sub("%[%iI]", lambda found: values[found[0]], pattern)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino
