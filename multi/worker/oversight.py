"""The worker's look at what its children do: takes over what waits behind a long task, enforces time limits.

It looks every few milliseconds while there is something to be seen, and not at all otherwise: a child that claims more
than it runs, or runs something limited, finds the `asleep` flag of its slot and wakes it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from time import monotonic

from multi.brokers.base import Watch
from multi.log import get_logger
from multi.loop import Loop, Timer
from multi.pools.base import Pool
from multi.worker.crew import Member
from multi.worker.slots import CLAIMED, DONE, RUNNING, SENDING, Slot

logger = get_logger("multi.worker")

#: What a child leaves waiting so long (s) behind a running task is taken over.
PATIENCE = 0.005
TICK = 0.004
#: Seconds between two looks when only time limits are to be watched and none is near.
LIMIT_TICK = 0.1


class Oversight:
    """Watches the slots of all members."""

    def __init__(self, loop: Loop, members: Mapping[int, Member], watch: Watch, pool: Pool) -> None:
        self.loop = loop
        self.members = members
        self.watch = watch
        self.pool = pool
        self._tick: Timer | None = None

    def watch_closely(self) -> None:
        """Look at the slots from now on, until there is nothing to be seen there."""
        if self._tick is None:
            for member in self.members.values():
                member.slot.asleep = False
            self._tick = self.loop.later(TICK, self._look)

    def _look(self) -> None:
        """Take over what waits behind a running task; enforce limits."""
        self._tick = None
        now = monotonic()
        pause = 0.0
        for member in self.members.values():
            states = member.slot.states()
            if RUNNING not in states:
                if CLAIMED in states or DONE in states or SENDING in states or not member.idle:
                    pause = TICK if not pause else min(pause, TICK)
                continue
            waits = CLAIMED in states or DONE in states
            nearest = self._limits(member, states, now)
            if waits:
                self._help(member, states, now)
                pause = TICK
            if nearest:
                ahead = min(LIMIT_TICK, max(nearest - now, 0.001))
                pause = ahead if not pause else min(pause, ahead)
        if pause:
            self._tick = self.loop.later(pause, self._look)
        else:
            # nothing to watch: children wake us when they claim more than they run, or run something limited
            for member in self.members.values():
                member.slot.asleep = True
            # one that has begun something just now has not seen the flag
            if any(self._to_be_seen(member.slot) for member in self.members.values()):
                self.watch_closely()

    def _to_be_seen(self, slot: Slot) -> bool:
        states = slot.states()
        return CLAIMED in states or any(
            state == RUNNING and any(slot.deadlines(index)) for index, state in enumerate(states)
        )

    def _help(self, member: Member, states: bytes, now: float) -> None:
        """Take over what waits too long behind the running task; what is not begun only if that task is a long one."""
        if self.pool.loop != "serial":
            return  # these settle and hand back by themselves: their claims don't wait for a running task
        slot = member.slot
        if now - max(slot.since(i) for i, state in enumerate(states) if state == RUNNING) > PATIENCE:
            self._take_over(member, unstarted=True)
        elif any(state == DONE and now - slot.since(i) > PATIENCE for i, state in enumerate(states)):
            self._take_over(member, unstarted=False)

    def _take_over(self, member: Member, *, unstarted: bool) -> None:
        settlements = member.slot.take(unstarted=unstarted, done=True)
        if settlements:
            self.watch.settle(settlements)
            self.watch.renew()

    def _limits(self, member: Member, states: bytes, now: float) -> float:
        """Interrupt and kill what has run too long; returns the nearest deadline, 0 for none."""
        nearest = 0.0
        for index, state in enumerate(states):
            if state != RUNNING:
                continue
            soft, hard = member.slot.deadlines(index)
            if not soft and not hard:
                continue
            if hard and now >= hard:
                for held in member.slot.held():
                    if held.tag in member.condemned:
                        continue  # killed already, and not quite dead
                    if held.index == index and held.state == RUNNING and held.hard == hard:
                        limit = round(hard - held.since, 3)
                        logger.error("Hard time limit (%gs) exceeded for %s: its child is killed", limit, held.task)
                        member.condemned[held.tag] = limit
                        member.signal(signal.SIGKILL)
                continue
            if soft and now >= soft:
                key = f"{index}:{soft}"
                if key not in member.warned:
                    member.warned = {key}
                    member.signal(signal.SIGUSR1)
                if hard:
                    nearest = min(nearest, hard) if nearest else hard
                continue
            for deadline in (soft, hard):
                if deadline:
                    nearest = min(nearest, deadline) if nearest else deadline
        return nearest
