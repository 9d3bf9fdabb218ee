"""What workers do with orders."""

from multi import get_task_logger, shared_task

from .models import Order

logger = get_task_logger(__name__)


@shared_task
def confirm(order_id: int) -> str:
    """Confirm an order."""
    order = Order.objects.get(pk=order_id)
    order.confirmed = True
    order.save(update_fields=["confirmed"])
    logger.info("the order of %s is confirmed", order.customer)
    return order.customer
