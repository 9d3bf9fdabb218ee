"""What other tools' files say about workers, as values of a description.

Each module reads one kind of file: text in, `Imported` out. `celery` takes the command line of a Celery worker apart, which
stands in all of them. What can't be carried over is named, never dropped.
"""
