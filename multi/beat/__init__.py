"""The scheduler: sends periodic tasks when they are due. Any number of them run together, and each due run is sent once."""

from __future__ import annotations
