"""Locks of unique tasks, and places under concurrency limits, kept in Redis by its own clock."""

from __future__ import annotations

from multi.connections.redis.words import Word

_LOCK = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] and ARGV[3] == '0' then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if holder and holder ~= ARGV[1] then return holder end
return ''
"""
_UNLOCK = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
#: Two sorted sets: who is in, by the end of his lease, and who waits, by when he last asked.
_ENTER = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local lease = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('ZADD', KEYS[1], string.format('%.6f', now + lease), ARGV[1])
  redis.call('EXPIRE', KEYS[1], math.ceil(lease) + 60)
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
redis.call('ZADD', KEYS[2], string.format('%.6f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now - 120))
redis.call('EXPIRE', KEYS[2], 180)
return redis.call('ZCARD', KEYS[2])
"""


def lock(prefix: str, name: str, holder: str, seconds: float, take: bool) -> tuple[Word, ...]:
    """What is sent to take a lock; the answer is the other one who holds it, or held it."""
    key = f"{prefix}multi:lock:{name}"
    return "EVAL", _LOCK, 1, key, holder, max(1, round(seconds * 1000)), int(take)


def unlock(prefix: str, name: str, holder: str) -> tuple[Word, ...]:
    """What is sent to give a lock back."""
    return "EVAL", _UNLOCK, 1, f"{prefix}multi:lock:{name}", holder


def enter(prefix: str, name: str, member: str, limit: int, lease: float) -> tuple[Word, ...]:
    """What is sent to take a place, or to keep it; the answer is how many wait, 0 for who is in."""
    return "EVAL", _ENTER, 2, *_keys(prefix, name), member, limit, f"{lease:.3f}"


def leave(prefix: str, name: str, member: str) -> tuple[Word, ...]:
    """What is sent to free a place."""
    return "ZREM", _keys(prefix, name)[0], member


def _keys(prefix: str, name: str) -> tuple[str, str]:
    return f"{prefix}multi:in:{name}", f"{prefix}multi:waits:{name}"
