"""Asking workers from the command line: whom, for how long, and what is told when somebody doesn't answer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
from click.shell_completion import CompletionItem

from multi.cli.group import DONE, FAILED, UNAVAILABLE
from multi.cli.places import Place, open_place, place_options, screen_of
from multi.cli.progress import QUIET
from multi.cli.screen import Screen, complain
from multi.errors import ConfigurationError, MultiError
from multi.nodes import names

if TYPE_CHECKING:
    from multi.app.control import Replies, Request
    from multi.app.control.mailbox import Question

F = TypeVar("F", bound=Callable[..., Any])

#: Seconds to wait for the next answer, as Celery's commands have it.
TIMEOUT = 1.0
#: The same while the shell waits for a completion.
_GLANCE = 0.3
#: Why a worker that listens doesn't answer.
_DECLINED = {
    "stopping": "is shutting down, and doesn't answer any more",
    "starting": "is starting, and doesn't answer yet",
}


def complete_workers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The workers that answer, and the nodes that are known here; of a list the last one."""
    from multi.cli.arguments import complete_names

    before, comma, start = incomplete.rpartition(",")
    found = [str(name) for name in complete_names(ctx, param, start)]
    try:
        place = open_place(ctx, dict(ctx.params), whose="workers")
        found += [name for reply in place.app.control.ping(timeout=_GLANCE) for name in reply]
        place.app.close()
    except (MultiError, OSError):
        pass
    taken = before.split(",")
    wanted = [name for name in dict.fromkeys(found) if name.startswith(start) and name not in taken]
    return [CompletionItem(f"{before}{comma}{name}") for name in wanted]


def asking_options(command: F) -> F:
    """The options of commands that ask workers."""
    options = (
        place_options,
        click.option(
            *("-d", "--destination"),
            metavar="A,B",
            multiple=True,
            shell_complete=complete_workers,
            help="Only these workers: w1@host, or w1 for the one on this host.",
        ),
        click.option("-p", "--pattern", metavar="GLOB", help="Only workers whose whole names match, as in 'w*@web*'."),
        click.option(
            "--matcher", type=click.Choice(("glob", "pcre")), help="What the pattern is; pcre is a regular expression."
        ),
        click.option(
            *("-t", "--timeout"),
            metavar="SECONDS",
            type=float,
            default=TIMEOUT,
            help=f"How long to wait for the next answer ({TIMEOUT:g}); it ends sooner when all have answered.",
        ),
        click.option("-j", "--json", "as_json", is_flag=True, help="What the workers reply, as JSON."),
    )
    for option in reversed(options):
        command = option(command)
    return command


