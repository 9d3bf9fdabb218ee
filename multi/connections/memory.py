"""The store of `memory://`: queues and results in the memory of one process, shared by its threads."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

import msgspec

from multi.connections.turns import Turns
from multi.documents import Answer, Change
from multi.errors import BrokerRefused, ConfigurationError, MultiError
from multi.store import Store, is_final
from multi.talk import takes
from multi.urls import parse


class Entry(msgspec.Struct):
    """One message and what is known of it. `number` orders those of equal rank; `fence` is set while it is claimed."""

    number: int
    queue: str
    rank: int
    envelope: bytes
    starts: int = 0
    counted: bool = False
    redelivered: bool = False
    fence: str = ""
    until: float = 0.0
    since: float = 0.0
    """When it came into its queue, in seconds since the epoch."""

    @property
    def order(self) -> tuple[int, int]:
        return self.rank, self.number


class Dead(msgspec.Struct):
    """A message that was set aside."""

    entry: Entry
    reason: str
    detail: str
    time: float


class Record(msgspec.Struct):
    """A result; `version` counts how often it was written."""

    value: bytes
    version: int
    expires: float


class Chord(msgspec.Struct):
    """The parts of a chord that have ended, each with whether it succeeded, by index and task."""

    parts: dict[tuple[int, str], tuple[bytes, bool]] = {}
    more: int = 0
    completed_by: tuple[int, str] | None = None


class Sleeper:
    """One who is to be told of messages for its queues; `idle` is how many it can use."""

    def __init__(self, queues: Sequence[str], ring: Callable[[int], None]) -> None:
        self.queues = list(queues)
        self.ring = ring
        self.idle = 0


class Ear(msgspec.Struct, eq=False):
    """One who hears what is said on an exchange; `put` is called with the hub's lock held."""

    kind: str
    keys: tuple[str, ...]
    put: Callable[[bytes], None]


