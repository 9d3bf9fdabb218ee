"""Which broker and which backend an app's settings mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from multi import plugins, urls
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.backends.base import Backend
    from multi.brokers.base import Broker

#: Backend names that Celery takes without "://".
_BARE = {"rpc": "rpc://", "redis": "redis://", "memory": "memory://", "disabled": "disabled://"}


def broker_url(app: App, *, write: bool) -> str:
    """The URL of the broker to send to (`write`) or to consume from; the embedded file's where none is configured."""
    conf = app.conf
    url: str | None = (conf.broker_write_url if write else conf.broker_read_url) or conf.broker_url
    return url or _from_parts(conf, "broker", conf.broker_transport or "amqp", "vhost") or embedded_url(app)


def _from_parts(conf: Any, group: str, scheme: str, last: str) -> str | None:
    """The URL that the settings of a group say in parts, as before there were URLs; None if none of them is given."""
    host, port, password = (conf[f"{group}_{part}"] for part in ("host", "port", "password"))
    user, path = conf[f"{group}_{'user' if group == 'broker' else 'username'}"], conf[f"{group}_{last}"]
    if all(part in (None, "") for part in (host, port, user, password, path)):
        return None
    secret = ":" + quote(password, "") if password else ""
    login = quote(user or "", "") + secret + "@" if user or secret else ""
    tail = "" if path in (None, "") else "/" + quote(str(path), "")
    place = f"{host or 'localhost'}:{port}" if port else host or "localhost"
    return f"{scheme}://{login}{place}{tail}"


def embedded_url(app: App) -> str:
    """The URL of the SQLite file that serves where no broker is configured."""
    from multi.app.embedded import to_url

    return to_url(app.embedded_path)


def backend_url(app: App, url: str | None = None) -> str | None:
    """The URL of the result backend (or of the one that `url` names), None where there is none."""
    url = url or app.conf.result_backend
    if not url:
        broker = broker_url(app, write=True)
        return broker if broker.startswith("sqlite:") else None
    if url in ("redis", "redis://"):
        url = _from_parts(app.conf, "redis", "redis", "db") or url
    url = _BARE.get(url, url)
    if url == "amqp" or url.startswith(("amqp:", "amqps:", "pyamqp:")):
        raise ConfigurationError(
            "the result backend 'amqp' no longer exists: it was replaced by 'rpc://' (results as messages, for the sender "
            "only); a backend that keeps results is redis://host:6379/0"
        )
    return None if url.startswith("disabled:") else url


def open_broker(app: App, *, write: bool) -> Broker:
    conf = app.conf
    url = broker_url(app, write=write)
    if conf.broker_use_ssl:
        url = _with_tls(url, conf.broker_use_ssl)
    cls = _implementation("multi.brokers", url)
    broker: Broker = cls(url, broker_options(app), lease=conf.worker_lease)
    broker.topology = app.topology
    return broker


def broker_at(app: App, url: str, *, create: bool = False) -> Broker:
    """Another broker than the app's, with the app's options and queues; `create` makes a file that is missing."""
    conf = app.conf
    if conf.broker_use_ssl and urls.scheme(url) == "rediss":
        url = _with_tls(url, conf.broker_use_ssl)
    options = broker_options(app)
    options["create"] = "file" if create else ""
    broker: Broker = _implementation("multi.brokers", url)(url, options, lease=conf.worker_lease)
    broker.topology = app.topology
    return broker


def _implementation(group: str, url: str) -> Any:
    try:
        return plugins.find(group, urls.scheme(url))
    except ConfigurationError as error:
        if urls.mask(url) in str(error):
            raise
        raise ConfigurationError(f"{urls.mask(url)!r} can't be used: {error}") from None


def broker_options(app: App) -> dict[str, Any]:
    """`broker_transport_options`, and the other settings of the connection under the names that brokers know."""
    conf = app.conf
    options = dict(conf.broker_transport_options)
    options.setdefault("anchor", _anchor(app))
    options.setdefault("connection_timeout", conf.broker_connection_timeout)
    if conf.redis_socket_connect_timeout is not None:
        options.setdefault("socket_connect_timeout", conf.redis_socket_connect_timeout)
    if conf.is_set("broker_heartbeat"):
        options.setdefault("heartbeat", conf.broker_heartbeat)
    if conf.is_set("broker_native_delayed_delivery_queue_type"):
        options.setdefault("delay_queue_type", conf.broker_native_delayed_delivery_queue_type)
    if conf.broker_use_ssl:
        options.setdefault("ssl", conf.broker_use_ssl)
    if not _configured(app):
        options.setdefault("create", "all")
    return options


def open_backend(app: App, url: str | None = None) -> Backend | None:
    """The app's result backend, or another one by its URL."""
    conf = app.conf
    url = backend_url(app, url)
    if url is None:
        return None
    scheme = urls.scheme(url)
    options = dict(conf.result_backend_transport_options)
    options.setdefault("anchor", _anchor(app))
    if conf.redis_socket_connect_timeout is not None:
        options.setdefault("socket_connect_timeout", conf.redis_socket_connect_timeout)
    if conf.is_set("redis_socket_timeout"):
        options.setdefault("socket_timeout", conf.redis_socket_timeout)
    if conf.result_chord_expires:
        options.setdefault("chord_expires", int(conf.result_chord_expires))
    if conf.redis_backend_use_ssl:
        url = _with_tls(url, conf.redis_backend_use_ssl)
    if scheme == "rpc":
        options.setdefault("broker_url", broker_url(app, write=True))
        options.setdefault("broker_options", broker_options(app))
        options.setdefault("persistent", bool(conf.result_persistent))
    if not _configured(app):
        options.setdefault("create", "all")
    cls = _implementation("multi.backends", url)
    backend: Backend = cls(url, options, expires=int(conf.result_expires or 0))
    return backend


def _with_tls(url: str, wanted: Any) -> str:
    """A Redis URL that says itself what the setting wants: `rediss:` and `ssl_…` options; others as they are."""
    if not url.startswith(("redis:", "rediss:")):
        return url
    url = "rediss:" + url.partition(":")[2]
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if value is not None:
                name = key if key.startswith("ssl_") else f"ssl_{key}"
                url += f"{'&' if '?' in url else '?'}{name}={getattr(value, 'name', value)}"
    return url


def _configured(app: App) -> bool:
    return not broker_url(app, write=True).startswith("sqlite:") or bool(
        app.conf.broker_url or app.conf.broker_write_url
    )


def _anchor(app: App) -> str | None:
    from multi.app.embedded import project_folder

    return project_folder(app._defined_in)
