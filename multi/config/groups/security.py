"""Settings of signed messages: what `app.setup_security()` goes by."""

from __future__ import annotations

from multi.config.setting import acted

SECURITY = (
    acted("security_key", "str", None, "the file of the private key that messages are signed with (RSA, PEM)"),
    acted("security_key_password", "any", None, "the password of that file"),
    acted("security_certificate", "str", None, "the file of the certificate of that key"),
    acted("security_cert_store", "str", None, "the folder, or pattern, of the certificates whose messages are taken"),
    acted("security_digest", "str", "sha256", "the digest of signatures"),
)
