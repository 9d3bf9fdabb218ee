"""Makes messages of protocol 2 out of calls.

What is the same in all messages of one task is put into a template once; a call copies it and fills in the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from multi import clock, identity, signals
from multi.app import middleware
from multi.app.connections import broker_url
from multi.app.options import EMBED, HEADERS, HIGHEST, PROPERTIES, check_names, check_values, span
from multi.app.request import running
from multi.app.routes import DESTINATION, EXTRAS, Destination, Routes
from multi.app.saferepr import saferepr
from multi.codecs import JSON, PLAIN, Codec, codec
from multi.compression import compress, content_type
from multi.errors import ConfigurationError, EncodeError, UnsupportedOption
from multi.message import Message
from multi.outcome import Publication
from multi.topology import FANOUT, mode

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.task import Task
    from multi.backends.base import Backend

NO_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}

#: Templates kept for tasks that are known by name only and have a route.
_REMEMBERED = 1000

_encode_plain = msgspec.json.Encoder().encode


class Template(msgspec.Struct):
    """What the messages of one task have in common."""

    headers: dict[str, Any]
    codec: Codec
    compression: str | None
    queue: str
    priority: int | None
    inherits: bool
    """Whether neither the task nor its route has a priority of its own."""
    expires: Any
    delivery_mode: int
    exchange: str = ""
    told: dict[str, Any] = {}
    """What the task's attributes and its route say of the destination."""
    hooks: tuple[Callable[[middleware.Sending], None], ...] = ()
    """The middleware that its messages pass through."""
    special: bool = False
    """Whether a call without options is more than a copy of this."""


