"""A program of Flask whose tasks run in its application context: `multi start w1 -A shop`."""

from flask import Flask, current_app, request

from multi import App, Task, shared_task


class ContextTask(Task):
    """A task that sees Flask's `current_app`, as a view does."""

    abstract = True

    def __call__(self, *args, **kwargs):
        with self.app.flask.app_context():
            return self.run(*args, **kwargs)


def make_queue(flask: Flask) -> App:
    """The task queue of a program of Flask's; its settings are those under CELERY in the configuration."""
    queue = App(flask.import_name, task_cls=ContextTask, changes=flask.config.get("CELERY"))
    queue.flask = flask
    flask.extensions["celery"] = queue
    return queue


def make_flask() -> Flask:
    """The program."""
    flask = Flask(__name__)
    flask.config.from_mapping(GREETING="Hello", CELERY={"task_time_limit": 60})
    make_queue(flask)

    @flask.post("/greetings")
    def greetings():
        return {"id": greet.delay(request.json["name"]).id}, 202

    @flask.get("/greetings/<task_id>")
    def greeting(task_id):
        result = queue.AsyncResult(task_id)
        return {"state": result.state, "greeting": result.result if result.successful() else None}

    return flask


@shared_task
def greet(name: str) -> str:
    """Greet somebody, in the words that are configured."""
    return f"{current_app.config['GREETING']}, {name}"


flask = make_flask()
queue = flask.extensions["celery"]
