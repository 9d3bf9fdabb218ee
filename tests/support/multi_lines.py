"""Command lines in the grammar of `celery multi`, made at random, and both programs' answers to them, in this process."""

from __future__ import annotations

import contextlib
import io
import random
import shlex
from typing import Any

import click
from celery.bin.celery import celery
from celery.bin.multi import MultiTool
from celery.bin.worker import worker

from multi.cli.group import run

#: What `celery multi` says to each worker and a keeper does not: a node is in the background by itself, and the interpreter
#: is the first word of its command line, and no option of Celery's worker.
KEEPERS = frozenset({"detach", "executable"})

#: By default it makes folders in /var for them, even to show something.
FILES = ["--pidfile=%n.pid", "--logfile=%n.log"]


def theirs(command: str, *words: str) -> list[str]:
    """The lines that `celery multi` prints."""
    said = io.StringIO()
    first, rest = (words[:1], words[1:]) if command in ("expand", "get") else ((), words)
    at = rest.index("--") if "--" in rest else len(rest)
    line = [command, *first, *rest[:at], *FILES, *rest[at:]]
    code = MultiTool(stdout=said, stderr=said).execute_from_commandline(["multi", *line])
    assert code in (0, None), said.getvalue()
    return said.getvalue().splitlines()


def ours(command: str, *words: str) -> list[str]:
    """The lines that `multi` prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run([command, *words])
    assert code == 0, said.getvalue()
    return said.getvalue().splitlines()


def shown(*words: str) -> list[str]:
    """The lines that `multi show` prints of the same files that `theirs` gives."""
    at = words.index("--") if "--" in words else len(words)
    return ours("show", "--engine", "celery", *words[:at], *FILES, *words[at:])


def options(line: str) -> dict[str, Any]:
    """What a shown command line says by Celery's own tables, without what keepers do themselves."""
    words = shlex.split(line)
    words = words[words.index("celery") + 1 if "celery" in words else 2 :]  # behind the interpreter and what it runs
    found: dict[str, Any] = {"words": []}
    while words:
        word = words.pop(0)
        spelling, equals, value = word.partition("=")
        option = _TABLE.get(spelling)
        if option is None and not word.startswith("--") and (first := _TABLE.get(word[:2])):
            option, equals, value = first, "joined", word[2:]
            if first.is_flag:
                words.insert(0, f"-{value}")
        if word == "--":
            found["rest"] = words
            break
        if not word.startswith("-"):
            found["words"].append(word)
        elif option is None:
            found.setdefault(spelling, []).append(value)
        elif option.is_flag:
            found[option.name or ""] = True
        else:
            found[option.name or ""] = value if equals else words.pop(0)
    return {name: value for name, value in found.items() if name not in KEEPERS}


_TABLE = {
    spelling: option
    for command in (celery, worker)
    for option in command.params
    if isinstance(option, click.Option)
    for spelling in option.opts
}

SHORT = {
    "-c": ("1", "10"),
    "-l": ("INFO", "DEBUG"),
    "-P": ("solo", "threads", "prefork"),
    "-Q": ("a", "images,video", "q-%n", "%d"),
    "-X": ("x",),
    "-I": ("proj.more,proj.other",),
    "-S": ("/var/lib/%n.db", "state/%p"),
    "-O": ("fair",),
    "-A": ("proj", "proj.app:app"),
    "-b": ("redis://localhost/1", "sqs://"),
    "-s": ("beat-%N",),
}
LONG = {
    "--time-limit": ("30",),
    "--soft-time-limit": ("20.5",),
    "--max-tasks-per-child": ("100",),
    "--max-memory-per-child": ("20000",),
    "--prefetch-multiplier": ("1",),
    "--autoscale": ("10,3",),
    "--heartbeat-interval": ("5",),
    "--pool-start-method": ("spawn",),
    "--loader": ("proj.Loader",),
    "--config": ("proj.settings",),
    "--result-backend": ("redis://localhost/2",),
    "--workdir": ("/",),
    "--uid": ("0",),
    "--umask": ("022",),
    "--scheduler": ("proj:Scheduler",),
    "--tenant": ("acme", "%n"),  # one that a project has added to its worker
}
FLAGS = ("-E", "-B", "--without-gossip", "--without-mingle", "--without-heartbeat", "--purge", "--disable-prefetch")
NAMES = ("w1", "w2", "image", "video-hd", "data_x", "Leslie", "a.b", "foo@example.com", "bar@%h", "x@%n.net", "w-%n")


