"""Asks hosts what they are like, many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from multi.deploy.base import Backend
from multi.deploy.hosts.facts import HostFacts, parse, unreachable, unreadable
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.question import FOLDERS, Question
from multi.deploy.steps import Command
from multi.errors import MultiError


def question(host: Host, project: str) -> Question:
    """What is asked of a host: the files in the folders of its unit managers, and the file of its secrets."""
    settings = host.settings
    folders = (*FOLDERS, *((settings.units_dir,) if settings.units_dir else ()))
    files = (settings.secrets_file,) if settings.secrets else ()
    owner = (settings.owner or "").partition(":")[0]
    return Question(settings.path, project, settings.python, files, folders, owner)


def gather(
    backend: Backend,
    hosts: Iterable[Host],
    ask: Callable[[Host], Question],
    *,
    max_parallel: int = 20,
    told: Callable[[HostFacts], None] | None = None,
) -> dict[str, HostFacts]:
    """The facts by host, in the order of the hosts. A host that can't be reached, or doesn't tell, has its error as the fact."""
    hosts = list(hosts)

    def one(host: Host) -> HostFacts:
        try:
            facts = _ask(backend, host, ask(host))
        except MultiError as error:
            facts = unreachable(host.name, getattr(error, "reason", None) or str(error))
        if told is not None:
            told(facts)
        return facts

    with ThreadPoolExecutor(max(1, min(max_parallel, len(hosts))), "multi-facts") as pool:
        return {facts.host: facts for facts in pool.map(one, hosts)}


def _ask(backend: Backend, host: Host, asked: Question) -> HostFacts:
    session = backend.connect(host)
    result = session.run(asked.command())
    if result.code is None:
        return unreachable(host.name, result.err)
    facts = parse(host.name, result.out)
    hidden = unreadable(facts)
    if not hidden:
        return facts
    # the script itself asks no password of anybody
    result = session.run(Command(("sha256sum", *hidden), sudo=True, timeout=60))
    digests = {line[66:]: line[:64] for line in result.out.splitlines() if len(line) > 66}
    return facts._replace(files={**facts.files, **digests})
