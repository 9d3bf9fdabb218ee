-- Put parked messages at the end of their queues, though they are not due.
-- KEYS: parked, delayed. ARGV: how many lists are meant (0: all), lists..., ids... Returns how many went.
local wanted, count = nil, tonumber(ARGV[1])
if count > 0 then
  wanted = {}
  for i = 2, count + 1 do wanted[ARGV[i]] = true end
end
local moved = 0
for i = count + 2, #ARGV do
  local value = redis.call('HGET', KEYS[1], ARGV[i])
  if value then
    local border = string.find(value, '\0', 1, true)
    local list = string.sub(value, 1, border - 1)
    if not wanted or wanted[list] then
      redis.call('LPUSH', list, string.sub(value, border + 1))
      redis.call('HDEL', KEYS[1], ARGV[i])
      redis.call('ZREM', KEYS[2], ARGV[i])
      moved = moved + 1
    end
  end
end
return moved
