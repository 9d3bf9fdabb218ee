"""Calls that are right: no errors here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from multi import AsyncResult, BaseSchedule, crontab, schedstate, schedule, solar
from shop.app import add, app, fetch, greet, hello, invoice, label, mail, price, store

total: int = add.delay(1, y=2).get(timeout=1)
cost: Decimal = price.delay("chair", currency="EUR").get()
text: str = invoice.delay(7).get()
body: bytes = fetch.delay("https://example.org").get()
names: list[str] = greet.delay("Ann").get()
lines: list[str] = label.delay("a", size="b").get()
sent: bool = mail.delay("ann@example.org").get()
stored: bool = store.delay(1).get()
hello.apply_async(("Ann",), countdown=3, link=add.si(1, 2))
direct: int = add(1, 2)
known: AsyncResult[int] = add.AsyncResult("an id")
(add.s(1) | add.s(2)).apply_async()
app.send_task("shop.price", ("chair",), {"currency": "EUR"})
name: str = app.add_periodic_task(crontab(minute="*/5", hour=range(8, 18), tz="Europe/Zurich"), add.s(1, 2), name="add")
app.add_periodic_task(10.0, hello.s("Ann"), expires=5, missed="skip")
app.add_periodic_task(timedelta(minutes=5), hello, ("Ann",))
app.add_periodic_task("30 7 * * mon-fri", hello.s("Ann"))
app.add_periodic_task(solar("sunset", 47.37, 8.54), hello.s("Ann"))
following: datetime | None = crontab.from_string("0 0 * * *").next_after(datetime.now(UTC))
is_due: bool = schedule(10, relative=True).is_due(datetime.now(UTC)).is_due


class Fortnight(BaseSchedule):
    def next_after(self, moment: datetime) -> datetime:
        return moment + timedelta(days=14)


class Workdays(crontab):
    def is_due(self, last_run_at: datetime) -> schedstate:
        return super().is_due(last_run_at)


app.control.rate_limit("shop.add", "10/m", destination=["w1@h"], timeout=2.0, pattern=None)
silent = app.control.ping(timeout=0.5).silent
if silent is not None and silent > 0:
    answered: list[str] = [name for reply in app.control.ping() for name in reply]
running = app.control.inspect(["w1@h"], limit=1).active() or {}
app.add_periodic_task(Fortnight(), hello.s("Ann"))
app.add_periodic_task(Workdays(0, 7), hello.s("Ann"))


async def main() -> int:
    page: bytes = await fetch("https://example.org")
    result = await add.adelay(len(page), 2)
    return await result + await result.aget(timeout=3)
