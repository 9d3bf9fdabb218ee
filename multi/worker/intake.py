"""From which queues a worker takes tasks at this moment: those that it is for, without those that are paused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

#: Stands for all queues in an order to pause or resume.
EVERY = "*"


def parse(text: str) -> list[str]:
    """The names in an order or in MULTI_PAUSED: `a,b`, or `*` for all."""
    names = [name for part in text.split(",") if (name := part.strip())]
    return [EVERY] if EVERY in names else list(dict.fromkeys(names))


class Intake:
    """`queues` are what the worker is for, in their order; `paused` may name others, which changes nothing."""

    def __init__(self, queues: Sequence[str], paused: Iterable[str] = ()) -> None:
        self.queues = list(queues)
        self.paused = set(paused)

    @property
    def consumed(self) -> list[str]:
        """The queues from which tasks are taken now."""
        if EVERY in self.paused:
            return []
        return [queue for queue in self.queues if queue not in self.paused]

    @property
    def left(self) -> list[str]:
        """The worker's queues from which nothing is taken now."""
        consumed = self.consumed
        return [queue for queue in self.queues if queue not in consumed]

    def add(self, name: str) -> bool:
        """Whether the worker wasn't for this queue before."""
        if name in self.queues:
            return False
        self.queues.append(name)
        return True

    def remove(self, name: str) -> bool:
        """Whether the worker was for this queue before."""
        if name not in self.queues:
            return False
        self.queues.remove(name)
        return True

    def pause(self, names: Iterable[str]) -> None:
        self.paused.update(names)
        if EVERY in self.paused:
            self.paused = {EVERY}

    def resume(self, names: Iterable[str]) -> None:
        """Where all are paused, the others stay so."""
        names = set(names)
        if EVERY in names:
            self.paused.clear()
            return
        if EVERY in self.paused:
            self.paused = set(self.queues)
        self.paused -= names

    def __str__(self) -> str:
        """In words, as what follows the node's state: "" while everything is consumed."""
        if not self.left:
            return ""
        return "paused" if not self.consumed else f"paused: {', '.join(self.left)}"
