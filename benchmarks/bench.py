"""What every part of the benchmarks gets: the server, the options, the report."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.contender import Contender
from benchmarks.node import Broken
from benchmarks.report import Report
from benchmarks.server import PrivateRedis


class Bench(msgspec.Struct):
    """One run of the benchmarks."""

    server: PrivateRedis
    report: Report
    contenders: Sequence[Contender]
    rounds: int = 3
    scale: float = 1.0

    def turns(self, only: Sequence[str] = (), rounds: int | None = None) -> Iterator[Contender]:
        """Every contender (of `only`, if given) once a round; who begins changes from round to round."""
        chosen = [contender for contender in self.contenders if not only or contender.name in only]
        for turn in range(self.rounds if rounds is None else rounds):
            start = turn % max(1, len(chosen))
            yield from chosen[start:] + chosen[:start]

    def size(self, count: int) -> int:
        return max(10, round(count * self.scale))

    def fault(self, what: str, error: Broken) -> None:
        """A measurement that failed is told, and the others go on."""
        print(f"{what}: {error}", file=sys.stderr)
        self.report.faults.append(f"{what}: {error}")

    def progress(self, what: str) -> None:
        print(what, file=sys.stderr, flush=True)
