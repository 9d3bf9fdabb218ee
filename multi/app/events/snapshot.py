"""Cameras: what is done with the state of all workers and tasks every so many seconds.

    class Camera(Polaroid):
        clear_after = True  # what is finished has been told then

        def on_shutter(self, state):
            for uuid, task in state.itertasks():
                ...

`multi events -A proj -c proj.cameras.Camera --frequency 2.0` runs one; `with Camera(state, freq=2.0):` is the same in a program.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from multi.app import current
from multi.app.events.timer import Entry, Timer
from multi.app.rates import interval
from multi.log import get_logger
from multi.signals import Signal

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.events.state import State

logger = get_logger("multi.camera")


class Polaroid:
    """A camera: `on_shutter(state)` is called every `freq` seconds while the state stands still, `on_cleanup()` every
    `cleanup_freq` seconds; both in a thread of the camera's own.

    `maxrate` ("10/m") leaves out pictures that would come faster. With `clear_after` all workers and what is finished are
    forgotten after each. `timer` is another one to be driven by, with a method `call_repeatedly(seconds, function)`.
    """

    timer: ClassVar[Any] = None
    shutter_signal: ClassVar[Signal] = Signal("shutter_signal")
    cleanup_signal: ClassVar[Signal] = Signal("cleanup_signal")
    clear_after = False

    def __init__(
        self,
        state: State,
        freq: float = 1.0,
        maxrate: str | float | None = None,
        cleanup_freq: float = 3600.0,
        timer: Any = None,
        app: App | None = None,
    ) -> None:
        self.app = app or current.get()
        self.state = state
        self.freq = freq
        self.cleanup_freq = cleanup_freq
        self._own: Timer | None = None if timer or self.timer else Timer()
        self._timer: Any = timer or self.timer or self._own
        self.logger = logger
        self.maxrate = maxrate
        self._pause = interval(maxrate)
        self._last: float | None = None
        self._entries: list[Entry] = []

    def install(self) -> None:
        """Begin."""
        self._entries = [
            self._timer.call_repeatedly(self.freq, self.capture),
            self._timer.call_repeatedly(self.cleanup_freq, self.cleanup),
        ]

    def on_shutter(self, state: State) -> None:
        """What is to be done with each picture; for classes of one's own."""

    def on_cleanup(self) -> None:
        """What is to be done now and then; for classes of one's own."""

    def cleanup(self) -> None:
        """Tell that it is time to clean up."""
        self.cleanup_signal.send(sender=self.state)
        self.on_cleanup()

    def shutter(self) -> bool:
        """Take a picture, unless the last one was taken too short a time ago; whether it was taken."""
        now = monotonic()
        if self._last is not None and now - self._last < self._pause:
            return False
        self._last = now
        logger.debug("Taking a picture: %s", self.state)
        self.shutter_signal.send(sender=self.state)
        self.on_shutter(self.state)
        return True

    def capture(self) -> None:
        """Take a picture while nothing changes. What no picture was taken of, or a failed one, isn't forgotten."""
        self.state.freeze_while(self._capture)

    def _capture(self) -> None:
        if self.shutter() and self.clear_after:
            self.state.clear()

    def cancel(self) -> None:
        """End, with a last picture of what has come since the last one."""
        entries, self._entries = self._entries, []
        if self._own is not None:
            self._own.stop()
        if entries:
            entries[0]()
        for entry in entries:
            entry.cancel()

    def __enter__(self) -> Polaroid:
        self.install()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()
