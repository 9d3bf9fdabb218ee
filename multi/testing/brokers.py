"""The contract of a broker."""

from __future__ import annotations

from multi.testing.consuming import Consuming
from multi.testing.keeping import BrokerKeeping
from multi.testing.leases import Leases
from multi.testing.locking import BrokerLocking
from multi.testing.looking import Looking
from multi.testing.messages import Messages
from multi.testing.overview import Overview
from multi.testing.pacing import BrokerPacing
from multi.testing.revoking import Hearing
from multi.testing.routing import Routing
from multi.testing.settling import Settling
from multi.testing.talking import Talking
from multi.testing.watching import Watching


class BrokerContract(
    Messages,
    Settling,
    Watching,
    Leases,
    Consuming,
    Routing,
    BrokerPacing,
    BrokerLocking,
    Overview,
    Looking,
    Hearing,
    Talking,
    BrokerKeeping,
):
    """All that `multi.brokers.base` promises; a subclass gives the fixture `factory`, and `results` and `plant` if it can."""
