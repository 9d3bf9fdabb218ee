"""Whether the kernel has ended processes for want of memory, as far as it tells."""

from __future__ import annotations


def kills() -> int:
    """How many processes of our control group, or else of the machine, were ended by it so far; -1 where nobody says."""
    for path in (*_files(), "/proc/vmstat"):
        try:
            with open(path) as file:
                for line in file:
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        except (OSError, ValueError):
            continue  # no such control group here
    return -1


def _files() -> list[str]:
    try:
        with open("/proc/self/cgroup") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found.append(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        elif not controllers:
            found.append(f"/sys/fs/cgroup{path}/memory.events")
    return found
