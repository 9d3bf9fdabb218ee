"""`multi deploy setup`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.remote import Remote, as_json, host_options
from multi.cli.rollout import show_plan, show_report
from multi.cli.telling import Teller
from multi.deploy.hosts import gathering
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.question import Question
from multi.deploy.planning.first_units import rules_path
from multi.deploy.releases import making as releases
from multi.deploy.releases.wanted import Release
from multi.deploy.rollout import audit, preparing, runner
from multi.deploy.rollout.report import DONE as HOST_DONE
from multi.deploy.rollout.runner import Runner
from multi.errors import MultiError


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done on each host and why, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Events and the report as lines of JSON.")
@host_options
@click.pass_context
def setup(ctx: click.Context, /, **given: Any) -> None:
    """Prepare hosts for deploys: the owner, the folders, Python and what makes its environments, units and a rule of sudo.

    Units are written where there is no release yet, and started by the first push. The rule lets the login start and stop the
    nodes without a password; visudo looks at it before it counts. A host needs nothing for all this but sshd, and Python from
    3.11 on where multi is to run there. What is there already is left alone, so it can be done again at any time.

    \b
    multi deploy setup
    multi deploy setup --hosts app9 --accept-new
    multi deploy setup --ask-sudo-password
    """
    with Remote(ctx, given) as remote:
        backend = remote.connections()
        facts = gathering.gather(backend, remote.hosts, _question(remote), max_parallel=remote.max_parallel)
        there = [host for host in remote.hosts if facts[host.name].error is None]
        asked = remote.each(there, lambda session: preparing.probe(session, facts[session.host.name].user))
        probes = {}
        for name, found in asked.items():
            if isinstance(found, MultiError):
                facts[name] = facts[name]._replace(error=str(getattr(found, "reason", found)))
            else:
                probes[name] = found
        plan = preparing.make_plan(
            remote.inventory,
            remote.hosts,
            facts,
            probes,
            password=remote.password is not None,
            release=_release(remote),
        )
        if given["dry_run"]:
            if given["as_json"]:
                remote.screen.show(as_json(plan.json()))
            else:
                show_plan(remote.screen, plan)
            ctx.exit(FAILED if plan.errors else DONE)
        teller = Teller(remote.screen, [host.name for host in remote.hosts], as_json=given["as_json"])
        if not given["as_json"]:
            show_plan(remote.screen, plan, brief=True)
        with teller:
            report = Runner(
                plan,
                remote.hosts,
                backend,
                teller,
                # one host that can't be prepared is no reason to leave the others as they are
                settings=runner.Settings(remote.max_parallel, 100),
            ).run()
            done = [
                host for host in there if plan.hosts[host.name].steps and report.hosts[host.name].state == HOST_DONE
            ]
            remote.each(done, lambda session: audit.append(session, audit.entry("setup")))
        if given["as_json"]:
            remote.screen.show(as_json({"event": "report", **report.json()}))
        else:
            show_report(remote.screen, report)
        ctx.exit(DONE if report.ok else FAILED)


def _question(remote: Remote) -> Callable[[Host], Question]:
    """What every deploy asks, and the file of sudo."""
    project = remote.inventory.project

    def ask(host: Host) -> Question:
        asked = gathering.question(host, project)
        return asked._replace(files=(*asked.files, rules_path(project)))

    return ask


def _release(remote: Remote) -> Release | None:
    """What would be deployed; None where nothing can be yet, which is no reason not to prepare hosts."""
    try:
        return releases.make(remote.inventory)[1]
    except MultiError:
        return None
