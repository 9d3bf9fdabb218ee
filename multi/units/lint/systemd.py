"""What is wrong with a unit of systemd that runs a worker."""

from __future__ import annotations

import re

from multi.units.lint import commands, stopping
from multi.units.lint.commands import MULTI, Work
from multi.units.lint.ini import Entry, Ini
from multi.units.lint.rules import RULES, Edit, Finding

_TERM = ("SIGTERM", "TERM", "15", "RTMIN+0")
_PREFIXES = "@-:+!|"


class Unit:
    """One unit; the methods below look at it, each for one rule or two that belong together."""

    def __init__(self, text: str, name: str, longest: float | None) -> None:
        self.ini = Ini(text, breaks="\\")
        self.is_template = "@" in name
        self.longest = longest
        self.found: list[Finding] = []
        starts = self.ini.all("Service", "ExecStart")
        hint = name.partition(".")[0]
        known = [(one, commands.recognised(one.value.lstrip(_PREFIXES), hint)) for one in starts]
        self.works = [(one, work) for one, work in known if work is not None]
        self.start: Entry | None = None
        self.work: Work | None = None
        if self.works:
            self.start, self.work = self.works[-1]
        # systemd takes several commands for Type=oneshot alone, so neither the type nor one of them can be changed by itself
        self.has_others = len(starts) > 1

    @property
    def is_by_hand(self) -> bool:
        """Whether it can't be told what a single worker in the foreground would be here. Then everything that only suits such
        a one is left as it is: KillMode=mixed, say, would kill the tasks of the other nodes."""
        return self.has_others or any(
            work.role == MULTI and (_is_several(one.value) or commands.as_worker(one.value, "") is None)
            for one, work in self.works
        )

    def examine(self) -> list[Finding]:
        """All that is wrong; nothing where it runs no worker."""
        if self.work is None or self.start is None:
            return []
        if len(self.works) > 1:
            remedy = "a unit for each (multi render systemd writes a template)"
            text = f"{len(self.works)} workers with an ExecStart= each: systemd watches one of them at most"
            self.add("M202", self.works[0][0].line, text, remedy)
        for start, work in self.works:
            self.command(start, work)
        self.type(self.start, self.work)
        if self.work.runs_tasks:
            self.kill_mode(self.work)
            self.stop_time(self.work)
            self.oom(self.work)
        self.kill_signal()
        self.own_commands()
        self.restarts()
        self.directory()
        self.network()
        return self.found

    def add(self, number: str, line: int, text: str, remedy: str, *edits: Edit) -> None:
        self.found.append(Finding(RULES[number], line, text, remedy, edits))

    def value(self, key: str, otherwise: str = "") -> str:
        entry = self.ini.get("Service", key)
        return entry.value if entry is not None else otherwise

    def line(self, key: str) -> int:
        entry = self.ini.get("Service", key)
        return entry.line if entry is not None else self.ini.line_of("Service")

    # ---- the command

    def command(self, start: Entry, work: Work) -> None:
        if work.is_opaque:
            return
        raw = start.value
        fixed: str | None = raw
        if work.role == MULTI:
            self.several(start)
            fixed = commands.as_worker(raw, self.node_name(raw))
        told = len(self.found)
        if work.role == MULTI or commands.option_in(raw, "--detach", "-D"):
            how = "celery multi start" if work.role == MULTI else "--detach"
            remedy = "run one worker per unit in the foreground"
            self.add("M101", start.line, f"{how}: systemd loses sight of the worker", remedy)
            fixed = fixed and commands.without_option(fixed, "--detach", "-D", has_value=False)
        if commands.option_in(raw, "--pidfile"):
            self.add("M104", start.line, "--pidfile: systemd knows the pid by itself", "leave --pidfile out")
            fixed = fixed and commands.without_option(fixed, "--pidfile", has_value=True)
        if commands.needs_exec(work):
            changed = commands.with_exec(fixed) if fixed else None
            if changed is None and work.role != MULTI:
                self.add(
                    "M102", start.line, "the shell gets the signals, not the worker", "start the worker without a shell"
                )
            else:
                self.add(
                    "M102", start.line, "the shell gets the signals, not the worker", "exec before the worker's command"
                )
                fixed = changed
        if work.has_beat and self.is_template:
            self.add("M103", start.line, "-B: every instance sends the schedule", "a unit of its own for celery beat")
        if fixed is None or fixed == raw or self.is_by_hand:
            return
        # one edit for all that has been found: the command is written anew as a whole
        edit = Edit(start.start, start.end, fixed)
        self.found[told:] = [
            one._replace(edits=(edit,)) if one.rule.number in ("M101", "M102", "M104") else one
            for one in self.found[told:]
        ]

    def several(self, start: Entry) -> None:
        nodes = commands.nodes_of(start.value)
        if _is_several(start.value):
            of_template = "" if self.is_template else " (multi render systemd writes a template for all)"
            text = f"{' '.join(nodes)}: systemd watches one of them"
            # who leaves one of them here takes the others away
            self.add("M202", start.line, text, f"a unit for each{of_template}, with one worker in the foreground")
        elif len(nodes) == 1 and nodes[0].startswith("$"):
            fixed = commands.as_worker(start.value, self.node_name(start.value))
            edits = (Edit(start.start, start.end, fixed),) if fixed and not self.is_by_hand else ()
            remedy = (
                f"one node here; if {nodes[0]} names several: a unit for each (multi render systemd writes a template)"
            )
            self.add("M202", start.line, f"{nodes[0]} may name several nodes, and systemd watches one", remedy, *edits)

    def node_name(self, raw: str) -> str:
        if self.is_template:
            return "%i@%%h"
        nodes = commands.nodes_of(raw)
        if not nodes or not re.fullmatch(r"[A-Za-z_][\w.-]*(@[\w.%-]+)?", nodes[0]):
            return ""
        return nodes[0] if "@" in nodes[0] else f"{nodes[0]}@%%h"

    def type(self, start: Entry, work: Work) -> None:
        kind = self.value("Type", "simple")
        if not (work.notifies or work.is_opaque):
            self.silence(kind, work)
        if kind not in ("forking", "oneshot"):
            return
        edits = [self.ini.put("Service", "Type", "exec")]
        edits += [self.ini.remove(entry) for entry in self.ini.entries if entry.key in ("PIDFile", "RemainAfterExit")]
        if self.is_by_hand:
            edits = []  # the command has to be written anew by hand, and both belong together
        self.add("M201", self.line("Type"), f"Type={kind}", "Type=exec, with the worker in the foreground", *edits)

    def silence(self, kind: str, work: Work) -> None:
        """What systemd expects to be told, and by whom it isn't."""
        watchdog = self.ini.get("Service", "WatchdogSec")
        is_watched = watchdog is not None and watchdog.value not in ("0", "infinity")
        if kind not in ("notify", "notify-reload") and not is_watched:
            return
        edits: list[Edit] = []
        said = []
        if kind.startswith("notify"):
            edits.append(self.ini.put("Service", "Type", "exec"))
            said.append(f"Type={kind}")
        if watchdog is not None and is_watched:
            edits.append(self.ini.remove(watchdog))
            said.append(f"WatchdogSec={watchdog.value}")
        edits = [] if self.is_by_hand else edits
        line = self.line("Type" if kind.startswith("notify") else "WatchdogSec")
        remedy = "Type=exec and no WatchdogSec; or multi in front of it: multi render systemd"
        self.add("M214", line, f"{', '.join(said)}: {work.tool} says nothing to systemd", remedy, *edits)

    # ---- stopping

    def kill_mode(self, work: Work) -> None:
        mode = self.value("KillMode", "control-group")
        if mode == "mixed" or (mode == "control-group" and not work.forks):
            return
        text = f"KillMode={mode}" if self.ini.get("Service", "KillMode") else "KillMode= is not given: control-group"
        edits = () if self.is_by_hand else (self.ini.put("Service", "KillMode", "mixed"),)
        self.add("M203", self.line("KillMode"), text, "KillMode=mixed", *edits)

    def stop_time(self, work: Work) -> None:
        key = "TimeoutStopSec"
        given = self.ini.get("Service", key) or self.ini.get("Service", "TimeoutSec")
        seconds = stopping.span(given.value) if given is not None else None
        if seconds is not None and stopping.is_enough(seconds, work, self.longest):
            return
        text = f"{given.key}={given.value}" if given is not None else f"{key} is not given: 90 s"
        wanted = stopping.proposed(work, self.longest)
        remedy = f"{key}={wanted}: {stopping.why(work, self.longest)}"
        line = given.line if given is not None else self.line(key)
        self.add("M204", line, text, remedy, self.ini.put("Service", key, str(wanted)))

    def kill_signal(self) -> None:
        entry = self.ini.get("Service", "KillSignal")
        if entry is not None and entry.value.upper() not in _TERM:
            self.add(
                "M205",
                entry.line,
                f"KillSignal={entry.value}",
                "KillSignal=SIGTERM",
                Edit(entry.start, entry.end, "SIGTERM"),
            )

    def own_commands(self) -> None:
        for entry in (one for one in self.ini.entries if one.section == "Service"):
            words = " ".join(commands.split(entry.value))
            if entry.key in ("ExecStop", "ExecStopPost") and (
                re.search(r"\bmulti\s+stop", words)
                or re.search(r"\b(p?kill|killall)\b.*-(9|KILL|SIGKILL|QUIT|SIGQUIT|3|INT|SIGINT|2)\b", words)
            ):
                edits = () if self.is_by_hand else (self.ini.remove(entry),)
                self.add("M206", entry.line, f"{entry.key}={_short(words)}", f"no {entry.key}", *edits)
            elif entry.key == "ExecReload" and (
                re.search(r"\bmulti\s+restart", words)
                or (self.work is not None and self.work.tool == "celery" and re.search(r"\bkill\b.*\bHUP\b", words))
            ):
                remedy = "no ExecReload; restart the unit"
                self.add("M207", entry.line, f"ExecReload={_short(words)}", remedy, self.ini.remove(entry))

    def oom(self, work: Work) -> None:
        if work.forks and self.value("OOMPolicy", "stop") != "continue":
            text = (
                "OOMPolicy= is not given: stop"
                if not self.value("OOMPolicy")
                else f"OOMPolicy={self.value('OOMPolicy')}"
            )
            edit = self.ini.put("Service", "OOMPolicy", "continue")
            self.add("M211", self.line("OOMPolicy"), text, "OOMPolicy=continue (systemd 243 or newer)", edit)

    # ---- starting

    def restarts(self) -> None:
        policy = self.value("Restart", "no")
        if policy == "no":
            # (where Type=oneshot stays, old versions of systemd refuse it)
            stays = self.is_by_hand and self.value("Type") == "oneshot"
            edits = () if stays else (self.ini.put("Service", "Restart", "on-failure"),)
            self.add("M208", self.line("Restart"), "Restart= is not given", "Restart=on-failure", *edits)
        for key in ("StartLimitIntervalSec", "StartLimitInterval", "StartLimitBurst"):
            entry = self.ini.get("Service", key)
            if entry is not None:
                name = "StartLimitIntervalSec" if key.startswith("StartLimitInterval") else key
                moved = (self.ini.remove(entry), self.ini.put("Unit", name, entry.value))
                self.add("M213", entry.line, f"{key}={entry.value} in [Service]", f"{name}= in [Unit]", *moved)
                return  # what it says is judged at its right place
        unit = {
            key: entry.value
            for key in ("StartLimitIntervalSec", "StartLimitBurst")
            if (entry := self.ini.get("Unit", key))
        }
        pause = stopping.span(self.value("RestartSec", "100ms"))
        pause = 0.1 if pause is None else 0.0 if pause == float("inf") and self.value("RestartSec") == "0" else pause
        given = unit.get("StartLimitIntervalSec", "10")
        interval = 0.0 if given in ("0", "infinity") else stopping.span(given) or 10.0
        burst = int(unit["StartLimitBurst"]) if unit.get("StartLimitBurst", "").isdecimal() else 5
        if interval and burst * pause < min(interval, 10):
            changes = (
                *self.ini.put_all("Unit", {"StartLimitIntervalSec": "300", "StartLimitBurst": "10"}),
                self.ini.put("Service", "RestartSec", "2"),
            )
            text = f"{burst} starts within {burst * pause:g} s, and it is given up"
            remedy = "RestartSec=2, and in [Unit] StartLimitIntervalSec=300 and StartLimitBurst=10"
            self.add("M209", self.line("RestartSec"), text, remedy, *changes)

    def directory(self) -> None:
        entry = self.ini.get("Service", "RuntimeDirectory")
        if entry is None or not self.is_template or re.search("%[iIjJnN]", entry.value):
            return
        if self.value("RuntimeDirectoryPreserve", "no") not in ("no", "restart"):
            return
        edit = self.ini.put("Service", "RuntimeDirectoryPreserve", "yes")
        remedy = "RuntimeDirectoryPreserve=yes, or a directory for each: RuntimeDirectory=…/%i"
        self.add("M210", entry.line, f"RuntimeDirectory={entry.value}", remedy, edit)

    def network(self) -> None:
        after = self.ini.all("Unit", "After")
        words = " ".join(entry.value for entry in after).split()
        if "network.target" not in words or "network-online.target" in words:
            return
        entry = next(one for one in after if "network.target" in one.value.split())
        value = re.sub(r"(?<!\S)network\.target(?!\S)", "network-online.target", entry.value)
        wants = " ".join(one.value for one in self.ini.all("Unit", "Wants")).split()
        edits = [Edit(entry.start, entry.end, value)]
        if "network-online.target" not in wants:
            edits.append(Edit(entry.last, entry.last, f"Wants=network-online.target{self.ini.newline}"))
        self.add("M212", entry.line, "After=network.target", "After= and Wants=network-online.target", *edits)


def examine(text: str, name: str, longest: float | None) -> list[Finding]:
    """What is wrong with the unit of that file name."""
    return Unit(text, name, longest).examine()


def runs_something(text: str, name: str) -> bool:
    """Whether a worker or a beat is recognised in it."""
    return Unit(text, name, None).work is not None


def _is_several(command: str) -> bool:
    """Whether `celery multi start` is told to start several nodes, in so many words."""
    nodes = commands.nodes_of(command)
    return len(nodes) > 1 or (len(nodes) == 1 and nodes[0].isdecimal() and int(nodes[0]) > 1)


def _short(words: str) -> str:
    return words if len(words) <= 60 else f"{words[:57]}…"
