"""Celery's remote control, the asking side: sends a command to workers through their broker and collects the replies.

A worker that has no page of ours to read (a Celery worker that was started by hand) can still be asked what it does.
Requests and replies are those of Celery's pidbox, JSON.
"""

from multi.remote.call import call

__all__ = ["call"]
