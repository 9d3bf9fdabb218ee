"""The settings of an app: one typed table, and the object that a program sees as `app.conf`."""

from __future__ import annotations

from multi.config.settings import Settings
from multi.config.table import TABLE, Setting

__all__ = ["TABLE", "Setting", "Settings"]
