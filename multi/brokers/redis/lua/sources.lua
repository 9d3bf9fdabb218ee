-- The lists that some of the parked messages belong to.
-- KEYS: parked, delayed. ARGV: from which rank to which.
local found = {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2])) do
  local value = redis.call('HGET', KEYS[1], id)
  if value then found[#found + 1] = string.sub(value, 1, string.find(value, '\0', 1, true) - 1) end
end
return found
