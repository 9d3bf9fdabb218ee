"""The way from Celery: what a project of Celery's will find different here, and its settings under their new names."""
