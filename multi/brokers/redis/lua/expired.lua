-- Look for claims whose lease has ended; changes nothing but the inboxes of dead workers, which it empties.
-- KEYS: unacked, leases, claims, inboxes. ARGV: how many at most. Returns tag, entry...
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
for _, inbox in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now)) do
  local source = string.match(inbox, '|(.*)$')
  while redis.call('LMOVE', inbox, source, 'LEFT', 'RIGHT') do end
  redis.call('ZREM', KEYS[4], inbox)
end
local found = {}
for _, tag in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  found[#found + 1] = tag
  found[#found + 1] = redis.call('HGET', KEYS[1], tag) or ''
end
return found
