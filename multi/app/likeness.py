"""Small things that Celery's app has, too, and an error with a way out for those that ours has not."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING

from multi import identity
from multi.app.lacking import APP, Lacks

if TYPE_CHECKING:
    from multi.config import Settings


class Likeness(Lacks):
    """What `App` has of this."""

    conf: Settings
    _lacking = APP
    _called = "app"

    @property
    def timezone(self) -> tzinfo:
        """The zone of the setting `timezone`: that of crontabs, and of times which are given without one. Where it isn't set,
        UTC; with `enable_utc` off, the machine's own."""
        from multi.app.plan import zone

        if not self.conf.timezone and not self.conf.enable_utc:
            from multi.app.schedules import zones

            return zones.local()
        return zone(self.conf.timezone)

    def uses_utc_timezone(self) -> bool:
        """Whether times that are given without a zone are UTC."""
        return str(self.timezone) in ("UTC", "Etc/UTC")

    @property
    def oid(self) -> str:
        """The reply address of this thread, which its messages carry."""
        return identity.oid()

    thread_oid = oid

    @property
    def configured(self) -> bool:
        """Whether anybody has said anything about the settings."""
        return self.conf.configured

    def bugreport(self) -> str:
        """What `multi report -A proj` shows: versions, the system, and the settings that are given, secrets masked."""
        from multi.app import reporting

        return reporting.text(reporting.report(self))  # type: ignore[arg-type]  # the app that this is a part of
