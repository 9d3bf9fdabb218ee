"""The project. The app is imported here, so that `shared_task` finds it wherever Django runs."""

from .celery import app

__all__ = ["app"]
