"""The seam of the result backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multi.store import Store

#: The record of one task, Celery's JSON: status, result, traceback, children, date_done, task_id, ...
Meta = dict[str, Any]


class Backend(ABC):
    """Keeps states and results; safe to hold across a fork, connecting when first used.

    Records are bytes here: `app` encodes them (serializer, exceptions) and a backend moves them.
    """

    place: str = ""
    expects: bool = False
    """Whether a result that comes before anybody listens is lost."""

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        self.url = url
        self.options = dict(options or {})
        self.expires = expires

    #: Whether other processes see the same records.
    shared: bool = True

    def check(self) -> None:
        """Connect once. Raises `BackendUnavailable` with address, cause and remedy, never a password."""

    @abstractmethod
    def encode(self, task_id: str, record: bytes, *, reply_to: str | None = None) -> Store:
        """The store operation that records `record` as the state of `task_id`; touches nothing."""

    def expect(self, task_ids: Sequence[str]) -> None:
        """This thread is about to send these tasks: be ready to hear of them. Called where `expects` is true.

        Raises `BackendUnavailable`.
        """

    @abstractmethod
    def store(self, stores: Sequence[Store]) -> None:
        """Carry out store operations, all in one round trip where that is possible. Raises `BackendUnavailable`."""

    @abstractmethod
    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        """The records of these tasks, None for those without one."""

    @abstractmethod
    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterable[bytes]:
        """The record as it is now (if there is one) and every later one as it comes, until the caller stops reading.

        Ends after `timeout` seconds (None: never). `interval` is the pause between two looks where a backend must
        look (0.5 s by default there); those that are told ignore it. No record is missed between two that are given
        except by being overwritten.
        """

    @abstractmethod
    def forget(self, task_id: str) -> None:
        """Delete the record."""

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections; the backend can be used again afterwards."""
