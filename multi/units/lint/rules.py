"""The rules of `multi lint`: what each is about, and why. `docs/lint.md` has the same list with what to write instead."""

from __future__ import annotations

from typing import NamedTuple

from multi.errors import ConfigurationError

#: What is broken loses tasks or runs them twice; what is weak will bite one day.
BROKEN, WEAK = "error", "warning"


class Rule(NamedTuple):
    """One rule. `why` is told beside its findings by `--explain`."""

    number: str
    level: str
    title: str
    why: str


_ALL = (
    Rule(
        "M101",
        BROKEN,
        "the worker leaves for the background",
        "With --detach or `celery multi start` the process that the manager has started ends at once. The manager then watches "
        "nothing, or guesses: a dead worker stays dead, and a stop reaches whoever it takes for the main process.",
    ),
    Rule(
        "M102",
        BROKEN,
        "a shell stands between the manager and the worker",
        "Signals go to the shell. It dies of TERM without passing it on, the worker hears of nothing, and is killed with "
        "whatever it runs. With `exec` the worker takes the shell's place.",
    ),
    Rule(
        "M103",
        BROKEN,
        "a beat in every copy",
        "With -B each copy of a Celery worker sends the whole schedule, and so does each copy of a beat: with three copies every "
        "periodic task runs three times.",
    ),
    Rule(
        "M104",
        WEAK,
        "a pidfile that nobody needs",
        "The manager knows the pid. The file stays behind after a kill or a power cut, and a worker that finds it refuses to "
        "start: `Pidfile already exists`.",
    ),
    Rule(
        "M201",
        BROKEN,
        "systemd guesses which process is the worker",
        "Type=forking without a sure PIDFile (and Type=oneshot) has systemd guess the main process. With several processes its "
        "manual says that failure detection and automatic restarts will not work reliably.",
    ),
    Rule(
        "M202",
        BROKEN,
        "several nodes in one unit",
        "systemd watches one of them. When another dies, the unit is fine; when one is to be restarted, all are stopped. So it "
        "is with `celery multi start w1 w2`, and with several ExecStart=.",
    ),
    Rule(
        "M203",
        BROKEN,
        "TERM goes to the children that run tasks",
        "KillMode=control-group, the default, sends TERM to every process of the unit. Children of a prefork pool die of it in "
        "the middle of their tasks. KillMode=mixed tells the main process alone, and kills what is left at the end. With "
        "KillMode=process or none children live on without their worker.",
    ),
    Rule(
        "M204",
        BROKEN,
        "the unit is killed before its tasks are done",
        "After TimeoutStopSec (90 s unless given) comes KILL. It has to be longer than the longest task, or than the hard time "
        "limit.",
    ),
    Rule(
        "M205",
        BROKEN,
        "the signal to stop means: drop everything",
        "Celery finishes its tasks after TERM. QUIT is a cold shutdown, INT is one when it comes twice, and KILL is not even "
        "heard. Dramatiq and RQ finish after TERM, too.",
    ),
    Rule(
        "M206",
        BROKEN,
        "a command of its own stops the unit",
        "`celery multi stopwait` waits for a pidfile, not for the worker; when the command ends, systemd ends whatever is left. "
        "`kill -9` and the like drop what runs. systemd stops a foreground worker by itself, with KillSignal.",
    ),
    Rule(
        "M207",
        WEAK,
        "a reload that is none",
        "HUP has Celery's worker replace itself in a way that its manual calls prone to problems; `celery multi restart` stops "
        "all nodes at once, behind systemd's back.",
    ),
    Rule(
        "M208",
        WEAK,
        "a worker that dies stays dead",
        "Without Restart= nobody starts it again.",
    ),
    Rule(
        "M209",
        BROKEN,
        "systemd gives up in seconds",
        "Without RestartSec a unit is started again after 0.1 s, and after 5 starts in 10 s never again: half a second in which "
        "a database or a broker is away is enough.",
    ),
    Rule(
        "M210",
        BROKEN,
        "instances share a directory that the first to stop takes away",
        "RuntimeDirectory= is removed when a unit stops. Where all instances of a template have the same one, the first that "
        "stops removes the files of all others.",
    ),
    Rule(
        "M211",
        BROKEN,
        "one child without memory takes the whole node along",
        "With OOMPolicy=stop, the default, the unit is stopped when the kernel kills one of its processes for memory. A prefork "
        "pool replaces that child by itself.",
    ),
    Rule(
        "M212",
        WEAK,
        "started before the network is there",
        "network.target doesn't say that there is a network: the first connections to a broker elsewhere fail.",
    ),
    Rule(
        "M213",
        WEAK,
        "a limit of starts at the wrong place",
        "StartLimitIntervalSec= and StartLimitBurst= belong into [Unit]; in [Service] systemd ignores the first one.",
    ),
    Rule(
        "M214",
        BROKEN,
        "systemd waits for a word that never comes",
        "With Type=notify a unit is started when its process says READY=1, and with WatchdogSec= it has to go on saying that it "
        "lives. Celery, Dramatiq, RQ and the others say neither: the unit is killed after 90 s, or again and again.",
    ),
    Rule(
        "M301",
        BROKEN,
        "supervisord sends TERM to the children that run tasks",
        "With stopasgroup=true the children of a prefork pool get the signal as well, and die of it in the middle of their "
        "tasks; the worker, told to finish them, finds nothing to finish.",
    ),
    Rule(
        "M302",
        WEAK,
        "children outlive a worker that is killed",
        "Without killasgroup=true KILL ends the worker alone; its children go on, beside those of the next one.",
    ),
    Rule(
        "M303",
        BROKEN,
        "supervisord kills before the tasks are done",
        "After stopwaitsecs (10 s unless given) comes KILL. It has to be longer than the longest task, or than the hard time "
        "limit.",
    ),
    Rule(
        "M304",
        BROKEN,
        "the signal to stop means: drop everything",
        "As M205: QUIT is a cold shutdown for Celery, INT is one when it comes twice, HUP is a restart, KILL is not heard.",
    ),
    Rule(
        "M305",
        WEAK,
        "supervisord gives up after three attempts",
        "startretries is 3 unless given; after some seconds the program is FATAL, and stays so when the database or the broker "
        "is back.",
    ),
    Rule(
        "M306",
        BROKEN,
        "several processes with one name",
        "With numprocs above 1 and a fixed node name (or none) all have the same name: orders to one go to all, and monitors "
        "show one.",
    ),
    Rule("M307", WEAK, "a worker that dies stays dead", "autorestart=false: nobody starts it again."),
    Rule(
        "M308",
        WEAK,
        "supervisord's socket lies in /tmp",
        "Cleaners of /tmp remove it, and then supervisorctl can reach nobody; and everybody may put another one there.",
    ),
    Rule(
        "M309",
        BROKEN,
        "a percent sign that supervisord takes for its own",
        "supervisord fills in %(name)s; another % in a value has to be doubled, or it refuses the file. In names of log files it "
        "does so twice: %%%%.",
    ),
    Rule(
        "M401",
        BROKEN,
        "the container is killed before its tasks are done",
        "After stop_grace_period (10 s unless given) comes KILL. It has to be longer than the longest task, or than the hard "
        "time limit.",
    ),
    Rule(
        "M402",
        BROKEN,
        "the signal to stop means: drop everything",
        "As M205: with stop_signal QUIT, INT or KILL tasks are dropped.",
    ),
    Rule(
        "M403",
        WEAK,
        "the first process of the container reaps nobody",
        "Whatever a task leaves behind becomes a child of the container's first process. A worker doesn't wait for strangers: "
        "zombies gather until no process can be started any more.",
    ),
    Rule("M404", WEAK, "a container that ends stays down", "Without restart: nobody starts it again."),
    Rule(
        "M405",
        WEAK,
        "a health check that asks the broker",
        "`celery inspect ping` and `celery status` load the app, which costs seconds of processor time at each check, and fail "
        "for all workers when the broker is away or the worker is busy.",
    ),
    Rule(
        "M501",
        BROKEN,
        "the pod is killed before its tasks are done",
        "After terminationGracePeriodSeconds (30 s unless given) comes KILL. It has to be longer than the longest task, or than "
        "the hard time limit.",
    ),
    Rule(
        "M502",
        BROKEN,
        "a probe that kills busy workers",
        "`celery inspect ping` and `celery status` load the app and ask the broker: a busy machine or a broker that is away "
        "makes them fail, and the kubelet kills pods that are in the middle of their tasks.",
    ),
    Rule(
        "M503",
        BROKEN,
        "two beats at once",
        "More than one replica, or a rolling update, in which the new pod runs beside the old one: every periodic task is sent "
        "twice.",
    ),
    Rule(
        "M601",
        BROKEN,
        "an init script",
        "Nothing watches what an init script has started: a worker that dies stays dead. Celery's says OK before the worker "
        "runs, its try-restart starts what was stopped, and its status stops at the first missing pidfile.",
    ),
)
RULES = {rule.number: rule for rule in _ALL}


def rule(number: str) -> Rule:
    """The rule of that number; an error that lists them when there is none."""
    found = RULES.get(number.upper())
    if found is None:
        raise ConfigurationError(f"there is no rule {number}; there are {', '.join(RULES)}")
    return found


class Edit(NamedTuple):
    """Of a text, the characters from `start` up to `end`, to be replaced."""

    start: int
    end: int
    text: str


class Finding(NamedTuple):
    """What a rule has found, in which line, what would put it right in words and in the text. No edits: by hand only."""

    rule: Rule
    line: int
    text: str
    remedy: str
    edits: tuple[Edit, ...] = ()


def applied(text: str, edits: list[Edit]) -> str:
    """The text with these edits. Of two that meet the earlier one is made; the next look finds what is left."""
    done, at = [], 0
    for edit in sorted(edits):
        if edit.start < at:
            continue
        done += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*done, text[at:]])
