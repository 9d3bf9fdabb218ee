"""`multi pause`, `multi resume`."""

from __future__ import annotations

import time
from typing import Any

import click

from multi.cli.arguments import complete_queues
from multi.cli.group import DONE, FAILED
from multi.cli.guard import FORCE, refuse_last_consumers
from multi.cli.nodes import NodesCommand, Request, nodes_argument, state_dir_option
from multi.cli.policy import SPAN
from multi.cli.progress import Item, Progress
from multi.cli.screen import complain
from multi.cli.stop import ALL
from multi.controller import activity, pausing
from multi.controller import stop as stopping
from multi.controller.guard import queues_of
from multi.controller.keeper.node import RELOADING, RUNNING
from multi.controller.node import OURS, Node, Status, engine_of
from multi.errors import ConfigurationError, NodeError

_PATIENCE = 10.0
_LOOK = 0.05  # nobody tells when a page changes

QUEUES = click.option(
    "-Q",
    "--queues",
    "only",
    metavar="LIST",
    shell_complete=complete_queues,
    help="Only these queues, separated by commas; without nodes: everywhere.",
)
TIMEOUT = click.option(
    "--timeout",
    type=SPAN,
    default=_PATIENCE,
    metavar="SECONDS",
    help=f"How long to wait until it is so ({_PATIENCE:g}).",
)


