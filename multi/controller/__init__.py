"""The controller: starts, watches and stops the nodes of this host. Never imports task code."""

from __future__ import annotations

import os


def keep_path() -> str:
    """The file that a keeper is started with."""
    return os.path.join(os.path.dirname(__file__), "keep.py")
