"""`multi deploy status`, `releases`, `logs`, `exec` and `prune`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import complain
from multi.cli.shellwords import OfOthers
from multi.deploy.connections.ssh import TIMED_OUT, SshSession
from multi.deploy.hosts.facts import RUNNING, HostFacts
from multi.deploy.hosts.inventory import Host
from multi.deploy.planning.managers import NoManager, choose, node_of
from multi.deploy.rollout import audit, locking
from multi.deploy.steps import Command
from multi.errors import DeployError, HostUnreachable, MultiError

JSON = click.option("--json", "as_json", is_flag=True, help="The same as JSON.")


def tell_errors(found: Mapping[str, Any]) -> int:
    """Tell of the hosts that could not be asked; the exit code."""
    code = DONE
    for name, result in found.items():
        if isinstance(result, MultiError):
            text = str(getattr(result, "reason", None) or result)
            complain(text if text.startswith((f"{name}: ", f"{name} is ")) else f"{name}: {text}")
            for line in getattr(result, "output", "").splitlines():
                complain(f"    {line}")
            code = FAILED
    return code


@click.command()
@JSON
@host_options
@click.pass_context
def status(ctx: click.Context, /, **given: Any) -> None:
    """What each host has: release, nodes, manager, lock.

    The exit code is 0 when all hosts answer and have one release, with all of their nodes running; else 1.

    \b
    multi deploy status
    multi deploy status -e staging --json
    """
    with Remote(ctx, given) as remote:
        facts = remote.facts()
        values = [_status(remote, host, facts[host.name]) for host in remote.hosts]
        if given["as_json"]:
            remote.screen.show(as_json(values))
        else:
            rows = []
            for one in values:
                nodes = one["nodes"]
                up = sum(node["state"] == RUNNING for node in nodes.values())
                rows.append(
                    [
                        one["host"],
                        one["release"] or "-",
                        f"{up}/{len(one['wanted'])}" if one["error"] is None else "-",
                        ", ".join(sorted({node["manager"] for node in nodes.values()})) or "-",
                        one["multi"] or "-",
                        one["python"] or "-",
                        "locked" if one["locked"] else "-",
                    ]
                )
            remote.screen.table(("host", "release", "nodes up", "manager", "multi", "python", "lock"), rows)
            for one in values:
                if one["error"] is not None:
                    complain(f"{one['host']}: {one['error']}")
                for name in one["missing"]:
                    complain(f"{one['host']}: {name} is not running")
        several = {one["release"] for one in values if one["error"] is None}
        if len(several) > 1:
            names = ", ".join(sorted(map(str, several)))
            complain(f"the hosts have different releases: {names}; multi deploy push brings them together")
        bad = len(several) > 1 or any(one["error"] is not None or one["missing"] for one in values)
        ctx.exit(FAILED if bad else DONE)


def _status(remote: Remote, host: Host, facts: HostFacts) -> dict[str, Any]:
    wanted = remote.inventory.names(host)
    nodes = {unit: fact._asdict() for unit, fact in facts.nodes.items()}
    missing = []
    if facts.error is None:
        project = remote.inventory.project
        up = [fact for fact in facts.nodes.values() if fact.state == RUNNING]
        running = {node_of(project, fact, facts.recorded_units) for fact in up}
        missing = [name for name in wanted if name not in running]
    return {
        "host": host.name,
        "error": facts.error,
        "release": facts.current,
        "wanted": wanted,
        "missing": missing,
        "nodes": nodes,
        "multi": facts.multi,
        "python": facts.python,
        "locked": facts.lock is not None,
        "disk_free": facts.disk_free,
    }


@click.command()
@JSON
@host_options
@click.pass_context
def releases(ctx: click.Context, /, **given: Any) -> None:
    """The releases on the hosts, the newest first: which one is current where, and which were healthy.

    \b
    multi deploy releases
    multi deploy releases --hosts app1 --json
    """
    with Remote(ctx, given) as remote:
        facts = remote.facts()
        there = {name: one for name, one in facts.items() if one.error is None}
        names = sorted({release.name for one in there.values() for release in one.releases}, reverse=True)
        values = []
        for name in names:
            on = [host for host, one in there.items() if one.release(name) is not None]
            good = any(release.good for one in there.values() for release in one.releases if release.name == name)
            current = [host for host, one in there.items() if one.current == name]
            values.append({"release": name, "good": good, "hosts": on, "current": current})
        if given["as_json"]:
            remote.screen.show(as_json(values))
        elif not names:
            remote.screen.show("There are no releases; multi deploy push makes one")
        else:
            rows = [
                [
                    str(one["release"]),
                    "good" if one["good"] else "-",
                    _which(one["current"], there),
                    _which(one["hosts"], there),
                ]
                for one in values
            ]
            remote.screen.table(("release", "was", "current on", "is on"), rows)
        errors = {name: DeployError(one.error) for name, one in facts.items() if one.error is not None}
        ctx.exit(tell_errors(errors))


def _which(hosts: Any, every: Mapping[str, Any]) -> str:
    if len(hosts) == len(every) and len(every) > 1:
        return f"all {len(every)}"
    return ", ".join(hosts) or "-"


@click.command()
@click.argument("nodes", nargs=-1)
@click.option(
    "-n", "--lines", type=click.IntRange(1, 10000), default=20, metavar="N", help="How many lines of each (20)."
)
@host_options
@click.pass_context
def logs(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """The last lines of nodes on all hosts, from whatever keeps them there: systemd's journal, supervisord, keepers.

    Names may be patterns. Each line has its host and node before it.

    \b
    multi deploy logs
    multi deploy logs 'img*' -n 100 --hosts app1
    """
    with Remote(ctx, given) as remote:
        wanted = remote.inventory.matching_nodes(nodes, remote.hosts)
        facts = remote.facts()

        def read(session: SshSession) -> list[str]:
            host, known = session.host, facts[session.host.name]
            if known.error is not None:
                raise HostUnreachable(host.name, known.error)
            try:
                manager = choose(
                    known, host.settings, has_multi=known.multi is not None, password=remote.password is not None
                )
            except NoManager as error:
                raise DeployError(str(error)) from None
            lines = []
            units = _units(remote, host, known)
            for name in remote.inventory.names(host):
                if name not in wanted:
                    continue
                result = session.run(manager.logs(units.get(name, name), given["lines"]))
                said = result.out if result.ok else result.err
                lines += [f"{host.name} {name}: {line}" for line in said.rstrip("\n").splitlines()[-given["lines"] :]]
            return lines

        found = remote.each(remote.hosts, read)
        for result in found.values():
            for line in result if isinstance(result, list) else ():
                remote.screen.show(line)
        ctx.exit(tell_errors(found))


def _units(remote: Remote, host: Host, facts: HostFacts) -> dict[str, str]:
    """Nodes by name → what their manager calls them, as it tells itself."""
    found = {}
    for unit, fact in facts.nodes.items():
        name = node_of(remote.inventory.project, fact, facts.recorded_units)
        if name is not None:
            found[name] = unit
    return found


@click.command("exec", cls=OfOthers, context_settings={"allow_interspersed_args": False})
@click.option("--sudo", "as_root", is_flag=True, help="As root.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="How long it may take (for ever).")
@JSON
@host_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def exec_(ctx: click.Context, /, command: tuple[str, ...], **given: Any) -> None:
    """Run a command on the hosts, in the current release and as its owner; it is noted in their audit logs.

    One word is a line for the shell there. Each line of output has its host before it. The exit code is 0 when it has
    succeeded on all hosts.

    \b
    multi deploy exec -- python manage.py check
    multi deploy exec --hosts 'app*' -- df -h /srv
    multi deploy exec 'ls | wc -l'
    """
    with Remote(ctx, given) as remote:
        argv = ("sh", "-c", command[0]) if len(command) == 1 else command
        shown = command[0] if len(command) == 1 else shlex.join(command)

        def run(session: SshSession) -> Any:
            settings = session.host.settings
            path = f"{settings.current}/.venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            user = None if given["as_root"] else settings.owner_user
            there = session.run(Command(("test", "-d", settings.current), timeout=30))
            if there.code is None:
                raise HostUnreachable(session.host.name, there.err)
            if not there.ok:
                raise DeployError(f"there is no release in {settings.path}; multi deploy push brings one")
            name = session.host.name

            def say(line: str) -> None:
                if not given["as_json"]:
                    remote.screen.show(f"{name}  {line}")

            wanted = Command(argv, sudo=given["as_root"], user=user, cwd=settings.current, env={"PATH": path})
            result = session.run(wanted._replace(timeout=given["timeout"]), say)
            audit.append(session, audit.entry("exec", command=shown, code=result.code))
            return result

        found = remote.each(remote.hosts, run)
        code = tell_errors(found)
        values = []
        for name, result in found.items():
            if isinstance(result, MultiError):
                values.append({"host": name, "code": None, "error": str(result)})
                continue
            values.append({"host": name, "code": result.code, "out": result.out, "err": result.err})
            if not result.ok:
                code = FAILED
                if not given["as_json"]:
                    complain(f"{name}: {_end_of(result, given['timeout'])}")
        if given["as_json"]:
            remote.screen.show(as_json(values))
        ctx.exit(code)


def _end_of(result: Any, timeout: float | None) -> str:
    """How a command has ended, in words."""
    if result.code is None:
        return str(result.err)
    if timeout is not None and result.code == TIMED_OUT:
        return f"it took longer than {timeout:g} s, and may still run there"
    return f"exit code {result.code}"


#: folder of releases, then names.
_PRUNE = """
set -eu
cd "$1"
shift
for one in "$@"; do mv "$one" ".gone-$one"; rm -rf ".gone-$one"; done
rm -rf .gone-* ./*.part
"""


@click.command()
@click.option("--keep", type=click.IntRange(1), metavar="N", help="How many releases stay (keep of multi.toml).")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
@host_options
@click.pass_context
def prune(ctx: click.Context, /, **given: Any) -> None:
    """Remove old releases, environments that no release uses any more, and what interrupted deploys have left.

    The current release stays, those that nodes still run, and the newest that were good. Those that never were go.

    \b
    multi deploy prune
    multi deploy prune --keep 2 --hosts app1
    """
    with Remote(ctx, given) as remote:
        facts = remote.facts()
        holder = locking.Holder("prune", remote.settings.lock_expires)

        def clear(session: SshSession) -> list[str]:
            known, settings = facts[session.host.name], session.host.settings
            if known.error is not None:
                raise HostUnreachable(session.host.name, known.error)
            gone, environments = surplus(known, given["keep"] or settings.keep)
            if given["dry_run"] or not (gone or environments):
                return [*gone, *(f"environment {one}" for one in environments)]
            holder.take(session)
            try:
                for folder, names in ((settings.releases, gone), (settings.environments, environments)):
                    argv = ("sh", "-c", _PRUNE, "multi-prune", folder, *names)
                    result = session.run(Command(argv, user=settings.owner_user, timeout=600))
                    if not result.ok:
                        raise DeployError(f"not all could be removed: {result.tail}")
                audit.append(session, audit.entry("prune", removed=", ".join((*gone, *environments))))
            finally:
                holder.release(session)
            return [*gone, *(f"environment {one}" for one in environments)]

        found = remote.each(remote.hosts, clear)
        word = "would be removed" if given["dry_run"] else "removed"
        for name, one in found.items():
            if isinstance(one, list):
                remote.screen.line(f"{name}: " + (f"{word}: {', '.join(one)}" if one else "nothing is to be removed"))
        ctx.exit(tell_errors(found))


def surplus(facts: HostFacts, keep: int) -> tuple[list[str], list[str]]:
    """The releases and the environments that a host needs no more."""
    names = sorted(one.name for one in facts.releases)
    good = sorted(one.name for one in facts.releases if one.good)
    running = {fact.release for fact in facts.nodes.values() if fact.release}
    stay = {*good[-keep:], *good[-2:], facts.current, *running}
    gone = [name for name in names if name not in stay]
    used = {one.environment for one in facts.releases if one.name in stay}
    return gone, sorted(facts.environments - used)
