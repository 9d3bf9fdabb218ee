-- Put a copy of what was sent to all into a queue, once, however many of the queue's workers hear it.
--
-- KEYS: what tells that it was done, the queue's list. ARGV: envelope, life of the first (s), life of the list (s, 0 for ever).

if redis.call('SET', KEYS[1], '1', 'NX', 'EX', ARGV[2]) then
  redis.call('LPUSH', KEYS[2], ARGV[1])
  if ARGV[3] ~= '0' then redis.call('EXPIRE', KEYS[2], ARGV[3]) end
  return 1
end
return 0
