"""The logical clock: what follows something has the larger number, in all processes that share it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from multi import App
from multi.lamport import Clock


def test_it_moves_on_with_what_is_sent_and_beyond_what_is_received() -> None:
    clock = Clock(3)
    assert (clock.value, clock.forward(), clock.value) == (3, 4, 4)
    assert clock.adjust(10) == 11
    assert clock.adjust(2) == 12
    assert clock.forward() == 13
    assert (str(clock), repr(clock)) == ("13", "<Clock: 13>")


def test_a_way_for_one_thread_goes_on_with_the_others() -> None:
    clock = Clock()
    ticker = clock.ticker()
    assert [ticker.forward(), clock.forward(), ticker.forward(2), clock.value] == [1, 2, 4, 4]
    clock.adjust(100)
    assert ticker.forward() == 102


def test_forked_processes_know_of_each_other() -> None:
    clock = Clock()
    clock.forward()
    here, there = os.pipe()
    pid = os.fork()
    if not pid:
        own = [clock.forward() for _ in range(5)]
        clock.adjust(500)
        os.write(there, b"%d" % own[-1])
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(here, 10)) == 6
    assert clock.value == 501
    assert clock.forward() == 502
    os.close(here)
    os.close(there)


def test_threads_never_get_the_same_number() -> None:
    clock = Clock()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: [clock.forward() for _ in range(500)], range(4)))
    assert len({number for numbers in found for number in numbers}) == 2000
    assert all(numbers == sorted(numbers) for numbers in found)


def test_of_equal_numbers_that_of_the_first_process_comes_first() -> None:
    heap = [(1, "b:2", "x"), (1, "a:1", "y"), (2, "0", "z")]
    assert Clock().sort_heap(heap) == (1, "a:1", "y")
    assert Clock().sort_heap(heap[:1]) == heap[0]


def test_an_app_has_one() -> None:
    app = App("x", broker="memory://", set_as_current=False)
    assert app.clock is app.clock
    assert app.events.Dispatcher().clock is app.clock
