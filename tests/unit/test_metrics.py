"""Prometheus' metrics of one process, and the command's mistakes. Those of many processes: test_middleware_of_a_worker.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client import REGISTRY
from support.inline import make_app, work

from multi.app.telemetry import metrics
from multi.cli.group import cli
from multi.errors import ConfigurationError


def test_each_app_counts_its_own_tasks() -> None:
    app = make_app(middleware=[metrics.Metrics])
    other = make_app(middleware=["prometheus"])

    @app.task(name="metrics.counted")
    def counted() -> None: ...

    @other.task(name="metrics.other")
    def elsewhere() -> None: ...

    before = REGISTRY.get_sample_value("multi_tasks_total", {"task": "metrics.counted", "state": "SUCCESS"}) or 0
    counted.delay()
    counted.apply()
    elsewhere.delay()
    work(app)
    work(other)
    after = REGISTRY.get_sample_value("multi_tasks_total", {"task": "metrics.counted", "state": "SUCCESS"})
    assert after == before + 2
    assert REGISTRY.get_sample_value("multi_tasks_total", {"task": "metrics.other", "state": "SUCCESS"}) == 1
    assert REGISTRY.get_sample_value("multi_task_seconds_count", {"task": "metrics.counted"}) == after
    assert REGISTRY.get_sample_value("multi_tasks_sent_total", {"task": "metrics.counted", "queue": "celery"})


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is no directory: it is to be the one that PROMETHEUS_MULTIPROC_DIR"):
        metrics.text(str(tmp_path / "nowhere"))


def test_the_command_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    done = CliRunner().invoke(cli, ["metrics"])
    assert isinstance(done.exception, ConfigurationError)
    assert "give --dir, or set PROMETHEUS_MULTIPROC_DIR" in str(done.exception)
    done = CliRunner().invoke(cli, ["metrics", "--dir", str(tmp_path), "--listen", "here"])
    assert done.exit_code == 2
    assert "'here' is no address; it should be 9808 or 0.0.0.0:9808" in done.output
