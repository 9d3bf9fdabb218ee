"""Signed messages: the serializer `auth`, in Celery's form, so that programs of both read each other's.

A body is base64 of five fields with `SEPARATOR` between them: the signer (issuer and serial number of its certificate) and
the signature, both in base64 again, then content type, encoding and content as another serializer made them. Signatures are
RSA-PSS over the content. What is read is taken from signers only whose certificate lies in the store and is valid then.
"""

from __future__ import annotations

import base64
import binascii
import glob
import os
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from multi.codecs import CODECS, Codec, codec, install
from multi.errors import ConfigurationError, MissingExtra, SecurityError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
    from cryptography.x509 import Certificate

NAME, CONTENT_TYPE = "auth", "application/data"
SEPARATOR = b"\x00\x01"

#: So often (s) at most the store is looked through again for the certificate of a signer that is not known.
_LOOK_AGAIN = 5.0


class Store:
    """The certificates of those who may sign: the files at a path, in a folder, or of a pattern."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._known: dict[str, Certificate] = {}
        self._looked = 0.0
        self._lock = threading.Lock()
        self._read()
        if not self._known:
            raise ConfigurationError(
                f"security_cert_store: there is no certificate at {path}; it should be a folder of certificates (PEM), or a "
                "pattern as in /etc/ssl/workers/*.pem"
            )

    def _read(self) -> None:
        pattern = os.path.join(self.path, "*") if os.path.isdir(self.path) else self.path
        found = [load_certificate(path, "security_cert_store") for path in sorted(glob.glob(pattern))]
        self._known = {name_of(one): one for one in found}
        self._looked = time.monotonic()

    def key_of(self, signer: str) -> RSAPublicKey:
        """The public key of a signer. Raises `SecurityError` for one that isn't known, or isn't valid now."""
        certificate = self._known.get(signer)
        if certificate is None:
            with self._lock:
                if time.monotonic() - self._looked > _LOOK_AGAIN:
                    self._read()
            certificate = self._known.get(signer)
        if certificate is None:
            raise SecurityError(f"it is signed by {signer!r}, whose certificate is not in {self.path}")
        check_validity(certificate, signer)
        key: Any = certificate.public_key()
        return key  # type: ignore[no-any-return]  # load_certificate takes those of RSA only


class Signer:
    """Signs with one key, and verifies what others have signed."""

    def __init__(self, key: RSAPrivateKey, certificate: Certificate, store: Store, digest: str, inner: Codec) -> None:
        self.key = key
        self.name = name_of(certificate)
        self.certificate = certificate
        self.store = store
        self.digest = _digest(digest)
        self.inner = inner

    def dumps(self, value: Any) -> bytes:
        """`value` as a signed body. Raises `EncodeError`, and `SecurityError` when one's own certificate has expired."""
        check_validity(self.certificate, self.name)
        body = self.inner.dumps(value)
        signature = self.key.sign(body, self._padding(), self.digest)
        fields = (
            base64.b64encode(self.name.encode()),
            base64.b64encode(signature),
            self.inner.content_type.encode(),
            self.inner.content_encoding.encode(),
            body,
        )
        return base64.b64encode(SEPARATOR.join(fields))

    def loads(self, data: bytes) -> Any:
        """The value of a signed body. Raises `SecurityError` for one that isn't, or is signed by nobody who may."""
        from cryptography.exceptions import InvalidSignature

        try:
            signer64, signature64, content_type, _, body = base64.b64decode(data, validate=True).split(SEPARATOR, 4)
            signer = base64.b64decode(signer64, validate=True).decode()
            signature = base64.b64decode(signature64, validate=True)
            inner = codec(content_type.decode("ascii"))
        except (ValueError, binascii.Error, ConfigurationError) as error:
            raise SecurityError(f"it is no signed message: {error}") from None
        if inner.name == NAME:
            raise SecurityError("it is no signed message: what it holds is said to be signed once more")
        try:
            self.store.key_of(signer).verify(signature, body, self._padding(), self.digest)
        except InvalidSignature:
            raise SecurityError(
                f"the signature is not that of {signer!r}: the message was changed, or signed with another key or digest"
            ) from None
        return inner.loads(body)

    def _padding(self) -> Any:
        from cryptography.hazmat.primitives.asymmetric import padding

        return padding.PSS(mgf=padding.MGF1(self.digest), salt_length=padding.PSS.MAX_LENGTH)


