"""The contract of a result backend."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from multi.agreements import Agreements
from multi.backends.base import Backend
from multi.documents import Keeps
from multi.errors import UnsupportedOption
from multi.store import Store
from multi.testing.keeping import Keeping
from multi.testing.locking import Locking
from multi.testing.pacing import Pacing
from multi.testing.revoking import Marks
from multi.testing.rig import in_child, until

Make = Callable[..., Backend]
Factory = Callable[[int], Backend]

_ids = itertools.count(1)

STARTED = b'{"status": "STARTED", "result": {"pid": 1}, "traceback": null, "children": []}'
FAILURE = b'{"status": "FAILURE", "result": {"exc_type": "ValueError"}, "traceback": "T", "children": []}'
SUCCESS = b'{"status": "SUCCESS", "result": "\xc3\xbc", "traceback": null, "children": []}'
OTHER = b'{"status": "SUCCESS", "result": "another", "traceback": null, "children": []}'


class BackendContract(Pacing, Marks, Locking, Keeping):
    """All that `multi.backends.base` promises; a subclass gives the fixture `factory`.

    `shared`: other processes see the same records. `keeps`: records stay until they are fetched, and after it; False for
    those that send results to whom they are for (then `reply_to` says where that is).
    """

    shared = True
    keeps = True

    @pytest.fixture
    def factory(self) -> Factory:
        """`factory(expires)` gives a new backend object; all of one test's lead to the same place."""
        raise NotImplementedError("a contract suite's subclass has a fixture `factory`")

    @pytest.fixture
    def make(self, factory: Factory) -> Iterator[Make]:
        """`make()` and `make(expires=1)` give backend objects, closed after the test."""
        made: list[Backend] = []

        def make(expires: int = 86400) -> Backend:
            made.append(factory(expires))
            return made[-1]

        yield make
        for backend in made:
            backend.close()

    @pytest.fixture
    def place(self, make: Make) -> Agreements:
        backend = make()
        if backend.agreements is None:
            pytest.skip("this backend keeps no turns")
        return backend.agreements

    @pytest.fixture
    def locker(self, make: Make) -> Agreements:
        backend = make()
        if backend.agreements is None:
            pytest.skip("this backend keeps no locks")
        return backend.agreements

    @pytest.fixture
    def keeper(self, make: Make) -> Agreements:
        backend = make()
        if backend.agreements is None:
            pytest.skip("this backend keeps nothing of what is revoked")
        return backend.agreements

    @pytest.fixture
    def shelves(self, make: Make) -> Keeps:
        backend = make()
        if not backend.keeps:
            pytest.skip("this backend keeps no documents")
        return backend

    @pytest.fixture
    def in_common(self) -> bool:
        return self.shared

    def reply_to(self, backend: Backend) -> str | None:
        """Where results for this process are sent, if they are sent."""
        return None

    @pytest.fixture
    def backend(self, make: Make) -> Backend:
        return make()

    def put(self, backend: Backend, key: str, *records: bytes, by: Backend | None = None) -> None:
        """Record one after the other, by another backend object if one is given."""
        for record in records:
            (by or backend).store([self.stores(backend, key, record)])

    def stores(self, backend: Backend, key: str, record: bytes) -> Store:
        return backend.encode(key, record, reply_to=self.reply_to(backend))

    def needs_keeping(self) -> None:
        if not self.keeps:
            pytest.skip("keeps no records")

    def test_a_record_is_fetched_as_it_was_stored(self, backend: Backend) -> None:
        key = task_id()
        assert backend.fetch([key]) == [None]
        self.put(backend, key, SUCCESS)
        until(lambda: backend.fetch([key]) == [SUCCESS], "the record is there")

    def test_encoding_touches_nothing(self, backend: Backend) -> None:
        key = task_id()
        self.stores(backend, key, SUCCESS)
        assert backend.fetch([key]) == [None]

    def test_records_are_fetched_in_the_order_in_which_they_are_asked_for(self, backend: Backend) -> None:
        self.needs_keeping()
        keys = [task_id() for _ in range(300)]
        backend.store(
            [self.stores(backend, key, b'{"status": "SUCCESS", "result": "%s"}' % key.encode()) for key in keys]
        )
        asked = [keys[7], "missing", *reversed(keys), keys[7]]
        expected = [
            None if key == "missing" else b'{"status": "SUCCESS", "result": "%s"}' % key.encode() for key in asked
        ]
        assert backend.fetch(asked) == expected
        assert backend.fetch([]) == []

    def test_a_large_record_is_kept(self, backend: Backend) -> None:
        self.needs_keeping()
        key, record = task_id(), b'{"status": "SUCCESS", "result": "' + b"x" * 400_000 + b'"}'
        self.put(backend, key, record)
        assert backend.fetch([key]) == [record]

    def test_a_later_record_replaces_an_earlier_one(self, backend: Backend) -> None:
        self.needs_keeping()
        key = task_id()
        for record in (STARTED, FAILURE, STARTED, SUCCESS):
            self.put(backend, key, record)
            assert backend.fetch([key]) == [record]

    def test_a_success_is_never_replaced(self, backend: Backend) -> None:
        self.needs_keeping()
        key = task_id()
        self.put(backend, key, SUCCESS, STARTED, FAILURE, OTHER)
        assert backend.fetch([key]) == [SUCCESS]

    def test_a_success_is_known_by_its_state_and_not_by_the_word(self, backend: Backend) -> None:
        self.needs_keeping()
        key = task_id()
        failure = b'{"status": "FAILURE", "result": {"status": "SUCCESS", "exc_message": "SUCCESS"}, "traceback": null}'
        self.put(backend, key, failure, SUCCESS)
        assert backend.fetch([key]) == [SUCCESS]

    def test_a_success_is_never_replaced_within_one_call(self, backend: Backend) -> None:
        self.needs_keeping()
        key = task_id()
        backend.store([self.stores(backend, key, record) for record in (STARTED, SUCCESS, FAILURE)])
        assert backend.fetch([key]) == [SUCCESS]

    def test_a_forgotten_record_is_gone_and_may_be_stored_again(self, backend: Backend) -> None:
        self.needs_keeping()
        key, other = task_id(), task_id()
        self.put(backend, key, SUCCESS)
        self.put(backend, other, SUCCESS)
        backend.forget(key)
        backend.forget(key)
        assert backend.fetch([key, other]) == [None, SUCCESS]
        self.put(backend, key, FAILURE)
        assert backend.fetch([key]) == [FAILURE]

    def test_a_record_expires(self, make: Make) -> None:
        self.needs_keeping()
        brief, lasting = make(expires=1), make(expires=0)
        key, other = task_id(), task_id()
        self.put(brief, key, SUCCESS)
        self.put(lasting, other, SUCCESS)
        assert brief.fetch([key, other]) == [SUCCESS, SUCCESS]
        until(lambda: brief.fetch([key]) == [None], "the record has expired")
        self.put(brief, key, FAILURE)
        assert brief.fetch([key, other]) == [FAILURE, SUCCESS]

    def test_waiting_gives_what_is_there_already(self, backend: Backend) -> None:
        key = task_id()
        self.put(backend, key, SUCCESS)
        assert first(backend, key) == SUCCESS

    def test_waiting_gives_what_comes_later(self, make: Make, backend: Backend) -> None:
        key = task_id()
        self.reply_to(backend)
        other = make()

        def put() -> None:
            time.sleep(0.2)
            self.put(backend, key, SUCCESS, by=other)

        thread = threading.Thread(target=put)
        thread.start()
        assert first(backend, key) == SUCCESS
        thread.join()

    def test_waiting_is_told_at_once(self, make: Make, backend: Backend) -> None:
        other = make()
        slowest = 0.0
        for _ in range(5):
            key = task_id()
            stored: list[float] = []

            def put(key: str = key, stored: list[float] = stored) -> None:
                time.sleep(0.1)
                stored.append(time.monotonic())
                self.put(backend, key, SUCCESS, by=other)

            thread = threading.Thread(target=put)
            thread.start()
            assert first(backend, key) == SUCCESS
            slowest = max(slowest, time.monotonic() - stored[0])
            thread.join()
        assert slowest < 0.4, "it came with a look around, and not with the record"

    def test_waiting_gives_every_state_that_is_read_in_time(self, backend: Backend) -> None:
        key = task_id()
        self.put(backend, key, STARTED)
        seen = []
        for record in backend.wait(key, 10.0):
            seen.append(record)
            if record == STARTED:
                self.put(backend, key, FAILURE)
            elif record == FAILURE:
                self.put(backend, key, SUCCESS)
            else:
                break
        assert seen == [STARTED, FAILURE, SUCCESS]

    def test_waiting_ends_in_time_with_nothing(self, backend: Backend) -> None:
        before = time.monotonic()
        assert list(backend.wait(task_id(), 0.3)) == []
        assert 0.25 <= time.monotonic() - before < 3.0
        assert list(backend.wait(task_id(), 0.0)) == []

    def test_waiting_ends_in_time_after_the_last_record(self, backend: Backend) -> None:
        key = task_id()
        self.put(backend, key, SUCCESS)
        assert list(backend.wait(key, 0.3)) == [SUCCESS]

    def test_many_wait_at_once(self, make: Make, backend: Backend) -> None:
        keys = [task_id() for _ in range(8)]
        self.reply_to(backend)
        other = make()
        got: dict[int, bytes | None] = {}

        def wait(place: int) -> None:
            got[place] = first(backend, keys[place % 8])

        # two threads for each: a waiter takes nothing away from another one
        threads = [threading.Thread(target=wait, args=(place,)) for place in range(16 if self.keeps else 8)]
        for thread in threads:
            thread.start()
        for key in keys:
            self.put(backend, key, b'{"status": "SUCCESS", "result": "%s"}' % key.encode(), by=other)
        for thread in threads:
            thread.join()
        for place in range(len(threads)):
            assert got[place] == b'{"status": "SUCCESS", "result": "%s"}' % keys[place % 8].encode()

    def test_a_record_of_another_process_is_waited_for(self, backend: Backend) -> None:
        if not self.shared:
            pytest.skip("lives in one process")
        key = task_id()
        store = self.stores(backend, key, SUCCESS)
        in_child(lambda: backend.store([store]))
        assert first(backend, key) == SUCCESS

    def test_a_forked_process_can_wait_too(self, make: Make, backend: Backend) -> None:
        if not self.shared:
            pytest.skip("lives in one process")
        self.needs_keeping()
        key, later = task_id(), task_id()
        self.put(backend, key, SUCCESS)
        assert first(backend, key) == SUCCESS
        assert list(backend.wait(later, 0.05)) == []

        def inside() -> None:
            assert first(backend, key) == SUCCESS
            self.put(backend, later, SUCCESS)
            assert first(backend, later) == SUCCESS

        in_child(inside)
        assert first(backend, later) == SUCCESS

    def test_it_can_be_used_again_after_it_was_closed(self, backend: Backend) -> None:
        self.needs_keeping()
        key = task_id()
        self.put(backend, key, SUCCESS)
        backend.close()
        assert backend.fetch([key]) == [SUCCESS]
        backend.close()
        assert first(backend, key) == SUCCESS

    # chords

    def needs_chords(self, backend: Backend) -> None:
        if not backend.chords:
            pytest.skip("completes no chords")

    def open(self, backend: Backend, size: int, tree: bytes | None = None) -> str:
        group = task_id()
        backend.store(backend.open_chord(group, size, tree))
        return group

    def test_the_last_part_of_a_chord_gets_all_of_them_in_their_order(self, make: Make, backend: Backend) -> None:
        self.needs_chords(backend)
        group = self.open(backend, 3)
        assert backend.join_chord(group, 2, "c", part("c"), success=True) is None
        assert make().join_chord(group, 0, "a", part("a"), success=True) is None
        joined = backend.join_chord(group, 1, "b", part("b"), success=True)
        assert joined is not None
        assert (joined.parts, joined.tree) == ([part("a"), part("b"), part("c")], None)

    def test_a_part_that_comes_again_fills_no_other_place(self, make: Make, backend: Backend) -> None:
        self.needs_chords(backend)
        group = self.open(backend, 2)
        for value in ("a", "another", "a"):
            assert make().join_chord(group, 0, "a", part("a", value), success=True) is None
        joined = backend.join_chord(group, 1, "b", part("b"), success=True)
        assert joined is not None
        assert joined.parts == [part("a", "a"), part("b")]

    def test_only_the_part_that_completed_a_chord_is_told_again(self, make: Make, backend: Backend) -> None:
        self.needs_chords(backend)
        group = self.open(backend, 2)
        backend.join_chord(group, 1, "b", part("b"), success=True)
        first = backend.join_chord(group, 0, "a", part("a"), success=True)
        assert first is not None
        assert make().join_chord(group, 1, "b", part("b"), success=True) is None
        assert make().join_chord(group, 0, "a", part("a", "another"), success=True) == first

    def test_a_success_replaces_a_failure_while_the_chord_is_open(self, backend: Backend) -> None:
        self.needs_chords(backend)
        group = self.open(backend, 2)
        backend.join_chord(group, 0, "a", part("a", "x", "FAILURE"), success=False)
        backend.join_chord(group, 0, "a", part("a", "y"), success=True)
        backend.join_chord(group, 0, "a", part("a", "z", "FAILURE"), success=False)
        joined = backend.join_chord(group, 1, "b", part("b"), success=True)
        assert joined is not None
        assert joined.parts == [part("a", "y"), part("b")]

    def test_a_chord_waits_for_parts_that_are_added_and_keeps_their_structure(self, backend: Backend) -> None:
        self.needs_chords(backend)
        group = self.open(backend, 1, b'{"result": "tree"}')
        backend.extend_chord(group)
        assert backend.join_chord(group, 0, "a", part("a"), success=True) is None
        joined = backend.join_chord(group, 0, "added", part("added"), success=True)
        assert joined is not None
        assert sorted(joined.parts) == [part("a"), part("added")]
        assert joined.tree == b'{"result": "tree"}'

    def test_parts_that_come_before_the_size_is_known_count(self, backend: Backend) -> None:
        self.needs_chords(backend)
        group = task_id()
        assert backend.join_chord(group, 0, "a", part("a"), success=True) is None
        backend.store(backend.open_chord(group, 2, None))
        joined = backend.join_chord(group, 1, "b", part("b"), success=True)
        assert joined is not None
        assert joined.parts == [part("a"), part("b")]

    def test_of_parts_that_end_at_once_one_completes_the_chord(self, make: Make, backend: Backend) -> None:
        self.needs_chords(backend)
        count = 24
        group = self.open(backend, count)
        told: list[int] = []

        def join(place: int) -> None:
            other = make()
            told.extend(
                index
                for index in range(place, count, 4)
                if other.join_chord(group, index, str(index), part(str(index)), success=True) is not None
            )

        threads = [threading.Thread(target=join, args=(place,)) for place in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(told) == 1

    def test_chords_are_completed_where_nothing_expires(self, make: Make) -> None:
        lasting = make(expires=0)
        self.needs_chords(lasting)
        group = self.open(lasting, 2)
        lasting.join_chord(group, 0, "a", part("a"), success=True)
        first = lasting.join_chord(group, 1, "b", part("b"), success=True)
        assert first is not None
        assert lasting.join_chord(group, 0, "a", part("a"), success=True) is None
        assert lasting.join_chord(group, 1, "b", part("b"), success=True) == first

    def test_a_group_is_saved_and_deleted(self, make: Make, backend: Backend) -> None:
        self.needs_chords(backend)
        group = task_id()
        assert backend.fetch_group(group) is None
        backend.save_group(group, b'{"result": 1}')
        assert make().fetch_group(group) == b'{"result": 1}'
        backend.delete_group(group)
        assert backend.fetch_group(group) is None

    def test_chords_are_refused_by_a_backend_that_has_none(self, backend: Backend) -> None:
        if backend.chords:
            pytest.skip("completes chords")
        for refused in (
            lambda: backend.open_chord("g", 1, None),
            lambda: backend.extend_chord("g"),
            lambda: backend.join_chord("g", 0, "a", part("a"), success=True),
            lambda: backend.save_group("g", b"{}"),
            lambda: backend.fetch_group("g"),
            lambda: backend.delete_group("g"),
        ):
            with pytest.raises(UnsupportedOption, match="chords"):
                refused()

    def test_equal_places_have_equal_names(self, make: Make, backend: Backend) -> None:
        assert make().place == backend.place


def part(task: str, value: str = "", state: str = "SUCCESS") -> bytes:
    """A part of a chord, as Celery's workers write it."""
    return json.dumps([1, task, state, value or task]).encode()


def task_id() -> str:
    return f"contract-{os.getpid()}-{next(_ids)}"


def first(backend: Backend, key: str, timeout: float = 15.0) -> bytes | None:
    """The first record that waiting gives."""
    for record in backend.wait(key, timeout):
        return record
    return None
