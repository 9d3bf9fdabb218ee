"""`multi metrics`: what Prometheus reads, of one host's processes or of a whole fleet."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import click

from multi.cli.group import DONE, FAILED
from multi.cli.places import before, open_place, place_options
from multi.cli.screen import complain
from multi.errors import ConfigurationError


@click.command()
@place_options
@click.option(
    "--dir",
    "directory",
    envvar="PROMETHEUS_MULTIPROC_DIR",
    metavar="DIR",
    help="Where the processes of one host write them; else what PROMETHEUS_MULTIPROC_DIR says.",
)
@click.option(
    "--fleet", is_flag=True, help="Those of all workers on all hosts, by their events; -A and -b mean it, too."
)
@click.option("--no-enable", is_flag=True, help="Don't ask workers to send events of their tasks.")
@click.option(
    "--listen", metavar="[HOST:]PORT", help="Answer Prometheus here until told to stop, on 127.0.0.1 by default."
)
@click.pass_context
def metrics(
    ctx: click.Context, /, *, directory: str | None, fleet: bool, no_enable: bool, listen: str | None, **place: Any
) -> None:
    """Metrics for Prometheus: of one host's processes whose apps have the middleware "prometheus", once or at an address;
    or of a whole fleet, by the events of its workers, with Flower's names.

    \b
    multi metrics --dir /run/proj/metrics
    multi metrics --dir /run/proj/metrics --listen 0.0.0.0:9808
    multi metrics -A proj --listen 9808
    multi metrics --fleet --listen 9808        (the apps of multi.toml)

    Exit codes: 0 done, 1 the address can't be used, 2 wrong usage or configuration.
    """
    if fleet or place.get("app") or place.get("broker") or before(ctx).get("app"):
        if listen is None:
            raise ConfigurationError("the metrics of a fleet are what comes while one listens: give --listen 9808")
        ctx.exit(_of_fleet(ctx, place, *_address(listen), enable=not no_enable))
    if not directory:
        raise ConfigurationError(
            "multi metrics wants to know whose: give --dir, or set PROMETHEUS_MULTIPROC_DIR; or -A for those of a fleet"
        )
    from multi.app.telemetry import metrics as found

    if listen is None:
        click.echo(found.text(directory), nl=False)
        ctx.exit(DONE)
    shown = f"Metrics of {os.path.abspath(directory)}"
    host, port = _address(listen)
    over = _told_to_stop()
    server = _served(lambda: found.listen(directory, host, port), shown, host, port)
    if server is None:
        ctx.exit(FAILED)
    over.wait()
    _end(server)
    ctx.exit(DONE)


def _of_fleet(ctx: click.Context, given: dict[str, Any], host: str, port: int, *, enable: bool) -> int:
    from multi.monitor.metrics import FleetMetrics, Queues

    place = open_place(ctx, given, whose="workers")
    found = FleetMetrics()
    found.registry.register(Queues(place.app, place.queues))
    over = _told_to_stop()
    server = _served(lambda: found.listen(host, port), f"Metrics of the workers on {place.broker.masked}", host, port)
    if server is None:
        return FAILED
    found.watch(place.app, over, enable=enable)
    _end(server)
    return DONE


def _told_to_stop() -> threading.Event:
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    return over


def _served(listen: Callable[[], tuple[Any, int]], what: str, host: str, port: int) -> Any:
    """The server, once it listens; None if it can't."""
    try:
        server, actual = listen()
    except OSError as error:
        complain(f"{host}:{port} can't be listened on: {error.strerror}")
        return None
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"{what} are at http://{shown}:{actual}/metrics", err=True)
    return server


def _end(server: Any) -> None:
    server.shutdown()
    server.server_close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{text!r} is no address; it should be 9808 or 0.0.0.0:9808", param_hint="--listen")
    return host.strip("[]") or "127.0.0.1", int(port)
