"""`multi migrate`: brings waiting messages from one broker to another, in the words of `celery migrate`."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from multi import urls
from multi.brokers.looking import BATCH, PARKED, Wanted
from multi.cli.group import DONE, FORCED, INTERRUPTED
from multi.cli.places import app_options, screen_of, split, the_app
from multi.cli.remembered import complete_queues, complete_tasks
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError, MultiError, UnsupportedOption
from multi.message import Message
from multi.outcome import Publication

if TYPE_CHECKING:
    from multi.brokers.base import Broker

#: Seconds between two looks whether messages have come, and between two tellings of how far it is.
_LOOK, _TELL = 0.5, 0.2
#: What brokers write beside a message for their own ends; another one has no use for it.
_TRANSPORTS = ("delivery_info", "delivery_tag", "body_encoding")
#: Exchanges of remote control and events, whose queues hold no tasks.
_TALK = (".pidbox", "celeryev")
#: So many of those that were left in a queue are looked at, to tell why.
_LOOKED_AT = 1000


@click.command()
@click.argument("source", metavar="SRC_URL")
@click.argument("target", metavar="DST_URL")
@click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="At most so many messages.")
@click.option(
    "-t", "--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for further messages (0)."
)
@click.option("-a", "--ack-messages", is_flag=True, help="Take them away from SRC once DST has them.")
@click.option("-T", "--tasks", metavar="A,B", help="Only the tasks with these names.", shell_complete=complete_tasks)
@click.option(
    *("-Q", "--queues"),
    metavar="A,B:C",
    help="Only these queues; with B:C what lies in B goes to C.",
    shell_complete=complete_queues,
)
@click.option("-F", "--forever", is_flag=True, help="Go on until Ctrl-C; needs -a.")
@click.option("--json", "as_json", is_flag=True, help="The counts as JSON.")
@app_options
@click.pass_context
def migrate(
    ctx: click.Context,
    /,
    source: str,
    target: str,
    *,
    limit: int | None,
    timeout: float | None,
    ack_messages: bool,
    tasks: str | None,
    forever: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Bring the messages that wait in the broker SRC_URL to the broker DST_URL, into queues of the same names.

    As with celery migrate they stay in SRC as well, unless -a is given: then each is taken away there after DST has it, so that
    none is lost; when this is killed in between, at most 100 are in both places, and run twice. What is parked in SRC until it is
    due goes along. What workers hold stays with them, and dead letters stay (multi dlq replay sends them again).

    \b
    multi migrate -a redis://old:6379/0 amqp://user:password@new//
    multi migrate -A proj -a -Q celery,emails:mail redis://old:6379/0 redis://new:6379/0
    multi migrate -a -F redis://old:6379/0 redis://new:6379/0

    Exit codes: 0 done, 1 a broker can't be reached, 2 wrong usage or configuration, 5 done, but something is left that a killed
    migrate holds: it comes back, and wants this once more.
    """
    if forever and not ack_messages:
        raise ConfigurationError("-F without -a would send the same messages again and again; give -a")
    renamed = _renamed(split(given.get("queues")))
    app = the_app(ctx, given)
    wanted = {name for name in (tasks or "").split(",") if name}
    here, there = _open(app, source, "SRC_URL"), _open(app, target, "DST_URL", create=True)
    if _same(source, target) or here.masked == there.masked:
        raise ConfigurationError(f"{here.masked} is both where messages come from and where they go")
    for broker in (here, there):
        broker.check()
    journey = Journey(here, there, renamed, wanted)
    names = list(renamed) or _queues(here, list(app.topology.declared))
    screen = screen_of(ctx)
    journey.tell = _teller(screen, journey, as_json)
    code = DONE
    with _Ending() as ending:
        try:
            if ack_messages:
                _take(journey, names, limit, timeout or 0.0, forever, ending)
            else:
                _copy(journey, names, limit, ending)
        except (MultiError, KeyboardInterrupt):
            screen.settle()
            done = "had gone" if ack_messages else "had been copied"
            complain(f"{journey.total} {done} from {here.masked} before this; give it once more for what is left")
            raise
        screen.settle()
        unfinished = _tell(screen, journey, names, as_json, ack_messages)
        if ending.asked and not forever:
            complain("interrupted; give it once more for what is left")
            code = INTERRUPTED
        else:
            _remark(journey, names, limit, ack_messages)
            code = FORCED if unfinished else DONE
    for broker in (here, there):
        broker.close()
    ctx.exit(code)


