"""An app of Celery's own stands for its workers: they can be asked where its settings say that they listen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multi.app.app import App

#: What an app says of its broker and of remote control.
_SETTINGS = ("broker_transport_options", "broker_use_ssl", "control_exchange", "result_backend")


def stand_in(theirs: Any) -> App:
    """An app of ours with the broker of one of Celery's, for asking its workers."""
    from multi.app.app import App

    conf = theirs.conf
    url = conf.broker_read_url or conf.broker_url or theirs.connection_for_read().as_uri(include_password=True)
    app = App("multi", broker=url if isinstance(url, str) else ";".join(url), set_as_current=False)
    for name in _SETTINGS:
        value = conf.get(name)
        if value not in (None, "", {}, False):
            app.conf[name] = value
    return app
