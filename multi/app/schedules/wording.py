"""Schedules as people say them: "every 5 minutes", "at 07:30 on mon (Europe/Zurich)"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multi.app.schedules.fields import DAYS, MONTHS

if TYPE_CHECKING:
    from multi.app.schedules.cron import crontab
    from multi.app.schedules.interval import schedule
    from multi.app.schedules.sun import solar

_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_MANY = 6  # as many single times are listed


def span(seconds: float) -> str:
    """A time in its two largest units: "1 hour 30 minutes"."""
    parts: list[str] = []
    left = seconds
    for unit, size in _UNITS:
        if unit == "second" and (left % 1 or not parts):
            if left:
                parts.append(f"{left:g} second" + ("" if left == 1 else "s"))
            break
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:g} {unit}" + ("" if count == 1 else "s"))
    return " ".join(parts) or "0 seconds"


def interval(given: schedule) -> str:
    words = span(given.seconds)
    one, _, unit = words.partition(" ")
    words = f"every {unit}" if one == "1" and " " not in unit else f"every {words}"
    return f"{words}, on the clock" if given.relative else words


def of_solar(given: solar) -> str:
    def degrees(value: float, names: str) -> str:
        return f"{abs(value):g}°{names[value < 0]}"

    what = given.event.replace("_", " ")
    return f"at {what} ({degrees(given.lat, 'NS')} {degrees(given.lon, 'EW')})"


def of_crontab(given: crontab) -> str:
    parts = [_time(given)]
    if len(given.day_of_week) < 7:
        parts.append("on " + _ranges(sorted(given.day_of_week), [name[:3] for name in DAYS]))
    if len(given.day_of_month) < 31:
        days = _ranges(sorted(given.day_of_month))
        parts.append(f"among days {days}" if len(parts) > 1 else f"on day {days}")
    if len(given.month_of_year) < 12:
        parts.append("in " + _ranges(sorted(given.month_of_year), ["", *(name[:3] for name in MONTHS)]))
    zone = f" ({given.own_tz})" if given.own_tz is not None else ""
    return " ".join(parts) + zone


def _time(given: crontab) -> str:
    minutes, hours = sorted(given.minute), sorted(given.hour)
    every = _step(minutes, 0, 60)
    if len(minutes) * len(hours) <= _MANY and len(hours) < 24:
        return "at " + _listed([f"{hour:02d}:{minute:02d}" for hour in hours for minute in minutes])
    if len(minutes) == 60:
        text = "every minute"
    elif every:
        text = f"every {every} minutes"
    elif len(minutes) == 1 and (step := _step(hours, 0, 24)):
        return f"every {step} hours" + (f" at :{minutes[0]:02d}" if minutes[0] else "")
    elif len(minutes) == 1 and len(hours) == 24:
        return "every hour" + (f" at :{minutes[0]:02d}" if minutes[0] else "")
    else:
        text = "at " + (
            _listed([f":{minute:02d}" for minute in minutes]) if len(minutes) <= _MANY else _ranges(minutes)
        )
        if len(minutes) > _MANY:
            text = text.replace("at ", "at minutes ", 1)
    if len(hours) == 24:
        return text if text.startswith("every") else f"{text} of every hour"
    step = _step(hours, 0, 24)
    return (
        f"{text} of every {step}{'nd' if step == 2 else 'rd' if step == 3 else 'th'} hour"
        if step
        else f"{text} in the hours {_ranges(hours)}"
    )


def _step(values: list[int], low: int, size: int) -> int:
    """The step of values that go evenly around the clock; 0 if they don't."""
    if len(values) < 2:
        return 0
    step = values[1] - values[0]
    return step if values == list(range(low, low + size, step)) and size % step == 0 and step > 1 else 0


def _ranges(values: list[int], names: list[str] | None = None) -> str:
    def name(value: int) -> str:
        return names[value] if names else str(value)

    parts: list[str] = []
    start = before = values[0]
    for value in [*values[1:], -1]:
        if value == before + 1:
            before = value
            continue
        if start == before:
            parts.append(name(start))
        elif before == start + 1:
            parts += [name(start), name(before)]
        else:
            parts.append(f"{name(start)}-{name(before)}")
        start = before = value
    return _listed(parts)


def _listed(parts: list[str]) -> str:
    return ", ".join(parts)
