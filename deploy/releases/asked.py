"""Sent to a host and run there by the project's own interpreter: imports the app, and prints what it is and what waits for it.

    python - < asked.py

with a line before it that sets MULTI_ASKED (app, queues, limit, env, env_files, broker), which keeps what is asked, and
variables with secrets, off the command line. It stands alone: nothing of multi is imported but where the app is one of multi's,
and Python 3.6 has to understand it. What it prints is one line of JSON behind MARK; whatever the project prints while it is
imported goes to standard error. No password is in it.
"""
# ruff: noqa: FURB188, UP006, UP035, UP045

import base64
import importlib
import importlib.util
import inspect
import json
import os
import shlex
import socket
import sys
import traceback
from typing import Any, Dict, Iterator, List, Optional, Tuple
from urllib.parse import quote, unquote, urlsplit

MARK = "multi-app-1 "
SEPARATOR = "\x06\x16"
STEPS = (0, 3, 6, 9)
CALLS = 20  # so many different ways to call a task are told
SECONDS = 10.0


def main(asked: Dict[str, Any]) -> Dict[str, Any]:
    name, queues, limit = asked["app"], list(asked["queues"]), asked["limit"]
    os.environ.update(asked["env"])
    for path in asked["env_files"]:
        os.environ.update(variables(path))
    found: Dict[str, Any] = {"python": ".".join(map(str, sys.version_info[:3])), "app": name}
    sys.path.insert(0, os.getcwd())
    try:
        app, found["library"] = load(name)
    except BaseException as error:  # SystemExit of a project's own is as good as any
        if isinstance(error, KeyboardInterrupt):
            raise
        found["error"] = told(error)[-4000:]
        return found
    conf = app.conf
    if asked.get("broker"):
        conf.broker_url = asked["broker"]
    found["tasks"] = {one: described(task) for one, task in sorted(app.tasks.items()) if not one.startswith("celery.")}
    found["settings"] = {
        key: plain(value(conf, key))
        for key in ("task_time_limit", "task_soft_time_limit", "task_acks_late", "worker_soft_shutdown_timeout")
    }
    schedule = value(conf, "beat_schedule") or {}
    found["schedule"] = sorted({str(entry.get("task")) for entry in schedule.values() if isinstance(entry, dict)})
    options = value(conf, "broker_transport_options") or {}
    url = broker(app)
    found["broker"] = {"url": masked(url), "visibility_timeout": plain(options.get("visibility_timeout"))}
    queues += [str(value(conf, "task_default_queue") or "celery")]
    queues += [str(getattr(one, "name", one)) for one in value(conf, "task_queues") or ()]
    found["waiting"] = {"tasks": {}, "looked": 0, "cut": False, "error": None}
    try:
        look(url, options, queues, limit, found)
    except Exception as error:  # whatever it is, it is not about the app
        found["waiting"]["error"] = f"{masked(url)}: {error}"
    return found


def told(error: BaseException) -> str:
    """The exception with its traceback from the project's first line on: what has imported that is of no interest."""
    cause = str(getattr(error, "cause_text", "") or "")
    if cause:
        return cause
    folders = {os.getcwd() + os.sep, os.path.realpath(os.getcwd()) + os.sep}
    environment = os.sep + ".venv" + os.sep
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith("<frozen ")]
    own = [
        number
        for number, one in enumerate(frames)
        if one.filename.startswith(tuple(folders)) and environment not in one.filename
    ]
    kept = frames[own[0] :] if own and not isinstance(error, SyntaxError) else []
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(kept)] if kept else []
    return "".join(lines + traceback.format_exception_only(type(error), error)).rstrip()


def load(name: str) -> Tuple[Any, str]:
    """The app, with all modules of tasks imported; and what it is an app of."""
    try:
        import celery
        from celery.app.utils import find_app
    except ImportError:
        celery = None
    if celery is not None:
        try:
            app = find_app(name)
        except Exception:
            if not has_multi():
                raise
            app = None
        if app is not None and isinstance(app, celery.Celery):
            app.loader.import_default_modules()
            app.finalize()
            return app, "celery " + celery.__version__
    # by name: it is the project's own multi, which the toolkit that this file lies in never sees
    app = importlib.import_module("multi.app.find").find(name)
    app.import_modules()
    return app, "multi " + importlib.import_module("multi").__version__


