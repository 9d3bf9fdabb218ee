"""Where messages go: `task_queues`, `task_routes` and the options of a call."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.app.options import check_values
from multi.errors import ConfigurationError
from multi.topology import DIRECT, FANOUT, Exchange, Queue, Topology, mode, queue_of

if TYPE_CHECKING:
    from multi.config import Settings

#: What a route may say beside the destination.
EXTRAS = ("priority", "serializer", "compression", "delivery_mode")
DESTINATION = ("queue", "exchange", "routing_key", "exchange_type")


class Destination(NamedTuple):
    """Where a message goes: to a queue by its name, or to what an exchange makes of the routing key in its place."""

    queue: str
    exchange: str = ""
    delivery_mode: int | None = None


class MapRoute:
    """A router made of a table: task names, patterns with `*`, compiled regular expressions; names go before patterns."""

    def __init__(self, table: Mapping[Any, Any] | Iterable[Any]) -> None:
        self._names: dict[str, Any] = {}
        self._patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, value in table.items() if isinstance(table, Mapping) else table:
            check_route(value, f"task_routes[{key!r}]")
            if isinstance(key, re.Pattern):
                self._patterns.append((key, value))
            elif not isinstance(key, str):
                raise ConfigurationError(f"task_routes: {key!r} is neither a task's name nor a pattern")
            elif "*" in key:
                self._patterns.append((re.compile(fnmatch.translate(key)), value))
            else:
                self._names[key] = value

    def __call__(self, name: str, *_: Any, **__: Any) -> Any:
        if name in self._names:
            return self._names[name]
        return next((value for pattern, value in self._patterns if pattern.match(name)), None)


Router = Callable[..., Any]


class Routes:
    """`task_routes`, ready to be asked; `changing` tells whether a function of the project's has to be asked at every call."""

    def __init__(self, conf: Settings, topology: Topology) -> None:
        self._conf = conf
        self.topology = topology
        self._routers = prepare(conf.task_routes)
        self.changing = any(not isinstance(router, MapRoute) for router in self._routers)
        self.any = bool(self._routers)

    def told(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None, task: Any = None,
    ) -> dict[str, Any]:  # fmt: skip
        """What the first router that knows the task says of it."""
        for router in self._routers:
            if isinstance(router, MapRoute):
                found = router(name)
            else:
                found = _ask(router, name, args, kwargs or {}, options or {}, task)
            if found is not None:
                return check_route(found, f"the route of {name}")
        return {}

    def destination(self, options: Mapping[str, Any]) -> Destination:
        """Where the options of a call or a route send: queue, exchange, routing_key, exchange_type."""
        queue = options.get("queue")
        if isinstance(queue, str) and options.get("exchange") == "":
            return Destination(queue)
        if queue is None or queue == "":
            return self.resolve(self.topology.get(self._conf.task_default_queue), options)
        if isinstance(queue, str):
            return self.resolve(self.topology.get(queue), options)
        known = queue_of(queue)
        found = self.topology.find(known.alias or known.name)
        return self.resolve(found if found is not None else self.topology.add(known), options)

    def resolve(self, queue: Queue, options: Mapping[str, Any]) -> Destination:
        """Celery's rule: straight to the queue, unless its exchange is no direct one or both exchange and key are named."""
        exchange, key = options.get("exchange"), options.get("routing_key") or ""
        kind = options.get("exchange_type")
        own = queue.exchange
        delivery = own.delivery_mode if own is not None else None
        if exchange is not None and not isinstance(exchange, str):
            kind, exchange = getattr(exchange, "type", kind), exchange.name
        if exchange == "":  # the exchange without a name takes every message straight to a queue
            return Destination(key or queue.name, "", delivery)
        if exchange:
            if kind:
                self.topology.learn(exchange, Exchange(exchange, kind).type)
            kind = kind or self.topology.kind(exchange) or DIRECT
            if not key and options.get("queue") and kind != FANOUT and (own is None or own.type == DIRECT):
                return Destination(queue.name, "", delivery)  # as with Celery, whom an exchange alone tells nothing
            if not key:
                key = queue.routing_key if own is not None and own.name == exchange else ""
                if kind == FANOUT:
                    # on Redis it is part of the channel that workers listen to
                    key = key or self.topology.key(exchange)
                elif not key:
                    raise ConfigurationError(
                        f"exchange={exchange!r} alone leads nowhere: a {kind} exchange needs a routing_key beside it"
                    )
            return Destination(key, exchange, delivery)
        kind = kind or (own.type if own is not None else DIRECT)
        if kind == DIRECT or own is None or not own.name:
            return Destination(queue.name, "", delivery)
        return Destination(key or queue.routing_key or self._conf.task_default_routing_key or "", own.name, delivery)


