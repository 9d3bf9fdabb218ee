"""`multi deploy`: the group of the commands for the hosts of multi.toml; each is imported when it is used."""

from __future__ import annotations

import click

from multi.cli.lazy import LazyGroup

#: Name, where it is, what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "plan": ("multi.cli.planning:plan", "What a push would do on each host, and why."),
    "setup": ("multi.cli.preparing:setup", "Prepare hosts: owner, folders, Python."),
    "push": ("multi.cli.rollout:push", "Bring a release to the hosts, batch by batch."),
    "rollback": ("multi.cli.rollback:rollback", "Go back to a release that the hosts still have."),
    "status": ("multi.cli.onhosts:status", "What each host has: release, nodes, manager, lock."),
    "releases": ("multi.cli.onhosts:releases", "The releases on the hosts."),
    "logs": ("multi.cli.onhosts:logs", "The last lines of nodes on all hosts."),
    "exec": ("multi.cli.onhosts:exec_", "Run a command on the hosts, in the current release."),
    "lock": ("multi.cli.locks:lock", "Show or take the locks of hosts."),
    "unlock": ("multi.cli.locks:unlock", "End locks."),
    "audit": ("multi.cli.locks:audit_", "What was done on the hosts by deploys."),
    "prune": ("multi.cli.onhosts:prune", "Remove old releases and environments."),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def deploy() -> None:
    """Bring releases to the hosts of multi.toml, over SSH.

    [hosts.NAME] are the hosts, [deploy] says how releases come to them; docs/multi.toml.md has all keys.

    \b
    multi deploy plan                    what would be done, and why
    multi deploy plan --hosts 'app*' -v
    multi deploy setup                   once, and for each new host
    multi deploy push -e staging         a release to all hosts of staging
    multi deploy rollback                to the last good one
    """
