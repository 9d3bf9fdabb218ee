"""A project whose nodes a multi.toml describes."""

from __future__ import annotations

import sys
from pathlib import Path

from support.nodes import FAKE, Nodes

MULTI_TOML = """
name = "shop"
[defaults]
app = "ready"
python = "fake-python"
[nodes.w]
count = 2
"""


def describe(nodes: Nodes, text: str) -> Path:
    """Write its multi.toml."""
    return nodes.project.write("multi.toml", text.replace('"fake-python"', '"./fake-python"'))


def prepare(nodes: Nodes) -> Nodes:
    """Their interpreter answers questions as a real one does."""
    nodes.python.write_text(
        f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\nexec {sys.executable} {FAKE} "$@"\n'
    )
    nodes.project.write("ready.py", "raise SystemExit('imported')\n")
    describe(nodes, MULTI_TOML)
    return nodes
