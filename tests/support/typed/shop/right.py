"""Calls that are right: no errors here."""

from __future__ import annotations

from decimal import Decimal

from multi import AsyncResult
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


async def main() -> int:
    page: bytes = await fetch("https://example.org")
    result = await add.adelay(len(page), 2)
    return await result + await result.aget(timeout=3)
