"""Settings for trying it out: a database in a file beside the project, and multi's embedded broker."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "only for trying it out")
DEBUG = True
USE_TZ = True
INSTALLED_APPS = ["orders"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_TASK_TIME_LIMIT = 60
CELERY_RESULT_EXPIRES = 3600