@click.command(cls=NodesCommand)
@nodes_argument
@QUEUES
@ALL
@FORCE
@TIMEOUT
@state_dir_option
@click.pass_context
def pause(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Stop consuming, from all queues or some; what runs is finished, and the processes stay.

    It lasts over restarts, until `multi resume`.

    \b
    multi pause w1 w2
    multi pause -Q images
    multi pause w1 -Q images,video
    """
    request = Request(ctx, given)
    queues = _queues(given["only"])
    chosen = _chosen(request, nodes, lambda node, status: _does_consume(node, status, queues))
    if queues and not chosen:
        raise NodeError(f"no running node here consumes from {' or '.join(queues)}; {_consumed(request)}")
    for node, status in chosen:
        _refuse_what_consumes_nothing(node)
        found = activity.of(node, status)
        known = {*found.queues, *pausing.paused(status)} if found is not None else {*queues}
        if unknown := [queue for queue in queues if queue not in known and pausing.EVERY not in known]:
            told = ", ".join(sorted(known)) or "nothing"
            raise NodeError(f"{node} does not consume from {', '.join(unknown)}; it consumes from {told}")
    if not given["force"] and not queues:
        refuse_last_consumers(request.fleet, [node for node, _ in chosen])
    request.screen.header()
    request.screen.section("Pausing nodes..." if not queues else f"Pausing {', '.join(queues)}...")
    ctx.exit(_ask(request, "pause", [node for node, _ in chosen], queues, given["timeout"]))


@click.command(cls=NodesCommand)
@nodes_argument
@QUEUES
@ALL
@TIMEOUT
@state_dir_option
@click.pass_context
def resume(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """Take up consuming again, from all queues or some.

    \b
    multi resume w1 w2
    multi resume -Q images
    multi resume --all
    """
    request = Request(ctx, given)
    queues = _queues(given["only"])
    chosen = _chosen(request, nodes, lambda node, status: bool({*queues, pausing.EVERY} & {*pausing.paused(status)}))
    if queues and not chosen:
        raise NodeError(f"{', '.join(queues)}: paused in no running node here; `multi status` shows what is")
    calm = [node for node, status in chosen if _is_resumed_already(node, status, queues)]
    whole = [node for node, status in chosen if queues and pausing.EVERY in pausing.paused(status)]
    rest = [node for node, _ in chosen if node not in whole and node not in calm]
    code = DONE
    if rest or calm:
        request.screen.header()
        request.screen.section("Resuming nodes..." if not queues else f"Resuming {', '.join(queues)}...")
    for node in calm:
        request.screen.item(node, f"{' and '.join(queues)} not paused" if queues else "not paused")
    if rest:
        code = _ask(request, "resume", rest, queues, given["timeout"])
    for node in whole:
        code = FAILED
        complain(
            f"all queues of {node} are paused, so single ones can't be resumed; resume all: multi resume {node.name.short}"
        )
    ctx.exit(code)


def _queues(text: str | None) -> list[str]:
    queues = [queue.strip() for queue in (text or "").split(",") if queue.strip()]
    if text is not None and not queues:
        raise ConfigurationError("-Q names no queue")
    return list(dict.fromkeys(queues))


def _chosen(request: Request, names: tuple[str, ...], concerns: Any) -> list[tuple[Node, Status]]:
    """The nodes that are meant, each with its status; one that is named and doesn't run is an error."""
    if not names and request.own.get("only") and not request.own.get("every"):
        looked = [(node, node.status()) for node in request.fleet.all()]
        return [(node, status) for node, status in looked if status.is_up and concerns(node, status)]
    found = []
    for node in request.nodes(names):
        status = stopping.settled(node)
        if status.has_keeper and status.state != "stopping":
            found.append((node, status))
        elif not request.own.get("every"):
            raise NodeError(
                f"{node} is {status.state}; only a node that runs is paused and resumed. Start it: multi start {node.name.short}"
            )
    if not found:
        raise NodeError("no node runs here")
    return found


def _does_consume(node: Node, status: Status, queues: list[str]) -> bool:
    return bool({*queues} & (queues_of(node, status) | {*pausing.paused(status)}))


def _is_resumed_already(node: Node, status: Status, queues: list[str]) -> bool:
    """Whether there is nothing to be taken up: nothing is paused, and its page doesn't tell otherwise. To ask for it all the same
    would put on record what has never happened."""
    if pausing.is_of_older(status) or (node.manager is not None and not node.has_own_keeper):
        return False
    paused = {*pausing.paused(status)}
    is_paused = bool(paused & {*queues, pausing.EVERY}) if queues else bool(paused)
    return not is_paused and pausing.is_resumed(node, status, queues) is not False


def _refuse_what_consumes_nothing(node: Node) -> None:
    kind = (node.record() or {}).get("kind", "worker")
    if kind != "worker":
        raise NodeError(
            f"{node} is a {kind}, which consumes from no queue; stop it instead: multi stop {node.name.short}"
        )


def _consumed(request: Request) -> str:
    found = sorted({queue for node in request.fleet.all() for queue in queues_of(node, node.status())})
    return f"consumed are {', '.join(found)}" if found else "nothing is consumed"


def _ask(request: Request, what: str, nodes: list[Node], queues: list[str], timeout: float) -> int:
    """Ask all, and wait until their pages show it; the exit code."""
    screen = request.screen
    code = DONE
    pending: dict[str, Node] = {}
    word = "paused" if what == "pause" else "resumed"
    for node in nodes:
        if pausing.is_of_older(node.status()):
            complain(
                f"{node}: not {word}: its keeper was started by an older version of multi and knows nothing of that; give it a "
                f"present one: multi restart {node.name.short}"
            )
            code = FAILED
        elif pausing.is_deaf(node, node.status()) and (engine := engine_of(node, node.status())) not in OURS:
            complain(
                f"{node}: not {word}: the engine {engine!r} that runs it takes no such request; to have it take no more work: "
                f"multi stop {node.name.short}"
            )
            code = FAILED
        elif not pausing.ask(node, what, queues):
            if node.manager is not None and not node.has_own_keeper:
                complain(
                    f"{node}: not {word}: {node.manager} runs it, which knows no pause; see multi stop, multi start"
                )
            else:
                complain(f"{node}: its keeper takes no request; see `multi status {node.name.short}`")
            code = FAILED
        elif pausing.is_deaf(node, node.status()):
            complain(
                f"{node}: not {word} yet: its worker takes no such request, being of an older version of multi most "
                f"likely; the next one will know of it: multi reload {node.name.short}"
            )
            code = FAILED
        else:
            pending[str(node)] = node
    progress = Progress(screen, len(pending), word)
    deadline = time.monotonic() + timeout
    while pending:
        for name, node in [*pending.items()]:
            status = node.status()
            text = _result(node, status, what, queues)
            if text is not None:
                progress.close()
                screen.item(node, text, good=True)
                del pending[name]
        if pending and time.monotonic() >= deadline:
            break
        if pending:
            progress.show([Item(node, "not yet", "") for node in pending.values()])
            time.sleep(_LOOK)
    progress.close()
    for node in pending.values():
        found = activity.of(node, node.status())
        told = f"it consumes from {', '.join(found.queues) or 'nothing'}" if found is not None else "it tells nothing"
        complain(f"{node}: not {word} after {timeout:g} s, {told}; it was asked to. See `multi logs {node.name.short}`")
        code = FAILED
    return code


def _result(node: Node, status: Status, what: str, queues: list[str]) -> str | None:
    """What has come of it, once it has."""
    if status.state not in (RUNNING, RELOADING):
        how = "consumes nothing" if what == "pause" else "consumes again"
        return f"asked; it is {status.state} now, and {how} when it runs"
    if what == "pause":
        so = pausing.is_paused(node, status, queues)
        if so is None:
            return "asked; it tells nothing of its queues"
        found = activity.of(node, status)
        running = f", {found.active} active" if found is not None and found.active else ""
        return f"OK, paused{running}" if so else None
    so = pausing.is_resumed(node, status, queues)
    if so is None:
        return "asked; it tells nothing of its queues"
    found = activity.of(node, status)
    return f"OK, consumes from {', '.join(found.queues)}" if so and found is not None else None
