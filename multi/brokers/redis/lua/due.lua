-- Bring parked messages that are due to the front of their queues.
-- KEYS: parked, delayed. ARGV: how many at most. Returns seconds until the next one is due ("" = none is parked).
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  local value = redis.call('HGET', KEYS[1], id)
  if value then
    local border = string.find(value, '\0', 1, true)
    redis.call('RPUSH', string.sub(value, 1, border - 1), string.sub(value, border + 1))
  end
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
local next = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if next[2] then
  return tostring(tonumber(next[2]) - now)
end
return ''
