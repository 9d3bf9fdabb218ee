"""Chains, groups, chords, chunks: what they are made of, what they send, and what becomes of them in a worker."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import pickle
import random
from functools import partial
from queue import SimpleQueue
from typing import Any

import pytest
from support.inline import make_app, work

from multi import (
    App,
    GroupResult,
    StampingVisitor,
    allow_join_result,
    chain,
    chord,
    chunks,
    group,
    result_from_tuple,
    signature,
    xmap,
)
from multi.app.canvas import Signature
from multi.app.resultset import ResultSet
from multi.errors import (
    BackendDisabled,
    ChordError,
    ConfigurationError,
    ContentDisallowed,
    EncodeError,
    TimeoutError,  # noqa: A004
    UnsupportedOption,
)

TIMEOUT = 5


@pytest.fixture
def app() -> App:
    return make_app()


class Tasks:
    """The tasks of these tests; `seen` is what some of them have noticed."""

    def __init__(self, app: App) -> None:
        self.seen: list[Any] = []

        @app.task(name="add")
        def add(x: Any, y: Any) -> Any:
            return x + y

        @app.task(name="same")
        def same(value: Any) -> Any:
            return value

        @app.task(name="total")
        def total(values: Any) -> Any:
            return sum(values)

        @app.task(name="fail")
        def fail(*args: Any) -> None:
            raise ValueError("no")

        @app.task(name="see")
        def see(*args: Any) -> Any:
            self.seen.append(args)
            return args

        @app.task(name="told")
        def told(request: Any, error: Any, traceback: Any) -> None:
            self.seen.append((request.id, repr(error)))

        @app.task(name="stamps", bind=True)
        def stamps(task: Any, *args: Any) -> Any:
            return {key: task.request.stamps[key] for key in task.request.stamped_headers or ()}

        @app.task(name="become", bind=True)
        def become(task: Any, *args: Any) -> Any:
            raise task.replace(self.replacement)

        @app.task(name="grow", bind=True)
        def grow(task: Any, lazy: bool) -> Any:
            added = task.add_to_chord(add.s(100, 0), lazy=lazy)
            if lazy:
                added.delay()
            return 1

        self.add, self.same, self.total, self.fail, self.see = add, same, total, fail, see
        self.told, self.stamps, self.become, self.grow = told, stamps, become, grow
        self.replacement: Any = None


@pytest.fixture
def t(app: App) -> Any:
    return Tasks(app)


def got(app: App, result: Any) -> Any:
    """What a canvas that was sent leads to."""
    work(app)
    return result.get(timeout=TIMEOUT)


# what they are


def test_a_group_followed_by_a_task_is_a_chord(t: Any) -> None:
    made = group(t.add.s(1, 1), t.add.s(2, 2)) | t.total.s()
    assert isinstance(made, chord)
    assert [call.args for call in made.tasks] == [(1, 1), (2, 2)]
    assert made.body.task == "total"
    longer = made | t.add.s(1)
    assert isinstance(longer, chord)
    assert isinstance(longer.body, chain)
    assert len(made.body) == len(t.total.s())  # the first one is as it was


def test_chains_are_joined_and_taken_apart(t: Any) -> None:
    made = t.add.s(1, 1) | (t.same.s() | t.same.s()) | t.add.s(2)
    assert [call.task for call in made.tasks] == ["add", "same", "same", "add"]
    made.link(t.see.s())
    made.link_error(t.told.s())
    parts = made.unchain_tasks()
    assert [len(part.options.get("link", ())) for part in parts] == [0, 0, 0, 1]
    assert [len(part.options["link_error"]) for part in parts] == [1, 1, 1, 1]
    assert "link" not in made.tasks[-1].options


def test_a_group_of_one_in_a_chain_is_its_member_and_an_empty_one_nothing(t: Any) -> None:
    assert [call.task for call in (t.same.s(1) | group([t.same.s()])).tasks] == ["same", "same"]
    assert (t.same.s(1) | group([])) == t.same.s(1)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda call: pickle.loads(pickle.dumps(call))])
def test_canvases_are_copied_and_pickled(app: App, t: Any, make: Any) -> None:
    app.set_current()
    made = make(t.same.s(1) | group(t.same.s(), t.same.s()) | t.total.s() | t.add.s(1))
    assert isinstance(made, Signature)
    assert got(app, made.apply_async()) == 3


def test_a_canvas_survives_json(app: App, t: Any) -> None:
    made: Any = t.same.s(1) | chord([t.same.s(), t.add.s(1)], t.total.s()) | t.add.chunks([(1, 1), (2, 2)], 1).group()
    for _ in range(2):  # as it was written, and frozen
        again: Any = signature(json.loads(json.dumps(made)), app=app)
        assert type(again) is type(made)
        assert [type(step) for step in again.tasks] == [type(step) for step in made.tasks]
        made.freeze()


def test_a_clone_shares_nothing_that_is_changed(t: Any) -> None:
    made = chord([t.same.s(1)], t.total.s())
    other: Any = made.clone()
    other.link(t.see.s())
    other.tasks[0].set(queue="slow")
    other.tasks[0].args = (2,)
    assert "link" not in made.body.options
    assert made.tasks[0].options == {}
    assert made.tasks[0].args == (1,)


def test_sending_leaves_the_canvas_as_it_was(app: App, t: Any) -> None:
    made = t.same.s(1) | group(t.same.s(), t.same.s()) | t.total.s()
    before = json.dumps(made)
    first, second = made.apply_async(), made.apply_async()
    assert json.dumps(made) == before
    assert first.id != second.id
    assert (got(app, first), got(app, second)) == (2, 2)


def test_a_frozen_canvas_keeps_its_ids(app: App, t: Any) -> None:
    made = chord([t.same.s(1), t.same.s(2)], t.total.s())
    expected = made.freeze()
    sent = made.apply_async()
    assert sent.id == expected.id == made.body.id
    assert [part.id for part in sent.parent] == [part.id for part in expected.parent]
    assert got(app, expected) == 3


def test_immutability_of_groups_and_chords_is_that_of_their_tasks(app: App, t: Any) -> None:
    many = group(t.add.s(1, 1), t.add.s(2, 2))
    many.set_immutable(True)
    assert got(app, (t.same.s(5) | many).apply_async()) == [2, 4]
    both = chord([t.add.s(1, 1)], t.total.s()).set(immutable=True)
    assert got(app, (t.same.s(5) | both).apply_async()) == 2


def test_a_group_can_be_skewed(t: Any) -> None:
    made = group(t.same.s(i) for i in range(4)).skew(1, 3)
    assert [call.options["countdown"] for call in made.tasks] == [1, 2, 2, 2]


def test_repr_tells_what_is_called(t: Any) -> None:
    assert repr(t.add.s(1, 2) | t.same.s()) == "add(1, 2) | same()"
    assert repr(group(t.same.s(1))) == "group([same(1)])"
    assert repr(chord([t.same.s(1)], t.total.s())) == "%total([same(1)])"
    assert "1, 2" in repr(t.same.map([1, 2]))


def test_linked_signatures_are_found_flat(t: Any) -> None:
    inner = t.same.s()
    inner.link(t.see.s())
    call = t.same.s(1)
    call.link(inner)
    assert [found.task for found in call.flatten_links()] == ["same", "same", "see"]


# what they lead to


def test_options_of_a_group_are_those_of_its_tasks(app: App, t: Any) -> None:
    group(t.same.s(1), t.same.s(2)).set(queue="slow").apply_async(priority=3)
    assert [outcome.result for outcome in work(app, ["slow"])] == [1, 2]
    assert work(app) == []


def test_options_of_a_chord_are_those_of_header_and_body(app: App, t: Any) -> None:
    result = chord([t.same.s(1)], t.total.s()).apply_async(queue="slow")
    work(app, ["slow"])
    assert result.get(timeout=TIMEOUT) == 1


def test_a_chosen_id_is_that_of_the_end(app: App, t: Any) -> None:
    assert chain(t.same.s(1), t.same.s()).apply_async(task_id="mine").id == "mine"
    assert chord([t.same.s(1)], t.total.s()).apply_async(task_id="body").id == "body"
    assert group(t.same.s(1), t.same.s(2)).apply_async(task_id="all").id == "all"


def test_callbacks_of_a_canvas_are_called_at_its_end(app: App, t: Any) -> None:
    chain(t.same.s(1), t.add.s(1)).apply_async(link=t.see.s("chain"))
    chord([t.same.s(1), t.same.s(2)], t.total.s()).apply_async(link=t.see.s("chord"))
    work(app)
    assert sorted(t.seen) == [(2, "chain"), (3, "chord")]
    for key in ("link", "link_error"):
        with pytest.raises(TypeError, match="a group has no end"):
            group(t.same.s(1)).apply_async(**{key: t.see.s()})


def test_an_errback_is_told_of_each_task_of_a_group(app: App, t: Any) -> None:
    many = group(t.fail.s(), t.same.s(1), t.fail.s())
    many.link_error(t.told.s())
    many.link(t.see.s("first only"))
    result = many.apply_async()
    work(app)
    assert t.seen == [(result[0].id, "ValueError('no')"), (result[2].id, "ValueError('no')")]


def test_a_group_as_a_callback_and_as_a_child(app: App, t: Any) -> None:
    result = t.same.apply_async((1,), link=group(t.add.s(1), t.add.s(2)))
    work(app)
    (child,) = result.children
    assert isinstance(child, GroupResult)
    assert child.get(timeout=TIMEOUT) == [2, 3]
    assert [value for _, value in result.collect()] == [1, [2, 3], 2, 3]
    assert result.get_leaf() == 3


def test_arguments_are_checked_before_anything_is_sent(app: App, t: Any) -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        group(t.add.s(1, 1), t.add.s(1)).apply_async()
    with pytest.raises(TypeError, match="quue"):
        group(t.add.s(1, 1)).apply_async(quue="x")
    assert work(app) == []


def test_maps_and_chunks(app: App, t: Any) -> None:
    assert got(app, t.same.map([1, 2, 3]).delay()) == [1, 2, 3]
    assert got(app, t.add.starmap(zip(range(3), range(3), strict=True)).delay()) == [0, 2, 4]
    made = t.add.chunks(zip(range(5), range(5), strict=True), 2)
    assert isinstance(made, chunks)
    assert len(made.group()) == 3
    assert got(app, made()) == [[0, 2], [4, 6], [8]]
    assert got(app, chord([t.same.map([1, 2])], t.same.s()).delay()) == [[1, 2]]
    assert got(app, (made | t.same.s()).delay()) == [[0, 2], [4, 6], [8]]
    with pytest.raises(ValueError, match="size of 1"):
        t.add.chunks([(1, 1)], 0)
    assert isinstance(signature(json.loads(json.dumps(t.same.map([1]))), app=app), xmap)


def test_a_chunks_message_of_a_celery_client_sends_the_chunks(app: App, t: Any) -> None:
    made = json.loads(json.dumps(t.add.chunks([(1, 1), (2, 2)], 1)))
    result = app.send_task("celery.chunks", kwargs=made["kwargs"])
    sent = result_from_tuple(got(app, result), app)
    assert sent.get(timeout=TIMEOUT) == [[2], [4]]


def test_a_chord_that_polls_is_completed_for_celery_clients(app: App, t: Any) -> None:
    parts = group(t.same.s(1), t.same.s(2)).apply_async()
    body = t.total.s()
    expected = body.freeze()
    waiting = [part.as_tuple() for part in parts]
    app.send_task("celery.chord_unlock", ["g", body], {"result": waiting, "interval": 0.01})
    assert got(app, expected) == 3
    failing = group(t.same.s(1), t.fail.s()).apply_async()
    body = t.total.s().on_error(t.told.s())
    expected = body.freeze()
    app.send_task("celery.chord_unlock", ["g", body], {"result": [part.as_tuple() for part in failing]})
    with pytest.raises(ChordError, match="ValueError"):
        got(app, expected)
    assert [task_id for task_id, _ in t.seen] == [expected.id]


def test_large_canvases_are_no_burden(app: App, t: Any) -> None:
    assert got(app, chord([t.same.s(i) for i in range(500)], t.total.s()).delay()) == sum(range(500))
    steps = [t.same.s(0)] + [t.add.s(1) for _ in range(150)]
    assert got(app, chain(*steps).delay()) == 150


def anything(choice: random.Random, depth: int) -> Any:
    """A canvas as plain data: a number is a task that appends it to its arguments."""
    sort = choice.random()
    if depth == 0 or sort < 0.4:
        return choice.randrange(100)
    kind = "chain" if sort < 0.6 else "group" if sort < 0.8 else "chord"
    inside = [anything(choice, depth - 1) for _ in range(choice.randrange(2 if kind == "group" else 1, 4))]
    return (kind, inside, anything(choice, depth - 1)) if kind == "chord" else (kind, inside)


def built(t: Any, form: Any) -> Any:
    if isinstance(form, int):
        return t.see.s(form)
    if form == "fail":
        return t.fail.s()
    inside = [built(t, each) for each in form[1]]
    return chord(inside, built(t, form[2])) if form[0] == "chord" else (chain if form[0] == "chain" else group)(*inside)


def flat(inside: list[Any]) -> list[Any]:
    """The members of a group, those of the groups in it included."""
    found = []
    for each in inside:
        found += flat(each[1]) if isinstance(each, tuple) and each[0] == "group" else [each]
    return found


def meaning(form: Any, args: list[Any]) -> Any:
    """What a canvas leads to, worked out here."""
    if isinstance(form, int):
        return [*args, form]
    if form[0] == "chain":
        for step in form[1]:
            args = [meaning(step, args)]
        return args[0]
    results = [meaning(each, args) for each in flat(form[1])]
    return results if form[0] == "group" else meaning(form[2], [results])


@pytest.mark.parametrize("seed", range(0, 120, 10))
def test_any_canvas_means_what_it_says(app: App, t: Any, seed: int) -> None:
    for number in range(seed, seed + 10):
        form = anything(random.Random(number), 3)
        made = built(t, form)
        if number % 2:
            made = signature(json.loads(json.dumps(made)), app=app)
        assert json.loads(json.dumps(got(app, made.apply_async()))) == meaning(form, []), form


def poisoned(form: Any, left: list[int]) -> Any:
    """The same canvas with a task that fails in the place of the one whose turn it is."""
    if isinstance(form, int):
        left[0] -= 1
        return "fail" if left[0] == 0 else form
    return (form[0], [poisoned(each, left) for each in form[1]], *(poisoned(each, left) for each in form[2:]))


def everything(result: Any) -> list[Any]:
    """All results that a sender holds: those of members and of what came before, too."""
    if result is None:
        return []
    inner = [leaf for each in result for leaf in everything(each)] if isinstance(result, GroupResult) else [result]
    return [*inner, *everything(result.parent)]


@pytest.mark.parametrize("seed", range(0, 120, 10))
def test_any_canvas_with_a_failure_comes_to_an_end(app: App, t: Any, seed: int) -> None:
    for number in range(seed, seed + 10):
        choice = random.Random(number)
        form = anything(choice, 3)
        left = [10**6]
        poisoned(form, left)
        made = built(t, poisoned(form, [choice.randrange(10**6 - left[0]) + 1]))
        result = made.apply_async()
        work(app)
        with pytest.raises((ValueError, ChordError), match="no|Dependency"):
            result.get(timeout=TIMEOUT)
        assert [leaf.id for leaf in everything(result) if not leaf.ready()] == [], form


# failures


def test_what_follows_a_failed_chord_fails_with_it(app: App, t: Any) -> None:
    last = (t.same.s(1) | group(t.same.s(), t.fail.s()) | t.total.s() | group(t.same.s(), t.same.s()) | t.total.s())()
    work(app)
    with pytest.raises(ChordError, match="Dependency .* raised ValueError"):
        last.get(timeout=TIMEOUT)


def test_what_follows_a_failed_task_fails_with_it_groups_included(app: App, t: Any) -> None:
    last = (t.same.s(1) | t.fail.s() | group(t.same.s(), t.same.s()) | t.total.s())()
    many = (t.fail.s() | group(t.same.s(), t.same.s()))()
    work(app)
    with pytest.raises(ValueError, match="no"):
        last.get(timeout=TIMEOUT)
    with pytest.raises(ValueError, match="no"):
        last.parent.get(timeout=TIMEOUT)
    assert [part.state for part in many] == ["FAILURE", "FAILURE"]


def test_a_chord_around_one_that_fails_fails_too(app: App, t: Any) -> None:
    inner = chord([t.fail.s(), t.same.s(1)], t.total.s())
    outer = chord([inner, t.same.s(2)], t.total.s().on_error(t.told.s()))()
    around = chord([chain(t.same.s(1), t.fail.s(), inner, t.same.s())], t.total.s())()
    work(app)
    for result in (outer, around):
        with pytest.raises(ChordError):
            result.get(timeout=TIMEOUT)
    assert [task_id for task_id, _ in t.seen] == [outer.id]


def test_who_waits_for_a_chord_learns_that_its_parts_were_refused_unread(app: App, t: Any) -> None:
    refused = t.same.s(1).set(serializer="pickle")
    made = [
        chord([refused, t.same.s(2)], t.total.s()),
        chord([t.same.s(2), chain(refused, t.same.s(), t.same.s())], t.total.s()),
        chord([refused], t.total.s()) | t.same.s() | t.same.s(),
        chord([chord([refused], t.same.s()), t.same.s(2)], t.total.s()),
        chord([refused], t.total.s()),
    ]
    results = [each.delay() for each in made]
    waits = chord([t.same.s(2), t.same.s(3)], t.total.s()).apply_async(queue="later")
    work(app)
    for result in results[:-1]:
        with pytest.raises(ContentDisallowed):
            result.get(timeout=0.05)
    with pytest.raises(ContentDisallowed):
        results[-1].get(timeout=30)
    with pytest.raises(ContentDisallowed):
        asyncio.run(results[0].aget(timeout=30))
    with pytest.raises(TimeoutError):
        waits.get(timeout=0.05)


def test_a_body_that_is_a_group_fails_member_by_member(app: App, t: Any) -> None:
    result = chord([t.fail.s()], group(t.same.s().on_error(t.told.s()), t.same.s()))()
    work(app)
    assert [part.state for part in result] == ["FAILURE", "FAILURE"]
    assert [task_id for task_id, _ in t.seen] == [result[0].id]


def test_the_errback_of_a_body_that_is_a_chain_is_told_once(app: App, t: Any) -> None:
    body = chain(t.same.s().on_error(t.see.s()), t.same.s())
    body.link_error(t.told.s())
    for made in (chord([t.fail.s()], body), signature(json.loads(json.dumps(chord([t.fail.s()], body))), app=app)):
        result = made()
        work(app)
        assert [result.state, result.parent.state] == ["FAILURE", "FAILURE"]
        assert t.seen == [(result.id, repr(result.result))]
        t.seen.clear()
    body = chain(t.fail.s(), t.same.s())
    body.link_error(t.told.s())
    result = chord([t.same.s(1)], body)()
    work(app)
    assert t.seen == [(result.parent.id, "ValueError('no')")]


def test_an_immutable_chain_takes_nothing_from_the_task_before_it(app: App, t: Any) -> None:
    made = chain(t.add.s(1, 1), t.add.s(1)).set(immutable=True)
    call = t.same.s(5)
    call.link(made)
    call.link(t.see.s("linked"))
    result = call.apply_async()
    outcomes = work(app)
    assert result.get(timeout=TIMEOUT) == 5
    assert [outcome.result for outcome in outcomes if outcome.name == "add"] == [2, 3]


def test_a_canvas_that_is_sent_by_a_task_belongs_to_it(app: App, t: Any) -> None:
    @app.task(name="roots", bind=True)
    def roots(task: Any, *args: Any) -> Any:
        return task.request.root_id

    @app.task(name="sends")
    def sends() -> Any:
        return (roots.s() | roots.s() | group(roots.s(), roots.s()) | roots.s()).delay().id

    result = sends.delay()
    found = {outcome.result for outcome in work(app) if outcome.name == "roots"}
    assert found == {result.id}
    (child,) = result.children
    assert app.AsyncResult(result.get()).get(timeout=TIMEOUT) == result.id
    assert child.id != result.get()


def test_a_result_that_cannot_be_stored_fails_the_chord(app: App, t: Any) -> None:
    @app.task(name="thing", ignore_result=True)
    def thing() -> Any:
        return object()

    result = chord([thing.s(), t.same.s(1)], t.total.s())()
    work(app)
    with pytest.raises(ChordError, match="EncodeError"):
        result.get(timeout=TIMEOUT)


def test_a_frozen_task_may_stand_in_a_header_twice(app: App, t: Any) -> None:
    part = t.same.s(2)
    part.freeze()
    assert got(app, chord([part, part], t.total.s())()) == 4


def test_parts_whose_results_nobody_keeps_are_counted(app: App, t: Any) -> None:
    parts = [t.same.s(1).set(ignore_result=True), t.same.s(2).set(ignore_result=True)]
    assert got(app, chord(parts, t.total.s())()) == 3


def test_errbacks_of_a_chord_are_told_of_the_header_if_the_setting_says_so(app: App, t: Any) -> None:
    made = chord([t.fail.s(), t.same.s(1)], t.total.s())
    app.conf.task_allow_error_cb_on_chord_header = True
    made.link_error(t.told.s())
    result = made()
    work(app)
    assert {task_id for task_id, _ in t.seen} == {result.id}
    assert len(made.tasks[0].options["link_error"]) == 1


# replacing and adding


@pytest.mark.parametrize("sort", ["task", "chain", "group", "chord", "chain of a group"])
def test_a_task_is_replaced_in_its_place(app: App, t: Any, sort: str) -> None:
    t.replacement = {
        "task": t.same.s([1]),
        "chain": t.add.s(0, 1) | t.see.s(),
        "group": group(t.same.s(1), t.same.s(2)),
        "chord": chord([t.same.s(1), t.same.s(2)], t.same.s()),
        "chain of a group": t.same.s(1) | group(t.same.s(), t.same.s()),
    }[sort]
    expected = {"task": 1, "chain": 1, "group": 3, "chord": 3, "chain of a group": 2}[sort]
    alone = t.become.apply_async(link=t.see.s("linked"))
    in_chain = (t.same.s(0) | t.become.s() | t.total.s() | t.add.s(10))()
    in_chord = chord([t.become.s(), t.same.s([5])], t.see.s())()
    work(app)
    assert sum(alone.get(timeout=TIMEOUT)) == expected
    assert in_chain.get(timeout=TIMEOUT) == 10 + expected
    (values,) = in_chord.get(timeout=TIMEOUT)
    assert [sum(value) for value in values] == [expected, 5]
    assert [args for args in t.seen if args[-1] == "linked"] == [(alone.get(), "linked")]


def test_a_task_is_replaced_where_everything_is_run_at_once(app: App, t: Any) -> None:
    app.conf.task_always_eager = True
    t.replacement = group(t.same.s(1), t.same.s(2)) | t.total.s()
    assert t.become.delay().get() == 3
    assert (t.become.s() | t.add.s(1))().get() == 4


def test_what_cannot_replace_a_task_is_refused(app: App, t: Any) -> None:
    for call in (chain(app=app), t.same.s(1).set(chord=t.same.s())):
        t.replacement = call
        result = t.become.delay()
        work(app)
        with pytest.raises(ConfigurationError, match="replace"):
            result.get(timeout=TIMEOUT)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_part_may_add_another(app: App, t: Any, lazy: bool) -> None:
    assert got(app, chord([t.grow.s(lazy), t.same.s(2)], t.total.s())()) == 103
    result = t.grow.delay(lazy)
    work(app)
    with pytest.raises(ValueError, match="not part of a chord"):
        result.get(timeout=TIMEOUT)


# bad input


def test_a_circular_canvas_is_refused(app: App, t: Any) -> None:
    circle = group(t.same.s(1))
    circle.tasks.append(circle)
    call = t.same.s(1)
    call.link(call)
    steps = chain(t.same.s(1), t.same.s())
    steps.tasks.append(steps)
    for made in (circle, call, steps, chord([t.same.s(1)], circle)):
        with pytest.raises(ValueError, match="circular canvas"):
            made.apply_async()
    deep = t.same.s(1)
    for _ in range(300):
        deep = group(deep, t.same.s(1))
    with pytest.raises(ValueError, match="levels deep"):
        deep.apply_async()
    assert work(app) == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"task": 5},
        {"task": "add", "args": "no list"},
        {"task": "add", "kwargs": [1]},
        {"task": "add", "options": "none"},
        {"task": "add", "subtask_type": "circle"},
        {"task": "add", "subtask_type": ["chain"]},
        {"task": "celery.chain", "subtask_type": "chain", "kwargs": {}},
        {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": 5}},
        {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": ["add"]}},
        {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [{"task": None}]}},
        {"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": []}, "options": 1},
        {"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": 5, "body": {"task": "add"}}},
        {"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [], "body": "add"}},
    ],
    ids=str,
)
def test_a_dict_that_is_no_signature_is_refused(app: App, fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=r"signature|chain|group|chord"):
        signature(fields, app=app)


def test_a_chord_needs_a_backend_that_can_complete_it(t: Any) -> None:
    for settings in ({"result_backend": "disabled://"}, {"broker_url": "amqp://localhost", "result_backend": "rpc://"}):
        other = App("other", set_as_current=False, changes=settings)
        call = other.signature("add", args=(1, 1))
        with pytest.raises(UnsupportedOption, match="can't complete chords.*redis"):
            chord([call], call)()
        if settings["result_backend"] == "disabled://":
            with pytest.raises(BackendDisabled):
                group(call).freeze().save()


def test_a_chord_without_a_body_is_refused(t: Any) -> None:
    with pytest.raises(ValueError, match="needs a body"):
        chord([t.same.s(1)])()


def test_send_many_takes_no_canvas(app: App, t: Any) -> None:
    with pytest.raises(TypeError, match="apply_async"):
        app.send_many([t.same.s(1), group(t.same.s(1))])
    assert work(app) == []


# stamps


def test_every_task_of_a_canvas_carries_its_stamps(app: App, t: Any) -> None:
    made = t.same.s(1) | group(t.stamps.s(), t.stamps.s()) | t.see.s() | t.stamps.s()
    made.tasks[0].link(t.stamps.s())
    made.stamp(customer=42)
    result = made.apply_async()
    found = {outcome.task_id: outcome.result for outcome in work(app) if outcome.name == "stamps"}
    assert list(found.values()) == [{"customer": 42}] * 4
    assert found[result.id] == {"customer": 42}


def test_a_visitor_says_which_stamps_each_part_gets(app: App, t: Any) -> None:
    class Visitor(StampingVisitor):
        def __init__(self) -> None:
            self.met: list[str] = []

        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            self.met.append(sig.task)
            return {"on": sig.task, "beside": 1, "stamped_headers": ["on"]}

        def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
            self.met.append("chain")
            return {"series": True}

        def on_chain_end(self, chain: Any, **headers: Any) -> None:
            self.met.append("end")

        def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
            self.met.append("group")
            return {}

        def on_chord_body(self, chord: Any, **headers: Any) -> dict[str, Any]:
            return {"body": 1}

        def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
            return {"callback": 1}

    visitor = Visitor()
    made = t.same.s(1) | group(t.same.s(), t.same.s()) | t.stamps.s()
    made.tasks[0].link(t.stamps.s())
    made.stamp(visitor)
    assert visitor.met == ["chain", "stamps", "same", "group", "same", "same", "stamps", "end"]
    result = made.apply_async()
    found = {outcome.task_id: outcome.result for outcome in work(app) if outcome.name == "stamps"}
    assert found.pop(result.id) == {"series": True, "body": 1, "on": "stamps"}
    assert list(found.values()) == [{"series": True, "callback": 1, "on": "stamps"}]


def test_a_stamp_is_kept_or_added_to(app: App, t: Any) -> None:
    call = t.stamps.s()
    call.stamp(customer=1)
    call.stamp(customer=2, append_stamps=True)
    assert got(app, call.apply_async()) == {"customer": [2, 1]}
    other = t.stamps.s()
    other.stamp(customer=1)
    assert got(app, other.apply_async(customer=5, stamped_headers=["customer"])) == {"customer": 1}


# results


def test_a_group_tells_how_far_it_is(app: App, t: Any) -> None:
    result = group(t.same.s(1), t.fail.s(), t.same.s(3))()
    assert (result.ready(), result.waiting(), result.successful(), result.failed()) == (False, True, False, False)
    assert result.completed_count() == 0
    with pytest.raises(TimeoutError, match="3 of 3 tasks"):
        result.get(timeout=0.05)
    work(app)
    assert (result.ready(), result.waiting(), result.successful(), result.failed()) == (True, False, False, True)
    assert result.completed_count() == 2
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=TIMEOUT)
    values = result.get(propagate=False)
    assert (values[0], repr(values[1]), values[2]) == (1, "ValueError('no')", 3)
    with pytest.raises(ValueError, match="no"):
        result.maybe_throw()
    told: list[Any] = []
    assert result.get(propagate=False, callback=lambda task_id, value: told.append(value)) == []
    assert told == values
    assert [meta["status"] for _, meta in result.iter_native()] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert list(group(t.same.s(1)).apply().iterate()) == [1]
    result.forget()
    assert app.AsyncResult(result[0].id).state == "PENDING"


def test_a_failed_member_is_told_before_the_others_have_ended(app: App, t: Any) -> None:
    result = group(t.fail.s(), t.same.s(1).set(queue="nobody")).apply_async()
    work(app)
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=TIMEOUT)


def test_results_are_put_together(app: App, t: Any) -> None:
    first, second = t.same.delay(1), t.same.delay(2)
    made = app.ResultSet([first])
    assert isinstance(made, ResultSet)
    made.add(second)
    made.add(second)
    assert got(app, made) == [1, 2]
    made.remove(first.id)
    made.discard(first)
    with pytest.raises(KeyError):
        made.remove(first)
    assert (list(made), len(made)) == ([second], 1)
    made.update([first])
    made.clear()
    assert made.results == []


def test_a_group_is_saved_and_restored_with_its_structure(app: App, t: Any) -> None:
    result = group(t.same.s(1), t.same.s(1) | group(t.same.s(), t.add.s(1)))()
    work(app)
    result.save()
    again = app.GroupResult.restore(result.id)
    assert again == result
    assert again.get(timeout=TIMEOUT) == [1, [1, 2]]
    assert again.as_tuple() == result.as_tuple()
    assert again.children == result.results
    again.delete()
    assert app.GroupResult.restore(result.id) is None


def test_parents_are_followed_and_told(app: App, t: Any) -> None:
    result = (t.same.s(1) | group(t.same.s(), t.same.s()) | t.total.s() | t.add.s(1))()
    assert isinstance(result.parent.parent, GroupResult)
    assert result.parent.parent.parent.parent is None
    assert result_from_tuple(json.loads(json.dumps(result.as_tuple())), app).parent.parent == result.parent.parent
    assert len(result.as_list()) == 4
    assert got(app, result) == 3
    assert got(app, result.parent.parent) == [1, 1]


def test_waiting_inside_a_task_is_refused_unless_it_is_allowed(app: App, t: Any) -> None:
    done = group(t.same.s(1), t.same.s(2))()

    @app.task(name="waits")
    def waits(allowed: bool) -> Any:
        if not allowed:
            return done.get(timeout=TIMEOUT)
        with allow_join_result():
            return done.get(timeout=TIMEOUT)

    result = waits.delay(False)
    work(app)
    with pytest.raises(RuntimeError, match="within a task"):
        result.get(timeout=TIMEOUT)
    assert got(app, waits.delay(True)) == [1, 2]


def test_the_graph_of_a_result_can_be_drawn(app: App, t: Any) -> None:
    result = t.same.apply_async((1,), link=[t.add.s(1), group(t.add.s(2), t.add.s(3))])
    work(app)
    graph = result.graph
    assert len(graph) == 5
    assert len(graph[result]) == 2
    assert graph.topsort()[-1] == result
    assert len(graph.edges()) == 4
    drawn = io.StringIO()
    graph.to_dot(drawn)
    assert drawn.getvalue().count("->") == 4


def test_then_calls_back(app: App, t: Any) -> None:
    import threading

    done = threading.Event()
    result = t.same.delay(1)
    result.then(lambda found: done.set())
    failed = threading.Event()
    t.fail.delay().then(lambda found: None, on_error=lambda found: failed.set())
    work(app)
    assert done.wait(TIMEOUT)
    assert failed.wait(TIMEOUT)


def test_canvases_are_awaited(app: App, t: Any) -> None:
    import asyncio

    async def program() -> Any:
        sent = await group(t.same.s(1), t.same.s(2)).aapply_async()
        other = await (t.same.s(1) | t.add.s(1)).adelay()
        await asyncio.to_thread(work, app)
        with pytest.raises(TimeoutError):
            await group(t.same.s(1)).set(queue="nobody")().aget(timeout=0.01)
        return await sent, await other

    assert asyncio.run(program()) == ([1, 2], 2)


def test_eager_canvases(app: App, t: Any) -> None:
    app.conf.task_always_eager = True
    assert group(t.same.s(i) for i in range(3))().get() == [0, 1, 2]
    assert (t.same.s(1) | group(t.same.s(), t.add.s(1)) | t.total.s() | t.add.s(1))().get() == 4
    assert (t.same.s(1) | group(t.same.s(), t.add.s(1)))().get() == [1, 2]
    assert chord([t.same.s(1), t.same.s(2)], t.total.s())(link=t.see.s()).get() == 3
    assert t.seen == [(3,)]
    failed = chord([t.fail.s()], t.total.s().on_error(t.see.s()))()
    with pytest.raises(ChordError, match="ValueError"):
        failed.get()
    assert t.seen[1:] == [(failed.id,)]
    assert t.add.chunks([(1, 1), (2, 2)], 1)().get() == [[2], [4]]


@pytest.mark.parametrize("how", ["chain", "chord", "link", "errback", "deep"])
def test_an_argument_that_can_not_be_sent_is_named_wherever_it_stands(app: App, how: str) -> None:
    @app.task(name="double")
    def double(x: int, factor: int) -> int:
        return x * factor

    bad = double.s(object())
    calls: dict[str, Any] = {
        "chain": lambda: chain(double.s(1, 2), bad).delay(),
        "chord": lambda: chord([double.s(1, 2)], bad).delay(),
        "link": lambda: double.apply_async((1, 2), link=bad),
        "errback": lambda: double.apply_async((1, 2), link_error=[double.s(1), bad]),
        "deep": lambda: chain(double.s(1, 2), group(double.s(2), chain(double.s(1), bad))).delay(),
    }
    with pytest.raises(EncodeError, match=r"argument 1 \('factor'\) of double"):
        calls[how]()
    assert app.broker.depth("celery") == 0


def test_what_is_no_signature_is_refused_by_name(app: App) -> None:
    wrong: list[tuple[Any, tuple[Any, ...]]] = [
        (group, (1, 2)),
        (chain, (1, 2)),
        (chord, ([1], 2)),
        (signature, (None,)),
    ]
    for make, given in wrong:
        with pytest.raises(TypeError, match=r"signature|group"):
            make(*given)

    @app.task(name="one")
    def one() -> int:
        return 1

    with pytest.raises(TypeError, match="StampingVisitor, not 3"):
        one.s().stamp(visitor=3)

    class Wrong(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return 5

    with pytest.raises(TypeError, match="return a dict of stamps, not 5"):
        one.s().stamp(visitor=Wrong())


def test_a_canvas_can_be_sent_and_waited_for_by_a_tilde(app: App) -> None:
    @app.task(name="three")
    def three() -> int:
        return 3

    app.conf.task_always_eager = True
    assert ~three.s() == 3
    assert chain(app=app).apply_async() is None


def test_what_is_to_follow_a_set_of_results_is_called_when_all_have_ended(app: App) -> None:
    @app.task(name="good")
    def good() -> int:
        return 1

    @app.task(name="bad")
    def bad() -> int:
        raise ValueError

    for calls, expected in (([good.s(), good.s()], "well"), ([good.s(), bad.s()], "badly")):
        told: SimpleQueue[str] = SimpleQueue()
        result = group(calls).apply_async()
        assert result.then(partial(_put, told, "well"), on_error=partial(_put, told, "badly")) is result
        work(app)
        assert told.get(timeout=10) == expected


def _put(told: SimpleQueue[str], word: str, _: Any) -> None:
    told.put(word)
