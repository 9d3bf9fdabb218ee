"""The fields of a crontab: what may be written in them, and the numbers that it means.

field  = part ("," part)*
part   = ("*" | range) ("/" step)?
range  = value ("-" value)?        one that goes down wraps: fri-mon, 22-4
value  = digits | name             names in day_of_week and month_of_year only
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

from multi.errors import ConfigurationError

Spec = int | str | Iterable[int]

DAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = ("january", "february", "march", "april", "may", "june",
          "july", "august", "september", "october", "november", "december")  # fmt: skip

_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>[^-/*]*)(?:(?P<dash>-)(?P<last>[^-/*]*))?)(?:(?P<slash>/)(?P<step>.*))?")


class ParseException(ConfigurationError):
    """A crontab that can't be; says which field, and what is allowed there."""


class _WrongType(ParseException, TypeError):
    """Something in a field that is neither number, text nor several numbers."""


class Field(NamedTuple):
    """One of the five: its name, the numbers it takes, and the names that stand for numbers from `low` on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        named = ""
        if self.names:
            named = f", {self.names[0][:3]}-{self.names[-1][:3]}" + (", sunday is 0" if self.low == 0 else "")
        return f"{self.low}-{self.high}{named}"

    def expand(self, spec: object) -> frozenset[int]:
        """The numbers that `spec` means. Raises `ParseException`."""
        if isinstance(spec, bool) or spec is None:
            raise self._type(spec)
        if isinstance(spec, int):
            return frozenset((self._number(spec),))
        if isinstance(spec, str):
            return frozenset(self.parse(spec))
        if not isinstance(spec, Iterable):
            raise self._type(spec)
        found = frozenset(self._number(one) for one in spec)
        if not found:
            raise ParseException(f"{self.name}: no values; '*' is every one")
        return found

    def parse(self, text: str) -> set[int]:
        """The numbers that a text means. Raises `ParseException`."""
        found: set[int] = set()
        for part in text.strip().split(","):
            found.update(self._part(part.strip(), text))
        return found

    def _part(self, part: str, text: str) -> list[int]:
        if not part:
            whole = f"{self.name}: " + (f"{text!r} has an empty part" if text.strip() else "is empty")
            raise ParseException(f"{whole}; '*' is every value, '1,2' are two")
        match = _PART.fullmatch(part)
        if match is None:
            raise ParseException(
                f"{self.name}: {part!r} isn't understood; write *, 5, 1-5, */15 or 1-30/2, several of them with commas"
            )
        if match["star"]:
            values = list(range(self.low, self.high + 1))
        elif match["dash"] is None:
            first = self._value(match["first"])
            if match["slash"]:
                raise ParseException(
                    f"{self.name}: {part!r}: a step needs a range: {first}-{self.high}/{match['step']}"
                )
            values = [first]
        else:
            first, last = self._value(match["first"], part), self._value(match["last"], part)
            values = list(range(first, last + 1))
            if last < first:
                values = [*range(first, self.high + 1), *range(self.low, last + 1)]
        if not match["slash"]:
            return values
        step = match["step"].strip()
        if not _digits(step) or not int(step):
            raise ParseException(f"{self.name}: the step of {part!r} is {step!r}; it is a number from 1 on")
        return values[:: int(step)]

    def _value(self, word: str, within: str = "") -> int:
        word = word.strip()
        if _digits(word):
            return self._number(int(word))
        lowered = word.casefold()
        if len(lowered) >= 3:
            for place, name in enumerate(self.names):
                if name.startswith(lowered):
                    return self.low + place
        inside = f" in {within!r}" if within else ""
        raise ParseException(
            f"{self.name}: {word!r}{inside} is no value; allowed are {self.allowed}{self._near(lowered)}"
        )

    def _near(self, word: str) -> str:
        from difflib import get_close_matches

        names = [*self.names, *(name[:3] for name in self.names)]
        near = get_close_matches(word, names, 1, 0.6) if len(word) >= 2 else []
        return f"; did you mean {near[0]!r}?" if near else ""

    def _number(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._type(value)
        if not self.low <= value <= self.high:
            raise ParseException(f"{self.name}: {value} is out of range; allowed are {self.allowed}")
        return value

    def _type(self, value: object) -> _WrongType:
        return _WrongType(
            f"{self.name}: {value!r} is a {type(value).__name__}; give a number, a text as '*/15', or a list of numbers"
        )


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_WEEK = Field("day_of_week", 0, 6, DAYS)
DAY_OF_MONTH = Field("day_of_month", 1, 31)
MONTH_OF_YEAR = Field("month_of_year", 1, 12, MONTHS)
#: In the order of the arguments of `crontab`.
FIELDS = (MINUTE, HOUR, DAY_OF_WEEK, DAY_OF_MONTH, MONTH_OF_YEAR)


class crontab_parser:  # noqa: N801 - Celery's name
    """One field by its size: `crontab_parser(60).parse("*/15")`, `crontab_parser(31, 1).parse("1-7")`."""

    ParseException: ClassVar[type[ParseException]] = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        like = next((one for one in FIELDS if (one.low, one.high - one.low + 1) == (min_, max_)), None)
        self._field = like or Field("field", min_, max_ + min_ - 1)

    def parse(self, spec: str) -> set[int]:
        return self._field.parse(spec)


def _digits(word: str) -> bool:
    return word.isascii() and word.isdigit()
