"""What will bite later: of hosts, brokers and nodes. Pure: facts and the description give findings, each with its remedy."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from multi.deploy import steps as kinds
from multi.deploy.hosts.facts import FAILED, HostFacts
from multi.deploy.hosts.settings import Settings
from multi.deploy.releases.compatibility import App
from multi.deploy.steps import Plan
from multi.nodes.policy import parse_span
from multi.nodes.spec import NodeSpec

ERROR, WARNING = "error", "warning"

#: Celery's default for Redis, and RabbitMQ's for acknowledgements: what takes longer is delivered again (s).
VISIBILITY, CONSUMER = 3600.0, 1800.0
SKEW = 5.0
FILES_FIXED, FILES_PER_CHILD = 256, 16
_MB = 1 << 20


class Finding(NamedTuple):
    """One thing: what it is about ("" for the project as a whole), what is wrong, and what to do about it."""

    check: str
    level: str
    about: str
    text: str
    remedy: str

    def json(self) -> dict[str, Any]:
        return self._asdict()


class NotDone(NamedTuple):
    """A check that could not be made: of what, and why."""

    check: str
    about: str
    why: str


class Patient(NamedTuple):
    """All that is known. `apps` are what the projects' apps have told by host ("" for this machine), `skews` how far hosts'
    clocks are from this machine's, `plan` what a deploy without a new release would change; `told` is what was found elsewhere:
    by this machine's own commands, or by the multi of a host without a release, which are the `unreleased` ones."""

    nodes: Sequence[NodeSpec]
    stop_times: Mapping[str, float]  # what a manager gives a node to stop, by its short name
    facts: Mapping[str, HostFacts] = {}
    settings: Mapping[str, Settings] = {}
    skews: Mapping[str, float] = {}
    apps: Mapping[str, App] = {}
    plan: Plan | None = None
    told: Sequence[Finding] = ()
    not_done: Sequence[NotDone] = ()
    unreleased: Mapping[str, bool] = {}  # and whether there is a multi


#: What is looked at, for the help and for those who want to know that it was.
CHECKS = {
    "hosts": "hosts are reached",
    "redis-eviction": "Redis drops no tasks when its memory is full",
    "redis-persistence": "Redis keeps tasks through a crash of its own",
    "redelivery": "no task takes so long that the broker gives it to another worker",
    "stop-time": "nodes have the time to finish their longest task when they are stopped",
    "clock": "clocks agree",
    "limits": "enough files may be open",
    "disk": "disks have room",
    "versions": "hosts run the same release, multi and Python",
    "units": "units are as the description has them",
    "nodes": "nodes are up",
    "lock": "no lock has been left behind",
    "app": "the app can be imported",
}


#: What is asked of unit managers, and of the app; both by a host's own multi, where no deploy has been.
OF_UNITS = ("units", "nodes")
OF_APP = ("redis-eviction", "redis-persistence", "redelivery", "stop-time", "app")
ELSEWHERE = (*OF_APP, *OF_UNITS)


def examine(patient: Patient, checks: Collection[str] = ()) -> list[Finding]:
    """All findings, or those of some checks; errors first, in the order of the checks."""
    found = [
        *_hosts(patient),
        *_apps(patient),
        *_brokers(patient),
        *_times(patient),
        *_clocks(patient),
        *_room(patient),
        *_versions(patient),
        *_plan(patient),
        *patient.told,
    ]
    order = list(CHECKS)
    wanted = dict.fromkeys(one for one in found if not checks or one.check in checks)
    return sorted(wanted, key=lambda one: (one.level != ERROR, order.index(one.check)))


def longest(nodes: Sequence[NodeSpec], app: App | None) -> tuple[float | None, str]:
    """How long a task may take at most, as far as anything says, and what says so."""
    times: list[tuple[float, str]] = []
    for node in nodes:
        for value, why in (
            (node.options.get("time_limit"), f"time_limit of {node.name.short}"),
            (node.policy.get("longest_task"), f"longest_task of {node.name.short}"),
        ):
            if (seconds := _seconds(value)) is not None:
                times.append((seconds, why))
    if app is not None:
        times += [(limit, why) for limit, why, _ in _limits_of(app)]
    return max(times, default=(None, ""), key=lambda one: one[0] or 0)


