"""Nodes that are only looked at: a name that is unknown hides none of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import click

from multi.cli.group import DONE, UNKNOWN
from multi.cli.nodes import Request
from multi.cli.screen import complain
from multi.controller.node import Node
from multi.errors import NodeNotFound


def known(
    request: Request, names: Sequence[str], *, by_default_all: bool = False
) -> tuple[list[Node], list[NodeNotFound]]:
    """The nodes that are meant, and an error for each name of which there is none. To name none is an error, or means all."""
    if names and not request.own.get("every"):
        return request.known(names)
    if by_default_all and not names and not request.own.get("every"):
        return request.fleet.all(), []
    return request.nodes(names), []


def end(ctx: click.Context, missing: Sequence[NodeNotFound], code: int = DONE) -> NoReturn:
    """Tell which names are unknown, behind what was shown of the others, and exit."""
    for error in missing:
        complain(str(error))
    ctx.exit(UNKNOWN if missing else code)
