"""Settings of signed messages."""

from __future__ import annotations

from multi.config.setting import noted

SECURITY = noted(
    "signed messages (app.setup_security) are not there yet, so nothing reads it",
    ("security_certificate", "str", None),
    ("security_cert_store", "str", None),
    ("security_key", "str", None),
    ("security_key_password", "any", None),
    ("security_digest", "str", "sha256"),
)
