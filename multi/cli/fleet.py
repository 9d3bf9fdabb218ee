"""`multi fleet`: the nodes on all hosts of multi.toml, without releases."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

import click

from multi.cli.group import DONE, FAILED, INTERRUPTED, UNKNOWN
from multi.cli.policy import SPAN
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import ago, complain
from multi.cli.shellwords import OfOthers
from multi.cli.telling import Teller
from multi.deploy.fleet import Fleet, Outcome, parse_batch
from multi.deploy.members import Member
from multi.errors import ConfigurationError, MultiError

_JSON = click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
_ALL = click.option("--all", "every", is_flag=True, help="All nodes.")
_FORCE = click.option("--force", is_flag=True, help="Also where a queue loses its last consumer in the fleet.")
_PROGRAM = click.option("--multi", "program", metavar="FILE", default="", help="The program multi on the hosts.")
_NODES = click.argument("nodes", nargs=-1)
_ROLL = (
    click.option("--batch", metavar="N|P%", default="1", help="How many hosts at once, or which part of them (1)."),
    click.option("--healthy", type=SPAN, metavar="SPAN", default=5.0, help="How long a node has to stay up (5s)."),
    click.option("--deadline", type=SPAN, metavar="SPAN", default=120.0, help="What isn't up by then has failed (2m)."),
)


def _roll_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_ROLL):
        command = option(command)
    return command


@click.group()
def fleet() -> None:
    """Look at and steer the nodes on all hosts of multi.toml, wherever their code comes from.

    Nodes are named by patterns, as 'img*'; hosts by --hosts and --roles.

    \b
    multi fleet status
    multi fleet restart 'img*' --hosts 'app*' --batch 25%
    """


class _Work:
    """What these commands have in common: the fleet, what is told on the way, and the result."""

    def __init__(self, remote: Remote, given: Mapping[str, Any]) -> None:
        self.remote = remote
        self.given = given
        self.teller = Teller(remote.screen, [host.name for host in remote.hosts])
        if given.get("as_json"):
            remote.screen.quiet = True
        self.interrupted = False
        # the guard wants to know of the hosts that nothing is done on, too
        every = list(remote.inventory.hosts.values())
        self.fleet = Fleet(
            every,
            remote.connections(),
            self.teller,
            project=remote.inventory.project,
            program=str(given.get("program") or ""),
            password=remote.password is not None,
            max_parallel=remote.max_parallel,
        )
        self.hosts = [host.name for host in remote.hosts]
        self.lost = {name: error for name, error in self.fleet.lost.items() if name in self.hosts}
        self.there = [name for name in self.hosts if name in self.fleet.places]

    def select(self, nodes: Sequence[str], *, needed: bool = True) -> list[Member]:
        if needed and not nodes and not self.given.get("every"):
            raise ConfigurationError("name the nodes, as 'img*', or say --all")
        if not self.there:
            self.tell_lost()
            raise ConfigurationError("no host can be asked")
        return self.fleet.select(nodes, self.there)

    def tell_lost(self) -> int:
        for name, error in self.lost.items():
            complain(f"{name}: {getattr(error, 'reason', None) or error}")
        return FAILED if self.lost else DONE

    def end(self, outcome: Outcome) -> int:
        """Tell how it ended; the exit code."""
        code = self.tell_lost()
        if self.given.get("as_json"):
            value = {**outcome.json(), "lost": {name: str(error) for name, error in self.lost.items()}}
            self.remote.screen.show(as_json(value))
        for name, text in outcome.results.items():
            if text:
                complain(f"{name}: {text}")
        told = {name: "FAILED" if text else "OK" for name, text in outcome.results.items()}
        told |= dict.fromkeys(outcome.untouched, "untouched")
        if len(told) > 1 and not self.given.get("as_json"):
            rows = [[*name.split("/", 1), text] for name, text in told.items()]
            self.remote.screen.table(("host", "node", "result"), rows)
        if self.interrupted:
            return INTERRUPTED
        return code if outcome.ok else FAILED

    def interruptible(self, what: Callable[[], Outcome]) -> Outcome:
        def interrupt(number: int, frame: FrameType | None) -> None:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
            self.fleet.cancel.set()
            complain("interrupted; it ends after the nodes that are on their way")

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            with self.teller:
                return what()
        finally:
            signal.signal(signal.SIGINT, before)


@fleet.command()
@_NODES
@_PROGRAM
@_JSON
@host_options
@click.pass_context
def status(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The nodes on all hosts. The exit code is 0 when all of them run.

    \b
    multi fleet status
    multi fleet status 'img*' --roles images --json
    """
    with Remote(ctx, given) as remote:
        work = _Work(remote, given)
        members = work.select(nodes, needed=False)
        if given["as_json"]:
            values = [{"host": one.host, "node": one.name, "state": one.state, **one.told} for one in members]
            lost = [{"host": name, "error": str(error)} for name, error in work.lost.items()]
            remote.screen.show(as_json([*values, *lost]))
        else:
            rows = [_row(one) for one in members]
            head = ("host", "node", "state", "run by", "uptime", "queues", "active")
            remote.screen.table(head, rows, (4, 6))
        code = work.tell_lost()
        if any(not one.state.startswith("running") for one in members):
            code = FAILED
        ctx.exit(code if members else UNKNOWN)


