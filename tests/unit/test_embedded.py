from __future__ import annotations

import os
from pathlib import Path

import pytest

from multi.app import embedded
from multi.app.app import App
from multi.app.connections import backend_url, broker_url
from multi.errors import ConfigurationError
from multi.urls import parse


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    state = tmp_path / "state"
    monkeypatch.setenv("MULTI_STATE_DIR", str(state))
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "MULTI_BROKER_URL", "MULTI_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    return state


def package(folder: Path) -> Path:
    (folder / "proj" / "sub").mkdir(parents=True)
    (folder / "proj" / "__init__.py").touch()
    (folder / "proj" / "sub" / "__init__.py").touch()
    return folder / "proj"


def test_every_module_of_a_project_means_one_file(tmp_path: Path) -> None:
    proj = package(tmp_path / "a")
    assert embedded.path(str(proj / "celery.py")) == embedded.path(str(proj / "sub" / "x.py"))


def test_projects_of_one_name_in_two_places_have_two_files(tmp_path: Path) -> None:
    assert embedded.path(str(package(tmp_path / "a") / "c.py")) != embedded.path(str(package(tmp_path / "b") / "c.py"))


def test_the_working_directory_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proj = package(tmp_path / "a")
    before = embedded.path(str(proj / "celery.py")), embedded.path(None, "x")
    monkeypatch.chdir("/")
    assert (embedded.path(str(proj / "celery.py")), embedded.path(None, "x")) == before


def test_the_name_in_multi_toml_stays_when_the_folder_changes(tmp_path: Path, state: Path) -> None:
    files = set()
    for release in ("1", "2"):
        proj = package(tmp_path / "releases" / release)
        (tmp_path / "releases" / release / "multi.toml").write_text('name = "shop"\n')
        files.add(embedded.path(str(proj / "celery.py")))
    assert files == {str(state / "queues" / "shop.db")}


def test_multi_toml_may_say_where_state_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTI_STATE_DIR")
    proj = package(tmp_path / "a")
    (tmp_path / "a" / "multi.toml").write_text('name = "shop"\nstate_dir = "var"\n')
    assert embedded.path(str(proj / "c.py")) == str(tmp_path / "a" / "var" / "queues" / "shop.db")


def test_a_broken_multi_toml_is_told(tmp_path: Path) -> None:
    proj = package(tmp_path / "a")
    (tmp_path / "a" / "multi.toml").write_text("name = \n")
    with pytest.raises(ConfigurationError, match=r"multi\.toml can't be read"):
        embedded.path(str(proj / "c.py"))


def test_a_path_with_anything_in_it_survives_the_url() -> None:
    path = "/a b/p@th?x;y%41/q.db"
    assert parse(embedded.to_url(path)).path == "/" + path


def test_an_app_without_a_broker_has_the_embedded_file_for_both() -> None:
    app = App("x", set_as_current=False)
    assert broker_url(app, write=True) == backend_url(app) == embedded.to_url(app.embedded_path)
    assert os.path.isabs(app.embedded_path)


def test_a_broker_without_a_backend_has_none_unless_it_is_a_file(tmp_path: Path) -> None:
    assert backend_url(App("x", broker="redis://h", set_as_current=False)) is None
    url = f"sqlite:///{tmp_path}/q.db"
    assert backend_url(App("x", broker=url, set_as_current=False)) == url


def test_results_can_be_switched_off() -> None:
    assert App("x", backend="disabled://", set_as_current=False).backend is None


@pytest.mark.parametrize("value", ["amqp", "amqp://", "amqp://guest@h//"])
def test_the_backend_that_celery_has_dropped_is_answered_with_what_replaced_it(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"rpc://.*redis://"):
        backend_url(App("x", broker="memory://", backend=value, set_as_current=False))


def test_tls_by_setting_becomes_part_of_a_redis_url() -> None:
    import ssl

    from multi.app.connections import _with_tls

    assert _with_tls("redis://h/1", True) == "rediss://h/1"
    wanted = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_ca_certs": "/ca.pem", "ssl_keyfile": None}
    assert _with_tls("redis://h/1", wanted) == "rediss://h/1?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=/ca.pem"
    assert _with_tls("amqp://h", True) == "amqp://h"


def test_a_wrong_scheme_is_told_with_the_url_and_the_known_ones() -> None:
    app = App("x", broker="kafka://:geheim@h", set_as_current=False)
    with pytest.raises(ConfigurationError, match=r"'kafka://:\*\*@h' can't be used: .*memory.*redis"):
        _ = app.broker
    with pytest.raises(ConfigurationError, match=r"'django-db' is no URL"):
        _ = App("x", broker="memory://", backend="django-db", set_as_current=False).backend


def test_two_urls_make_two_brokers() -> None:
    app = App("x", broker="memory://w", broker_read_url="memory://r", set_as_current=False)
    assert app.broker.url == "memory://w"
    assert app.worker_broker.url == "memory://r"
    same = App("x", broker="memory://w", set_as_current=False)
    assert same.worker_broker is same.broker
