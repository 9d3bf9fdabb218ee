-- One worker leaves: what lies in its inboxes goes back, and with the last worker whatever is parked.
-- KEYS: parked, delayed, inboxes. ARGV: own inboxes... Returns how many parked messages went back.
for _, inbox in ipairs(ARGV) do
  local source = string.match(inbox, '|(.*)$')
  while redis.call('LMOVE', inbox, source, 'LEFT', 'RIGHT') do end
  redis.call('ZREM', KEYS[3], inbox)
end
local clock = redis.call('TIME')
if redis.call('ZCOUNT', KEYS[3], '(' .. clock[1], '+inf') > 0 then
  return 0
end
local returned = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  local value = redis.call('HGET', KEYS[1], id)
  if value then
    local border = string.find(value, '\0', 1, true)
    redis.call('LPUSH', string.sub(value, 1, border - 1), string.sub(value, border + 1))
    returned = returned + 1
  end
end
redis.call('DEL', KEYS[1], KEYS[2])
return returned
