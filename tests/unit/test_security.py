"""Signed messages: what is taken, what is not, and that Celery's side signs and reads the same."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from multi import App, codecs, security
from multi.app.execute import prepare
from multi.errors import ConfigurationError, SecurityError
from multi.outcome import Outcome

pytest.importorskip("cryptography")


class Party:
    """Somebody with a key, and a certificate that holds for so many days from now on."""

    def __init__(self, folder: Path, name: str, days: float = 1, password: str | None = None) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.x509.oid import NameOID

        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        who = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Workers"),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(who)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=30))
            .not_valid_after(now + timedelta(days=days))
            .sign(key, hashes.SHA256())
        )
        secret = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        self.key = folder / f"{name}.key"
        self.certificate = folder / f"{name}.pem"
        self.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret))
        self.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.name = f"Workers {name} {certificate.serial_number}"


@pytest.fixture(scope="module")
def parties(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Party]:
    folder = tmp_path_factory.mktemp("parties")
    return {
        "ours": Party(folder, "ours"),
        "theirs": Party(folder, "theirs"),
        "late": Party(folder, "late", days=-1),
        "locked": Party(folder, "locked", password="hunter2"),
    }


@pytest.fixture
def store(parties: dict[str, Party], tmp_path: Path) -> Path:
    """Where ours and theirs are trusted."""
    folder = tmp_path / "store"
    folder.mkdir()
    for name in ("ours", "theirs"):
        (folder / f"{name}.pem").write_bytes(parties[name].certificate.read_bytes())
    return folder


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    yield
    if "auth" in codecs.CODECS:
        codecs.unregister("auth")


def signer(party: Party, store: Path, **options: Any) -> codecs.Codec:
    """The serializer of a process of that party's."""
    security.setup(str(party.key), str(party.certificate), str(store), **options)
    return codecs.codec("auth")


def test_what_one_signs_another_reads(parties: dict[str, Party], store: Path) -> None:
    body = signer(parties["theirs"], store).dumps([[1, "ä"], {"k": None}, {}])
    assert signer(parties["ours"], store).loads(body) == [[1, "ä"], {"k": None}, {}]


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_celery_reads_what_multi_signs_and_the_other_way(parties: dict[str, Party], store: Path, digest: str) -> None:
    certificates = pytest.importorskip("celery.security.certificate")
    keys = pytest.importorskip("celery.security.key")
    serialization = pytest.importorskip("celery.security.serialization")
    theirs = parties["theirs"]
    celery = serialization.SecureSerializer(
        keys.PrivateKey(theirs.key.read_text()),
        certificates.Certificate(theirs.certificate.read_text()),
        certificates.FSCertStore(str(store)),
        digest,
    )
    ours = signer(parties["ours"], store, digest=digest)
    value = [[1, "ä"], {"when": datetime(2026, 1, 2, tzinfo=UTC)}, {"chain": None}]
    assert celery.deserialize(ours.dumps(value)) == value
    assert ours.loads(celery.serialize(value).encode()) == value


def changed(body: bytes, field: int, value: bytes) -> bytes:
    fields = base64.b64decode(body).split(security.SEPARATOR, 4)
    fields[field] = value
    return base64.b64encode(security.SEPARATOR.join(fields))


def test_what_was_changed_on_the_way_is_not_taken(parties: dict[str, Party], store: Path) -> None:
    ours = signer(parties["ours"], store)
    body = ours.dumps([[1], {}, {}])
    with pytest.raises(SecurityError, match="the message was changed"):
        ours.loads(changed(body, 4, b"[[2], {}, {}]"))
    with pytest.raises(SecurityError, match="the message was changed"):
        ours.loads(changed(body, 0, base64.b64encode(parties["theirs"].name.encode())))
    with pytest.raises(SecurityError, match="no signed message"):
        ours.loads(b"[[1], {}, {}]")
    with pytest.raises(SecurityError, match="no signed message"):
        ours.loads(changed(body, 2, b"application/data"))
    assert ours.loads(body) == [[1], {}, {}]


def test_a_signature_by_another_digest_is_not_taken(parties: dict[str, Party], store: Path) -> None:
    body = signer(parties["theirs"], store, digest="sha512").dumps([])
    with pytest.raises(SecurityError, match="another key or digest"):
        signer(parties["ours"], store).loads(body)


