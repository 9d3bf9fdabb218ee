"""Documents in Redis, see `multi.documents`: a hash for each shelf, and the number of its revision."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from multi.connections.redis.words import Reply, Word
from multi.documents import Answer, Change

#: Changes in one call of the script, which nobody else interrupts.
BULK = 100

#: KEYS: hash, revision, parked, delayed. ARGV: tell (1|0); per change: name, whether there is one expected (1|0) and it,
#: whether there is one to be (1|0) and it, number of publications; per publication: list, envelope, due ("" = now), id, and
#: with a list "" it is for the channel that stands in place of the id.
_CHANGE = """
local tell, at, answers = ARGV[1], 2, {}
while at <= #ARGV do
  local name, told, expected, stays, value = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local count = tonumber(ARGV[at + 5])
  local from = at + 6
  at = from + 4 * count
  local found = redis.call('HGET', KEYS[1], name)
  if (told == '1' and found == expected) or (told == '0' and not found) then
    if stays == '1' then
      redis.call('HSET', KEYS[1], name, value)
    elseif found then
      redis.call('HDEL', KEYS[1], name)
    end
    if tell == '1' then redis.call('INCR', KEYS[2]) end
    for i = from, at - 4, 4 do
      local list, envelope, due, id = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
      if list == '' then
        redis.call('PUBLISH', id, envelope)
      elseif due == '' then
        redis.call('LPUSH', list, envelope)
      else
        redis.call('HSET', KEYS[3], id, list .. '\\0' .. envelope)
        redis.call('ZADD', KEYS[4], due, id)
      end
    end
    answers[#answers + 1] = {1}
  else
    answers[#answers + 1] = {0, found}
  end
end
return answers
"""

#: List, envelope, due and id of one publication, as the script takes them.
Sent = tuple[Word, Word, Word, Word]


def change(
    prefix: str, shelf: str, changes: Sequence[Change], tell: bool, sent: Sequence[Sequence[Sent]] | None = None,
    *, parked: str = "", delayed: str = "",
) -> tuple[Word, ...]:  # fmt: skip
    """What is sent to make changes; `sent` are the words of each one's publications."""
    words: list[Word] = []
    for place, each in enumerate(changes):
        publications = sent[place] if sent is not None else ()
        words += (each.name, int(each.expected is not None), each.expected or b"")
        words += (int(each.value is not None), each.value or b"", len(publications))
        for publication in publications:
            words += publication
    return "EVAL", _CHANGE, 4, _shelf(prefix, shelf), _revision(prefix, shelf), parked, delayed, int(tell), *words


def answers(changes: Sequence[Change], reply: Reply) -> list[Answer]:
    """What became of each."""
    made = []
    for each, told in zip(changes, reply, strict=True):
        if told[0]:
            made.append(Answer(True, each.value))
        else:
            found = told[1] if len(told) > 1 else None
            made.append(Answer(found == each.value, found))
    return made


def ask(prefix: str, shelf: str, names: Iterable[str] | None) -> list[tuple[Word, ...]]:
    """What is sent to read the revision and documents."""
    first: tuple[Word, ...] = ("GET", _revision(prefix, shelf))
    if names is None:
        return [first, ("HGETALL", _shelf(prefix, shelf))]
    wanted = list(names)
    return [first, ("HMGET", _shelf(prefix, shelf), *wanted)] if wanted else [first]


def shelves(prefix: str, call: Callable[[tuple[Word, ...]], Reply]) -> list[str]:
    """Those that have documents, looked for among all keys."""
    start = _shelf(prefix, "")
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", start) + "*"
    names: set[str] = set()
    cursor: Word = b"0"
    while True:
        cursor, keys = call(("SCAN", cursor, "MATCH", pattern, "COUNT", 5000))
        names.update(key.decode().removeprefix(start) for key in keys)
        if cursor == b"0":
            return sorted(names)


def found(names: Iterable[str] | None, replies: Sequence[Reply]) -> tuple[int, dict[str, bytes]]:
    """The revision and the documents that there are."""
    number = int(replies[0] or 0)
    if names is None:
        pairs = replies[1]
        return number, {pairs[i].decode(): pairs[i + 1] for i in range(0, len(pairs), 2)}
    if len(replies) < 2:
        return number, {}
    return number, {name: value for name, value in zip(names, replies[1], strict=True) if value is not None}


def _shelf(prefix: str, shelf: str) -> str:
    return f"{prefix}multi:kept:{shelf}"


def _revision(prefix: str, shelf: str) -> str:
    return f"{prefix}multi:revision:{shelf}"
