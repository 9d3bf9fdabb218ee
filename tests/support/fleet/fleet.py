"""The project of a mixed fleet: the same tasks for Celery's workers and for multi's, with only the import changed.

Each worker runs it in a process of its own, told by its environment which engine it is. A task that leaves a note
writes one line to a file of that name, so that a test can count what has really run, and where.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import time
import zipfile
from typing import TYPE_CHECKING, Any

ENGINE = os.environ["FLEET_ENGINE"]
if TYPE_CHECKING or ENGINE == "multi":
    from multi import Celery, Ignore, MaxRetriesExceededError, Reject, Retry, Task, chord, group
else:
    from celery import Celery, Task, chord, group
    from celery.exceptions import Ignore, MaxRetriesExceededError, Reject, Retry

app = Celery("fleet", broker=os.environ["FLEET_BROKER"], backend=os.environ["FLEET_BACKEND"])
settings = json.loads(os.environ["FLEET_SETTINGS"])
if rows := settings.pop("fleet_queues", None):
    # queues as a project declares them: name, exchange, its type, routing key; Celery's users take them from kombu
    declared = importlib.import_module("multi" if ENGINE == "multi" else "kombu")
    broadcast = importlib.import_module("multi" if ENGINE == "multi" else "kombu.common").Broadcast
    settings["task_queues"] = [
        broadcast(name) if kind == "broadcast" else declared.Queue(name, declared.Exchange(exchange, kind), key)
        for name, exchange, kind, key in rows
    ]
app.conf.update(settings)


class Trouble(Exception):
    """An exception that only the project knows."""


def write(name: str, **facts: Any) -> None:
    """One line, written at once: many processes write to the same file."""
    line = json.dumps({"engine": ENGINE, "pid": os.getpid(), "time": time.time(), **facts}, default=repr) + "\n"
    fd = os.open(os.path.join(os.environ["FLEET_NOTES"], name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)


def family(request: Any) -> dict[str, Any]:
    """Who this run is and whom it belongs to."""
    return {
        "id": request.id,
        "root": request.root_id,
        "parent": request.parent_id,
        "group": request.group,
        "retries": request.retries,
    }


@app.task
def add(x: Any, y: Any) -> Any:
    return x + y


@app.task
def same(value: Any) -> Any:
    return value


@app.task
def kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


@app.task(bind=True)
def who(self: Any, *args: Any) -> dict[str, Any]:
    request = self.request
    return {
        **family(request),
        "engine": ENGINE,
        "headers": request.headers,
        "correlation_id": request.correlation_id,
        "reply_to": bool(request.reply_to),
        "eta": request.eta,
        "expires": request.expires,
        "timelimit": list(request.timelimit or ()),
        "queue": request.delivery_info["routing_key"],
        "redelivered": bool(request.delivery_info.get("redelivered")),
        "ignore_result": request.ignore_result,
        "shadow": request.shadow,
        "hostname": request.hostname.partition("@")[0],
    }


@app.task(bind=True)
def note(self: Any, /, *args: Any, name: str, **kwargs: Any) -> Any:
    write(name, args=args, kwargs=kwargs, **family(self.request))
    return args[0] if args else None


@app.task(bind=True, ignore_result=True)
def quiet(self: Any, name: str) -> str:
    write(name, **family(self.request))
    return "nobody reads this"


@app.task
def value_error(*args: Any) -> None:
    raise ValueError(*args)


@app.task
def bad_zip() -> None:
    raise zipfile.BadZipFile("no archive")


@app.task
def trouble(*args: Any) -> None:
    raise Trouble(*args)


@app.task
def unserializable() -> Any:
    return object()


@app.task
def ignored() -> None:
    raise Ignore


@app.task
def rejected() -> None:
    raise Reject("not mine", requeue=False)


@app.task(acks_late=True)
def refused(requeue: bool, name: str) -> str:
    """Rejects its message, which Celery's workers have not acknowledged yet; one that comes again is done."""
    if requeue and os.path.exists(os.path.join(os.environ["FLEET_NOTES"], name)):
        return "at last"
    write(name)
    raise Reject("not now", requeue=requeue)


