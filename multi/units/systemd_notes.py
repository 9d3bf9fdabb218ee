"""What systemd does not do of what is said of nodes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.units import programs
from multi.units.logrotate import SYSTEMS, log_file

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.base import Target

#: What is understood everywhere where nothing is known: of the oldest distribution in wide use.
OLDEST = 239


def notes(nodes: Sequence[NodeSpec], target: Target) -> list[str]:
    """What is said of the nodes and systemd doesn't do, with what comes in its place."""
    found = []
    if target.user:
        found.append(f"to run without a login, a user's own systemd is to stay: loginctl enable-linger {target.owner}")
    version = target.manager_version or OLDEST
    folders: dict[str, list[str]] = {}
    if target.credentials and version < 247:
        found.append(
            f"systemd {version} hands over no credentials ({', '.join(target.credentials)}): 247 is the first that does"
        )
    for node in nodes:
        if node.hooks:
            found.append(
                f"{node.name.short}: systemd runs no hooks ({', '.join(node.hooks)}); a unit that is started when a node "
                "has been given up is named with --set on_failure=UNIT"
            )
        if node.options.get("logfile") and version < 240:
            found.append(
                f"{node.name.short}: before version 240 systemd can't append to a file; its log is in the journal"
            )
        if log_file(node, target) and node.options.get("logfile") and version >= 240:
            folders.setdefault(os.path.dirname(log_file(node, target) or ""), []).append(node.name.short)
        if node.policy.get("watchdog") and not programs.watchdog(node, target):
            found.append(f"{node.name.short}: no WatchdogSec=, since its program doesn't tell systemd that it lives")
        if node.policy.get("quit_after") is not None and node.engine != "multi":
            found.append(
                f"{node.name.short}: systemd sends no QUIT between TERM and KILL: stop.quit_after is added to TimeoutStopSec="
            )
        if target.user and (node.user not in (None, target.owner) or node.group):
            found.append(
                f"{node.name.short}: in a user's own systemd it runs as that user, not as {node.user or node.group}"
            )
        if node.engine == "celery" and target.launcher is None:
            reason = (
                "without multi on that machine Celery doesn't tell systemd when it is ready (Type=exec)"
                if target.multi is None
                else f"where the package of {target.multi} lies on that machine can't be seen from here, so Celery runs "
                "without the launcher in it, which tells systemd when it is ready (Type=exec); --launcher "
                "…/site-packages/multi/nodes/engines/celery_node.py names it"
            )
            found.append(f"{node.name.short}: {reason}")
    found += [
        f"{', '.join(shorts)}: {folder} has to be there before they start, since systemd makes no directory for such logs; "
        "multi render tmpfiles has it made"
        for folder, shorts in folders.items()
        if folder not in SYSTEMS
    ]
    if target.log_dir:
        found.append("--log-dir: not used, since systemd keeps the logs in its journal; log.file names a file for them")
    return found
