"""Chords whose workers die: for real, in the middle of a part, and between the last part's end and its acknowledgement."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.project import Project
from support.wait import until
from support.workers import Bench, bench

from multi import chain, chord, group
from multi.errors import ChordError, NotRegistered

DEADLY = """
    import os
    from pathlib import Path

    from multi.backends.redis import RedisBackend
    from multi.backends.sqlite import SQLiteBackend
    from {module} import app, note, sleep

    here = Path(__file__).parent


    def deadly(backend):
        join = backend.join_chord

        def join_chord(self, *args, **words):
            joined = join(self, *args, **words)
            fuse = here / ("fuse-part" if joined is None else "fuse-last")
            if fuse.exists():
                fuse.unlink()
                note(f"killed at {{fuse.name}}")
                os.kill(os.getpid(), 9)
            return joined

        backend.join_chord = join_chord


    deadly(RedisBackend)
    deadly(SQLiteBackend)


    @app.task(name="gather")
    def gather(values):
        note("gathered")
        return values


    @app.task(name="complain")
    def complain(task_id):
        note(f"complaint {{task_id}}")


    @app.task(name="once", acks_late=False)
    def once():
        os.kill(os.getpid(), 9)


    @app.task(name="part")
    def part(number, seconds=0):
        if seconds:
            sleep.run(seconds, f"part {{number}}")
        return number
"""


class Chords:
    """A bench whose workers know the tasks above."""

    def __init__(self, made: Bench) -> None:
        self.made, self.app = made, made.app
        made.project.write("deadly.py", DEADLY.format(module=made.module))

    def start(self, *options: str, **words: Any) -> Any:
        return self.made.start("-I", "deadly", *options, **words)

    def s(self, name: str, *args: Any) -> Any:
        return self.app.signature(name, args=args)

    def parts(self, count: int, seconds: float = 0) -> list[Any]:
        return [self.s("part", number, seconds) for number in range(count)]

    def gathered(self) -> int:
        return self.made.notes().count("gathered")

    def settle(self) -> None:
        """Until nothing waits and nothing runs any more."""
        until(lambda: self.made.depth() == 0, 15, what="an empty queue")


@pytest.fixture
def chords(project: Project, broker: str) -> Iterator[Chords]:
    with bench(project, broker, broker, worker_lease=3) as made:
        yield Chords(made)


@pytest.mark.parametrize("fuse", ["fuse-part", "fuse-last"])
def test_a_child_that_dies_before_its_part_is_acknowledged_neither_loses_nor_repeats_the_body(
    chords: Chords, project: Project, fuse: str
) -> None:
    (Path(project.path) / fuse).touch()
    worker = chords.start()
    result = chord(chords.parts(6), chords.s("gather")).apply_async()
    assert result.get(timeout=30) == list(range(6))
    assert f"killed at {fuse}" in chords.made.notes()
    # a second body would be behind this one in the queue
    assert chords.s("part", 7).apply_async().get(timeout=15) == 7
    assert chords.gathered() == 1
    assert worker.stop() == 0


@pytest.mark.parametrize("fuse", ["fuse-part", "fuse-last"])
def test_the_same_holds_where_broker_and_backend_are_apart(project: Project, redis_url: str, fuse: str) -> None:
    with bench(project, f"sqlite:///{project.path}/queue.db", redis_url) as made:
        chords = Chords(made)
        (Path(project.path) / fuse).touch()
        worker = chords.start()
        result = chord(chords.parts(6), chords.s("gather")).apply_async()
        assert result.get(timeout=30) == list(range(6))
        assert f"killed at {fuse}" in made.notes()
        assert chords.s("part", 7).apply_async().get(timeout=15) == 7
        assert chords.gathered() == 1
        assert worker.stop() == 0


def test_a_power_cut_in_the_middle_of_a_chord_costs_nothing(chords: Chords) -> None:
    first = chords.start("-c", "3", name="w1")
    result = chord(chords.parts(9, 0.4), chords.s("gather")).apply_async()
    chords.made.wait_begun("part 4")
    first.kill_node()
    second = chords.start("-c", "3", name="w2")
    assert result.get(timeout=40) == list(range(9))
    assert chords.s("part", 7).apply_async().get(timeout=15) == 7
    assert chords.gathered() == 1
    assert second.stop() == 0


def test_parts_that_are_killed_fail_the_body_and_are_told_to_its_errback(chords: Chords) -> None:
    worker = chords.start()
    module = chords.made.module
    for deadly in (f"{module}.limited", f"{module}.die", "once", "nobody_knows_it"):
        after = chords.s("part")
        body = chords.s("gather").on_error(chords.s("complain"))
        result = chain(chord([*chords.parts(2), chords.s(deadly)], body), after).apply_async()
        with pytest.raises(ChordError, match="Dependency .* raised"):
            result.get(timeout=30)
        until(lambda: f"complaint {result.parent.id}" in chords.made.notes(), what="the errback")  # noqa: B023
    assert chords.gathered() == 0
    assert worker.stop() == 0


def test_a_chord_of_many_parts_on_all_children_is_completed_once(chords: Chords) -> None:
    worker = chords.start("-c", "3")
    results = [chord(chords.parts(60), chords.s("gather")).apply_async() for _ in range(5)]
    for result in results:
        assert result.get(timeout=30) == list(range(60))
    nested = chord([chord(chords.parts(3), chords.s("gather")) for _ in range(4)], chords.s("gather")).apply_async()
    assert nested.get(timeout=30) == [[0, 1, 2]] * 4
    assert chords.gathered() == 5 + 5
    assert worker.stop() == 0


def test_a_callback_that_is_not_registered_fails_by_itself(chords: Chords) -> None:
    worker = chords.start()
    callback = chords.s("nobody_knows_it")
    missing = callback.freeze()
    call = chords.s("part", 1)
    call.link(callback)
    assert call.apply_async().get(timeout=15) == 1
    with pytest.raises(NotRegistered):
        missing.get(timeout=15)
    letter = until(chords.made.dead)[0]
    assert letter.task_id == missing.id
    assert group(chords.parts(2)).apply_async().get(timeout=15) == [0, 1]
    assert worker.stop() == 0
