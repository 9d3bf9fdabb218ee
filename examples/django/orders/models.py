"""Orders, which are confirmed by a task."""

from django.db import models, transaction


class Order(models.Model):
    """Something that a customer wants."""

    customer = models.CharField(max_length=100)
    confirmed = models.BooleanField(default=False)

    @classmethod
    def place(cls, customer: str) -> "Order":
        """A new order; it is confirmed by a worker once it is in the database."""
        from .tasks import confirm

        with transaction.atomic():
            order = cls.objects.create(customer=customer)
            confirm.delay_on_commit(order.pk)
        return order
