"""The app. It names no broker, so its tasks and results go through a file of this project: nothing to install or start."""

from multi import Celery

app = Celery("proj", include=["proj.tasks"])

# Optional configuration, under Celery's names.
app.conf.update(
    result_expires=3600,
)

if __name__ == "__main__":
    app.start()
