-- Bring one expired claim back to the front of its queue, if its lease has not been renewed since it was seen.
-- KEYS: unacked, unacked_index, leases, claims. ARGV: tag, envelope ("" = it is gone, drop the claim). Returns 1 if done.
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local deadline = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not deadline or tonumber(deadline) > now then
  return 0
end
local claim = redis.call('HGET', KEYS[4], ARGV[1])
-- without an entry somebody else (a Celery worker after its visibility timeout) has brought the message back already
local there = redis.call('HDEL', KEYS[1], ARGV[1]) == 1
if claim and there and ARGV[2] ~= '' then
  local border = string.find(claim, '\0', 1, true)
  redis.call('RPUSH', string.sub(claim, border + 1), ARGV[2])
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
return 1
