"""What a host's manager has of a project before its first release: the units of its nodes, which nobody starts yet, and the rule
of sudo by which the login may steer them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from multi.deploy.hosts.facts import ROOT, HostFacts
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import SUPERVISORD, SYSTEMD
from multi.deploy.planning.managers import NoManager, choose
from multi.deploy.planning.rendering import Renderer
from multi.deploy.releases.wanted import Release
from multi.deploy.steps import Command, File, Secret
from multi.errors import ConfigurationError

#: path. The content is the input. sudo reads no file with a dot in its name, so that nothing counts before it was looked at.
_RULES = """
set -eu
path=$1
new=$path.new
PATH=$PATH:/usr/sbin:/sbin
umask 077
trap 'rm -f "$new"' EXIT
command -v visudo >/dev/null || { echo "there is no visudo, which would look at the rule before it counts" >&2; exit 1; }
cat > "$new"
chmod 0440 "$new"
chown 0:0 "$new"
visudo -cf "$new" >/dev/null
mv -f "$new" "$path"
"""


class FirstUnits(NamedTuple):
    """`reload` is what has the manager read the files, `rules` the file of sudo, `note` why there are none."""

    files: tuple[File, ...] = ()
    reload: Command | None = None
    rules: File | None = None
    note: str = ""


def first_units(
    host: Host,
    facts: HostFacts,
    renderer: Renderer,
    release: Release | None,
    programs: Mapping[str, str],
    *,
    password: bool = False,
) -> FirstUnits:
    """What is to be there. With a release on the host its units are what that release has. `release` is what would be deployed,
    `programs` where managers' programs are there."""
    settings = host.settings
    agent = not settings.agentless
    if settings.agentless is None:
        agent = release is not None and release.has_multi and settings.installer != "none"
    try:
        manager = choose(facts, settings, has_multi=agent, password=password)
        rules = None
        if manager.name in (SYSTEMD, SUPERVISORD) and facts.sudo != ROOT:
            rules = renderer.rules(host, facts, manager, programs)
        if facts.current is not None or release is None:
            return FirstUnits(rules=rules)
        rendered = renderer.of(host, facts, manager, agent=agent)
    except (NoManager, ConfigurationError) as error:
        return FirstUnits(note=f"no units are written: {error}")
    files = [
        File(one.path, Secret(one.text) if one.secret else one.text, one.mode, one.owner, manager.sudo)
        for one in rendered.files
    ]
    # supervisord is to know of them when a release is there, and not before: it would start them
    reload = manager.read_again() if manager.name != SUPERVISORD and files else None
    return FirstUnits(tuple(files), reload, rules)


def rules_path(project: str) -> str:
    """Where the file of sudo is: its name has no dot in it, or sudo would not read it."""
    return f"/etc/sudoers.d/zz-multi-{project.replace('.', '_')}"


def put_rules(file: File) -> Command:
    """Puts a file of sudo where it counts, when visudo has nothing against it."""
    argv = ("sh", "-c", _RULES, "multi-sudoers", file.path)
    return Command(argv, sudo=True, stdin=file.content, timeout=60)
