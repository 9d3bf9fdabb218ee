"""What depends on what: unknown names and circles are errors, and the rest gives an order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from multi.nodes.description.problems import suggestion
from multi.nodes.description.special import Need

if TYPE_CHECKING:
    from multi.nodes.description.description import Described, Places


def linked(nodes: list[Described], places: Places) -> list[Described]:
    """The nodes with each dependency on a table of nodes as dependencies on its nodes."""
    shorts = {node.name for node in nodes}
    groups: dict[str, list[str]] = {}
    for node in nodes:
        groups.setdefault(node.section, []).append(node.name)
    found, told = [], set()
    for node in nodes:
        needs: list[Need] = []
        for number, need in enumerate(node.needs):
            if need.kind == "unknown":
                continue
            if need.kind != "node":
                needs.append(need)
                continue
            (target,) = need.target
            members = [target] if target in shorts else groups.get(target)
            if members is None:
                at = places.of(node.section, ("depends_on", number))
                if (at, target) not in told:
                    told.add((at, target))
                    known = suggestion(target, (*groups, *shorts))
                    places.report.add(at, f'there is no node and no table of nodes "{target}"{known}')
                continue
            needs += [need._replace(target=(member,)) for member in members]
        found.append(node._replace(needs=tuple(dict.fromkeys(needs))))
    after = {node.name: [need.target[0] for need in node.needs if need.kind == "node"] for node in found}
    circle = find_circle(after)
    if circle:
        first = next(node for node in found if node.name == circle[0])
        places.report.add(places.of(first.section, ("depends_on",)), f"goes round in a circle: {' -> '.join(circle)}")
    return found


def find_circle(after: Mapping[str, Iterable[str]]) -> list[str]:
    """Names that wait for each other, the first once more at the end; empty where there are none."""
    done: set[str] = set()
    for start in after:
        way: list[str] = []
        stack = [(start, iter(after[start]))]
        if start in done:
            continue
        way.append(start)
        while stack:
            name, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                done.add(name)
                stack.pop()
                way.pop()
            elif following in way:
                return [*way[way.index(following) :], following]
            elif following not in done and following in after:
                way.append(following)
                stack.append((following, iter(after[following])))
    return []


def in_waves(after: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The names in groups: those of one group depend only on names of earlier ones. A ValueError for a circle."""
    left = {name: {one for one in names if one in after} for name, names in after.items()}
    waves = []
    while left:
        wave = [name for name, names in left.items() if not names & left.keys()]
        if not wave:
            raise ValueError("a circle")
        waves.append(wave)
        for name in wave:
            del left[name]
    return waves