@app.task(send_events=False)
def unseen() -> str:
    return "nobody hears of it"


@app.task(reject_on_worker_lost=False)
def gone(name: str) -> None:
    """Takes its process with it; nothing delivers it again."""
    write(name)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(bind=True)
def telling(self: Any) -> None:
    """Tells of itself."""
    self.send_event("task-halfway", percent=50)
    with self.app.events.default_dispatcher() as dispatcher:
        dispatcher.send("shop-paid", order=7)


@app.task
def errback(request: Any, error: BaseException, traceback: Any, name: str) -> None:
    """The form that is called at once, in the worker of the failed task."""
    write(name, failed=request.id, error=repr(error), traceback=str(traceback))


@app.task(bind=True)
def again(self: Any, name: str, queue: str | None = None, times: int = 1, priority: int | None = None) -> Any:
    """Fails `times` times and is retried, in another queue if one is named."""
    request = self.request
    write(name, **family(request), args=request.args, kwargs=request.kwargs, expires=request.expires)
    if request.retries < times:
        try:
            raise Trouble("not yet")
        except Trouble as error:
            options: dict[str, Any] = {"countdown": 0.2, "exc": error, "max_retries": 3}
            if queue:
                options["queue"] = queue
            if priority is not None:
                options["priority"] = priority
            raise self.retry(**options) from error
    return {"retries": request.retries, "engine": ENGINE}


@app.task(bind=True)
def spawn(self: Any, queue: str) -> str:
    """Sends a task of its own, which becomes its child."""
    child = who.apply_async((), queue=queue)
    return str(child.id)


@app.task(bind=True)
def slow(self: Any, name: str, seconds: float) -> str:
    write(name, what="begin", **family(self.request))
    time.sleep(seconds)
    write(name, what="end", **family(self.request))
    return ENGINE


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def late(self: Any, name: str, seconds: float) -> str:
    """As `slow`, acknowledged after the run by Celery's workers too."""
    return str(slow.run(name, seconds))


@app.task(bind=True)
def give_up(self: Any) -> None:
    raise self.retry(max_retries=0)


@app.task
def die(name: str) -> None:
    write(name)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def total(values: Any) -> Any:
    return sum(values)


@app.task(bind=True)
def stamps(self: Any, *args: Any) -> Any:
    """The stamps that this call carries."""
    return {key: self.request.stamps[key] for key in sorted(self.request.stamped_headers or ())}


@app.task(bind=True)
def become(self: Any, sort: str, value: Any, queue: str) -> Any:
    """Has other tasks run in its place."""
    twice = [add.s(value, number).set(queue=queue) for number in (1, 2)]
    calls = {
        "task": twice[0],
        "chain": twice[0] | add.s(100).set(queue=queue),
        "group": group(twice),
        "chord": chord(twice, total.s().set(queue=queue)),
    }
    raise self.replace(calls[sort])


@app.task(bind=True)
def grow(self: Any, value: Any, queue: str) -> Any:
    """Adds another part to the chord that it is a part of."""
    self.add_to_chord(add.s(value, 1000).set(queue=queue))
    return value


@app.task
def total_of_numbers(values: Any) -> Any:
    return sum(value for value in values if isinstance(value, int))