def test_whoever_is_not_in_the_store_is_nobody_until_his_certificate_is_put_there(
    parties: dict[str, Party], store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Party(tmp_path, "stranger")
    body = signer(stranger, store).dumps([])
    ours = signer(parties["ours"], store)
    with pytest.raises(SecurityError, match=f"signed by '{stranger.name}', whose certificate is not in"):
        ours.loads(body)
    (store / "stranger.pem").write_bytes(stranger.certificate.read_bytes())
    monkeypatch.setattr(security, "_LOOK_AGAIN", 0.0)
    assert ours.loads(body) == []


def test_an_expired_certificate_neither_signs_nor_is_taken(
    parties: dict[str, Party], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = parties["late"]
    with pytest.raises(SecurityError, match=f"the certificate of '{late.name}' has expired at 20"):
        signer(late, store)
    (store / "late.pem").write_bytes(late.certificate.read_bytes())
    with monkeypatch.context() as patched:
        patched.setattr(security, "check_validity", lambda *_: None)
        body = signer(late, store).dumps([])
    with pytest.raises(SecurityError, match="has expired"):
        signer(parties["ours"], store).loads(body)


def test_a_key_may_have_a_password_which_is_never_shown(parties: dict[str, Party], store: Path) -> None:
    locked = parties["locked"]
    assert signer(locked, store, password="hunter2").name == "auth"
    for password, said in ((None, "security_key_password"), ("wrong", "the password is wrong")):
        with pytest.raises(ConfigurationError, match=said) as caught:
            signer(locked, store, password=password)
        assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="has no password, and one is given"):
        signer(parties["ours"], store, password="hunter2")


def test_files_that_can_not_be_used_are_named(parties: dict[str, Party], store: Path, tmp_path: Path) -> None:
    ours, theirs = parties["ours"], parties["theirs"]
    files = {"key": str(ours.key), "certificate": str(ours.certificate), "store": str(store)}
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    (tmp_path / "empty").mkdir()
    for name, value, said in (
        ("key", "/nowhere", "security_key: /nowhere can't be read: No such file"),
        ("key", str(junk), "is no private key in PEM form"),
        ("certificate", str(junk), "is no certificate in PEM form"),
        ("certificate", str(theirs.certificate), "is not the certificate of the key"),
        ("store", str(tmp_path / "empty"), "security_cert_store: there is no certificate"),
        ("store", str(junk), "security_cert_store: .*is no certificate"),
        ("digest", "md6", "'md6' is no digest"),
        ("inner", "auth", "needs a serializer of its own"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            security.setup(**{**files, name: value})


def signed_app(parties: dict[str, Party], store: Path, party: str) -> App:
    app = App(
        "signed",
        broker="memory://signed",
        set_as_current=False,
        task_serializer="auth",
        accept_content=["auth"],
        security_key=str(parties[party].key),
        security_certificate=str(parties[party].certificate),
        security_cert_store=str(store),
    )
    app.setup_security()

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return app


def claimed(app: App, task: Any = None, **options: Any) -> Any:
    """What becomes of a call's message in a worker of the app."""
    publication = app.publisher.build("add", app.tasks["add"], "id", (1, 2), {}, options)
    return lambda reader: prepare(
        reader, publication.message, queue="celery", redelivered=False, starts=0, hostname="w1@h"
    )


def test_a_worker_runs_what_is_signed_and_sets_aside_what_is_not(
    parties: dict[str, Party], store: Path, tmp_path: Path
) -> None:
    theirs = claimed(signed_app(parties, store, "theirs"))
    stranger = claimed(signed_app({"x": Party(tmp_path, "x")}, store, "x"))
    app = signed_app(parties, store, "ours")
    assert theirs(app).run().result == 3
    unsigned = claimed(app, serializer="json")(app)
    foreign = stranger(app)
    for outcome, said in ((unsigned, "not accepted here, only auth"), (foreign, "whose certificate is not in")):
        assert isinstance(outcome, Outcome)
        assert outcome.verb == "bury"
        assert said in outcome.reason


def test_settings_under_which_unsigned_messages_would_come_or_go_are_refused(
    parties: dict[str, Party], store: Path
) -> None:
    for settings, said in (
        ({}, 'task_serializer = "auth"'),
        ({"task_serializer": "auth"}, "json would be accepted unsigned"),
        ({"task_serializer": "auth", "accept_content": ["auth", "pickle"]}, "pickle would be accepted unsigned"),
        (
            {"task_serializer": "auth", "accept_content": ["auth"]},
            "security_key, security_certificate, security_cert_store",
        ),
    ):
        with pytest.raises(ConfigurationError, match=said):
            App("open", set_as_current=False, changes=settings).setup_security()
    with pytest.raises(ConfigurationError, match=r"after app.setup_security\(\)"):
        _ = App("open", set_as_current=False, task_serializer="auth").publisher
    app = App("both", set_as_current=False, task_serializer="auth", accept_content=["auth", "json"])
    app.setup_security(["json"], str(parties["ours"].key), None, str(parties["ours"].certificate), str(store))