# ---- hosts


def _hosts(patient: Patient) -> Iterator[Finding]:
    for name, facts in patient.facts.items():
        if facts.error is not None:
            yield Finding("hosts", ERROR, name, facts.error, "nothing else is known of it")
        if facts.lock is not None:
            text = f"a deploy has locked it: {_holder(facts.lock)}"
            yield Finding("lock", WARNING, name, text, "if that deploy is over: multi deploy unlock")


def _clocks(patient: Patient) -> Iterator[Finding]:
    if not patient.skews:
        return
    # when it is this machine's clock that is wrong, all others tell the same
    middle = statistics.median(patient.skews.values())
    remedy = "have time synchronised there (systemd-timesyncd, chrony): expiry, ETAs and schedules go by the clock"
    if abs(middle) > SKEW and len(patient.skews) > 2:
        yield Finding("clock", WARNING, "", f"this machine's clock is {_span(-middle)} off those of the hosts", remedy)
        skews = {name: skew - middle for name, skew in patient.skews.items()}
    else:
        skews = dict(patient.skews)
    for name, skew in skews.items():
        if abs(skew) > SKEW:
            way = "ahead" if skew > 0 else "behind"
            yield Finding(
                "clock", ERROR if abs(skew) > 60 else WARNING, name, f"its clock is {_span(skew)} {way}", remedy
            )


def _room(patient: Patient) -> Iterator[Finding]:
    children = {node.name.short: int(_seconds(node.options.get("concurrency")) or 0) for node in patient.nodes}
    wanted = FILES_FIXED + FILES_PER_CHILD * max(children.values(), default=0)
    for name, facts in patient.facts.items():
        settings = patient.settings.get(name)
        least = settings.min_free_space if settings is not None else 500 * _MB
        if facts.disk_free is not None and facts.disk_free < least:
            path = settings.path if settings is not None else "/"
            text = f"{facts.disk_free // _MB} MB are free where {path} is, less than {least // _MB} MB"
            yield Finding("disk", ERROR, name, text, "remove old releases (multi deploy prune), or files of others")
        if facts.inodes_free is not None and 0 < facts.inodes_free < 10_000:
            text = f"only {facts.inodes_free} inodes are free"
            yield Finding("disk", ERROR, name, text, "remove small files; a full table fails like a full disk")
        if facts.nofile is not None and facts.nofile < wanted:
            text = f"a login may have {facts.nofile} files open, and the largest node wants about {wanted}"
            yield Finding(
                "limits",
                WARNING,
                name,
                text,
                "limits = { nofile = 65536 } for nodes, or nofile in /etc/security/limits.conf",
            )


def _versions(patient: Patient) -> Iterator[Finding]:
    there = {name: facts for name, facts in patient.facts.items() if facts.error is None}
    skewed = [
        ("release", _contents(there), "multi deploy push brings them into line"),
        (
            "multi",
            {name: facts.multi for name, facts in there.items()},
            "put the same one into the requirements of all",
        ),
        (
            "Python",
            {name: _minor(facts.python) for name, facts in there.items()},
            "name the same interpreter: python = …",
        ),
    ]
    for what, values, remedy in skewed:
        if what != "release":
            values = {name: value for name, value in values.items() if value is not None}
        groups: dict[str | None, list[str]] = {}
        for name, value in values.items():
            groups.setdefault(value, []).append(name)
        if len(groups) > 1:
            shown = "; ".join(f"{value or 'none'} on {_names(names)}" for value, names in groups.items())
            level = ERROR if what == "release" else WARNING
            yield Finding("versions", level, "", f"hosts differ in {what}: {shown}", remedy)


