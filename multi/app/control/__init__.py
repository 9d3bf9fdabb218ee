"""Remote control, the asking side: `app.control` and `app.control.inspect`.

Requests and replies are those of Celery's workers, so that either side may be Celery's.
"""

from multi.app.control.control import Control
from multi.app.control.ending import GENTLE, TERMINATING, signal_number
from multi.app.control.inspect import Inspect
from multi.app.control.mailbox import Mailbox
from multi.app.control.replies import Replies, flatten_reply
from multi.app.control.request import Request
from multi.app.control.revoking import place_of

__all__ = [
    "GENTLE",
    "TERMINATING",
    "Control",
    "Inspect",
    "Mailbox",
    "Replies",
    "Request",
    "flatten_reply",
    "place_of",
    "signal_number",
]
