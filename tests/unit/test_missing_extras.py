"""A library that is installed on wish only, and isn't there: the answer is the command that installs it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("multi.brokers.redis", "hiredis", "redis"),
        ("multi.backends.redis", "hiredis", "redis"),
        ("multi.brokers.amqp", "amqp", "rabbitmq"),
        ("multi.backends.rpc", "amqp", "rabbitmq"),
        ("multi.app.telemetry.tracing", "opentelemetry", "opentelemetry"),
        ("multi.app.telemetry.meters", "opentelemetry", "opentelemetry"),
        ("multi.app.telemetry.metrics", "prometheus_client", "prometheus"),
        ("multi.monitor.metrics", "prometheus_client", "prometheus"),
    ],
)
def test_a_missing_library_is_answered_with_the_command_that_installs_it(module: str, library: str, extra: str) -> None:
    program = f"""
import sys
sys.modules[{library!r}] = None
from multi.errors import MissingExtra
try:
    import {module}
except MissingExtra as missing:
    print(missing)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'multi-workers[{extra}]'" in done.stdout
