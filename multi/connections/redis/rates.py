"""Turns under a rate limit of the whole fleet, kept in Redis."""

from __future__ import annotations

from multi.connections.redis.words import Reply, Word

#: KEYS: the turns that are given and not taken yet. ARGV: who asks, seconds between two turns.
#: Gives "" to who may go now, else the seconds to wait and the moment of its turn, by Redis' own clock.
_RESERVE = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local given = redis.call('ZSCORE', KEYS[1], ARGV[1])
if given then
  if given - now > 0.005 then return {tostring(given - now), given} end
  redis.call('ZREM', KEYS[1], ARGV[1])
  return ''
end
local pause = tonumber(ARGV[2])
local last = redis.call('ZSCORE', KEYS[1], '')
local turn = now
if last and last + pause > now then turn = last + pause end
redis.call('ZADD', KEYS[1], string.format('%.6f', turn), '')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.6f', now - pause - 600))
if turn > now then redis.call('ZADD', KEYS[1], string.format('%.6f', turn), ARGV[1]) end
redis.call('EXPIRE', KEYS[1], math.ceil(turn - now + pause) + 600)
if turn > now then return {string.format('%.6f', turn - now), string.format('%.6f', turn)} end
return ''
"""


def command(prefix: str, name: str, member: str, pause: float) -> tuple[Word, ...]:
    """What is sent to take a turn, or to come back for it."""
    return "EVAL", _RESERVE, 1, f"{prefix}multi:rate:{name}", member, f"{pause:.6f}"


def turn(reply: Reply) -> tuple[float, float]:
    """Seconds to wait, and the moment; zeros for now."""
    if isinstance(reply, list):
        wait, due = reply
        return float(wait), float(due)
    return 0.0, 0.0
