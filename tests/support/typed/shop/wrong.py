"""Calls that are wrong: each line says which error it is."""

from __future__ import annotations

from multi import crontab
from shop.app import add, app, fetch, greet, hello, invoice, label, mail, price

add.delay("1")  # [arg-type]
add.delay()  # [call-arg]
add.delay(1, 2, 3)  # [call-arg]
add.delay(1, z=2)  # [call-arg]
price.delay("chair", "EUR")  # [call-arg]
price.delay("chair", currency=1)  # [arg-type]
invoice.delay("seven")  # [arg-type]
invoice.delay(None, 7)  # [arg-type] [call-arg]
fetch.delay(1)  # [arg-type]
greet.delay()  # [call-arg]
hello.delay(name=1)  # [arg-type]
mail.delay(3)  # [arg-type]
add.si(1, "2")  # [arg-type]
wrong: str = add.delay(1).get()  # [assignment]
label.delay("a", size=3)  # [arg-type]
late: str = fetch.delay("https://example.org").get()  # [assignment]
crontab(minute=1.5)  # [arg-type]
crontab("0", "7", "mon", "1", "jan", "Europe/Zurich")  # [call-arg]
app.add_periodic_task(None, hello.s("Ann"))  # [arg-type]
app.add_periodic_task(10, "shop.hello")  # [arg-type]
app.control.add_consumer()  # [call-arg]
app.control.pool_grow("2")  # [arg-type]
app.control.inspect().inactive()  # [attr-defined]
silent: int = app.control.ping().silent  # [assignment]


async def main() -> str:
    await add.adelay("1")  # [arg-type]
    result = await add.adelay(1)
    return await result  # [return-value]
