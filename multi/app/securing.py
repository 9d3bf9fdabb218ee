"""Signed messages for an app: what its settings say of keys and certificates, checked and made true."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from multi import security
from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.app.app import App


def set_up(
    app: App,
    allowed: Iterable[str],
    key: str | None,
    password: str | bytes | None,
    certificate: str | None,
    store: str | None,
    digest: str | None,
    serializer: str,
) -> None:
    """See `App.setup_security`. Raises `ConfigurationError` for settings under which unsigned messages would come or go."""
    conf = app.conf
    unsigned = set(conf.accept_content or ()) - {security.NAME, security.CONTENT_TYPE, *allowed}
    if conf.task_serializer != security.NAME or unsigned or not conf.accept_content:
        raise ConfigurationError(
            'setup_security: signed messages need the settings task_serializer = "auth" and accept_content = ["auth"]'
            + (f"; {', '.join(sorted(unsigned))} would be accepted unsigned" if unsigned else "")
        )
    given = {
        "security_key": key or conf.security_key,
        "security_certificate": certificate or conf.security_certificate,
        "security_cert_store": store or conf.security_cert_store,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ConfigurationError(
            f"setup_security: {', '.join(missing)} should name a file each, and the store a folder"
        )
    security.setup(
        str(given["security_key"]),
        str(given["security_certificate"]),
        str(given["security_cert_store"]),
        password=password if password is not None else conf.security_key_password,
        digest=digest or conf.security_digest,
        inner=serializer,
    )
