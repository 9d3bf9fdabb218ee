"""`multi describe`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from typing import Any

import click

from multi.cli.known import end, known
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.ps import tree
from multi.cli.screen import Screen, ago, clock, size
from multi.controller import stop as stopping
from multi.controller import story
from multi.controller.pausing import EVERY
from multi.controller.portrait import EVENTS, Portrait

_LABEL = 16


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--all", "every", is_flag=True, help="All nodes of the project.")
@json_option
@state_dir_option
@click.pass_context
def describe(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Everything that is known about a node: how it is started and kept, how it is, its processes, its work, its files, what
    has happened last, and where what runs is no longer what would be started. Secrets are masked.

    \b
    multi describe w1
    multi describe w1 --json
    """
    request = Request(ctx, given)
    chosen, missing = known(request, nodes)
    portraits = [Portrait(node, stopping.settled(node)) for node in chosen]
    if given["as_json"]:
        import json

        request.screen.show(json.dumps([one.as_json() for one in portraits], indent=2, ensure_ascii=False))
        end(ctx, missing)
    for number, one in enumerate(portraits):
        if number:
            request.screen.show("")
        Printer(request.screen).show(one)
    end(ctx, missing)


class Printer:
    """Puts a portrait on the screen, a section at a time."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, one: Portrait) -> None:
        """All sections that have something to tell."""
        is_well = one.status.is_up and one.status.state != "backoff"
        self._screen.show(f"{one.node} - {self._screen.paint(one.status.state, is_well)}")
        self._line("project", one.node.place.project.location)
        unit = one.node.manager
        self._line("run by", None if unit is None else str(unit))
        if unit is None or one.node.has_own_keeper:
            self._specification(one)
            self._policy(one)
        self._state(one)
        if one.members:
            self._head("Processes")
            for line in tree(str(one.node), one.members):
                self._screen.show(f"  {line}")
        self._work(one)
        self._files(one)
        if one.events:
            self._head("History", "multi why tells more")
            for sentence in story.tell(one.events)[-EVENTS:]:
                self._screen.show(f"  {clock(sentence.at)}  {self._screen.paint(sentence.text, sentence.good)}")
        if one.drift:
            self._head("Drift", "a restart follows")
            for text in one.drift:
                self._screen.show(f"  {text}")

    def _specification(self, one: Portrait) -> None:
        found = one.specification
        if not found:
            return
        self._head("Specification")
        kind = found["kind"] if found["kind"] != found["engine"] else ""
        self._line("engine", " ".join(filter(None, (found["engine"], kind, "singleton" if found["singleton"] else ""))))
        self._line("command", shlex.join(found["argv"]))
        for name in ("directory", "interpreter", "user", "group", "umask", "nice"):
            self._line(name, found[name])
        self._line("limits", ", ".join(f"{name} {_limit(value)}" for name, value in found["limits"].items()))
        self._lines("variables", (f"{name}={value}" for name, value in found["variables"].items()))
        self._lines("variable files", found["variable_files"])
        self._lines("hooks", (f"{event}: {hook}" for event, hooks in found["hooks"].items() for hook in hooks))
        if found["description"]:
            self._line("described in", f"{found['description']}, section {found['section']}")

    def _policy(self, one: Portrait) -> None:
        self._head("Policy", "* was given, the rest are defaults")
        for name, value in one.policy.items():
            text = _policy(name, value)
            if text:
                self._line(name.replace("_", "-"), f"{text}{' *' if name in one.given else ''}")

    def _state(self, one: Portrait) -> None:
        found = one.state
        self._head("State")
        if found["since"]:
            self._line("since", f"{clock(found['since'])} ({ago(time.time() - found['since'])})")
        self._lines("why", found["why"])
        by_unit = one.node.manager is not None and not one.node.has_own_keeper
        for name in ("keeper", "generation", "restarts", "crashes"):
            self._line("process" if by_unit and name == "keeper" else name, found[name] or None)
        if found["next_start"]:
            self._line("next start", clock(found["next_start"]))
        reload = found["reload"] or {}
        if reload:
            message = f": {reload['message']}" if reload.get("message") else ""
            self._line("reload", f"{reload.get('state')}{message} ({clock(reload.get('at', 0))})")

    def _work(self, one: Portrait) -> None:
        found = one.work
        if found["pool"] is None and found["active"] is None:
            return
        self._head("Work")
        if found["pool"]:
            self._line("pool", f"{found['pool']}, {found['concurrency']} at a time")
        self._line("queues", ", ".join(found["queues"]) or "none")
        self._line("paused", _queues(one.state["paused"]))
        self._line("active", str(found["active"]))
        self._lines("tasks", (_task(task) for task in found["tasks"]))
        if found["succeeded"] is not None:
            self._line(
                "so far", f"{found['succeeded']} succeeded, {found['failed']} failed, {found['retried']} retried"
            )
        used = one.used
        self._line(
            "uses",
            f"{used['cpu_seconds']:.1f} s of processor time ({used['cpu_percent']:.1f}%), {size(used['memory'])} of memory, "
            f"{used['processes']} processes, {used['threads']} threads",
        )

    def _files(self, one: Portrait) -> None:
        found = one.files
        self._head("Files")
        unit = one.node.manager
        is_ours = unit is None or one.node.has_own_keeper
        for name in ("specification", "history", "runtime", "stats", "pidfile") if is_ours else ():
            self._line(name, found[name])
        if found["log"] is None:
            self._line(
                "log", "none: it writes to where it was started" if unit is None else f"in the journal of {unit.id}"
            )
            return
        copies = len(found["log_copies"])
        more = f", and {copies} older cop{'y' if copies == 1 else 'ies'}" if copies else ""
        count = found["log_bytes"]
        there = "not there yet" if count is None else size(count) if count >= 1 << 20 else f"{count} bytes"
        self._line("log", f"{found['log']} ({there}{more})")

    # ---- how it looks

    def _head(self, text: str, more: str = "") -> None:
        self._screen.show("")
        title = click.style(text, bold=True) if self._screen.color else text
        self._screen.show(f"{title} ({more})" if more else title)

    def _line(self, label: str, value: Any) -> None:
        if value not in (None, ""):
            self._screen.show(f"  {label.ljust(_LABEL)} {value}")

    def _lines(self, label: str, values: Iterable[Any]) -> None:
        for number, value in enumerate(values):
            self._screen.show(f"  {(label if number == 0 else '').ljust(_LABEL)} {value}")


def _queues(paused: list[str]) -> str:
    return "all queues" if EVERY in paused else ", ".join(paused)


def _limit(value: Any) -> str:
    words = [str(number) if number != -1 else "unlimited" for number in (value if isinstance(value, list) else [value])]
    return ":".join(words)


def _policy(name: str, value: Any) -> str:
    """A value as people read it; empty for what isn't set."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    if name in ("log_size", "max_memory"):
        return size(value) if value else "never"
    if name in ("max_age", "log_every"):
        return story.span(value)
    if name in ("restart_delay", "longest_delay", "healthy_after", "quit_after", "kill_after", "watchdog"):
        return f"{float(value):g} s"
    if name == "ready":
        return "when it says so" if value.get("by") == "notify" else f"when it has lived {value.get('after', 1):g} s"
    if name == "signals":
        return ", ".join(f"{meaning} {_signal(number)}" for meaning, number in value.items() if number is not None)
    return str(value)


def _signal(number: int) -> str:
    import signal

    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def _task(task: dict[str, Any]) -> str:
    name = f"{task['name']}[{task['id']}]" if task["id"] else task["name"]
    since = f" for {ago(time.time() - task['since'])}" if task["since"] else ""
    others = f", and {task['active'] - 1} more in that process" if task["active"] > 1 else ""
    args = task["args"] if task["args"].startswith("(") or not task["args"] else f"({task['args']})"
    return f"{name}{args}{since}, in {task['pid']}{others}"
