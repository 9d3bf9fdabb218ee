"""What all schedulers of a project and its commands keep together: the entries, when each was sent last, and how often."""

from __future__ import annotations
