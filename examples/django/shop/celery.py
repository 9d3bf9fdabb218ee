"""The task queue of the project: `multi start w1 -A shop`."""

import os

from multi import App

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = App("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
