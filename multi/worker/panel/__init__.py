"""The commands of remote control that every worker answers to, with replies in Celery's forms."""

from __future__ import annotations

from multi.worker.panel import inspecting, memory, pool, queues, revoking, steering  # noqa: F401 - they register
from multi.worker.panel.state import NoReply, State

__all__ = ["NoReply", "State"]