class Publisher:
    """The message maker of one app; made anew when a setting changes."""

    def __init__(self, app: App) -> None:
        conf = app.conf
        self.app = app
        self.codec = codec(conf.task_serializer)
        self.compression = content_type(conf.task_compression) if conf.task_compression else None
        self.priority: int | None = conf.task_default_priority
        try:
            check_values({"queue": conf.task_default_queue, "priority": self.priority})
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"the setting task_default_{error}") from None
        self.inherit_priority: bool = conf.task_inherit_parent_priority
        self.levels: int = conf.task_repr_maxlevels
        self.eager: bool = conf.task_always_eager
        self.park: bool = conf.delayed_delivery == "broker"
        if conf.delayed_delivery not in ("worker", "broker"):
            raise ConfigurationError(f'delayed_delivery should be "worker" or "broker", not {conf.delayed_delivery!r}')
        if conf.task_protocol != 2:
            raise UnsupportedOption("task_protocol can only be 2: version 1 is understood, but no longer sent")
        self.retry_policy: dict[str, Any] = conf.task_publish_retry_policy
        self.expecting = _expecting(app)
        self.routes = Routes(conf, app.topology)
        #: whether a function of the project's says at every call where it goes
        self.changing = self.routes.changing
        self.delivery_mode = mode(conf.task_default_delivery_mode)
        #: whether an event tells of each message
        self.tells_sent: bool = conf.task_send_sent_event
        self._templates: dict[str, Template] = {}
        self._by_name: dict[str, Template] = {}
        self._by_queue: dict[str, Destination] = {}
        self._plain: Template | None = None

    def template(self, name: str, task: Task | None) -> Template:
        """The template of a task; of one that is known by name only, if `task` is None."""
        if task is None:
            return self._unknown(name)
        found = self._templates.get(name)
        if found is None:
            task.annotate()
            _ = task.own_backend  # one that can't be shows before anything is sent
            told = {} if self.changing else self.routes.told(name, task=task)
            own = {key: value for key in DESTINATION[:3] if (value := getattr(task, key)) is not None}
            told |= own
            found = self._templates[name] = self._template(
                self._headers(name, task.time_limit, task.soft_time_limit, bool(task.effective("ignore_result"))),
                task.serializer or told.get("serializer"),
                task.compression or told.get("compression"),
                task.priority if task.priority is not None else told.get("priority"),
                task.expires,
                task.delivery_mode or told.get("delivery_mode"),
                told,
                middleware.publishing(self.app, name),
            )
        return found

    def _unknown(self, name: str) -> Template:
        """The template of a task that is known by name only; None leaves to the worker whether its result is wanted."""
        told = self.routes.told(name) if self.routes.any and not self.changing else {}
        hooks = middleware.publishing(self.app, name) if self.app.middleware else ()
        if not told and not hooks and self._plain is not None:
            return self._plain
        found = self._by_name.get(name)
        if found is None:
            found = self._template(
                self._headers("", None, None, None), told.get("serializer"), told.get("compression"),
                told.get("priority"), None, told.get("delivery_mode"), told, hooks,
            )  # fmt: skip
            if not told and not hooks:
                self._plain = found
            elif len(self._by_name) < _REMEMBERED:
                self._by_name[name] = found
        return found

    def _template(
        self,
        headers: dict[str, Any],
        serializer: str | None,
        compression: str | None,
        priority: int | None,
        expires: Any,
        delivery_mode: Any,
        told: dict[str, Any],
        hooks: tuple[Callable[[middleware.Sending], None], ...],
    ) -> Template:
        if (priority or 0) > HIGHEST and not broker_url(self.app, write=True).startswith(("amqp", "pyamqp")):
            raise ConfigurationError(
                f"the priority of {headers['task'] or 'a route'} should be from 0 to {HIGHEST}, not {priority}"
            )
        to = self._allowed(self.routes.destination(told))
        return Template(
            headers,
            codec(serializer) if serializer else self.codec,
            content_type(compression) if compression else self.compression,
            to.queue,
            priority if priority is not None else self.priority,
            self.inherit_priority and priority is None,
            expires,
            mode(delivery_mode) if delivery_mode else to.delivery_mode or self.delivery_mode,
            to.exchange,
            told,
            hooks,
            expires is not None or bool(hooks),
        )

    def template_all(self, tasks: Mapping[str, Task]) -> None:
        """Make the templates of all `tasks`. Raises `ConfigurationError` for a serializer or compression that isn't one."""
        for name, task in tasks.items():
            self.template(name, task)

    def _headers(self, name: str, hard: float | None, soft: float | None, ignore_result: bool | None) -> dict[str, Any]:
        return {
            "lang": "py",
            "task": name,
            "id": None,
            "shadow": None,
            "eta": None,
            "expires": None,
            "group": None,
            "group_index": None,
            "retries": 0,
            "timelimit": [hard, soft],
            "root_id": None,
            "parent_id": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            "origin": None,
            "ignore_result": ignore_result,
            "replaced_task_nesting": 0,
            "stamped_headers": None,
            "stamps": {},
        }

    def plain(
        self, name: str, task: Task | None, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Publication:
        """The message of a call without options."""
        template = self._templates.get(name) or self.template(name, task)
        if self.changing or template.special or signals.PUBLISHING.any:
            return self.build(name, task, task_id, args, kwargs, {})
        headers = template.headers.copy()
        headers["task"] = name
        headers["id"] = headers["root_id"] = task_id
        priority = template.priority
        run = running.get()
        if run is not None:
            headers["root_id"] = run.root_id
            headers["parent_id"] = run.id
            if template.inherits:
                priority = (run.request.delivery_info or {}).get("priority") or priority
        headers["origin"] = identity.origin()
        body = self._body(template.codec, args, kwargs, NO_EMBED, headers)
        if template.compression:
            headers["compression"] = template.compression
            body = compress(body, template.compression)
        properties = {
            "correlation_id": task_id,
            "reply_to": identity.oid(),
            "delivery_mode": template.delivery_mode,
            "priority": priority,
        }
        return Publication(
            template.queue,
            Message(headers, body, template.codec.content_type, template.codec.content_encoding, properties),
            0.0,
            template.exchange,
        )

    def _body(
        self,
        encoder: Codec,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        embed: Mapping[str, Any],
        headers: dict[str, Any],
    ) -> bytes:
        """The encoded body; writes the reprs of the arguments into `headers`."""
        if encoder is JSON and embed is NO_EMBED and PLAIN.issuperset(map(type, args)):
            if not kwargs or PLAIN.issuperset(map(type, kwargs.values())):
                try:
                    body = _encode_plain((args, kwargs, NO_EMBED))
                except (OverflowError, ValueError, TypeError, msgspec.MsgspecError):
                    pass  # an integer beyond 64 bits, a lone surrogate: the slow way knows
                else:
                    if len(body) < 1000:
                        headers["argsrepr"] = repr(args)
                        if kwargs:
                            headers["kwargsrepr"] = repr(kwargs)
                        return body
        headers["argsrepr"] = saferepr(args, 1024, self.levels)
        headers["kwargsrepr"] = saferepr(kwargs, 1024, self.levels) if kwargs else "{}"
        try:
            return encoder.dumps((args, kwargs, embed))
        except EncodeError as error:
            from multi.app.unsendable import explain

            name = headers["task"]
            raise explain(name, args, kwargs, embed, self.app._tasks, encoder, error) from error

    def build(
        self,
        name: str,
        task: Task | None,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
    ) -> Publication:
        """The message of a call with options. Raises `TypeError` for an option that nobody knows."""
        check_names(options)
        template = self.template(name, task)
        told = template.told
        if self.changing:
            told = {**self.routes.told(name, args, kwargs, options, task), **told}
            options = {**{key: told[key] for key in EXTRAS if told.get(key) is not None}, **options}
        headers = template.headers.copy()
        custom = options.get("headers")
        if custom:
            headers.update(custom)
        headers["task"] = name
        headers["id"] = headers["root_id"] = task_id
        headers["origin"] = identity.origin()
        headers["stamps"] = {}
        priority = template.priority
        run = running.get()
        if run is not None:
            headers["root_id"] = run.root_id
            headers["parent_id"] = run.id
            if template.inherits:
                priority = (run.request.delivery_info or {}).get("priority") or priority
        embed: Mapping[str, Any] = NO_EMBED
        for option, field in EMBED.items():
            value = options.get(option)
            if value:
                if embed is NO_EMBED:
                    embed = dict(NO_EMBED)
                if field in ("callbacks", "errbacks") and not isinstance(value, list | tuple):
                    value = [value]
                embed[field] = value  # type: ignore[index]  # a dict since two lines above
        countdown = options.get("countdown")
        # with both of them the countdown counts, as in Celery
        eta = clock.later(span("countdown", countdown)) if countdown else _moment(options.get("eta"), "eta")
        headers["eta"] = eta
        expires = options.get("expires", template.expires)
        if expires is not None:
            headers["expires"] = (
                clock.later(span("expires", expires)) if _is_span(expires) else _moment(expires, "expires")
            )
        hard, soft = options.get("time_limit"), options.get("soft_time_limit")
        if hard is not None or soft is not None:
            standing = template.headers["timelimit"]
            headers["timelimit"] = [standing[0] if hard is None else hard, standing[1] if soft is None else soft]
        if options.get("ignore_result") is not None:
            headers["ignore_result"] = bool(options["ignore_result"])
        stamped = options.get("stamped_headers")
        if stamped:
            headers["stamped_headers"] = list(stamped)
            headers["stamps"] = {stamp: options[stamp] for stamp in stamped if stamp in options}
        encoder = codec(options["serializer"]) if options.get("serializer") else template.codec
        if encoder is not JSON and embed is not NO_EMBED:
            embed = _plain(embed)
        for option, header in HEADERS.items():
            if options.get(option) is not None:
                headers[header] = options[option]
        to = self._destination(options, told, template)
        properties: dict[str, Any] = {
            "correlation_id": task_id,
            "reply_to": options.get("reply_to") or identity.oid(),
            "delivery_mode": mode(options["delivery_mode"]) if options.get("delivery_mode") else to.delivery_mode,
            "priority": options["priority"] if options.get("priority") is not None else priority,
        }
        for own in PROPERTIES:
            if options.get(own) is not None:
                properties[own] = options[own]
        if headers["expires"] is not None:
            left = clock.to_epoch(headers["expires"]) - time.time()
            properties["expiration"] = str(max(0, int(left * 1000)))
        if template.hooks:
            sending = middleware.Sending(name, task_id, args, kwargs, headers, properties, to.queue, to.exchange)
            for hook in template.hooks:
                hook(sending)
            args, kwargs = sending.args, sending.kwargs
        if signals.PUBLISHING.any:
            signals.before_task_publish.send(
                name,
                body=(args, kwargs, embed),
                exchange=to.exchange,
                routing_key=to.queue,
                headers=headers,
                properties=properties,
                declare=[],
                retry_policy=options.get("retry_policy") or self.retry_policy,
            )
        body = self._body(encoder, args, kwargs, embed, headers)
        for shown in ("argsrepr", "kwargsrepr"):
            if options.get(shown) is not None:
                headers[shown] = options[shown]
        squeeze = content_type(options["compression"]) if options.get("compression") else template.compression
        if squeeze:
            headers["compression"] = squeeze
            body = compress(body, squeeze)
        message = Message(headers, body, encoder.content_type, encoder.content_encoding, properties)
        due = clock.to_epoch(eta) if eta is not None and self.park else 0.0
        return Publication(to.queue, message, due, to.exchange)

    def _allowed(self, to: Destination) -> Destination:
        """Refuse to send to all where the broker can't."""
        if to.exchange and self.routes.topology.kind(to.exchange) == FANOUT:
            broker = self.app.broker
            if not broker.abilities.fanout:
                raise ConfigurationError(
                    f"the exchange {to.exchange!r} sends to all its queues, which {broker.masked} can't: send to each queue "
                    "by its name, or use a broker that can (redis://, amqp://, sqlite:///)"
                )
        return to

    def _destination(self, options: Mapping[str, Any], told: dict[str, Any], template: Template) -> Destination:
        """Where a call goes: its own options first, then what the task and its route say."""
        queue = options.get("queue")
        if (
            options.get("exchange") is None
            and options.get("routing_key") is None
            and options.get("exchange_type") is None
            and template.delivery_mode == self.delivery_mode
            and (queue is None or (type(queue) is str and not told))
        ):
            # nothing but the name of a queue, or not even that: worked out once
            if queue is None and told is template.told:
                return Destination(template.queue, template.exchange, template.delivery_mode)
            found = self._by_queue.get(queue) if queue is not None else None
            if found is not None:
                return found
        given = {key: options[key] for key in DESTINATION if options.get(key) is not None}
        to = self._allowed(self.routes.destination({**told, **given}))
        found = Destination(to.queue, to.exchange, to.delivery_mode or template.delivery_mode)
        if type(queue) is str and len(given) == 1 and not told and template.delivery_mode == self.delivery_mode:
            if len(self._by_queue) < _REMEMBERED:
                self._by_queue[queue] = found
        return found


def _expecting(app: App) -> Backend | None:
    """The backend, if it must be told of tasks before they are sent."""
    try:
        backend = app.backend
    except ConfigurationError:
        return None  # told to those who ask for a result
    return backend if backend is not None and backend.expects else None


def _plain(value: Any) -> Any:
    """Signatures as plain dicts, so that a pickle of them can be read by programs without multi."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _is_span(value: Any) -> bool:
    return isinstance(value, int | float | timedelta)


def _moment(value: Any, option: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            clock.to_epoch(value)
        except ValueError:
            raise ValueError(f"{option} should be a datetime, or one as ISO 8601 writes it, not {value!r}") from None
        return value
    try:
        text: str = value.isoformat()
        clock.to_epoch(text)
    except (AttributeError, ValueError):
        raise TypeError(f"{option} should be a datetime, not {value!r}") from None
    except OverflowError:
        raise ValueError(f"{option} is out of range: {value!r}") from None
    return text