def _contents(facts: Mapping[str, HostFacts]) -> dict[str, str | None]:
    """The current release of each host; releases of the same content have one name, that of the first."""
    names: dict[str, str] = {}
    found = {}
    for name, one in facts.items():
        release = one.release(one.current)
        found[name] = one.current if release is None else names.setdefault(release.digest, release.name)
    return found


def _plan(patient: Patient) -> Iterator[Finding]:
    if patient.plan is None:
        return
    for name, plan in patient.plan.hosts.items():
        if patient.unreleased.get(name):
            continue  # its own multi has told
        if plan.error is not None:
            if patient.facts[name].error is None:
                yield Finding("units", ERROR, name, plan.error, "no deploy can be done there until then")
            continue
        if patient.facts[name].current is None:
            text = "nothing has been deployed there yet, and there is no multi either"
            yield Finding("units", WARNING, name, text, "multi deploy setup and push bring both")
            continue
        files = [
            step.title.partition(" ")[2]
            for step in plan.steps
            if step.kind in (kinds.WRITE, kinds.REMOVE) and step.title.startswith(("write /", "remove /"))
        ]
        if files:
            text = f"differ from the description: {_names(files)}"
            yield Finding(
                "units", WARNING, name, text, "multi deploy push writes them; multi deploy plan says what else it does"
            )
        facts = patient.facts[name]
        failed = [node.unit for node in facts.nodes.values() if node.state == FAILED]
        down = [str(step.node) for step in plan.steps if step.kind == kinds.START]
        if failed:
            yield Finding("nodes", ERROR, name, f"failed: {_names(failed)}", "multi deploy logs tells why")
        elif down:
            yield Finding("nodes", WARNING, name, f"not running: {_names(down)}", "multi deploy push starts them")


# ---- apps and brokers


def _apps(patient: Patient) -> Iterator[Finding]:
    for about, app in patient.apps.items():
        if app.error is not None:
            last = app.error.strip().splitlines()[-1]
            yield Finding(
                "app", ERROR, about, f"the app can't be imported: {last}", "a node that is started now would fail"
            )
        elif app.not_looked is not None and app.broker.get("url", "").startswith(("redis", "rediss")):
            yield Finding(
                "app",
                ERROR,
                about,
                f"the broker can't be asked: {app.not_looked}",
                "see that it runs, and lets this host in",
            )


def _brokers(patient: Patient) -> Iterator[Finding]:
    for about, app in patient.apps.items():
        if app.error is not None:
            continue
        yield from _redis(about, app)
        if any(node.engine == "celery" and node.kind == "worker" for node in patient.nodes):
            yield from _redelivery(patient, about, app)  # multi's own worker renews its claims while a task runs


def _redelivery(patient: Patient, about: str, app: App) -> Iterator[Finding]:
    """Celery's workers hold a message for a fixed time at most, however long its task runs."""
    seconds, why = longest(patient.nodes, app)
    url = str(app.broker.get("url") or "")
    is_late = bool(app.settings.get("task_acks_late")) or any(task.get("acks_late") for task in app.tasks.values())
    if url.startswith(("redis", "rediss")):
        given = app.broker.get("visibility_timeout")
        limit = float(given) if isinstance(given, int | float) else VISIBILITY
        name, where = "visibility_timeout", "in broker_transport_options"
    elif url.startswith(("amqp", "pyamqp")):
        limit, name, where = CONSUMER, "consumer_timeout", "in rabbitmq.conf"
    else:
        return
    remedy = f"put {name} above it {where}, or give the nodes a time_limit below {_span(limit)}"
    if seconds is None:
        if is_late:
            text = f"nothing says how long tasks may take; after {_span(limit)} ({name}) one is given to another worker too"
            yield Finding("redelivery", WARNING, about, text, "give the nodes a time_limit, or longest_task")
    elif seconds > limit:
        what = "it is" if is_late else "what a worker has fetched behind it is"
        text = f"a task may take {_span(seconds)} ({why}), and after {_span(limit)} ({name}) {what} given to another worker too"
        yield Finding("redelivery", ERROR if is_late else WARNING, about, text, remedy)


