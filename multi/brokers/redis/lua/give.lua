-- Put a claimed message back to the front of its list, if it is still held under this tag.
-- KEYS: source, unacked, unacked_index, leases, claims. ARGV: tag, message. Returns 1 if done.
if redis.call('HDEL', KEYS[5], ARGV[1]) == 0 then return 0 end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('HDEL', KEYS[2], ARGV[1]) == 1 then redis.call('RPUSH', KEYS[1], ARGV[2]) end
return 1