class Asking(NamedTuple):
    """Whom a command line means, and how it wants to be told."""

    place: Place
    screen: Screen
    destination: list[str] | None
    pattern: str | None
    matcher: str | None
    timeout: float
    as_json: bool

    @classmethod
    def of(cls, ctx: click.Context, given: dict[str, Any]) -> Asking:
        """Raises `ConfigurationError`."""
        destination = _destination(given["destination"])
        if given["matcher"] and not given["pattern"]:
            raise ConfigurationError("--matcher says what a pattern is; give one with -p")
        if given["pattern"] and destination:
            raise ConfigurationError("either -d with the names of workers, or -p with a pattern, not both")
        if not given["timeout"] > 0:
            raise ConfigurationError(f"-t {given['timeout']:g}: it should be a number of seconds above 0")
        place = open_place(ctx, given, whose="workers")
        screen = screen_of(ctx)
        return cls(
            place, screen, destination, given["pattern"], given["matcher"], given["timeout"], bool(given["as_json"])
        )

    def request(self, method: str, arguments: dict[str, Any]) -> Request:
        """A request for those who are meant. Raises `ConfigurationError`."""
        from multi.app.control.request import checked

        try:
            return checked(method, arguments, self.destination, self.pattern, self.matcher)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    def ask(self, requests: Sequence[Request]) -> Answered:
        """Ask all of them at once, and wait; tells of progress where that takes long."""
        from multi.app.control import Mailbox

        took: dict[str, float] = {}
        begun = time.monotonic()
        with Mailbox(self.place.app) as box:

            def note(reply: dict[str, Any]) -> None:
                for name in reply:
                    took.setdefault(name, time.monotonic() - begun)

            questions = [box.ask(request, self.timeout, note) for request in requests]
            try:
                found = box.collect(questions, timeout=self.timeout, wait=self._waiting(questions))
            finally:
                self.screen.settle()
        return Answered(found, took, time.monotonic() - begun)

    def _waiting(self, questions: Sequence[Question]) -> Callable[[float], None]:
        def tell(seconds: float) -> None:
            if seconds < QUIET or not self.screen.is_live or self.screen.quiet or self.as_json:
                return
            replies = questions[-1].replies
            expected = len(self.destination) if self.destination else replies.listeners
            if self.pattern or expected is None:
                text = f"{len(replies)} have answered"
            else:
                text = f"{len(replies)} of {expected} have answered"
            self.screen.live(f"waiting for workers: {text}, {seconds:.0f} s")

        return tell

    def end(self, replies: Replies, *, failed: bool = False) -> int:
        """Tell who didn't answer; the exit code."""
        if not replies:
            complain(self._nobody(replies))
            return UNAVAILABLE
        if replies.missing:
            complain("; ".join(self._missing(name, replies) for name in replies.missing))
        if away := sorted(replies.declined.keys() - replies.names - {*replies.missing}):
            complain("; ".join(f"{name} {_DECLINED[replies.declined[name]]}" for name in away))
        unknown = self.unknown(replies)
        return FAILED if replies.missing or unknown or failed else DONE

    def unknown(self, replies: Replies) -> bool:
        """Whether somebody listens who didn't answer and whose name isn't known; it is told."""
        rest = (replies.silent or 0) - len(replies.missing)
        if rest <= 0:
            return False
        one = rest == 1
        names = "its name isn't known" if one else "their names aren't known"
        if self.pattern:
            names += f", so that {'it' if one else 'they'} may be meant or not"
        complain(
            f"{rest} more {'listens' if one else 'listen'} and didn't answer within {self.timeout:g} s ({names}); "
            "-t waits longer"
        )
        return True

    def _missing(self, name: str, replies: Replies) -> str:
        if name in replies.declined:
            return f"{name} {_DECLINED[replies.declined[name]]}"
        if name in replies.there:
            return f"{name} is there and doesn't reply to it"
        if replies.all_there:
            near = get_close_matches(name, sorted(replies.there), 1, 0.6)
            return f"there is no worker {name}" + (f"; did you mean {near[0]}?" if near else "")
        return f"{name} didn't answer within {self.timeout:g} s; -t waits longer"

    def _nobody(self, replies: Replies) -> str:
        where, listeners = self.place.broker.masked, replies.listeners
        if self.destination and not replies.all_there and listeners != 0:
            return "; ".join(self._missing(name, replies) for name in replies.missing)
        if listeners == 0:
            return (
                f"no worker listens on {where}: none runs there, or their control_exchange isn't "
                f"{self.place.app.conf.control_exchange!r}, or worker_enable_remote_control is off"
            )
        if replies.declined and not self.pattern:
            return "; ".join(f"{name} {_DECLINED[why]}" for name, why in sorted(replies.declined.items()))
        if replies.all_there and (self.destination or self.pattern):
            if self.pattern:
                return f"no worker's name matches {self.pattern!r}; there are {', '.join(sorted(replies.there))}"
            return "; ".join(self._missing(name, replies) for name in replies.missing)
        text = f"no worker answered on {where} within {self.timeout:g} s"
        if listeners:
            text += f", though {listeners} {'listens' if listeners == 1 else 'listen'}"
            text += ": a solo pool is busy with its task, or they heed only requests signed with their control_key"
        return f"{text}; -t waits longer"


class Answered(NamedTuple):
    """What was replied to each request, how long (s) each worker took for its first reply, and all of it."""

    replies: list[Replies]
    took: dict[str, float]
    seconds: float


def by_name(replies: Replies) -> dict[str, Any]:
    """What each worker replies; of names that several have it is told."""
    from multi.app.control import flatten_reply

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = flatten_reply(replies)
    for each in caught:
        complain(str(each.message))
    return found


def _destination(given: Sequence[str]) -> list[str] | None:
    """The full names of -d. Raises `ConfigurationError`."""
    if not given:
        return None
    words = [word.strip() for text in given for word in text.split(",") if word.strip()]
    if not words:
        raise ConfigurationError("-d names no worker; write -d w1@host,w2@host, or leave it out for all")
    return list(dict.fromkeys(word if "@" in word else str(names.parse(word)) for word in words))