def topology_of(conf: Settings) -> Topology:
    """The queues that the settings declare. Raises `ConfigurationError`."""
    for name in ("task_create_missing_queue_type", "task_default_queue_type"):
        if conf[name] not in (None, "classic", "quorum"):
            raise ConfigurationError(f"the setting {name} is 'classic' or 'quorum', not {conf[name]!r}")
    default_queue: str = conf.task_default_queue
    exchange = Exchange(conf.task_default_exchange or default_queue, conf.task_default_exchange_type or DIRECT)
    declared = conf.task_queues
    queues = [*_queues(declared)] if declared else []
    names = {queue.name for queue in queues}
    if "" in names:
        raise ConfigurationError("task_queues: a queue needs a name, as in Queue('images')")
    if len(names) != len(queues):
        twice = next(name for name in names if sum(queue.name == name for queue in queues) > 1)
        raise ConfigurationError(f"task_queues has the queue {twice!r} twice")
    if declared is None:
        quorum = {"x-queue-type": "quorum"} if conf.task_default_queue_type == "quorum" else {}
        queues = [
            Queue(default_queue, exchange, conf.task_default_routing_key or default_queue, queue_arguments=quorum)
        ]
    return Topology(
        queues,
        default_exchange=exchange,
        default_key=conf.task_default_routing_key or default_queue,
        create_missing=conf.task_create_missing_queues,
        missing_type=conf.task_create_missing_queue_type,
        missing_exchange_type=conf.task_create_missing_queue_exchange_type,
        max_priority=conf.task_queue_max_priority,
    )


def _queues(declared: Any) -> Iterable[Queue]:
    """`task_queues` in its forms: a list of queues, or a table of names with exchange, routing_key and so on."""
    if not isinstance(declared, Mapping):
        if isinstance(declared, str) or not isinstance(declared, Iterable):
            raise ConfigurationError(f"task_queues should be a list of queues or a table of them, not {declared!r}")
        yield from map(queue_of, declared)
        return
    for name, told in declared.items():
        if not isinstance(told, Mapping):
            yield queue_of(told)
            continue
        about = {"durable": True, **told}
        exchange, kind = about.pop("exchange", None), about.pop("exchange_type", None)
        key = about.pop("routing_key", None) or about.pop("binding_key", None) or name
        about.pop("binding_key", None)
        if kind or isinstance(exchange, str):
            exchange = Exchange(exchange or name, kind or "")
        try:
            yield Queue(name, exchange, key, **about)
        except TypeError as error:
            raise ConfigurationError(f"task_queues[{name!r}]: {error}") from None


def prepare(routes: Any) -> list[Router]:
    """The routers of `task_routes`: a table, a function, the dotted path of either, or a list of these."""
    if not routes:
        return []
    if not isinstance(routes, list | tuple) or _is_table(routes):
        routes = [routes]
    return [_router(each) for each in routes]


def _is_table(routes: Sequence[Any]) -> bool:
    """Whether it is one table, written as a list of pairs."""
    return all(
        isinstance(each, list | tuple) and len(each) == 2 and isinstance(each[0], str | re.Pattern) for each in routes
    )


def _router(value: Any) -> Router:
    if isinstance(value, Mapping | list | tuple):
        return MapRoute(value)
    if isinstance(value, str):
        path = value
        module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
        try:
            value = getattr(import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError(f"task_routes names {path!r}, which can't be loaded: {error}") from None
        if isinstance(value, Mapping | list | tuple):
            return MapRoute(value)
    if isinstance(value, type) and hasattr(value, "route_for_task"):
        value = value()
    if not callable(value) and not hasattr(value, "route_for_task"):
        raise ConfigurationError(f"task_routes: {value!r} is no router: a table, a function, or the path of one")
    found: Router = value
    return found


def _ask(
    router: Any, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], task: Any
) -> Any:
    if hasattr(router, "route_for_task"):
        return router.route_for_task(name, args, kwargs)
    return router(name, args, kwargs, dict(options), task=task)


def check_route(value: Any, where: str) -> dict[str, Any]:
    """A route as a dictionary. Raises `ConfigurationError` for what is none."""
    if isinstance(value, str):
        return {"queue": value}
    if not isinstance(value, Mapping):
        try:
            return {"queue": queue_of(value)}
        except ConfigurationError:
            raise ConfigurationError(
                f"{where} should be the name of a queue, or a dictionary as {{'queue': 'reports'}}, not {value!r}"
            ) from None
    for key in value:
        if key not in DESTINATION and key not in EXTRAS:
            from difflib import get_close_matches

            near = get_close_matches(str(key), (*DESTINATION, *EXTRAS), 1, 0.7)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"{where} can't say {key!r}: a route has {', '.join((*DESTINATION, *EXTRAS))}{hint}"
            )
    if value.get("delivery_mode") is not None:
        mode(value["delivery_mode"])
    try:
        check_values(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: {error}") from None
    return dict(value)