class Lines:
    """Lines that `celery multi` understands rightly; what it gets wrong is left out here, and tested by itself."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def nodes(self) -> tuple[list[str], list[list[str]]]:
        """The names, and the options that are about names."""
        pick = self.random
        if pick.random() < 0.4:
            names = [str(pick.randint(1, 12))]
        else:
            names = pick.sample(NAMES, pick.randint(1, 5))
        about: list[list[str]] = []
        for option, values in (("--prefix", ("p-", "x")), ("--range-prefix", ("worker",))):
            if pick.random() < 0.15:
                about.append([f"{option}={pick.choice(values)}"])
        if pick.random() < 0.3:
            host = pick.choice(("h1.example.com", "%h", "x.%h"))
            about.append(pick.choice(([f"--hostname={host}"], ["-n", host], [f"--suffix={host}"])))
        return names, about

    def line(self) -> list[str]:
        """Names and options, in the order that a person might give them."""
        pick = self.random
        names, groups = self.nodes()
        used = pick.sample([*SHORT, *LONG, *FLAGS], pick.randint(0, 7))
        for option in used:
            groups.append(self.option(option, ""))
            singles = self.singles(names)
            for single in singles:
                # to `celery multi` -c and -c10 are two options, of which the order decides
                groups.append(self.option(option, f":{single}", may_join=len(singles) == 1))
                if pick.random() < 0.15:
                    del groups[-2:-1]  # for single nodes only
        pick.shuffle(groups)
        words = [word for group in groups for word in group]
        at = pick.choice([0, len(groups)])
        # a word that begins with one dash takes what follows it for a value
        is_alone = bool(groups) and len(groups[-1]) == 1 and "=" not in groups[-1][0]
        words = [*names, *words] if at == 0 or is_alone else [*words, *names]
        if pick.random() < 0.1:
            words.append("--append=" + pick.choice(("worker.x=%n", "a=1 b=2")))
        for screen in ("--nosplash", "--quiet", "-q", "--verbose", "--no-color"):
            if pick.random() < 0.05:
                words.insert(0, screen)
        if pick.random() < 0.15:
            words += ["--", "broker.x=30", "worker_y=1"]
        return words

    def option(self, option: str, single: str, *, may_join: bool = False) -> list[str]:
        pick = self.random
        if option in FLAGS:
            return [option + single]
        # what -Aproj:app means is refused where there is a node app
        if may_join and option in SHORT and option not in ("-A", "-b") and pick.random() < 0.3:
            # a mark in such a word is not filled in there
            plain = [value for value in SHORT[option] if ":" not in value and "%" not in value]
            return [f"{option}{pick.choice(plain)}{single}"] if plain else [option + single, SHORT[option][0]]
        if option in SHORT:
            return [option + single, pick.choice(SHORT[option])]
        return [f"{option}{single}={pick.choice(LONG[option])}"]

    def singles(self, names: list[str]) -> list[str]:
        """What may stand behind a colon with these names."""
        pick = self.random
        if pick.random() < 0.4:
            return []
        count = int(names[0]) if names[0].isdecimal() else 0
        found = []
        # where a host is given with the name, a number overrules all that is given by name: it is one or the other
        by_number = not any("@%" in name for name in names)
        by_name = not (by_number and any("@" in name for name in names))
        for _ in range(pick.choice((1, 1, 2, 3))):
            how = pick.random()
            numbers = [str(number) for number in range(1, (count or len(names)) + 1)] if by_number else []
            short = (
                numbers if count else [name.partition("@")[0] for name in names if "%" not in name.partition("@")[0]]
            )
            short = short if by_name else []
            either = sorted({*numbers, *short})
            if how < 0.4 and numbers:
                found.append(pick.choice(numbers))
            elif how < 0.6 and short:
                found.append(pick.choice(short))
            elif how < 0.8 and len(either) > 1:
                found.append(",".join(pick.sample(either, 2)))
            elif count:
                low = pick.randint(1, count)
                high = pick.randint(low, count + 2)
                found.append(pick.choice((f"{low}-{high}", f"{numbers[-1]},{low}-{high}")))
        return [*dict.fromkeys(found)]  # the same twice is the last one's there, and both here
