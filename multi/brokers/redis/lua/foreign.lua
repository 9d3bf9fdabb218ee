-- The routing keys of some unacknowledged messages, "" for those that are gone meanwhile.
-- KEYS: unacked. ARGV: tags...
local found = {}
for i, entry in ipairs(redis.call('HMGET', KEYS[1], unpack(ARGV))) do
  found[i] = entry and string.match(string.sub(entry, -512), '"([^"]*)"%s*%]$') or ''
end
return found
