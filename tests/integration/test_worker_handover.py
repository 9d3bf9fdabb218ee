"""HUP under load: the next worker has new code, and not one task is lost or run twice."""

from __future__ import annotations

import os
import signal

from support.project import Project
from support.wait import until
from support.workers import bench


def test_a_reload_under_load_loses_nothing_and_brings_new_code(project: Project, broker: str) -> None:
    with bench(project, broker, broker) as made:
        pidfile = project.path / "w1.pid"
        worker = made.start("--pidfile", str(pidfile), quiet=True)
        until(pidfile.exists, 20)
        results = made.app.send_many([(made.tasks.sleep, (0.002, f"t{i}"), {}) for i in range(1500)])
        made.wait_begun("t20")
        source = project.path / f"{made.module}.py"
        source.write_text(source.read_text().replace("return x + y", "return x + y + 1000"))
        worker.send(signal.SIGHUP)
        assert worker.process.wait(20) == 0
        second = int(pidfile.read_text())
        try:
            assert second != worker.pid
            assert [result.get(timeout=20) for result in results] == [f"t{i}" for i in range(1500)]
            assert made.tasks.add.delay(1, 2).get(timeout=10) == 1003
            assert sorted(made.notes()) == sorted(f"{what} t{i}" for i in range(1500) for what in ("begin", "end"))
            assert made.dead() == []
        finally:
            os.kill(second, signal.SIGTERM)
            until(lambda: not os.path.exists(f"/proc/{second}"), 20, what="the second worker's end")