def variables(path: str) -> Dict[str, str]:
    """The variables of a file; a dash before its name: it may be missing."""
    found = {}
    try:
        with open(path[1:] if path.startswith("-") else path) as file:
            for line in file:
                key, equals, given = line.strip().partition("=")
                if equals and not key.startswith(("#", ";")):
                    words = shlex.split(given, comments=False)
                    found[key.replace("export ", "").strip()] = " ".join(words)
    except (OSError, ValueError):
        if not path.startswith("-"):
            raise
    return found


def has_multi() -> bool:
    return importlib.util.find_spec("multi") is not None


def value(conf: Any, key: str) -> Any:
    try:
        return getattr(conf, key)
    except (AttributeError, KeyError):
        return None


def plain(given: Any) -> Any:
    return given if given is None or isinstance(given, (bool, int, float, str)) else str(given)


def described(task: Any) -> Dict[str, Any]:
    """What a call of the task has to look like, and its limits."""
    found = {key: plain(getattr(task, key, None)) for key in ("time_limit", "soft_time_limit", "acks_late")}
    try:
        # of a bound task it is a method, so that its self is none of them
        parameters = list(inspect.signature(task.run).parameters.values())
    except (TypeError, ValueError):
        return dict(found, parameters=None)
    required = inspect.Parameter.empty
    found["parameters"] = [[one.name, one.kind.name, one.default is required] for one in parameters]
    return found


def broker(app: Any) -> str:
    """The URL, with its password: it stays here."""
    if hasattr(app, "connection_for_read"):
        return str(app.connection_for_read().as_uri(include_password=True))
    return str(importlib.import_module("multi.app.connections").broker_url(app, write=False))


def masked(url: str) -> str:
    head, _, tail = url.rpartition("@")
    if not head:
        return url
    scheme, _, given = head.partition("://")
    return f"{scheme}://{given.partition(':')[0]}:***@{tail}"


# ---- what waits


def look(url: str, options: Dict[str, Any], queues: List[str], limit: int, found: Dict[str, Any]) -> None:
    waiting = found["waiting"]
    scheme = url.partition(":")[0]
    if scheme in ("redis", "rediss", "redis+socket", "unix"):
        redis = Redis(url)
        try:
            found["redis"] = settings_of(redis)
            for text in of_redis(redis, options, queues, limit, waiting):
                count(text, waiting)
        finally:
            redis.close()
    elif scheme == "sqlite":
        of_sqlite(url, limit, waiting)
    elif scheme in ("memory", ""):
        return
    else:
        raise RuntimeError("what waits there can't be read without taking it away")


def settings_of(redis: "Redis") -> Dict[str, Any]:
    """What decides whether tasks stay in Redis; what a hosted one doesn't tell is left out."""
    found = {}
    info = dict(line.split(":", 1) for line in redis.call("INFO").splitlines() if ":" in line)
    for key in (
        "redis_version",
        "maxmemory",
        "maxmemory_policy",
        "aof_enabled",
        "evicted_keys",
        "rdb_last_bgsave_status",
    ):
        if key in info:
            found[key] = info[key]
    try:
        save = redis.call("CONFIG", "GET", "save")
        found["save"] = save[1]
    except RuntimeError:
        pass
    return found


def of_redis(
    redis: "Redis", options: Dict[str, Any], queues: List[str], limit: int, waiting: Dict[str, Any]
) -> Iterator[str]:
    """The envelopes in queues, those that are not acknowledged, and those that wait for their time."""
    prefix = options.get("global_keyprefix") or ""
    separator = options.get("sep") or SEPARATOR
    for key in scan(redis, prefix + "_kombu.binding*"):
        queues += [member.split(separator)[-1] for member in redis.call("SMEMBERS", key)]
    steps = options.get("priority_steps") or STEPS
    keys = [
        f"{prefix}{queue}{separator}{step}" if step else prefix + queue
        for queue in dict.fromkeys(queues)
        for step in steps
    ]
    keys += scan(redis, prefix + "multi:inbox:*")
    for key in keys:
        if redis.call("TYPE", key) != "list":
            continue
        length = redis.call("LLEN", key)
        waiting["cut"] = waiting["cut"] or length > limit
        for start in range(0, min(length, limit), 500):
            for text in redis.call("LRANGE", key, str(start), str(min(start + 499, limit - 1))):
                yield text
    for name in (options.get("unacked_key") or "unacked", "multi:parked"):
        cursor, looked = "0", 0
        while redis.call("TYPE", prefix + name) == "hash":
            cursor, pairs = redis.call("HSCAN", prefix + name, cursor, "COUNT", "500")
            for text in pairs[1::2]:
                looked += 1
                yield text.partition("\0")[2] if name == "multi:parked" else text
            if looked >= limit:
                waiting["cut"] = True
            if cursor == "0" or looked >= limit:
                break


