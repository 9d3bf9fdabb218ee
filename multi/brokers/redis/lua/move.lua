-- Bring messages from one list to another, each if it still lies there.
-- KEYS: source, target. ARGV: pairs of what lies in the source, and what it is in the target. Returns how many went.
local moved = 0
for i = 1, #ARGV, 2 do
  -- from the end at which the oldest are
  if redis.call('LREM', KEYS[1], -1, ARGV[i]) == 1 then
    redis.call('LPUSH', KEYS[2], ARGV[i + 1])
    moved = moved + 1
  end
end
return moved
