"""Tasks of every kind."""

from __future__ import annotations

from decimal import Decimal

from multi import App, Depends, Task, shared_task

app = App("shop", broker="redis://localhost", backend="redis://localhost")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(name="shop.price", max_retries=5, rate_limit="10/s")
def price(article: str, *, currency: str) -> Decimal:
    return Decimal(len(article + currency))


@app.task(bind=True, autoretry_for=(ConnectionError,))
def invoice(self: Task, number: int) -> str:
    if number < 0:
        raise self.retry(countdown=1)
    return f"{self.request.id} {number}"


@app.task(bind=True)
def label(self: Task, /, *lines: str, **options: str) -> list[str]:
    return [*lines, *options.values()]


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


def connection() -> str:
    return "open"


@app.task
def store(number: int, to: str = Depends(connection)) -> bool:
    return number > 0 and to == "open"


@shared_task
def hello(name: str) -> None: ...


@shared_task(bind=True)
async def greet(self: Task, name: str) -> list[str]:
    return [name]


class Mail(Task[[str], bool]):
    """A class of the project's own, with its parameters and its result told."""

    name = "shop.mail"

    def run(self, address: str) -> bool:
        return "@" in address


mail = Mail()
app.register_task(mail)
