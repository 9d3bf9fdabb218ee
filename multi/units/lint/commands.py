"""What a command line runs: which tool's worker, with which pool and limits, and how it is wrapped."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

WORKER, BEAT, KEEPER, MULTI = "worker", "beat", "keeper", "multi"

_SHELLS = ("sh", "bash", "dash", "ash", "zsh")
#: First processes of a container that reap, and pass signals on.
_INITS = ("tini", "tini-static", "dumb-init", "catatonit", "docker-init", "s6-svscan", "my_init", "supervisord")
#: The programs that are workers as they stand, with those of their options that say how many processes do the work.
_TOOLS = ("dramatiq", "rq", "huey_consumer", "huey_consumer.py", "taskiq", "arq", "procrastinate")
#: The same as commands of Django's manage.py.
_MANAGED = {"rqworker": "rq", "run_huey": "huey", "rundramatiq": "dramatiq", "qcluster": "django-q"}
#: Pools without children that could get a signal which is not theirs.
_ALONE = ("solo", "gevent", "eventlet", "threads", "asyncio")
_VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s'"\\])+"""
_GAP = r"(?:\s|\\\n)+"
_STEP = re.compile(r"&&|\|\||;|\n|\|")
#: A command that is left running behind the script.
_BEHIND = re.compile(r"(?<![>&|])&(?![&>\d])")


class Work(NamedTuple):
    """What a command does. `raw` is how it is written; offsets in edits of it count from its beginning."""

    tool: str  # celery, multi, dramatiq, …
    role: str  # worker, beat, multi (`celery multi`), keeper (`multi start --foreground`)
    raw: str
    pool: str = "prefork"
    time_limit: float | None = None
    is_opaque: bool = False  # a script of the user's own: what it does inside can't be seen
    has_beat: bool = False
    notifies: bool = False  # it says READY=1 and WATCHDOG=1

    @property
    def forks(self) -> bool:
        """Whether tasks run in children that die of a signal which is meant for their worker."""
        return self.role in (WORKER, MULTI) and self.tool in ("celery", "multi") and self.pool not in _ALONE

    @property
    def runs_tasks(self) -> bool:
        return self.role in (WORKER, MULTI, KEEPER)


def split(text: str) -> list[str]:
    """The words of a command line, as far as they can be told."""
    try:
        return shlex.split(text.replace("\\\n", " "))
    except ValueError:
        return text.replace("\\\n", " ").split()


def has_init(raw: str) -> bool:
    """Whether a program that reaps is in front."""
    return os.path.basename(next(iter(split(raw)), "")) in _INITS


def script_of(words: Sequence[str]) -> str | None:
    """What a shell is told to run; None where there is no shell in front."""
    for at, word in enumerate(words[:3]):
        if os.path.basename(word) in _SHELLS:
            for place, option in enumerate(words[at + 1 : at + 4], at + 1):
                if option.startswith("-") and not option.startswith("--") and "c" in option and place + 1 < len(words):
                    return words[place + 1]
            return None
        if os.path.basename(word) not in ("env", "nice", "tini", "dumb-init", "--", "exec") and not word.startswith(
            "-"
        ):
            return None
    return None


def recognised(raw: str, hint: str = "") -> Work | None:
    """What the command is, if it is a worker or a beat. `hint` is what it is called: where the command tells nothing, a
    program named celery-worker is one."""
    words = split(raw)
    script = script_of(words)
    if script is not None:
        steps = [step.strip() for step in _STEP.split(script.replace("\\\n", " ")) if step.strip()]
        for step in reversed(steps):
            if (found := _of_words(split(step), raw)) is not None:
                return found
        return _by_name(raw, split(script), script)
    said = f"{words[0]} {hint if len(words) == 1 else ''}" if words else hint
    return _of_words(words, raw) or _by_name(raw, words, said)


def _of_words(words: list[str], raw: str) -> Work | None:
    while words and (words[0] in ("exec", "env", "nice", "--") or re.fullmatch(r"\w+=.*", words[0])):
        words = words[1:]
    for at, word in enumerate(words):
        base = os.path.basename(word)
        if base in ("celery", "celery_node.py") or re.fullmatch(r"\$\{?\w*CELERY\w*\}?", word):
            found = _celery(words[at + 1 :], raw)
            return found if found is None or base != "celery_node.py" else found._replace(notifies=True)
        if base in ("celeryd", "celerybeat"):
            return Work("celery", BEAT if base == "celerybeat" else WORKER, raw, _pool(words), _limit(words))
        if base in _MANAGED and at > 0 and os.path.basename(words[at - 1]) in ("manage.py", "django-admin", "django"):
            return Work(_MANAGED[base], WORKER, raw, "")
        if base == "multi":
            return _multi(words[at + 1 :], raw)
        if base in _TOOLS or (at > 0 and words[at - 1] == "-m" and word.partition(".")[0] in _TOOLS):
            is_worker = base not in ("rq", "taskiq", "procrastinate") or "worker" in words[at + 1 : at + 6]
            return Work(base.partition("_")[0], WORKER, raw, "") if is_worker else None
    # of an image whose own command is celery
    is_rest = words[:1] in (["worker"], ["beat"]) or (words and re.match(r"(-A|--app)", words[0]))
    return _celery(words, raw) if is_rest and _value(words, "-A", "--app") else None


def _celery(words: list[str], raw: str) -> Work | None:
    roles = {"worker": WORKER, "beat": BEAT, "multi": MULTI}
    role = next((roles[word] for word in words if word in roles), None)
    if role is None or (role == MULTI and not {"start", "restart"} & {*words}):
        return None
    return Work("celery", role, raw, _pool(words), _limit(words), has_beat=role != BEAT and _has(words, "-B", "--beat"))