def setup(
    key: str,
    certificate: str,
    store: str,
    *,
    password: str | bytes | None = None,
    digest: str = "sha256",
    inner: str = "json",
) -> None:
    """Have the serializer `auth` sign with the key and certificate of these files, and take what those of `store` sign.

    `inner` is the serializer of what is signed. Raises `ConfigurationError` for files that can't be used and for a certificate of
    another key, `SecurityError` for a certificate that is not valid now, `MissingExtra` without the package cryptography.
    """
    own = load_certificate(certificate, "security_certificate")
    private = _load_key(key, password)
    if private.public_key().public_numbers() != own.public_key().public_numbers():  # type: ignore[union-attr]  # of RSA
        raise ConfigurationError(f"security_certificate: {certificate} is not the certificate of the key {key}")
    check_validity(own, name_of(own))
    if inner == NAME:
        raise ConfigurationError("setup_security: what is signed needs a serializer of its own, as 'json'")
    signer = Signer(private, own, Store(store), digest, codec(inner))
    install(Codec(NAME, CONTENT_TYPE, "utf-8", signer.dumps, signer.loads))


def load_certificate(path: str, what: str) -> Certificate:
    """The certificate in a file (PEM). Raises `ConfigurationError`."""
    x509 = _cryptography("x509")
    rsa = _cryptography("hazmat.primitives.asymmetric.rsa")
    try:
        with open(path, "rb") as file:
            found: Certificate = x509.load_pem_x509_certificate(file.read())
    except OSError as error:
        raise ConfigurationError(f"{what}: {path} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{what}: {path} is no certificate in PEM form: {error}") from None
    if not isinstance(found.public_key(), rsa.RSAPublicKey):
        raise ConfigurationError(
            f"{what}: {path} is the certificate of a key of another kind; messages are signed with RSA keys"
        )
    return found


def _load_key(path: str, password: str | bytes | None) -> RSAPrivateKey:
    serialization = _cryptography("hazmat.primitives.serialization")
    rsa = _cryptography("hazmat.primitives.asymmetric.rsa")
    secret = password.encode() if isinstance(password, str) else password
    try:
        with open(path, "rb") as file:
            found = serialization.load_pem_private_key(file.read(), password=secret)
    except OSError as error:
        raise ConfigurationError(f"security_key: {path} can't be read: {error.strerror}") from None
    except TypeError:
        said = "has a password: give security_key_password" if secret is None else "has no password, and one is given"
        raise ConfigurationError(f"security_key: {path} {said}") from None
    except ValueError:
        raise ConfigurationError(
            f"security_key: {path} is no private key in PEM form, or the password is wrong"
        ) from None
    if not isinstance(found, rsa.RSAPrivateKey):
        raise ConfigurationError(f"security_key: {path} is a key of another kind; messages are signed with RSA keys")
    return found  # type: ignore[no-any-return]  # as just seen


def name_of(certificate: Certificate) -> str:
    """How a signer is called: the values of its issuer's name and its serial number, as Celery writes them."""
    issuer = " ".join(str(one.value) for one in certificate.issuer)
    return f"{issuer} {certificate.serial_number}"


def check_validity(certificate: Certificate, name: str) -> None:
    """Raises `SecurityError` unless the certificate is valid at this moment."""
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        raise SecurityError(
            f"the certificate of {name!r} has expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        )
    if now < certificate.not_valid_before_utc:
        raise SecurityError(
            f"the certificate of {name!r} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        )


def _digest(name: str) -> Any:
    hashes = _cryptography("hazmat.primitives.hashes")
    found = getattr(hashes, name.upper(), None)
    if found is None or not issubclass(found, hashes.HashAlgorithm):
        raise ConfigurationError(f"security_digest: {name!r} is no digest; use sha256, sha384 or sha512")
    return found()


def _cryptography(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"cryptography.{module}")
    except ImportError:
        raise MissingExtra("cryptography", "multi-workers[auth]", "signed messages") from None


def is_set_up() -> bool:
    """Whether this process signs."""
    return NAME in CODECS
