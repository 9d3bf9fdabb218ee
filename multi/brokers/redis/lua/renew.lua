-- Renew leases and tell which claims are held no more.
-- KEYS: unacked_index, leases, claims, starts, inboxes. ARGV: lease (s), number of inboxes, inboxes...; tag, started (1|0)...
local clock = redis.call('TIME')
local deadline = clock[1] + clock[2] / 1000000 + tonumber(ARGV[1])
local first = 3 + tonumber(ARGV[2])
for i = 3, first - 1 do
  redis.call('ZADD', KEYS[5], deadline, ARGV[i])
end
local lost = {}
for i = first, #ARGV, 2 do
  local tag = ARGV[i]
  local claim = redis.call('HGET', KEYS[3], tag)
  if claim then
    redis.call('ZADD', KEYS[1], deadline, tag)
    redis.call('ZADD', KEYS[2], deadline, tag)
    if ARGV[i + 1] == '1' and string.sub(claim, 1, 1) == '0' then
      -- a run that lasts counts as begun, should the whole node die
      local border = string.find(claim, '\0', 1, true)
      redis.call('HSET', KEYS[3], tag, '1' .. string.sub(claim, 2))
      redis.call('HINCRBY', KEYS[4], string.sub(claim, 2, border - 1), 1)
    end
  else
    lost[#lost + 1] = tag
  end
end
return lost
