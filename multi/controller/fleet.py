"""Finds the nodes that a command means."""

from __future__ import annotations

import os
from collections.abc import Collection

from multi.controller import descriptors, places, project, units
from multi.controller.node import Node
from multi.controller.places import Places
from multi.controller.project import Project
from multi.errors import NodeNotFound
from multi.nodes import names
from multi.nodes.names import NodeName


class Fleet:
    """The nodes of this user, seen from a directory and with an app in mind."""

    def __init__(self, cwd: str, app: str | None = None, state_dir: str | None = None) -> None:
        self.cwd = cwd
        self.app = app
        self.places: Places = places.resolve(state_dir, cwd)
        self._current: Project | None = None
        self._looked = False

    @property
    def current(self) -> Project | None:
        """The project that a bare node name means: that of `-A`, of multi.toml, or the one that this directory is in."""
        if not self._looked:
            self._current = self._find_current()
            self._looked = True
        return self._current

    def to_start(self, texts: list[str], host: str | None = None, *, own: Collection[str] = ()) -> list[Node]:
        """The nodes of these names, known or new. Those in `own` are the current project's, since it is said what they run:
        what another project has under the same name is another node."""
        found = []
        home = project.find(self.app, self.cwd) if self.app is not None else self.current
        for text in dict.fromkeys(texts):
            name = names.parse(text, host)
            is_full = "@" in text or host is not None
            if self.app is not None and home is not None:
                known = _matching(self._of(home), name, is_full)  # an app that is named is never another project's
            elif text in own:
                known = [] if home is None else _matching(self._of(home), name, is_full)
            else:
                known = self._known(name, is_full)
            if len(known) > 1:
                raise self._ambiguous(text, known)
            found += known or [self._node(home or project.find(None, self.cwd), name)]
        descriptors.make_room(len(found))
        return found

    def known(self, texts: list[str], host: str | None = None, *, everywhere: bool = False) -> list[Node]:
        """The nodes of these names; an error for one that was never started. With `everywhere` those of all projects."""
        found = []
        for text in dict.fromkeys(texts):
            name = names.parse(text, host)
            is_full = "@" in text or host is not None
            known = _matching(self.all(everywhere=True), name, is_full) if everywhere else self._known(name, is_full)
            if not known:
                raise self._unknown(text)
            if len(known) > 1 and not everywhere:
                raise self._ambiguous(text, known)
            found += known
        descriptors.make_room(len(found))
        return found

    def all(self, *, everywhere: bool = False) -> list[Node]:
        """All nodes of the current project; of every project where there is no current one, or with `everywhere`."""
        if self.current is not None and not everywhere:
            found = self._of(self.current)
        else:
            keys = dict.fromkeys([*self.places.projects(), *units.projects()])
            found = [node for key in keys for node in self._of(self._project(key))]
        descriptors.make_room(len(found))
        return found

    def siblings(self, node: Node) -> list[Node]:
        """All nodes of a node's project, itself among them."""
        return self._of(node.place.project)

    def _known(self, name: NodeName, is_full: bool) -> list[Node]:
        if self.current is not None:
            found = _matching(self._of(self.current), name, is_full)
            if found or self._is_certain or project.describes(self.cwd, name.short):
                return found
        return _matching(self.all(everywhere=True), name, is_full)

    def _of(self, home: Project) -> list[Node]:
        found = []
        for text in self.places.nodes(home.key):
            short, _, host = text.partition("@")
            found.append(self._node(home, NodeName(short, host)))
        return sorted(units.attach(self.places, home, found), key=lambda node: _natural(str(node)))

    def _node(self, home: Project, name: NodeName) -> Node:
        return Node(name, self.places.node(home, str(name)))

    def _project(self, key: str) -> Project:
        return Project(key, self.places.location(key))

    @property
    def _is_certain(self) -> bool:
        """Whether the project was named, so that a node of another one can't be meant."""
        return self.app is not None and project.locate(self.app, self.cwd) is not None

    def _find_current(self) -> Project | None:
        described = project.described(self.cwd)
        if described is not None:
            return described
        if self._is_certain:
            return project.find(self.app, self.cwd)
        around = [
            found
            for found in map(self._project, self.places.projects())
            # of a start that has failed a project without nodes may be left
            if found.location
            and self.places.nodes(found.key)
            and os.path.join(self.cwd, "").startswith(os.path.join(found.location, ""))
        ]
        return max(around, key=lambda found: len(found.location), default=None)

    def _unknown(self, text: str) -> NodeNotFound:
        nodes = self.all()
        where = f"in the project at {self.current.location}" if self.current is not None else "here"
        known = f"known are {', '.join(sorted({node.name.short for node in nodes}))}" if nodes else "there are none yet"
        return NodeNotFound(f"no node {text!r} {where}: {known}; `multi ls --all` lists those of every project")

    @staticmethod
    def _ambiguous(text: str, nodes: list[Node]) -> NodeNotFound:
        listed = "".join(f"\n    {node} in {node.place.project.location}" for node in nodes)
        return NodeNotFound(
            f"{text!r} may be one of several nodes; name the project with -A, or go to its folder:{listed}"
        )


def _matching(nodes: list[Node], name: NodeName, is_full: bool) -> list[Node]:
    found = [node for node in nodes if node.name == name]
    if not found and not is_full:
        # a machine that has got another name since
        found = [node for node in nodes if node.name.short == name.short]
    return found


def _natural(text: str) -> list[tuple[int, str]]:
    import re

    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text) if part]
