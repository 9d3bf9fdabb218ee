"""What all broker suites share: the fixtures that a subclass gives or that come from them, and small helpers."""

from __future__ import annotations

import itertools
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytest

from multi.agreements import Agreements
from multi.backends.base import Backend
from multi.brokers.base import Abilities, Broker, Claim, Delivery, Settlement
from multi.errors import BackendUnavailable
from multi.message import Message
from multi.outcome import Publication
from multi.store import Store
from multi.testing.nodes import PATIENCE, Node, nodes

_ids = itertools.count(1)
QUEUE = "work"

Make = Callable[..., Broker]
Factory = Callable[[float], Broker]
MakeNode = Callable[..., Node]


class Rig:
    """Base of the broker suites."""

    @pytest.fixture
    def factory(self) -> Factory:
        """`factory(lease)` gives a new broker object; all of one test's lead to the same place, which is empty at first."""
        raise NotImplementedError("a contract suite's subclass has a fixture `factory`")

    @pytest.fixture
    def results(self) -> Backend | None:
        """A backend at the same place as the broker; None where there is none."""
        return None

    def plant(self, broker: Broker, queue: str, raw: bytes) -> None:
        """Put bytes that are no message into a queue, as a broken producer would."""
        pytest.skip("this suite doesn't know how to plant what is no message")

    @pytest.fixture
    def make(self, factory: Factory) -> Iterator[Make]:
        """`make()` and `make(lease=0.5)` give broker objects, closed after the test."""
        made: list[Broker] = []

        def make(lease: float = 30.0) -> Broker:
            made.append(factory(lease))
            return made[-1]

        yield make
        for broker in made:
            broker.close()

    @pytest.fixture
    def broker(self, make: Make) -> Broker:
        return make()

    @pytest.fixture
    def node(self, broker: Broker) -> Iterator[MakeNode]:
        """`node(broker, queues, storage)` gives a node that is connected; all are ended after the test."""
        with nodes(broker.abilities.shared) as make:
            yield make


def needs(broker: Broker, *names: str) -> None:
    """Skip the test unless the broker declares these abilities."""
    abilities: Abilities = broker.abilities
    for name in names:
        if not getattr(abilities, name):
            pytest.skip(f"{type(broker).__name__} has no {name}")


def needs_agreements(broker: Broker) -> Agreements:
    """What workers agree on by this broker; skips the test where it keeps nothing of the kind."""
    if broker.agreements is None:
        pytest.skip(f"{type(broker).__name__} keeps no agreements")
    return broker.agreements


def needs_pull(broker: Broker) -> None:
    """Skip where deliveries are pushed ahead of their claim, so that their order can't be foretold."""
    if broker.abilities.push:
        pytest.skip(f"{type(broker).__name__} pushes")


def message(name: str = "", body: bytes = b'[[], {}, {"callbacks": null}]', **properties: Any) -> Message:
    """A task message of protocol 2; its id begins with `name`."""
    task_id = f"{name or 'task'}-{os.getpid()}-{next(_ids)}"
    headers = {
        "lang": "py",
        "task": "contract.task",
        "id": task_id,
        "root_id": task_id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "timelimit": [None, None],
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "contract",
    }
    return Message(headers, body, properties={"correlation_id": task_id, "delivery_mode": 2, **properties})


def send(broker: Broker, *messages: Message, queue: str = QUEUE) -> list[str]:
    """Publish in one call; the ids."""
    broker.publish([Publication(queue, one) for one in messages])
    return [str(one.headers["id"]) for one in messages]


def id_of(delivery: Delivery) -> str:
    assert delivery.message is not None, delivery.fault
    return str(delivery.message.headers["id"])


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [id_of(delivery) for delivery in deliveries]


def name_of(delivery: Delivery) -> str:
    """What the message was called when it was made by `message(name)`."""
    return id_of(delivery).partition("-")[0]


def names(deliveries: Sequence[Delivery]) -> list[str]:
    return [name_of(delivery) for delivery in deliveries]


def ended(delivery: Delivery, verb: str = "ack", **more: Any) -> Settlement:
    """The settlement of a delivery."""
    return Settlement(delivery.tag, delivery.fence, delivery.queue, verb, **more)


def claim_of(delivery: Delivery, started: bool = False) -> Claim:
    return Claim(delivery.tag, delivery.fence, started)


def until(fact: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + patience
    while not fact():
        assert time.monotonic() < deadline, f"after {patience:g} s still not: {what}"
        time.sleep(0.005)


def in_child(work: Callable[[], object]) -> None:
    """Do `work` in a forked process; fails if it fails."""
    pid = os.fork()
    if pid == 0:
        _do(work)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the forked process has failed; see its output"


def _do(work: Callable[[], object]) -> NoReturn:
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


class Elsewhere:
    """A storage that is never the broker's place: a folder. It fails while a file named `down` is in it."""

    place = "elsewhere"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self, stores: Sequence[Store]) -> None:
        if (self.folder / "down").exists():
            raise BackendUnavailable("the contract's storage is down")
        for store in stores:
            (self.folder / store.key).write_bytes(store.value)

    def value(self, key: str) -> bytes | None:
        try:
            return (self.folder / key).read_bytes()
        except FileNotFoundError:
            return None
