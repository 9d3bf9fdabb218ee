"""What is found in a project that was written for Celery."""

from __future__ import annotations

import msgspec

#: It would not work here as it is.
ERROR = "error"
#: It works, and means something else than with Celery.
DIFFERS = "differs"
#: It is accepted and has no meaning here.
NOTE = "note"
#: It is understood, and has a newer name.
OLD = "old name"

LEVELS = (ERROR, DIFFERS, NOTE, OLD)


class Finding(msgspec.Struct, frozen=True):
    """One of them: `what` is the setting, task or import that it is about."""

    level: str
    file: str
    line: int
    what: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.what}: {self.text}"


class Project(msgspec.Struct):
    """A project that was read: how many files, settings and tasks, and what there is to say of them."""

    folder: str
    files: int = 0
    settings: int = 0
    tasks: list[str] = []
    findings: list[Finding] = []

    def of(self, level: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.level == level]
