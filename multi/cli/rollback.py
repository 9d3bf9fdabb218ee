"""`multi deploy rollback`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from multi.cli.remote import Remote, host_options
from multi.cli.rollout import BREAK, DRY, FORCE, JSON, REMOVED, WHY, Rollout
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.planning.coverage import covered
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases.wanted import Kept, Release, kept_at
from multi.deploy.steps import Command, Plan
from multi.errors import ConfigurationError, MultiError


@click.command()
@click.argument("release", required=False)
@DRY
@WHY
@BREAK
@FORCE
@REMOVED
@JSON
@host_options
@click.pass_context
def rollback(ctx: click.Context, /, release: str | None, **given: Any) -> None:
    """Go back to a release that the hosts still have: the last good one before the present one, or the one that is named.

    Nothing is sent or built: units are put back as they were with that release, and nodes are restarted one by one. The end of
    a release's name is enough, such as the commit.

    \b
    multi deploy rollback
    multi deploy rollback 20261121-093000-5c17d05
    multi deploy rollback 5c17d05 --dry-run
    """
    with Remote(ctx, given) as remote:

        def plan(facts: Mapping[str, HostFacts]) -> Plan:
            name = choose(facts, release)
            found = next(one for fact in facts.values() if (one := fact.release(name)) is not None)
            there = [host for host in remote.hosts if facts[host.name].release(name) is not None]

            def read(session: Any) -> tuple[bool, Kept | None]:
                settings = session.host.settings
                words = (f"{settings.releases}/{name}/.venv/bin/multi", kept_at(settings.own, name))
                argv = ("sh", "-c", '[ -x "$1" ] && echo yes || echo no; cat "$2"', "multi-kept", *words)
                result = session.run(Command(argv, user=settings.owner_user, timeout=60))
                head, _, text = result.out.partition("\n")
                return head == "yes", Kept.read(text) if result.ok else None

            known = {host: one for host, one in remote.each(there, read).items() if not isinstance(one, MultiError)}
            version = name.rpartition("-")[2]
            has_multi = any(one[0] for one in known.values())
            target = Release(name, version, found.digest, has_multi=has_multi, is_there=True)
            kept = {host: one[1] for host, one in known.items() if one[1] is not None}
            found_plan = make_plan(
                remote.inventory,
                remote.hosts,
                facts,
                target,
                kept=kept,
                password=remote.password is not None,
                serial=[1],
            )
            # it was good before, and there is haste: half of the hosts at once, each node by node
            half = [(len(found_plan.batches) + 1) // 2 or 1]
            return remote.covered(covered(found_plan, remote.inventory, facts, half), facts, half)

        ctx.exit(Rollout(remote, given, "rollback", release or "to the last good release").run(plan))


def choose(facts: Mapping[str, HostFacts], wanted: str | None) -> str:
    """The release that is meant: by its name or the end of it, or the newest that was good and is not the present one."""
    there = [one for one in facts.values() if one.error is None]
    known = sorted({release.name for one in there for release in one.releases}, reverse=True)
    listed = f"the hosts have: {', '.join(known)}" if known else "the hosts have none"
    if wanted is not None:
        found = [name for name in known if name == wanted] or [name for name in known if name.endswith(wanted)]
        if len(found) != 1:
            what = f"{wanted} means several releases" if found else f"there is no release {wanted}"
            raise ConfigurationError(f"{what}; {listed}")
        return found[0]
    good = sorted({release.name for one in there for release in one.releases if release.good}, reverse=True)
    current = max((one.current for one in there if one.current), default=None)
    earlier = [name for name in good if current is None or name < current]
    if not earlier:
        raise ConfigurationError(f"there is no earlier release whose nodes were healthy; {listed}")
    return earlier[0]
