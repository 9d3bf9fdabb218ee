"""The seam of the formats in which nodes are written down for other managers.

A format of your own is a class like those beside this file, named in the entry points of its distribution:

    [project.entry-points."multi.units"]
    nomad = "multi_nomad:NomadFormat"

After that `multi render nomad` finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.templates import Templates

ERROR, WARNING = "error", "warning"

OFF, BASIC, STRICT = "off", "basic", "strict"
HARDENING = (OFF, BASIC, STRICT)

#: A task is taken to last no longer than this (s) where nothing says how long they do.
LONGEST_TASK = 600.0


class File(NamedTuple):
    """A file as it is to be on the target.

    `why` says in a line what it is for. `secret`: its text is never to be shown. `nodes` are the short names of those that it
    is for, none where it belongs to no node in particular.
    """

    path: str  # absolute, on the target
    text: str
    mode: int = 0o644
    owner: str | None = None  # USER or USER:GROUP; None: whoever writes it
    secret: bool = False
    why: str = ""
    nodes: tuple[str, ...] = ()


class Problem(NamedTuple):
    """What is wrong with a file: what, where, and what to do about it, in one text."""

    path: str
    text: str
    level: str = ERROR
    line: int = 0  # 0: the file as a whole

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


@dataclass(frozen=True)
class Target:
    """The machine that files are for, and what is wanted of them: all that a format knows beside the nodes themselves."""

    project: str
    #: the machine's name: a node whose name has it behind the @ is written so that any machine fills in its own
    host: str = ""
    #: systemd's version, supervisord's first number, …; None: unknown, so only what every version in use understands
    manager_version: int | None = None
    #: for the manager of a single user (systemctl --user) rather than the machine's
    user: bool = False
    #: whom nodes run as whose specification says nothing; None: whoever the manager runs them as
    owner: str | None = None
    group: str | None = None
    #: home directories by user, for managers that set no HOME
    homes: Mapping[str, str] = field(default_factory=dict)
    hardening: str = BASIC
    #: the program `multi` there; None: there is none (or it is not to be needed), and nodes are started by their own commands
    multi: str | None = None
    #: the launcher of Celery nodes there, a file of multi's; None: plain `python -m celery`
    launcher: str | None = None
    #: where keepers keep their nodes; None: multi's usual place
    state_dir: str | None = None
    #: for files of variables that hold secrets; None: the format's usual place
    settings_dir: str | None = None
    #: for logs, where the manager keeps none itself; None: the format's usual place
    log_dir: str | None = None
    #: for the files of the manager; None: its usual place
    unit_dir: str | None = None
    #: templates of the user's own, in place of ours of the same name
    templates_dir: str | None = None
    #: how long (s) a task may take, where the node itself says nothing
    longest_task: float | None = None
    #: nodes by their short names → the nodes that have to be ready before
    after: Mapping[str, Sequence[str]] = field(default_factory=dict)
    #: what else, in the manager's own names, is to be started before nodes, as redis-server.service
    needs: Sequence[str] = ()
    #: secrets that the manager hands over: name → file there
    credentials: Mapping[str, str] = field(default_factory=dict)
    #: what single formats want to know beside all of this (an image, a namespace), by name
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.hardening not in HARDENING:
            raise ConfigurationError(f"{self.hardening!r} is no level of hardening; there are {', '.join(HARDENING)}")


class UnitFormat:
    """One way to write nodes down. Its methods are pure, but for `check`, which runs the manager's own tools.

    `name` is the entry point's name. `templates` are the names of its templates, relative to the folder of all. `settings` are
    those of `Target.settings` that it reads, each with a line that says what it means.
    """

    name = ""
    templates: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        """The files for these nodes, all of one project. The same nodes and target give the same files, in the same order.

        Raises `ConfigurationError` for a node that can't be had in this format.
        """
        raise NotImplementedError

    def check(self, files: Sequence[File]) -> list[Problem]:
        """What the manager's own tools on this machine, or a schema, say against the files. Nothing is written but to a
        temporary directory. A tool that is missing is a problem of level "warning" that names it."""
        raise NotImplementedError

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        """What is said of the nodes and can't be said in this format, a line each, with what comes in its place."""
        return []

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        """Nodes by their short names → what the manager calls them; empty where it knows no such things."""
        return {}

    def effective(self, files: Iterable[File], units: Iterable[str] = ()) -> dict[str, str]:
        """What the manager's names stand for, by these files: for each a text that differs whenever the node would run
        otherwise, and only then (not for a comment, nor for the boot). Who applies files compares what is there with what is to
        be, and restarts the nodes of those names whose text differs. `units` are names that are known beside those that the
        files tell. Empty where files are not applied node by node."""
        return {}

    def text(self, target: Target) -> Templates:
        """The templates of this target: the user's own in place of ours."""
        from multi.units.templates import Templates

        return Templates(target.templates_dir)
