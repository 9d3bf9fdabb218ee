"""Tasks that wait for a commit of a session of SQLAlchemy: sent when it commits, forgotten when it rolls back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support.inline import make_app

from multi import App, on_commit
from multi.errors import ConfigurationError
from multi.testing import Outbox

sqlalchemy = pytest.importorskip("sqlalchemy")
orm = pytest.importorskip("sqlalchemy.orm")


@pytest.fixture
def app() -> Iterator[App]:
    app = make_app()

    @app.task(name="note")
    def note(text: str) -> None: ...

    yield app
    app.close()


@pytest.fixture
def sent() -> Iterator[Outbox]:
    outbox = Outbox().open()
    yield outbox
    outbox.close()


@pytest.fixture
def session() -> Iterator[Any]:
    engine = sqlalchemy.create_engine("sqlite://")
    with orm.Session(engine) as session:
        session.execute(sqlalchemy.text("create table t (x)"))
        session.commit()
        yield session
    engine.dispose()


def said(outbox: Outbox) -> list[str]:
    return [one.args[0] for one in outbox.sent]


def insert(session: Any) -> None:
    session.execute(sqlalchemy.text("insert into t values (1)"))


def test_it_is_sent_when_the_session_commits_and_once(app: App, session: Any, sent: Outbox) -> None:
    insert(session)
    on_commit(app.tasks["note"].s("a"), session=session)
    assert said(sent) == []
    session.commit()
    session.commit()
    assert said(sent) == ["a"]


def test_what_is_rolled_back_is_forgotten(app: App, session: Any, sent: Outbox) -> None:
    on_commit(app.tasks["note"].s("a"), session=session)
    insert(session)
    session.rollback()
    insert(session)
    on_commit(lambda: app.tasks["note"].delay("b"), session=session)
    session.commit()
    assert said(sent) == ["b"]


def test_a_savepoint_that_is_rolled_back_takes_only_what_was_said_within_it(
    app: App, session: Any, sent: Outbox
) -> None:
    note = app.tasks["note"]
    insert(session)
    on_commit(note.s("outer"), session=session)
    with session.begin_nested():
        on_commit(note.s("kept"), session=session)
    inner = session.begin_nested()
    on_commit(note.s("lost"), session=session)
    with session.begin_nested():
        on_commit(note.s("lost with it"), session=session)
    inner.rollback()
    session.commit()
    assert said(sent) == ["outer", "kept"]


def test_a_failure_in_a_block_sends_nothing(app: App, session: Any, sent: Outbox) -> None:
    with pytest.raises(KeyError), session.begin():
        insert(session)
        on_commit(app.tasks["note"].s("a"), session=session)
        raise KeyError
    session.commit()
    assert said(sent) == []


def test_sessions_behind_others_are_found(app: App, sent: Outbox) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    scoped = orm.scoped_session(orm.sessionmaker(engine))
    on_commit(app.tasks["note"].s("scoped"), session=scoped)
    scoped.commit()
    scoped.remove()

    class Async:
        sync_session = orm.Session(engine)

    on_commit(app.tasks["note"].s("async"), session=Async())
    Async.sync_session.commit()
    Async.sync_session.close()
    engine.dispose()
    assert said(sent) == ["scoped", "async"]


def test_what_can_not_be_is_refused(app: App, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="takes a signature"):
        on_commit(5, session=session)
    with pytest.raises(TypeError, match="a session of SQLAlchemy, not 5"):
        on_commit(app.tasks["note"].s("a"), session=5)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(ConfigurationError, match="(?i)django"):
        on_commit(app.tasks["note"].s("a"))
