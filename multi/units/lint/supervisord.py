"""What is wrong with programs of supervisord that are workers."""

from __future__ import annotations

import re

from multi.units.lint import commands, stopping
from multi.units.lint.commands import MULTI, WORKER, Work
from multi.units.lint.ini import Entry, Ini
from multi.units.lint.rules import RULES, Edit, Finding

_TRUE = ("true", "on", "yes", "1", "t", "y")
_NUMBER = "%(program_name)s_%(process_num)02d"
_LONE_PERCENT = re.compile(r"%(?!\()")
#: Whatever stands in these is filled in, and refused together with all of the file.
_FILLED_IN = re.compile(
    r"(program|fcgi-program|eventlistener|group):|(supervisord|unix_http_server|inet_http_server|supervisorctl|include)$"
)


class Config:
    """One file; each of its programs that is a worker is looked at for itself."""

    def __init__(self, text: str, longest: float | None) -> None:
        self.ini = Ini(text, breaks=" ")
        self.longest = longest
        self.found: list[Finding] = []
        self.programs: list[tuple[str, Work]] = []
        for section in dict.fromkeys(one.name for one in self.ini.sections if one.name.startswith("program:")):
            command = self.ini.get(section, "command")
            if command is not None:
                work = commands.recognised(command.value.replace("%%", "%"), section.removeprefix("program:"))
                if work is not None:
                    self.programs.append((section, work))

    def examine(self) -> list[Finding]:
        for section, work in self.programs:
            self.command(section, work)
            if work.runs_tasks:
                self.stop(section, work)
            elif self.processes(section) > 1:
                text = f"[{section}] numprocs={self.processes(section)}: each of them sends the schedule"
                self.add(
                    "M103", self.line(section, "numprocs"), text, "numprocs=1", self.ini.put(section, "numprocs", "1")
                )
            self.start(section)
        if self.programs:
            self.percents()
            self.socket()
        return self.found

    def add(self, number: str, line: int, text: str, remedy: str, *edits: Edit) -> None:
        self.found.append(Finding(RULES[number], line, text, remedy, edits))

    def is_true(self, section: str, key: str) -> bool:
        entry = self.ini.get(section, key)
        return entry is not None and entry.value.lower() in _TRUE

    def line(self, section: str, key: str) -> int:
        entry = self.ini.get(section, key)
        return entry.line if entry is not None else self.ini.line_of(section)

    def should_be(self, number: str, section: str, key: str, value: str, otherwise: str, because: str = "") -> None:
        """A finding that is put right by giving a key a value."""
        entry = self.ini.get(section, key)
        text = f"{key}={entry.value}" if entry is not None else f"{key} is not given: {otherwise}"
        remedy = f"{key}={value}{': ' if because else ''}{because}"
        self.add(number, self.line(section, key), f"[{section}] {text}", remedy, self.ini.put(section, key, value))

    def command(self, section: str, work: Work) -> None:
        entry = self.ini.get(section, "command")
        assert entry is not None
        if work.is_opaque:
            return
        raw, told = entry.value, len(self.found)
        fixed: str | None = raw
        where = f"[{section}]"
        if work.role == MULTI or commands.option_in(raw, "--detach", "-D"):
            how = "celery multi start" if work.role == MULTI else "--detach"
            self.add(
                "M101", entry.line, f"{where} {how}: supervisord loses sight of it", "run the worker in the foreground"
            )
            if work.role == MULTI:
                nodes = commands.nodes_of(raw)
                fixed = (
                    commands.as_worker(raw, f"{nodes[0]}@%%h") if len(nodes) == 1 and nodes[0].isidentifier() else None
                )
            fixed = fixed and commands.without_option(fixed, "--detach", "-D", has_value=False)
        if commands.option_in(raw, "--pidfile"):
            self.add(
                "M104", entry.line, f"{where} --pidfile: supervisord knows the pid by itself", "leave --pidfile out"
            )
            fixed = fixed and commands.without_option(fixed, "--pidfile", has_value=True)
        if commands.needs_exec(work):
            self.add(
                "M102",
                entry.line,
                f"{where} the shell gets the signals, not the worker",
                "exec before the worker's command",
            )
            fixed = commands.with_exec(fixed) if fixed else None
        if self.processes(section) > 1 and work.role == WORKER:
            if work.has_beat:
                text = f"{where} -B: every process sends the schedule"
                self.add("M103", entry.line, text, "a program of its own for celery beat")
            fixed = self.names(section, entry, work, fixed)
        if fixed is None or fixed == raw:
            return
        edit = Edit(entry.start, entry.end, fixed)
        self.found[told:] = [
            one if one.rule.number == "M103" else one._replace(edits=(edit,)) for one in self.found[told:]
        ]

    def names(self, section: str, entry: Entry, work: Work, fixed: str | None) -> str | None:
        """Each of several processes needs a name of its own."""
        if work.tool not in ("celery", "multi") or "process_num" in entry.value:
            return fixed
        name = re.search(r"(?:\s-n\s*|\s--hostname[= ]\s*)([^\s'\"@]+)", entry.value)
        text = f"[{section}] numprocs={self.processes(section)}, and one name for all"
        remedy = f"-n {_NUMBER}@%%h"
        self.add("M306", entry.line, text, remedy)
        if fixed is None:
            return None
        if name is not None:
            return fixed.replace(name[0], f"{name[0]}_%(process_num)02d", 1)
        quote = fixed[-1] if fixed[-1] in "'\"" and commands.script_of(commands.split(fixed)) is not None else ""
        return f"{fixed.removesuffix(quote)} -n {_NUMBER}@%%h{quote}"

    def processes(self, section: str) -> int:
        entry = self.ini.get(section, "numprocs")
        return int(entry.value) if entry is not None and entry.value.isdecimal() else 1

    def percents(self) -> None:
        """One that is wrong has the whole file refused, and with it the workers, wherever it stands."""
        for one in self.ini.entries:
            # supervisord fills in the names of a program's logs twice
            sign = "%%%%" if one.key in ("stdout_logfile", "stderr_logfile") else "%%"
            if _FILLED_IN.match(one.section) and _LONE_PERCENT.search(one.value.replace(sign, "")):
                value = re.sub(rf"{sign}|%%|%(?!\()", sign, one.value)
                edit = Edit(one.start, one.end, value)
                self.add("M309", one.line, f"[{one.section}] {one.key} has a single %", f"{sign} for each", edit)

    def stop(self, section: str, work: Work) -> None:
        if work.forks and self.is_true(section, "stopasgroup"):
            self.should_be("M301", section, "stopasgroup", "false", "false")
        if not self.is_true(section, "killasgroup") and (work.forks or work.is_opaque):
            self.should_be("M302", section, "killasgroup", "true", "false")
        given = self.ini.get(section, "stopwaitsecs")
        seconds = float(given.value) if given is not None and given.value.isdecimal() else None
        if seconds is None or not stopping.is_enough(seconds, work, self.longest):
            wanted = stopping.proposed(work, self.longest)
            self.should_be("M303", section, "stopwaitsecs", str(wanted), "10 s", stopping.why(work, self.longest))
        signal = self.ini.get(section, "stopsignal")
        if signal is not None and signal.value.upper().removeprefix("SIG") not in ("TERM", "15"):
            self.should_be("M304", section, "stopsignal", "TERM", "TERM")

    def start(self, section: str) -> None:
        given = self.ini.get(section, "startretries")
        if given is None or (given.value.isdecimal() and int(given.value) < 10):
            self.should_be("M305", section, "startretries", "10", "3")
        again = self.ini.get(section, "autorestart")
        if again is not None and again.value.lower() in ("false", "off", "no", "0", "f", "n"):
            self.should_be("M307", section, "autorestart", "unexpected", "unexpected")

    def socket(self) -> None:
        entry = self.ini.get("unix_http_server", "file")
        if entry is None or not entry.value.startswith(("/tmp/", "/var/tmp/")):
            return
        place = "/run/supervisor.sock"
        edits = [Edit(entry.start, entry.end, place), self.ini.put("unix_http_server", "chmod", "0700")]
        address = self.ini.get("supervisorctl", "serverurl")
        if address is not None and entry.value in address.value:
            edits.append(Edit(address.start, address.end, f"unix://{place}"))
        self.add("M308", entry.line, f"[unix_http_server] file={entry.value}", f"file={place}, chmod=0700", *edits)


def examine(text: str, name: str, longest: float | None) -> list[Finding]:
    """What is wrong with the programs of this file."""
    return Config(text, longest).examine()


def runs_something(text: str, name: str) -> bool:
    """Whether a worker or a beat is recognised in it."""
    return bool(Config(text, None).programs)
