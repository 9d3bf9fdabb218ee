"""The figures of one run of the benchmarks, and how they are shown."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


class Column(msgspec.Struct, frozen=True):
    """A measure of a table: its title with the unit, its digits, and whether minimum and maximum are shown too."""

    measure: str
    title: str
    digits: int = 1
    spread: bool = False


class Table(msgspec.Struct):
    """One part's figures: (case, contender) → measure → a value per round."""

    title: str
    columns: Sequence[Column]
    ratio: str = ""
    rows: dict[tuple[str, str], dict[str, list[float]]] = {}

    def add(self, case: str, contender: str, **values: float) -> None:
        row = self.rows.setdefault((case, contender), {})
        for measure, value in values.items():
            row.setdefault(measure, []).append(value)

    def median(self, case: str, contender: str, measure: str) -> float | None:
        values = self.rows.get((case, contender), {}).get(measure)
        return statistics.median(values) if values else None

    def compare(self, case: str, contender: str, measure: str) -> float | None:
        """The contender's median in units of Celery's."""
        ours, celerys = self.median(case, contender, measure), self.median(case, "celery", measure)
        return ours / celerys if ours is not None and celerys else None

    def lines(self) -> Iterable[str]:
        head = ["case", "", *(column.title for column in self.columns)]
        if self.ratio:
            head.append("÷ celery")
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        for case, contender in sorted(self.rows, key=lambda key: key[0]):  # cases together, contenders as they came
            row = self.rows[case, contender]
            cells = [case, contender, *(_cell(row.get(column.measure), column) for column in self.columns)]
            if self.ratio:
                ratio = self.compare(case, contender, self.ratio)
                cells.append("" if ratio is None else f"{ratio:.2f}")
            yield "| " + " | ".join(cells) + " |"


def _cell(values: list[float] | None, column: Column) -> str:
    if not values:
        return ""
    words = [f"{statistics.median(values):,.{column.digits}f}"]
    if column.spread and len(values) > 1:
        words = [f"{min(values):,.{column.digits}f}", *words, f"{max(values):,.{column.digits}f}"]
    return " / ".join(words)


class Target(msgspec.Struct, frozen=True):
    """A figure that multi is to reach; `value` None when the run didn't give it."""

    text: str
    value: float | None
    limit: float
    at_most: bool = True
    digits: int = 1

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


class Report:
    """Tables, targets, versions and what went wrong."""

    def __init__(self) -> None:
        self.tables: list[Table] = []
        self.targets: list[Target] = []
        self.faults: list[str] = []
        self.versions: dict[str, dict[str, str]] = {}
        self.machine: dict[str, Any] = {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
        }

    def table(self, title: str, columns: Sequence[Column], ratio: str = "") -> Table:
        table = Table(title, columns, ratio)
        self.tables.append(table)
        return table

    def target(
        self, text: str, value: float | None, *, most: float | None = None, least: float | None = None, digits: int = 1
    ) -> None:
        limit = most if most is not None else least
        assert limit is not None, "a target has a limit"
        self.targets.append(Target(text, value, limit, most is not None, digits))

    def missed(self) -> bool:
        return bool(self.faults) or any(target.met is not True for target in self.targets)

    def text(self) -> str:
        """Everything, as Markdown."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        lines = ["# multi and its peers", "", f"Machine: {machine}.", ""]
        for name, packages in self.versions.items():
            lines.append(f"- {name}: " + " ".join(f"{package} {version}" for package, version in packages.items()))
        for table in self.tables:
            lines += ["", f"## {table.title}", "", *table.lines()]
        if self.targets:
            lines += ["", "## Targets", "", "| figure | measured | target | |", "|---|---|---|---|"]
        for target in self.targets:
            value = "not measured" if target.value is None else f"{target.value:,.{target.digits}f}"
            bound = f"{'≤' if target.at_most else '≥'} {target.limit:,.{target.digits}f}"
            lines.append(f"| {target.text} | {value} | {bound} | {_VERDICTS[target.met]} |")
        if self.faults:
            lines += ["", "## Faults", "", *(f"- {fault}" for fault in self.faults)]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        """Everything, for JSON: every value of every round."""
        tables = [
            {
                "title": table.title,
                "rows": [
                    {"case": case, "contender": contender, "values": values}
                    for (case, contender), values in table.rows.items()
                ],
            }
            for table in self.tables
        ]
        targets = [{**msgspec.to_builtins(target), "met": target.met} for target in self.targets]
        return {
            "machine": self.machine,
            "versions": self.versions,
            "tables": tables,
            "targets": targets,
            "faults": self.faults,
        }


_VERDICTS = {True: "met", False: "MISSED", None: ""}