def scan(redis: "Redis", pattern: str) -> List[str]:
    found, cursor = [], "0"
    while True:
        cursor, keys = redis.call("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
        found += keys
        if cursor == "0":
            return found


def of_sqlite(url: str, limit: int, waiting: Dict[str, Any]) -> None:
    import sqlite3

    unpack = importlib.import_module("multi.brokers.packing").unpack
    path = unquote(url.partition("://")[2].partition("?")[0])
    path = path[1:] if path.startswith("/") and not os.path.exists(path) else os.path.abspath(path)
    if not os.path.exists(path):
        return
    connection = sqlite3.connect(f"file://{quote(os.path.realpath(path))}?mode=ro", uri=True, timeout=SECONDS)
    try:
        rows = connection.execute("SELECT envelope FROM messages LIMIT ?", (limit + 1,)).fetchall()
    finally:
        connection.close()
    waiting["cut"] = len(rows) > limit
    for (envelope,) in rows[:limit]:
        message = unpack(envelope)
        note(dict(message.headers), arguments(message.body, message.content_type), waiting)


def count(text: str, waiting: Dict[str, Any]) -> None:
    """One envelope, or an entry of what isn't acknowledged: [envelope, exchange, key]."""
    try:
        found = json.loads(text)
        if isinstance(found, list):
            found = found[0]
        if isinstance(found, str):
            found = json.loads(found)
        headers, body = dict(found.get("headers") or {}), found.get("body") or ""
        if (found.get("properties") or {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        given = arguments(body, found.get("content-type"))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError):
        waiting["looked"] += 1
        return
    note(headers, given, waiting)


def arguments(body: Any, content_type: Optional[str]) -> Optional[Tuple[int, List[str], Optional[str]]]:
    """How many positional arguments a message has, the names of the others, and with the old protocol the task."""
    if content_type != "application/json":
        return None
    found = json.loads(body if isinstance(body, str) else bytes(body).decode())
    if isinstance(found, dict):  # protocol 1 has all of it in the body
        return len(found.get("args") or ()), sorted(found.get("kwargs") or {}), found.get("task")
    return len(found[0]), sorted(found[1]), None


def note(
    headers: Dict[str, Any], given: Optional[Tuple[int, List[str], Optional[str]]], waiting: Dict[str, Any]
) -> None:
    waiting["looked"] += 1
    name = headers.get("task") or (given[2] if given else None)
    if not isinstance(name, str):
        return
    task = waiting["tasks"].setdefault(name, {"count": 0, "calls": []})
    task["count"] += 1
    if given is not None:
        call = [given[0], given[1]]
        if call not in task["calls"] and len(task["calls"]) < CALLS:
            task["calls"].append(call)


class Redis:
    """As much of Redis' protocol as this needs: not every interpreter has a client."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
        if parts.scheme in ("redis+socket", "unix"):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(SECONDS)
            sock.connect(unquote(parts.path))
            database = query.get("virtual_host") or query.get("db") or "0"
        else:
            sock = socket.create_connection((parts.hostname or "localhost", parts.port or 6379), SECONDS)
            database = parts.path.strip("/") or query.get("virtual_host") or query.get("db") or "0"
        if parts.scheme == "rediss":
            sock = encrypted(sock, parts.hostname or "localhost", query)
        self.sock = sock
        self.file = sock.makefile("rb")
        if parts.password:
            self.call("AUTH", *[unquote(word) for word in (parts.username, parts.password) if word])
        if database != "0":
            self.call("SELECT", database)

    def call(self, *words: str) -> Any:
        data = [word.encode("utf-8", "surrogateescape") for word in words]
        self.sock.sendall(b"*%d\r\n" % len(data) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in data))
        return self.read()

    def read(self) -> Any:
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2].decode("utf-8", "replace")
        if kind == b"-":
            raise RuntimeError(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self.file.read(size + 2)[:-2].decode("utf-8", "replace")
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        if kind != b"+":
            raise RuntimeError("the connection was closed")
        return rest

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def encrypted(sock: socket.socket, host: str, query: Dict[str, str]) -> socket.socket:
    import ssl

    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
    if query.get("ssl_certfile"):
        context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    if query.get("ssl_cert_reqs", "required").lower().replace("cert_", "") != "required":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=host)


if __name__ == "__main__":
    # the project's own prints must not get between
    answer_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = main(globals()["MULTI_ASKED"])
    answer_to.write(MARK + json.dumps(answer) + "\n")
    answer_to.flush()
    os._exit(0)  # threads that the project's import has started must not keep it