def _multi(words: list[str], raw: str) -> Work | None:
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb == "worker":
        return Work("multi", WORKER, raw, _pool(words), _limit(words), notifies=True)
    if verb == "start" and "--foreground" in words:
        # of multi's own beats any number may run
        is_celerys = _has(words, "--engine=celery") or _value(words, "--engine") == "celery"
        is_beat = _has(words, "--kind=beat") or _value(words, "--kind") == "beat"
        kind = BEAT if is_beat and is_celerys else KEEPER
        return Work("multi", kind, raw, _pool(words), _limit(words))
    return None


def _by_name(raw: str, words: list[str], text: str) -> Work | None:
    """A script or a program of the user's own that says in its name what it is."""
    lowered = text.lower()
    if any(os.path.basename(word) == "celery" for word in words):
        return None  # Celery itself, with another of its commands
    if "celery" not in lowered or any(other in lowered for other in ("flower", "exporter", "export")):
        return None
    return Work("celery", BEAT if "beat" in lowered else WORKER, raw, is_opaque=True)


def _has(words: Sequence[str], *options: str) -> bool:
    return any(word in options for word in words)


def _value(words: Sequence[str], *options: str) -> str | None:
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else (words[at + 1] if at + 1 < len(words) else None)
        for option in options:
            if len(option) == 2 and word.startswith(option) and len(word) > 2 and not word.startswith("--"):
                return word[2:]
    return None


def _pool(words: Sequence[str]) -> str:
    return _value(words, "-P", "--pool") or "prefork"


def _limit(words: Sequence[str]) -> float | None:
    try:
        return float(_value(words, "--time-limit") or "")
    except ValueError:
        return None


# ---- putting right what stands in a command, with all of its quotes and line breaks


def without_option(raw: str, *spellings: str, has_value: bool) -> str:
    """The command without these options."""
    for spelling in spellings:
        value = rf"(?:=(?:{_VALUE})?|{_GAP}{_VALUE})" if has_value else r"(?=[\s'\"\\]|$)"
        raw = re.sub(rf"{_GAP}{re.escape(spelling)}{value}", "", raw)
    return raw


def option_in(raw: str, *spellings: str) -> bool:
    """Whether one of these options stands in the command, in the shell's script, too."""
    return any(re.search(rf"(?:^|[\s'\"]){re.escape(one)}(?=[=\s'\"\\]|$)", raw) for one in spellings)


def script_with_exec(script: str) -> str | None:
    """A shell's script with `exec` before its last command; None where that is not the worker, or is more than a command."""
    flat = script.replace("\\\n", "  ")
    steps = list(_STEP.finditer(flat))
    if any(step[0] == "|" for step in steps) or _BEHIND.search(flat):
        return None
    begin = max((step.end() for step in steps if flat[step.end() :].strip()), default=0)
    begin += len(flat[begin:]) - len(flat[begin:].lstrip())
    last = flat[begin:].strip()
    if last.startswith("exec ") or re.match(r"\w+=", last) or _of_words(split(last), last) is None:
        return None
    return f"{script[:begin]}exec {script[begin:]}"


def with_exec(raw: str) -> str | None:
    """The command with `exec` before what its shell runs last; None where that can't be told."""
    script = script_of(split(raw))
    changed = script_with_exec(script) if script is not None else None
    if script is None or changed is None:
        return None
    begin = next(at for at, (one, other) in enumerate(zip(f"{script}\0", changed, strict=False)) if one != other)
    begin = changed.find("exec ", max(0, begin - 4))
    head = re.escape(re.split(r"[\s\\]", script[begin:].strip(), maxsplit=1)[0])
    before = r"(?:&&|\|\||;|\n)\s*" if script[:begin].strip() else r"\s-\w*c\s+['\"]?\s*"
    places = list(re.finditer(before + f"(?={head})", raw))
    if not places:
        return None
    at = places[-1].end()
    return f"{raw[:at]}exec {raw[at:]}"


def needs_exec(work: Work) -> bool:
    """Whether a shell stays in front of the worker."""
    script = script_of(split(work.raw))
    if script is None:
        return False
    last = [step.strip() for step in _STEP.split(script.replace("\\\n", " ")) if step.strip()][-1:]
    return not last or not last[0].startswith("exec ")


_NODES = re.compile(rf"\bmulti{_GAP}(?:start|restart)((?:{_GAP}(?!-)(?:[^\s'\"\\-]|\$\{{)[^\s'\"\\]*)+)")
_APP = re.compile(rf"{_GAP}(-A|--app)(=|{_GAP}|)({_VALUE})")


def nodes_of(raw: str) -> list[str]:
    """The nodes that `celery multi start` is told to start."""
    found = _NODES.search(raw)
    return found[1].replace("\\\n", " ").split() if found else []


def as_worker(raw: str, name: str) -> str | None:
    """`celery multi start NODES` as `celery worker` with this name; None where single nodes have options of their own."""
    found = _NODES.search(raw)
    if found is None or re.search(r"\s--?[\w-]+:[\w,@-]+", raw):
        return None
    before, after = raw[: found.start()], raw[found.end() :]
    if not _APP.search(before) and (app := _APP.search(after)) is not None:
        before += f"-A {app[3]} "  # Celery wants it before the subcommand
        after = after[: app.start()] + after[app.end() :]
    return f"{before}worker{f' -n {name}' if name else ''}{after}"