class Journey:
    """What goes from one broker to the other, and how far it is."""

    def __init__(self, here: Broker, there: Broker, renamed: dict[str, str], tasks: set[str]) -> None:
        self.here, self.there = here, there
        self.renamed = renamed
        #: the tasks that are meant, all if empty; and those of them that were met
        self.tasks, self.met = tasks, set[str]()
        self.wanted: Wanted | None = self._is_wanted if tasks else None
        self.counts: dict[str, int] = {}
        self.tell: Callable[[], None] = lambda: None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def _is_wanted(self, message: Message) -> bool:
        name = str(message.headers.get("task"))
        self.met.update({name} & self.tasks)
        return name in self.tasks

    def sender(self, queue: str) -> Callable[[list[Message]], None]:
        """What brings messages of a queue into the other broker."""
        name = self.renamed.get(queue, queue)

        def send(messages: list[Message]) -> None:
            self.there.publish([Publication(name, _bare(one)) for one in messages])
            self.counts[queue] = self.counts.get(queue, 0) + len(messages)
            self.tell()

        return send


class _Asked(Exception):
    """The end is asked for."""


class _Ending:
    """Ctrl-C and TERM let a batch come to its end."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Ending:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt  # for the second time
        self.asked = True


def _take(
    journey: Journey, names: list[str], limit: int | None, timeout: float, forever: bool, ending: _Ending
) -> None:
    """Hand over what waits; once more for what comes meanwhile, until nothing has come for so long."""
    here = journey.here
    if here.abilities.delay:
        here.unpark(names)
    last = time.monotonic()
    while not ending.asked:
        moved = 0
        for name in names:
            sender = journey.sender(name)

            def send(messages: list[Message], sender: Any = sender) -> None:
                if ending.asked:
                    raise _Asked  # and this batch returns to its place
                sender(messages)

            left = None if limit is None else limit - journey.total
            if left is None or left > 0:
                try:
                    moved += here.hand_over(name, send, limit=left, wanted=journey.wanted)
                except _Asked:
                    return
        if limit is not None and journey.total >= limit:
            return
        if moved:
            last = time.monotonic()
            continue
        if not forever and time.monotonic() - last >= timeout:
            return
        time.sleep(_LOOK if forever else min(_LOOK, timeout))


def _copy(journey: Journey, names: list[str], limit: int | None, ending: _Ending) -> None:
    here = journey.here
    for name in names:
        sender = journey.sender(name)
        for where in here.abilities.peeks:
            if where not in ("waiting", PARKED):
                continue
            seen = here.peek(name, 1 << 31, where)
            messages = [each.message for each in seen if each.message is not None]
            if journey.wanted is not None:
                messages = [each for each in messages if journey.wanted(each)]
            for start in range(0, len(messages), BATCH):
                left = BATCH if limit is None else min(BATCH, limit - journey.total)
                if ending.asked or left <= 0:
                    return
                sender(messages[start : start + left])


def _bare(message: Message) -> Message:
    """The message without what its broker has written beside it."""
    headers = {
        name: value
        for name, value in message.headers.items()
        if name != "redelivered"
        and not str(name).startswith(("x-death", "x-first-death-", "x-last-death-", "x-multi-"))
    }
    properties = {
        name: value for name, value in message.properties.items() if name not in _TRANSPORTS and value is not None
    }
    return msgspec.structs.replace(message, headers=headers, properties=properties)


def _open(app: Any, url: str, what: str, *, create: bool = False) -> Broker:
    from multi.app.connections import broker_at

    try:
        found: Broker = broker_at(app, url, create=create)
    except ConfigurationError as error:
        raise ConfigurationError(f"{what}: {error}") from None
    if not found.abilities.shared:
        raise ConfigurationError(f"{what}: {found.masked} lives in a single process: no command can look into it")
    if not found.abilities.moves:
        raise ConfigurationError(f"{what}: {found.masked} can't hand its messages over")
    return found


def _same(source: str, target: str) -> bool:
    first, second = urls.parse(urls.split(source)[0]), urls.parse(urls.split(target)[0])
    return (first.scheme, first.host, first.port, first.path) == (second.scheme, second.host, second.port, second.path)


def _renamed(queues: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in queues or ():
        name, colon, other = each.partition(":")
        if not name or (colon and not other):
            raise ConfigurationError(f"-Q {each}: write a queue's name, or old:new")
        found[name] = other or name
    return found


def _queues(broker: Broker, declared: list[str]) -> list[str]:
    """The queues of the app, and all that the broker knows of."""
    found = dict.fromkeys(declared)
    if broker.abilities.bindings:
        found |= dict.fromkeys(
            each.queue
            for each in broker.bindings()
            # some servers tell of each queue that it is bound to the default exchange, too
            if each.queue and not any(name.endswith(_TALK) for name in (each.exchange, each.queue))
            if not each.queue.startswith("celeryev.")
        )
    found |= dict.fromkeys(each.name for each in broker.counts(list(found)))
    return list(found)


def _teller(screen: Screen, journey: Journey, as_json: bool) -> Callable[[], None]:
    last = time.monotonic()

    def tell() -> None:
        nonlocal last
        if screen.is_live and not as_json and not screen.quiet and time.monotonic() - last >= _TELL:
            last = time.monotonic()
            name = next(reversed(journey.counts), "")
            screen.live(f"{journey.total} so far  {name} …")

    return tell


def _tell(screen: Screen, journey: Journey, names: list[str], as_json: bool, taken: bool) -> int:
    """What has become of it; how many messages a run holds that has not come to its end."""
    counts = [each for each in journey.here.counts(names) if each.name in names]
    dead = sum(each.dead for each in counts)
    unfinished, seconds = journey.here.unfinished(names)
    claimed = max(0, sum(each.claimed or 0 for each in counts) - unfinished)
    unreadable = _unreadable(journey.here, [each.name for each in counts if each.waiting])
    if as_json:
        told = {"migrated": journey.total, "queues": journey.counts, "taken": taken, "dead": dead, "claimed": claimed}
        told |= {"unfinished": unfinished, "unreadable": {name: len(faults) for name, faults in unreadable.items()}}
        click.echo(json.dumps(told))
        return unfinished
    for name, count in journey.counts.items():
        other = journey.renamed.get(name, name)
        screen.show(f"{name}{f' → {other}' if other != name else ''}: {count}")
    what = "went" if taken else "were copied"
    screen.show(f"{journey.total} {what} from {journey.here.masked} to {journey.there.masked}")
    if not taken and journey.total:
        complain("they are still where they were, too, and run twice if both have workers; -a takes them away")
    if dead:
        stay = "dead letter stays" if dead == 1 else "dead letters stay"
        complain(f"{dead} {stay} in {journey.here.masked}; multi dlq shows what has died")
    if claimed:
        held = "is held by a worker" if claimed == 1 else "are held by workers"
        complain(f"{claimed} {held} of {journey.here.masked}, and not brought along")
    for name, faults in unreadable.items():
        stays = "can't be read and stays there" if len(faults) == 1 else "can't be read and stay there"
        complain(
            f"{len(faults)} in {name} {stays}: {faults[0]}; multi peek {name} shows what it is, and multi move brings such "
            "messages to another queue as they are"
        )
    if unfinished:
        complain(
            f"{unfinished} of {journey.here.masked} are left: a multi migrate holds them that was killed, or is at work "
            f"elsewhere. What a killed one holds is back within {math.ceil(seconds)} s: give this once more then"
        )
    return unfinished


def _unreadable(broker: Broker, names: list[str]) -> dict[str, list[str]]:
    """What is wrong with those in these queues that are no messages, which are left where they are."""
    found = {}
    for name in names:
        try:
            faults = [each.fault for each in broker.peek(name, _LOOKED_AT) if each.message is None]
        except UnsupportedOption:
            continue  # nobody may look into it
        if faults:
            found[name] = faults
    return found


def _remark(journey: Journey, names: list[str], limit: int | None, taken: bool) -> None:
    """What somebody may have meant that was not there."""
    if not journey.renamed and not journey.here.abilities.bindings:
        were = "was" if len(names) == 1 else "were"
        complain(
            f"{journey.here.masked} doesn't tell which queues it has: only {', '.join(names)} {were} looked into; name them "
            "with -Q a,b"
        )
    if not taken and PARKED not in journey.here.abilities.peeks:
        complain(
            f"what is parked in {journey.here.masked} wasn't copied, since it shows nothing of it; -a brings it along"
        )
    if limit is not None and journey.total >= limit:
        return  # not all was looked at
    some = " of these tasks" if journey.tasks else ""
    if empty := [name for name in journey.renamed if not journey.counts.get(name)]:
        complain(f"nothing{some} waited in {', '.join(empty)}")
    if journey.tasks and (missing := sorted(journey.tasks - journey.met)):
        complain(
            f"no message of {', '.join(missing)} was found; -T takes whole names of tasks, as they stand in multi peek"
        )
