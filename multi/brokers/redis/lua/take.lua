-- Claim messages by what they are, each if it still lies in its list.
-- KEYS: source, unacked, unacked_index, leases, claims. ARGV: lease (s), end of an entry of unacked, prefix of the tags, messages...
-- The tag of the n-th message is the prefix and n. Returns the numbers of those that are claimed.
local clock = redis.call('TIME')
local deadline = clock[1] + clock[2] / 1000000 + tonumber(ARGV[1])
local taken = {}
for i = 4, #ARGV do
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
    local tag = ARGV[3] .. (i - 3)
    local id = string.match(ARGV[i], '.*"delivery_tag"%s*:%s*"([^"]*)"') or redis.sha1hex(ARGV[i])
    redis.call('HSET', KEYS[2], tag, '[' .. ARGV[i] .. ARGV[2])
    redis.call('ZADD', KEYS[3], deadline, tag)
    redis.call('ZADD', KEYS[4], deadline, tag)
    redis.call('HSET', KEYS[5], tag, '0' .. id .. '\0' .. KEYS[1])
    taken[#taken + 1] = i - 3
  end
end
return taken