class Loud(Task):
    """A base class that writes down what it is called for."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        write(kwargs["name"], hook="before_start", mine=task_id == self.request.id, args=args)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        write(kwargs["name"], hook="on_success", mine=task_id == self.request.id, args=args, value=retval)

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        write(kwargs["name"], hook="on_failure", args=args, value=repr(exc), einfo=str(einfo).splitlines()[-1:])

    def on_retry(self, exc: BaseException | None, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        write(kwargs["name"], hook="on_retry", args=args, value=repr(exc))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        write(kwargs["name"], hook="after_return", status=status, value=repr(retval))


# a pause before the retry: Celery's worker sends it before it stores RETRY, which may come after the retry's SUCCESS
@app.task(bind=True, base=Loud, max_retries=1, default_retry_delay=0.5, throws=(KeyError,))
def loud(self: Any, how: str, name: str) -> str:
    write(name, run=self.request.retries)
    if how == "expected":
        raise KeyError("expected")
    if how == "fail":
        raise Trouble("on purpose", 1)
    if how == "ignore":
        self.update_state(state="LEFT", meta={"as": "it was"})
        raise Ignore
    if how == "reject":
        raise Reject("not mine", requeue=False)
    if how == "retry" or (how == "once" and not self.request.retries):
        raise self.retry(exc=Trouble("again"))
    if how == "bare":
        raise self.retry()
    if how == "by hand":
        raise Retry("by hand", exc=Trouble("mine"))
    if how == "not thrown":
        return repr(type(self.retry(throw=False, countdown=0.01)).__name__) if not self.request.retries else "second"
    return how


@app.task(
    bind=True,
    autoretry_for=(Trouble, OSError),
    dont_autoretry_for=(FileNotFoundError,),
    retry_kwargs={"max_retries": 2, "countdown": 0},
)
def stubborn(self: Any, name: str, kind: str, times: int) -> int:
    write(name, run=self.request.retries)
    if self.request.retries < times:
        raise {"trouble": Trouble, "missing": FileNotFoundError, "os": OSError, "other": ValueError}[kind]("stubborn")
    return int(self.request.retries)


@app.task(bind=True, autoretry_for=(Trouble,), retry_backoff=True, retry_backoff_max=1, retry_jitter=False)
def backing_off(self: Any, name: str) -> None:
    write(name, run=self.request.retries)
    if not self.request.retries:
        raise Trouble("later")


@app.task(bind=True, max_retries=None)
def changing(self: Any, /, name: str, count: int = 0, **kwargs: Any) -> list[Any]:
    """Is retried with other arguments."""
    write(name, count=count, kwargs=kwargs)
    if count < 2:
        raise self.retry((name, count + 1), {"more": count}, countdown=0)
    return [count, kwargs]


@app.task(bind=True)
def too_often(self: Any, given: bool) -> str:
    try:
        self.retry(max_retries=0, exc=Trouble("enough") if given else None)
    except MaxRetriesExceededError as error:
        return type(error).__name__
    except Trouble as error:
        return str(error)
    return "never"


@app.task(bind=True, track_started=True)
def waiting(self: Any, name: str) -> dict[str, Any]:
    """Waits for notes of others, with a state of its own meanwhile."""
    file = os.path.join(os.environ["FLEET_NOTES"], name)

    def wait_for(notes: int) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with open(file) as found:
                if len(found.readlines()) >= notes:
                    return
            time.sleep(0.005)

    write(name, what="begun")
    wait_for(2)
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 3})
    write(name, what="told")
    wait_for(4)
    return {"state": "done"}


@app.task(bind=True, ignore_result=True, store_errors_even_if_ignored=True)
def quiet_but(self: Any, fail: bool) -> str:
    if fail:
        raise Trouble("told all the same")
    return "nobody reads this"


@app.task(bind=True, acks_late=True)
def back_once(self: Any, name: str) -> bool:
    """Gives its message back once."""
    write(name)
    if not self.request.delivery_info.get("redelivered"):
        raise Reject("once more", requeue=True)
    return True


@app.task(bind=True, acks_late=True)
def stuck(self: Any, name: str) -> None:
    """Never ends with multi; with Celery it does at once."""
    write(name, ended=ENGINE == "celery")
    if ENGINE == "multi":
        time.sleep(600)


class Adder(Task):
    """A task that is a class of its own."""

    name = "fleet.adder"
    base_value = 100

    def run(self, x: int, y: int = 1) -> list[Any]:
        self.base_value += 1
        return [self.base_value > 100, x + y, self.request.called_directly]


app.register_task(Adder())


@app.task(bind=True)
def directly(self: Any) -> list[Any]:
    """Calls a task as a function."""
    return [same("called"), self.request.called_directly, add.run(1, 2)]
