"""`multi metrics`: the numbers that the tasks of all processes have left, as Prometheus reads them."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.screen import complain
from multi.errors import ConfigurationError


@click.command()
@click.option(
    "--dir",
    "directory",
    envvar="PROMETHEUS_MULTIPROC_DIR",
    metavar="DIR",
    help="Where the processes write them; else what PROMETHEUS_MULTIPROC_DIR says.",
)
@click.option(
    "--listen", metavar="[HOST:]PORT", help="Answer Prometheus here until told to stop, on 127.0.0.1 by default."
)
@click.pass_context
def metrics(ctx: click.Context, /, *, directory: str | None, listen: str | None) -> None:
    """Metrics of tasks for Prometheus, of apps with the middleware "prometheus"; once, or at an address.

    \b
    multi metrics --dir /run/proj/metrics
    multi metrics --dir /run/proj/metrics --listen 9808
    multi metrics --dir /run/proj/metrics --listen 0.0.0.0:9808

    Exit codes: 0 done, 1 the address can't be used, 2 wrong usage or configuration.
    """
    if not directory:
        raise ConfigurationError("multi metrics wants to know where: give --dir, or set PROMETHEUS_MULTIPROC_DIR")
    from multi.app.telemetry import metrics as found

    if listen is None:
        click.echo(found.text(directory), nl=False)
        ctx.exit(DONE)
    host, port = _address(listen)
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    try:
        server, actual = found.listen(directory, host, port)
    except OSError as error:
        complain(f"{host}:{port} can't be listened on: {error.strerror}")
        ctx.exit(FAILED)
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"Metrics of {os.path.abspath(directory)} are at http://{shown}:{actual}/metrics", err=True)
    _until(over, server)
    ctx.exit(DONE)


def _until(over: threading.Event, server: Any) -> None:
    over.wait()
    server.shutdown()
    server.server_close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is no address; it should be 9808 or 0.0.0.0:9808", param_hint="--listen")
    return host.strip("[]") or "127.0.0.1", int(port)
