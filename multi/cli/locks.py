"""`multi deploy lock`, `unlock` and `audit`."""

from __future__ import annotations

from typing import Any

import click

from multi.cli.group import DONE
from multi.cli.onhosts import JSON, tell_errors
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.screen import clock
from multi.deploy.connections.ssh import SshSession
from multi.deploy.rollout import audit, locking
from multi.errors import ConfigurationError, DeployError, MultiError


@click.command()
@click.option("-m", "--message", "why", metavar="TEXT", help="Lock the hosts, and why; without it the locks are shown.")
@click.option(
    "--expires", "expires", metavar="SPAN", help="When it ends by itself, such as 2h (lock_expires of multi.toml)."
)
@click.option("--break", "breaking", is_flag=True, help="Take the lock from whoever has it.")
@JSON
@host_options
@click.pass_context
def lock(ctx: click.Context, /, **given: Any) -> None:
    """Show who has locked hosts, when, from where and why; with -m lock them, so that nobody deploys.

    \b
    multi deploy lock
    multi deploy lock -m 'the database is being moved'
    multi deploy lock -m 'over the weekend' --expires 60h
    """
    from multi.nodes.policy import parse_span

    with Remote(ctx, given) as remote:
        if given["why"] is not None:
            if not given["why"].strip():
                raise ConfigurationError("-m '': say why the hosts are locked; it is what others are told")
            span = parse_span(given["expires"]) if given["expires"] else remote.settings.lock_expires
            holder = locking.Holder(given["why"], span, lasting=True)
            found = remote.each(remote.hosts, lambda session: holder.take(session, breaking=given["breaking"]))
            code = tell_errors(found)
            if code != DONE:  # all or none
                taken = [host for host in remote.hosts if not isinstance(found[host.name], MultiError)]
                remote.each(taken, holder.release)
                ctx.exit(code)
            count = f"{len(found)} hosts are" if len(found) != 1 else "1 host is"
            remote.screen.line(f"{count} locked; multi deploy unlock ends it")
            ctx.exit(DONE)
        if given["expires"] or given["breaking"]:
            raise ConfigurationError("--expires and --break are about a lock that is taken; say why with -m")
        locks = remote.each(remote.hosts, locking.show)
        if given["as_json"]:
            remote.screen.show(
                as_json({name: one.json() for name, one in locks.items() if isinstance(one, locking.Lock)})
            )
        else:
            for name, one in locks.items():
                if not isinstance(one, MultiError):
                    remote.screen.show(f"{name}: {one if one is not None else 'not locked'}")
        ctx.exit(tell_errors(locks))


@click.command()
@click.option("--break", "breaking", is_flag=True, help="Also locks of others, and of a deploy that is at it.")
@host_options
@click.pass_context
def unlock(ctx: click.Context, /, **given: Any) -> None:
    """End the locks that you have taken with `multi deploy lock`, and those that nobody holds any more.

    One that a running deploy holds stays; with --break it is taken away, and that deploy ends before it changes anything more.

    \b
    multi deploy unlock
    multi deploy unlock --break --hosts app3
    """
    with Remote(ctx, given) as remote:

        def end(session: SshSession) -> str:
            held = locking.show(session)
            if held is None:
                return "not locked"
            why_not = held.why_not_to_end()
            if why_not and not given["breaking"]:
                raise DeployError(why_not)
            locking.remove(session, held)
            if why_not:
                audit.append(session, audit.entry("lock broken", of=held.who, was=held.why))
            return f"unlocked; it was {held}"

        found = remote.each(remote.hosts, end)
        for name, one in found.items():
            if isinstance(one, str):
                remote.screen.line(f"{name}: {one}")
        ctx.exit(tell_errors(found))


@click.command("audit")
@click.option(
    "-n", "--lines", type=click.IntRange(1, 100000), default=20, metavar="N", help="How many of each host (20)."
)
@JSON
@host_options
@click.pass_context
def audit_(ctx: click.Context, /, **given: Any) -> None:
    """What was done on the hosts by deploys: when, by whom, from where, and how it ended.

    \b
    multi deploy audit
    multi deploy audit --hosts app1 -n 100 --json
    """
    with Remote(ctx, given) as remote:
        found = remote.each(remote.hosts, lambda session: audit.read(session, given["lines"]))
        entries = [
            {"host": name, **record}
            for name, records in found.items()
            if isinstance(records, list)
            for record in records
        ]
        entries.sort(key=lambda one: float(one.get("at") or 0))
        for one in entries:
            if given["as_json"]:
                remote.screen.show(as_json(one))
                continue
            more = {
                key: value for key, value in one.items() if key not in ("host", "at", "who", "from", "what") and value
            }
            told = ", ".join(f"{key} {value}" for key, value in more.items())
            at = clock(float(one.get("at") or 0))
            who = f"{one.get('who')}@{one.get('from')}"
            remote.screen.show(f"{at}  {one['host']}  {who}  {one.get('what')}" + (f" ({told})" if told else ""))
        ctx.exit(tell_errors(found))