class Hub:
    """Everything under one name. All methods are called with `lock` held, but for those that say otherwise."""

    def __init__(self, name: str) -> None:
        self.place = f"memory:{name}"
        self.lock = threading.RLock()
        self.recorded = threading.Condition(self.lock)
        self.results: dict[str, Record] = {}
        #: who hears what is said on an exchange
        self._ears: dict[str, list[Ear]] = {}
        self._revoked: dict[str, float] = {}
        #: shelf -> its documents; shelf -> its revision
        self.shelves: dict[str, dict[str, bytes]] = {}
        self.revisions: Counter[str] = Counter()
        #: holder and end of each lock; end of each member's place, and of its waiting, by limit
        self._locks: dict[str, tuple[str, float]] = {}
        self._inside: dict[str, dict[str, float]] = {}
        self._outside: dict[str, dict[str, float]] = {}
        self._turns: dict[str, Turns] = {}
        self._chords: dict[str, Chord] = {}
        self.claimed: dict[int, Entry] = {}
        self.dead: dict[int, Dead] = {}
        self.sleepers: list[Sleeper] = []
        #: exchange -> (routing key, pattern, queue)
        self.bindings: dict[str, set[tuple[str, str, str]]] = {}
        self._waiting: dict[str, list[tuple[tuple[int, int], Entry]]] = {}
        self._parked: list[tuple[float, int, Entry]] = []
        self._numbers = itertools.count(1)
        self._pid = os.getpid()

    def guard(self, failure: type[MultiError] = BrokerRefused) -> None:
        """Refuse to work in a forked process, whose copy nobody else sees. Needs no lock."""
        if os.getpid() != self._pid:
            raise failure(
                f"{self.place.replace(':', '://', 1)} lives in the process that made it, and this is another one; "
                "use a place that processes can share, such as sqlite:////path.db"
            )

    # -- what is said to those who listen now

    def listen(self, exchange: str, ear: Ear) -> None:
        """Let an ear hear what is said from now on. Needs no lock."""
        with self.lock:
            self._ears.setdefault(exchange, []).append(ear)

    def deafen(self, exchange: str, ear: Ear) -> None:
        """Let it hear nothing more. Needs no lock."""
        with self.lock:
            ears = self._ears.get(exchange, [])
            if ear in ears:
                ears.remove(ear)
            if not ears:
                self._ears.pop(exchange, None)

    def say(self, exchange: str, key: str, text: bytes) -> int:
        """Say something to all who listen; how many these are. Needs no lock."""
        listeners = 0
        with self.lock:
            for ear in self._ears.get(exchange, ()):
                if takes(ear.kind, ear.keys, key):
                    ear.put(text)
                    listeners += 1
        return listeners

    # -- messages

    def add(self, queue: str, rank: int, envelope: bytes, *, starts: int = 0, redelivered: bool = False) -> Entry:
        """A new message at the end of its queue."""
        entry = Entry(next(self._numbers), queue, rank, envelope, starts, redelivered=redelivered)
        self.put(entry)
        return entry

    def put(self, entry: Entry) -> None:
        """Into its queue, at the place that rank and number give it."""
        entry.since = time.time()
        heapq.heappush(self._waiting.setdefault(entry.queue, []), (entry.order, entry))

    def park(self, entry: Entry, due: float) -> None:
        heapq.heappush(self._parked, (due, entry.number, entry))

    def parked(self, queue: str, rank: int, envelope: bytes, due: float) -> None:
        """A new message that waits elsewhere until it is due."""
        self.park(Entry(next(self._numbers), queue, rank, envelope), due)

    def next_due(self) -> float | None:
        return self._parked[0][0] if self._parked else None

    def bring_due(self, wakes: Counter[str]) -> None:
        """Put what is due into its queue."""
        while self._parked and self._parked[0][0] <= time.time():
            entry = heapq.heappop(self._parked)[2]
            self.put(entry)
            wakes[entry.queue] += 1

    def bring_all(self, queues: Collection[str] | None, wakes: Counter[str]) -> None:
        """Put what is parked for these queues (None: for any) there, due or not."""
        meant = [each for each in self._parked if queues is None or each[2].queue in queues]
        self._parked = [each for each in self._parked if each not in meant]
        heapq.heapify(self._parked)
        for _, _, entry in sorted(meant, key=lambda each: each[:2]):
            self.put(entry)
            wakes[entry.queue] += 1

    def waiting(self, queue: str) -> list[tuple[tuple[int, int], Entry]]:
        """What waits in a queue, in no order but that of a heap."""
        return self._waiting.get(queue, [])

    def all_parked(self) -> list[tuple[float, int, Entry]]:
        """What waits for its time: when that is, and the message."""
        return self._parked

    def take(self, queue: str, entries: Iterable[Entry]) -> None:
        """Take these out of a queue; they are the caller's to put somewhere."""
        numbers = {entry.number for entry in entries}
        left = [each for each in self._waiting.get(queue, ()) if each[1].number not in numbers]
        heapq.heapify(left)
        self._waiting[queue] = left

    def transfer(self, source: str, target: str, entries: Sequence[Entry]) -> None:
        """Take these out of a queue, and put them behind all that wait in another one."""
        self.take(source, entries)
        for entry in entries:
            since = entry.since
            entry.queue, entry.number = target, next(self._numbers)
            self.put(entry)
            entry.since = since

    def claim(self, queues: Iterable[str], limit: int, fence: str, until: float) -> list[Entry]:
        """Up to `limit` messages, best rank and oldest first; one that was started before comes alone."""
        found: list[Entry] = []
        heaps = [heap for queue in queues if (heap := self._waiting.get(queue))]
        while len(found) < limit and (heads := [heap for heap in heaps if heap]):
            best = min(heads, key=lambda heap: heap[0][0])
            entry = best[0][1]
            if entry.starts and found:
                break
            heapq.heappop(best)
            entry.fence, entry.until, entry.counted = fence, until, not found
            self.claimed[entry.number] = entry
            found.append(entry)
            if entry.starts:
                break
        return found

    def held(self, tag: str, fence: str) -> Entry | None:
        """The claimed message, if it is still this holder's."""
        entry = self.claimed.get(int(tag)) if tag.isdecimal() else None
        return entry if entry is not None and entry.fence == fence else None

    def drop(self, entry: Entry, *, started: bool = False) -> None:
        """End a claim; the message is the caller's to put somewhere."""
        del self.claimed[entry.number]
        entry.fence, entry.counted = "", False
        entry.starts += started

    def depth(self, queue: str) -> int:
        return len(self._waiting.get(queue, ()))

    def purge(self, queue: str) -> int:
        return len(self._waiting.pop(queue, ()))

    def take_dead(self, queue: str, ids: Iterable[str] | None) -> list[Dead]:
        """Remove dead letters of a queue (None: all), oldest first."""
        wanted = None if ids is None else set(ids)
        chosen = [
            number
            for number, dead in self.dead.items()
            if dead.entry.queue == queue and (wanted is None or str(number) in wanted)
        ]
        return [self.dead.pop(number) for number in chosen]

    def counts(self) -> dict[str, tuple[int, int, int, int]]:
        """How many messages of each queue that has some wait, are parked, claimed and dead."""
        waiting = Counter({queue: len(heap) for queue, heap in self._waiting.items()})
        parked = Counter(entry.queue for _, _, entry in self._parked)
        claimed = Counter(entry.queue for entry in self.claimed.values())
        dead = Counter(letter.entry.queue for letter in self.dead.values())
        names = {name for table in (waiting, parked, claimed, dead) for name, count in table.items() if count}
        return {name: (waiting[name], parked[name], claimed[name], dead[name]) for name in names}

    def wake(self, wakes: Counter[str]) -> None:
        """Tell sleepers of so many new messages per queue, one message to one of them, who waited longest first."""
        for sleeper in list(self.sleepers):
            told = 0
            for queue in sleeper.queues:
                count = min(sleeper.idle - told, wakes[queue])
                if count > 0:
                    wakes[queue] -= count
                    told += count
            if told:
                sleeper.idle -= told
                # behind the others
                self.sleepers.remove(sleeper)
                self.sleepers.append(sleeper)
                sleeper.ring(told)

    def nudge(self) -> None:
        """Let all watches look again when the next parked message is due."""
        for sleeper in self.sleepers:
            sleeper.ring(0)

    # -- results

    def record(self, stores: Sequence[Store]) -> None:
        """Write results; a SUCCESS stays."""
        now = time.time()
        for store in stores:
            old = self.look(store.key)
            if old is not None and is_final(old.value):
                continue
            expires = now + store.expires if store.expires else 0.0
            self.results[store.key] = Record(store.value, old.version + 1 if old else 1, expires)
        self.recorded.notify_all()

    def look(self, key: str) -> Record | None:
        """A result that hasn't expired."""
        found = self.results.get(key)
        if found is not None and found.expires and found.expires <= time.time():
            del self.results[key]
            return None
        return found

    def turns(self, name: str, pause: float) -> Turns:
        """The turns of a rate limit."""
        with self.lock:
            found = self._turns.get(name)
            if found is None or found.pause != pause:
                found = self._turns[name] = Turns(pause)
            return found

    def take_lock(self, name: str, holder: str, seconds: float, take: bool) -> str:
        """Take a lock; the other one who holds it, or held it, "" if there is none."""
        now = time.monotonic()
        with self.lock:
            found, until = self._locks.get(name, ("", 0.0))
            other = found if until > now and found != holder else ""
            if not other or take:
                self._locks[name] = (holder, now + seconds)
            return other

    def give_lock(self, name: str, holder: str) -> None:
        """Give a lock back, if it is still this holder's."""
        with self.lock:
            if self._locks.get(name, ("", 0.0))[0] == holder:
                del self._locks[name]

    def enter(self, name: str, member: str, limit: int, lease: float) -> int:
        """Take a place or keep it; how many wait, 0 for who is in."""
        now = time.monotonic()
        with self.lock:
            inside = {each: end for each, end in self._inside.get(name, {}).items() if end > now}
            outside = {each: end for each, end in self._outside.get(name, {}).items() if end > now}
            self._inside[name], self._outside[name] = inside, outside
            if member in inside or len(inside) < limit:
                inside[member] = now + lease
                outside.pop(member, None)
                return 0
            outside[member] = now + 120.0
            return len(outside)

    def leave(self, name: str, member: str) -> None:
        """Free a place."""
        with self.lock:
            self._inside.get(name, {}).pop(member, None)

    def keep_revoked(self, marks: Iterable[str], until: float, most: int) -> None:
        """Keep marks of what is revoked."""
        now = time.time()
        with self.lock:
            kept = {mark: end for mark, end in self._revoked.items() if end > now}
            kept.update(dict.fromkeys(marks, until))
            self._revoked = dict(sorted(kept.items(), key=lambda each: each[1])[-most:])

    def revoked(self) -> dict[str, float]:
        """The marks that hold."""
        now = time.time()
        with self.lock:
            return {mark: end for mark, end in self._revoked.items() if end > now}

    def documents(self, shelf: str, names: Iterable[str] | None) -> tuple[int, dict[str, bytes]]:
        """The revision of a shelf, and its documents."""
        with self.lock:
            found = self.shelves.get(shelf, {})
            wanted = found if names is None else [name for name in names if name in found]
            return self.revisions[shelf], {name: found[name] for name in wanted}

    def change(self, shelf: str, changes: Sequence[Change], tell: bool, send: Callable[[int], None]) -> list[Answer]:
        """Make changes; `send` is called with the place of each that is made."""
        with self.lock:
            there = self.shelves.setdefault(shelf, {})
            answers = []
            for place, each in enumerate(changes):
                found = there.get(each.name)
                if found != each.expected:
                    answers.append(Answer(found == each.value, found))
                    continue
                if each.value is None:
                    there.pop(each.name, None)
                else:
                    there[each.name] = each.value
                self.revisions[shelf] += tell
                send(place)
                answers.append(Answer(True, each.value))
            return answers

    def chord(self, group_id: str) -> Chord:
        """What has come of a chord so far."""
        return self._chords.setdefault(group_id, Chord())

    def tidy(self) -> None:
        """Forget the results that have expired, and the parts of chords that have."""
        for key in list(self.results):
            self.look(key)
        for group_id in list(self._chords):
            if f"chord:{group_id}" not in self.results:
                del self._chords[group_id]


_hubs: dict[str, Hub] = {}
_hubs_lock = threading.Lock()


def hub(url: str) -> Hub:
    """The hub that `memory://name` names, the same for all who name it in this process. Raises `ConfigurationError`."""
    parsed = parse(url, ("memory", "cache+memory"))
    if parsed.port or parsed.username or parsed.password:
        raise ConfigurationError(f"{parsed.scheme}:// takes a name only, as in memory://test")
    name = parsed.host or parsed.path.strip("/")
    with _hubs_lock:
        found = _hubs.get(name)
        if found is None or found._pid != os.getpid():
            found = _hubs[name] = Hub(name)
        return found


def forget(url: str) -> None:
    """Drop all that is under this name, for tests that want to begin with nothing."""
    parsed = parse(url, ("memory", "cache+memory"))
    with _hubs_lock:
        _hubs.pop(parsed.host or parsed.path.strip("/"), None)
