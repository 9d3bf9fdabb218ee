"""Events: what workers and clients tell of workers and tasks while it happens, in Celery's form."""
