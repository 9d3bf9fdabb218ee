"""The signals of one app: before and after its settings are read, when it is complete, and in each process forked from it."""

from __future__ import annotations

from functools import cached_property

from multi.signals import Signal


class Moments:
    """What `App` has of this. Each is made when it is first asked for, so an app nobody listens to pays nothing."""

    @cached_property
    def on_configure(self) -> Signal:
        """The settings are about to be read."""
        return Signal("on_configure")

    @cached_property
    def on_after_configure(self) -> Signal:
        """The settings have been read: `source` is `app.conf`."""
        return Signal("on_after_configure", ("source",))

    @cached_property
    def on_after_finalize(self) -> Signal:
        """All tasks are known."""
        return Signal("on_after_finalize")

    @cached_property
    def on_after_fork(self) -> Signal:
        """A child of the worker has begun: connections of one's own are to be opened anew."""
        return Signal("on_after_fork")

    def tell(self, moment: str) -> None:
        """Send the signal of that name, should anybody have asked for it."""
        found: Signal | None = self.__dict__.get(moment)
        if found is not None and found.receivers:
            found.send(self, **({"source": self.__dict__["conf"]} if "source" in found.provides else {}))
