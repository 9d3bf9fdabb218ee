"""Chords on Redis as Celery's workers count them, so that the parts of one may run on either side.

Celery's keys below `celery-taskset-meta-<group>`: `.s` how many parts there are, `.t` how many were added, `.j` those that
have ended (a sorted set by index, or a list), `.d` which those are, `.c` who is sending the body, or "done"; without an
ending, the structure of a header that isn't flat. Ours besides: `.multi`, the part that has completed the chord.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PREFIX = "celery-taskset-meta-"

#: Seconds for which the parts of a completed chord are kept, should the one that completed it have to come again.
KEPT = 3600

#: KEYS: .j .t .s .d .c .multi, group. ARGV: task id, part, ordered, index, expires, success, seconds to keep parts.
#: Returns nothing, or the parts that are to be joined and the structure.
JOIN = """
local jkey, tkey, skey, dkey, ckey, okey, gkey = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local task, part, ordered, index, expires, success = ARGV[1], ARGV[2], ARGV[3] == '1', ARGV[4], tonumber(ARGV[5]), ARGV[6]
local place = task .. ':' .. index
local kept = okey .. '.parts'

local function all(key)
  if ordered then return redis.call('ZRANGE', key, 0, -1) end
  return redis.call('LRANGE', key, 0, -1)
end
local function whose(member) return string.match(string.sub(member, 1, 300), '"([^"]*)"') end

local claim = redis.call('GET', ckey)
if claim == 'done' then
  if redis.call('GET', okey) == place then return {1, all(kept), redis.call('GET', gkey)} end
  return {0}
end

-- workers of Celery before 5.7 don't write down which parts have come: the part itself tells
local before = false
if ordered and index ~= '+inf' then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', jkey, index, index)) do
    if whose(member) == task then before = member end
  end
elseif redis.call('SISMEMBER', dkey, place) == 1 then
  for _, member in ipairs(all(jkey)) do
    if whose(member) == task then before = member end
  end
end
if before == false then
  if ordered then redis.call('ZADD', jkey, index, part) else redis.call('RPUSH', jkey, part) end
elseif ordered and success == '1' and string.match(string.sub(before, 1, 400), '^%[1,%s*"[^"]*",%s*"([A-Z]+)"') == 'FAILURE' then
  redis.call('ZREM', jkey, before)
  redis.call('ZADD', jkey, index, part)
end
redis.call('SADD', dkey, place)
if expires > 0 then
  for _, key in ipairs({jkey, tkey, skey, dkey, gkey}) do redis.call('EXPIRE', key, expires) end
end

local size = redis.call('GET', skey)
if not size or claim then return {0} end
local wanted = tonumber(size) + tonumber(redis.call('GET', tkey) or 0)
local count = ordered and redis.call('ZCARD', jkey) or redis.call('LLEN', jkey)
if count < wanted then return {0} end
if ordered then
  -- before 5.7 a part that was delivered again with another result stands here twice
  local seen = {}
  local members = redis.call('ZRANGE', jkey, 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do
    local known = (whose(members[i]) or '') .. ':' .. members[i + 1]
    if seen[known] then
      redis.call('ZREM', jkey, members[i])
      count = count - 1
    end
    seen[known] = true
  end
  if count < wanted then return {0} end
end
redis.call('RENAME', jkey, kept)
redis.call('DEL', tkey, skey, dkey)
local lasting = expires > 0 and math.max(expires, 300) or tonumber(ARGV[7])
redis.call('SET', ckey, 'done', 'EX', lasting)
redis.call('SET', okey, place, 'EX', lasting)
redis.call('EXPIRE', kept, ARGV[7])
return {1, all(kept), redis.call('GET', gkey)}
"""


class ChordKeys:
    """The names of what belongs to one chord."""

    def __init__(self, prefix: str, group_id: str) -> None:
        self.group = f"{prefix}{PREFIX}{group_id}"
        self.size = f"{self.group}.s"
        self.more = f"{self.group}.t"

    def join(
        self, index: int | None, task_id: str, part: bytes, ordered: bool, expires: int, success: bool
    ) -> Sequence[Any]:
        """The command that puts a part to its chord."""
        keys = [f"{self.group}.{name}" for name in ("j", "t", "s", "d", "c", "multi")]
        return (
            *("EVAL", JOIN, len(keys) + 1, *keys, self.group),
            *(task_id, part, int(ordered), "+inf" if index is None else index, expires, int(success), KEPT),
        )