def _redis(about: str, app: App) -> Iterator[Finding]:
    told = app.redis
    policy = told.get("maxmemory_policy")
    if policy is not None and policy != "noeviction":
        is_limited = told.get("maxmemory", "0") != "0"
        text = f"Redis drops keys when its memory is full ({policy})"
        if int(told.get("evicted_keys") or 0):
            text += f", and has dropped {told['evicted_keys']} since it started"
        if not is_limited:
            text += "; it has no limit yet (maxmemory 0)"
        remedy = "set maxmemory-policy to noeviction in redis.conf: tasks are keys, too"
        yield Finding("redis-eviction", ERROR if is_limited else WARNING, about, text, remedy)
    if told.get("aof_enabled") == "0" and told.get("save") == "":
        remedy = "set appendonly to yes in redis.conf (with appendfsync everysec a second is lost at most)"
        yield Finding(
            "redis-persistence", WARNING, about, "Redis keeps nothing on disk: its restart loses all tasks", remedy
        )
    if told.get("rdb_last_bgsave_status") == "err":
        remedy = "see its log, and whether its disk is full: it may refuse to take tasks"
        yield Finding("redis-persistence", ERROR, about, "Redis could not write its last snapshot", remedy)


def _times(patient: Patient) -> Iterator[Finding]:
    """Stop times against the limits that tasks have by themselves, which no unit can know of."""
    limits = [limit for app in patient.apps.values() for limit in _limits_of(app)]
    hard = max(limits, default=None)
    for node in patient.nodes:
        stop = patient.stop_times.get(node.name.short)
        if stop is None or node.kind != "worker":
            continue
        own = _seconds(node.options.get("time_limit"))
        seconds, why = _hardest(own, hard)
        if seconds is not None and seconds > stop:
            text = f"is killed {_span(stop)} after it was told to stop, while a task may take {_span(seconds)} ({why})"
            remedy = f'give it longest_task = "{int(seconds)}s", or a stop.kill_after above it'
            yield Finding("stop-time", ERROR, node.name.short, text, remedy)


def _hardest(own: float | None, hard: tuple[float, str, bool] | None) -> tuple[float | None, str]:
    """The longest that a task may take on a node with a time limit of its own: a task's own limit comes first, that of the
    command line stands in place of the app's."""
    if hard is None or (own is not None and not hard[2]):
        return own, "its time_limit"
    if own is not None and own > hard[0]:
        return own, "its time_limit"
    return hard[0], hard[1]


def _limits_of(app: App) -> list[tuple[float, str, bool]]:
    """The time limits that the app's tasks have: seconds, what says so, and whether it is a task's own."""
    found = []
    given = _seconds(app.settings.get("task_time_limit"))
    if given is not None:
        found.append((given, "task_time_limit", False))
    for name, task in app.tasks.items():
        limit = _seconds(task.get("time_limit"))
        if limit is not None and limit != given:
            found.append((limit, f"the time_limit of {name}", True))
    return found


# ---- words


def _holder(lock: str) -> str:
    """Whose a lock is, by what stands in it: an id, its end, and the rest as JSON."""
    try:
        value = json.loads(lock[lock.index("{") :])
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value["since"]))
        why = f", {value['why']}" if value.get("why") else ""
        return f"{value['who']} on {value['from']} since {since}{why}"
    except (ValueError, KeyError, TypeError):
        return lock[:120].strip()


def _seconds(value: object) -> float | None:
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value) if isinstance(value, int | float) else parse_span(str(value))
    except ValueError:
        return None


def _span(seconds: float) -> str:
    """A span of time in words: 90 s, 20 min, 2 h."""
    seconds = abs(seconds)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _minor(version: str | None) -> str | None:
    return ".".join(version.split(".")[:2]) if version else None


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
