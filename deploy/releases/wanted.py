"""What is wanted on hosts beside what the description says: a release, or one that was there before."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multi.deploy.hosts.inventory import Host
from multi.deploy.steps import Command, File, Secret


class Release(NamedTuple):
    """A release that is to be on the hosts.

    `digest` is that of its manifest; `requirements` a file in it, with the digest of its content; `wheel` a file in it that is
    installed into the environment. `has_multi`: its environment will hold multi.
    """

    name: str
    version: str
    digest: str
    requirements: str | None = None
    requirements_digest: str | None = None
    wheel: str | None = None
    wheel_digest: str | None = None
    has_multi: bool = False
    size: int = 0
    is_there: bool = False  # it is gone back to: nothing is uploaded or built, and a host without it is told of


class Kept(NamedTuple):
    """What a host keeps of a release that was there: the files of its units, and its nodes' names with the manager."""

    manager: str
    files: tuple[File, ...]
    units: Mapping[str, str]
    agent: bool = False

    def write(self) -> Secret:
        """As it lies on the host. Files may hold secrets, so all of it is one."""
        import json

        files = [
            {
                "path": file.path,
                "text": file.content.decode(),
                "mode": file.mode,
                "owner": file.owner,
                "secret": isinstance(file.text, Secret),
            }
            for file in self.files
        ]
        value = {"version": 1, "manager": self.manager, "agent": self.agent, "units": dict(self.units), "files": files}
        return Secret(json.dumps(value))

    @classmethod
    def read(cls, text: str) -> Kept | None:
        """What `write` wrote; None for what is no such thing, as where no deploy has left one."""
        import json

        try:
            value = json.loads(text)
            if value["version"] != 1:
                return None
            files = tuple(
                File(one["path"], Secret(one["text"]) if one["secret"] else one["text"], one["mode"], one["owner"])
                for one in value["files"]
            )
            return cls(value["manager"], files, dict(value["units"]), bool(value["agent"]))
        except (ValueError, KeyError, TypeError):
            return None


def kept_at(own: str, release: str) -> str:
    """Where a host keeps this of a release; `own` is the folder of deploys."""
    return f"{own}/kept/{release}.json"


def secrets_text(values: Mapping[str, Secret]) -> Secret:
    """The file of secret variables, as systemd and our keepers read it."""
    from multi.units.systemd import env_value

    return Secret("".join(f"{name}={env_value(value.reveal())}\n" for name, value in sorted(values.items())))


def shown(words: Sequence[str]) -> str:
    """A command of the description as it was written there."""
    return words[2] if len(words) == 3 and tuple(words[:2]) == ("sh", "-c") else shlex.join(words)


def hook(host: Host, words: tuple[str, ...], release: str) -> Command:
    """A command that runs in a release, with its environment's programs first on the PATH."""
    folder = f"{host.settings.releases}/{release}"
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    if host.settings.installer != "none":
        path = f"{folder}/.venv/bin:{path}"
    owner = host.settings.owner.partition(":")[0] if host.settings.owner else None
    return Command(words, user=owner, cwd=folder, env={"PATH": path, "MULTI_RELEASE": release})