def _row(one: Member) -> list[str]:
    paused = " (paused)" if one.paused else ""
    uptime = one.told.get("uptime")
    active = one.told.get("active")
    return [
        one.host,
        one.name,
        one.state + paused,
        one.run_by,
        ago(float(uptime)) if uptime else "-",
        ",".join(one.queues or ()) or "-",
        str(active) if active is not None else "-",
    ]


def _rolling(verb: str, text: str) -> click.Command:
    """start, restart and reload: wave by wave."""

    @click.pass_context
    def run(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
        batch = parse_batch(given["batch"])
        with Remote(ctx, given) as remote:
            work = _Work(remote, given)
            members = work.select(nodes)
            outcome = work.interruptible(
                lambda: work.fleet.roll(
                    verb,
                    members,
                    batch=batch,
                    healthy=given["healthy"],
                    deadline=given["deadline"],
                    force=given.get("force", False),
                    dry=given["dry_run"],
                )
            )
            ctx.exit(work.end(outcome))

    run.__doc__ = text
    command: Any = run
    options: list[Any] = [
        _NODES,
        _ALL,
        _roll_options,
        *([_FORCE] if verb == "restart" else []),
        click.option("--dry-run", is_flag=True, help="Show which nodes would go when, and do nothing."),
        _PROGRAM,
        _JSON,
        host_options,
    ]
    for option in reversed(options):
        command = option(command)
    made = click.command(verb)(command)
    fleet.add_command(made)
    return made


start = _rolling(
    "start",
    """Start nodes that are down, batch by batch, each healthy before the next.

    \b
    multi fleet start --all
    multi fleet start 'img*' --batch 50%
    """,
)
restart = _rolling(
    "restart",
    """Restart nodes: of each host one at a time, so many hosts at once as --batch says, each healthy before the next.

    Tasks that run are finished first. A queue keeps a consumer somewhere in the fleet, or nothing is done. What fails ends it.

    \b
    multi fleet restart 'img*' --hosts 'app*' --batch 25%
    multi fleet restart --all --healthy 10s
    """,
)
reload = _rolling(
    "reload",
    """Have nodes load new code without a gap, wave by wave.

    \b
    multi fleet reload --all
    multi fleet reload 'w*' --batch 2
    """,
)


def _at_once(verb: str, text: str, *, guarded: bool, queues: bool) -> click.Command:
    """stop, pause and resume: on all hosts at the same time."""

    @click.pass_context
    def run(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
        with Remote(ctx, given) as remote:
            work = _Work(remote, given)
            members = work.select(nodes)
            if guarded and not given["force"] and not (given["every"] and not given["hosts"] and not given["roles"]):
                work.fleet.guard(_of_queues(members, given.get("only")), verb)
            words = ("-Q", given["only"]) if given.get("only") else ()
            ctx.exit(work.end(work.interruptible(lambda: work.fleet.all_at_once(verb, members, words))))

    run.__doc__ = text
    command: Any = run
    options: list[Any] = [_NODES, _ALL, *([_FORCE] if guarded else []), _PROGRAM, _JSON, host_options]
    if queues:
        options.append(click.option("-Q", "--queues", "only", metavar="LIST", help="Only these queues."))
    for option in reversed(options):
        command = option(command)
    made = click.command(verb)(command)
    fleet.add_command(made)
    return made


def _of_queues(members: list[Member], only: str | None) -> list[Member]:
    """Of those that stop consuming only some queues, just these count."""
    if not only:
        return members
    wanted = {name.strip() for name in only.split(",")}
    return [one for one in members if wanted & set(one.consumes)]


stop = _at_once(
    "stop",
    """Stop nodes on all hosts at once, and wait until they are gone; tasks that run are finished first.

    A queue keeps a consumer somewhere in the fleet, or nothing is done; --all on all hosts means what it says.

    \b
    multi fleet stop 'img*' --hosts app3
    multi fleet stop --all
    """,
    guarded=True,
    queues=False,
)
pause = _at_once(
    "pause",
    """Have nodes consume nothing more, or nothing from some queues, with their processes kept.

    \b
    multi fleet pause 'img*' --hosts app3
    multi fleet pause --all -Q mails
    """,
    guarded=True,
    queues=True,
)
resume = _at_once(
    "resume",
    """Have paused nodes consume again.

    \b
    multi fleet resume --all
    multi fleet resume 'img*' -Q mails
    """,
    guarded=False,
    queues=True,
)


@fleet.command()
@click.argument("targets", nargs=-1, required=True)
@_PROGRAM
@host_options
@click.pass_context
def scale(ctx: click.Context, /, targets: tuple[str, ...], **given: Any) -> None:
    """Change how many nodes there are on each host: w=5 means w1 to w5. For nodes that multi's own keepers run.

    \b
    multi fleet scale w=5
    multi fleet scale images=+1 --roles images
    """
    with Remote(ctx, given) as remote:
        work = _Work(remote, given)
        ctx.exit(_say(work, lambda say: work.fleet.multi(("scale", *targets), work.there, say)))


@fleet.command()
@_NODES
@click.option(
    "-n", "--lines", type=click.IntRange(1, 10000), default=20, metavar="N", help="How many lines of each (20)."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-g", "--grep", metavar="REGEX", help="Only entries that match.")
@_PROGRAM
@host_options
@click.pass_context
def logs(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The last lines of nodes on all hosts, with the host before each.

    \b
    multi fleet logs 'img*' -n 100
    multi fleet logs -f --hosts 'app*' --grep ERROR
    """
    with Remote(ctx, given) as remote:
        work = _Work(remote, given)
        members = work.select(nodes, needed=False)
        words = ["-n", str(given["lines"])]
        words += ["-f"] if given["follow"] else []
        words += ["--grep", given["grep"]] if given["grep"] else []
        names = tuple(dict.fromkeys(one.name for one in members))
        hosts = list(dict.fromkeys(one.host for one in members))
        try:
            ctx.exit(_say(work, lambda say: work.fleet.multi(("logs", *names, *words), hosts, say)))
        except KeyboardInterrupt:
            ctx.exit(DONE)


@fleet.command("exec", cls=OfOthers, context_settings={"allow_interspersed_args": False})
@click.option("--sudo", "as_root", is_flag=True, help="As root.")
@_PROGRAM
@_JSON
@host_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(ctx: click.Context, /, command: tuple[str, ...], **given: Any) -> None:
    """Run a command on all hosts, in the project's folder; one word is a line for the shell there.

    \b
    multi fleet exec -- git rev-parse HEAD
    multi fleet exec 'ls | wc -l' --hosts 'app*'
    """
    with Remote(ctx, given) as remote:
        work = _Work(remote, given)
        argv = ("sh", "-c", command[0]) if len(command) == 1 else command
        ctx.exit(_say(work, lambda say: work.fleet.run(argv, work.there, as_root=given["as_root"], say=say)))


def _say(work: _Work, what: Callable[[Callable[[str, str], None]], Mapping[str, Any]]) -> int:
    """Show lines with their hosts before them, or all as JSON; the exit code."""
    width, screen = max((len(name) for name in work.hosts), default=0), work.remote.screen
    as_json_ = work.given.get("as_json")
    found = what(lambda host, line: None if as_json_ else screen.show(f"{host.ljust(width)}  {line}"))
    code = work.tell_lost()
    values: list[Any] = [{"host": name, "code": None, "error": str(error)} for name, error in work.lost.items()]
    for name, result in found.items():
        if isinstance(result, MultiError):
            complain(f"{name}: {getattr(result, 'reason', None) or result}")
            values.append({"host": name, "code": None, "error": str(result)})
            code = FAILED
            continue
        values.append({"host": name, "code": result.code, "out": result.out, "err": result.err})
        if not result.ok:
            complain(f"{name}: {result.err if result.code is None else f'exit code {result.code}'}")
            code = FAILED
    if as_json_:
        screen.show(as_json(values))
    return code
