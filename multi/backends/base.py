"""The seam of the result backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from multi.agreements import Agreements
from multi.documents import Answer, Change
from multi.errors import UnsupportedOption
from multi.store import Store

#: The record of one task, Celery's JSON: status, result, traceback, children, date_done, task_id, ...
Meta = dict[str, Any]


class Joined(msgspec.Struct):
    """The parts of a complete chord, in the order of their indices, and the structure that they have if it isn't flat."""

    parts: list[bytes]
    tree: bytes | None = None


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

    #: What workers agree on by this backend; None where it keeps nothing of the kind.
    agreements: Agreements | None = None
    #: Whether it keeps documents (`documents`, `revision`, `change`).
    keeps: bool = False
    #: Whether other processes see the same records.
    shared: bool = True

    def check(self) -> None:
        """Connect once. Raises `BackendUnavailable` with address, cause and remedy, never a password."""

    def prepare(self) -> None:
        """As `check`, by a worker before it forks its children: what is missing and can be made is made."""
        self.check()

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

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        """See `multi.documents.Keeps`. Where `keeps` is true; raises `BackendUnavailable`."""
        raise NotImplementedError

    def shelves(self) -> list[str]:
        """See `multi.documents.Keeps`. Where `keeps` is true; raises `BackendUnavailable`."""
        raise NotImplementedError

    def revision(self, shelf: str) -> int:
        """See `multi.documents.Keeps`. Where `keeps` is true; raises `BackendUnavailable`."""
        raise NotImplementedError

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        """See `multi.documents.Keeps`; publications are not sent. Where `keeps` is true; raises `BackendUnavailable`."""
        raise NotImplementedError

    @abstractmethod
    def forget(self, task_id: str) -> None:
        """Delete the record."""

    @abstractmethod
    def close(self) -> None:
        """Close this process's connections; the backend can be used again afterwards."""

    # -- groups and chords ------------------------------------------------------------------------------------------

    #: Whether it can complete chords: `open_chord`, `join_chord` and `extend_chord`, and keep groups.
    chords: bool = False

    def open_chord(self, group_id: str, size: int, tree: bytes | None) -> list[Store]:
        """The store operations that announce a chord of `size` parts; they come before its messages, or with them."""
        raise self._no_chords()

    def extend_chord(self, group_id: str, count: int = 1) -> None:
        """Let an open chord wait for `count` more parts. Raises `BackendUnavailable`."""
        raise self._no_chords()

    def join_chord(
        self, group_id: str, index: int | None, task_id: str, part: bytes, *, success: bool
    ) -> Joined | None:
        """Put a part that has ended to those of its chord; all of them if the chord is complete and this part is the one
        that completed it, None otherwise. In one step.

        The parts are a set by index and task, so a part may come any number of times: the first one stays, but a success
        replaces what was none. One part completes a chord, and gets everything again however often it comes again: its
        message is acknowledged when the body is sent, so if its worker dies before that, it is delivered and comes again.
        Raises `BackendUnavailable`.
        """
        raise self._no_chords()

    def save_group(self, group_id: str, record: bytes) -> None:
        """Keep the members of a group. Raises `BackendUnavailable`."""
        raise self._no_chords()

    def fetch_group(self, group_id: str) -> bytes | None:
        """What `save_group` kept, None if there is nothing."""
        raise self._no_chords()

    def delete_group(self, group_id: str) -> None:
        """Delete what `save_group` kept."""
        raise self._no_chords()

    def _no_chords(self) -> UnsupportedOption:
        return UnsupportedOption(
            f"the result backend {self.url.partition(':')[0]}:// keeps nothing that others could read, so it can neither "
            "complete chords nor save groups; set result_backend to one that does, as redis://host:6379/0"
        )
