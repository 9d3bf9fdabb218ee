-- Settle claims and make new ones, in one step.
--
-- KEYS: unacked, unacked_index, leases, claims, starts, parked, delayed, dead prefix; then pairs: inbox, queue key.
-- ARGV: lease (s), messages wanted, prefix of new tags, database of the results ("" = here), own database,
--       suffixes of unacked entries (one per pair, after the settlements), number of settlements; then per settlement:
--       tag, verb, started (1|0; "bury": a note), due ("bury": started and queue), stores, publications,
--       per store: key, value, expires; per publication: queue key, envelope, due ("" = now), id.
-- claims[tag] = counted (1|0) .. id of the message .. NUL .. queue key. A settlement without its claim does nothing.
-- Returns per message: envelope, number of its pair, runs begun before.

local unacked, index, leases, claims, starts = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local parked, delayed, dead = KEYS[6], KEYS[7], KEYS[8]
local wanted, prefix = tonumber(ARGV[2]), ARGV[3]
local pairs_from, pairs_count = 9, (#KEYS - 8) / 2
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local at = 7 + tonumber(ARGV[6])

local function envelope_of(entry)
  return string.match(entry, '^%[(.*),"",".-"%]$')
end

local function uncount(id)
  if redis.call('HINCRBY', starts, id, -1) <= 0 then
    redis.call('HDEL', starts, id)
  end
end

local function publish(key, envelope, due, id)
  if due == '' then
    redis.call('LPUSH', key, envelope)
  else
    redis.call('HSET', parked, id, key .. '\0' .. envelope)
    redis.call('ZADD', delayed, due, id)
  end
end

local settlements = tonumber(ARGV[at])
at = at + 1
if settlements > 0 then
  local tags, places = {}, {}
  for i = 1, settlements do
    tags[i], places[i] = ARGV[at], at
    at = at + 6 + 3 * tonumber(ARGV[at + 4]) + 4 * tonumber(ARGV[at + 5])
  end
  local held = redis.call('HMGET', claims, unpack(tags))
  local gone, finished, stores = {}, {}, {}
  -- backwards, so that what goes back to the front of a queue keeps its order
  for i = settlements, 1, -1 do
    local claim = held[i]
    if claim then
      local tag, place = tags[i], places[i]
      local verb, started, extra = ARGV[place + 1], ARGV[place + 2], ARGV[place + 3]
      local counted = string.sub(claim, 1, 1) == '1'
      local border = string.find(claim, '\0', 1, true)
      local id, source = string.sub(claim, 2, border - 1), string.sub(claim, border + 1)
      gone[#gone + 1] = tag
      local n = place + 6
      for _ = 1, tonumber(ARGV[place + 4]) do
        stores[#stores + 1] = n
        n = n + 3
      end
      for _ = 1, tonumber(ARGV[place + 5]) do
        publish(ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3])
        n = n + 4
      end
      if verb == 'ack' then
        if counted then finished[#finished + 1] = id end
      else
        local entry = redis.call('HGET', unacked, tag)
        local envelope = entry and envelope_of(entry)
        if verb == 'bury' then
          -- a run that was begun counts, the claim of what was never run does not
          local begun = string.sub(extra, 1, 1) == '1'
          local count = tonumber(redis.call('HGET', starts, id) or 0) + (begun and 1 or 0) - (counted and 1 or 0)
          redis.call('HSET', dead .. string.sub(extra, 2), tag, ARGV[place + 2] .. '\0' .. count .. '\0' .. source .. '\0' .. (envelope or ''))
          finished[#finished + 1] = id
        elseif verb == 'park' then
          if counted then uncount(id) end
          publish(source, envelope, extra, id)
        else
          if started == '1' then
            if not counted then redis.call('HINCRBY', starts, id, 1) end
            redis.call('LPUSH', source, envelope)
          else
            if counted then uncount(id) end
            redis.call('RPUSH', source, envelope)
          end
        end
      end
    end
  end
  if #gone > 0 then
    redis.call('HDEL', unacked, unpack(gone))
    redis.call('ZREM', index, unpack(gone))
    redis.call('ZREM', leases, unpack(gone))
    redis.call('HDEL', claims, unpack(gone))
  end
  if #finished > 0 then
    redis.call('HDEL', starts, unpack(finished))
  end
  if #stores > 0 then
    if ARGV[4] ~= '' then redis.call('SELECT', ARGV[4]) end
    for i = #stores, 1, -1 do
      local key, value, expires = ARGV[stores[i]], ARGV[stores[i] + 1], ARGV[stores[i] + 2]
      if not string.find(redis.call('GETRANGE', key, 0, 31), '"status":%s*"SUCCESS"') then
        if expires == '0' then
          redis.call('SET', key, value)
        else
          redis.call('SETEX', key, expires, value)
        end
        redis.call('PUBLISH', key, value)
      end
    end
    if ARGV[4] ~= '' then redis.call('SELECT', ARGV[5]) end
  end
end

local answer = {}
if wanted > 0 then
  local found, sources = {}, {}
  local function take(k)
    local got = redis.call('RPOP', KEYS[k], wanted - #found)
    if got then
      for i = 1, #got do
        found[#found + 1] = got[i]
        sources[#found] = math.floor((k - pairs_from) / 2) + 1
      end
    end
    return #found >= wanted
  end
  -- what woke this worker comes first; mostly there is nothing, which one question tells
  local inboxes, others = {}, {}
  for k = pairs_from, #KEYS, 2 do
    inboxes[#inboxes + 1] = KEYS[k]
    if k > pairs_from then others[#others + 1] = KEYS[k + 1] end
  end
  local full = false
  if redis.call('EXISTS', unpack(inboxes)) > 0 then
    for k = pairs_from, #KEYS, 2 do
      full = full or take(k)
    end
  end
  full = full or take(pairs_from + 1)
  if not full and #others > 0 and redis.call('EXISTS', unpack(others)) > 0 then
    for k = pairs_from + 3, #KEYS, 2 do
      full = full or take(k)
    end
  end
  if #found > 0 then
    local ids = {}
    for i = 1, #found do
      ids[i] = string.match(found[i], '.*"delivery_tag"%s*:%s*"([^"]*)"') or redis.sha1hex(found[i])
    end
    local counts = redis.call('HMGET', starts, unpack(ids))
    -- a message that was started before travels alone
    local keep = #found
    for i = 1, #found do
      if counts[i] then
        keep = math.max(1, i - 1)
        break
      end
    end
    for i = #found, keep + 1, -1 do
      redis.call('RPUSH', KEYS[pairs_from + 2 * sources[i] - 1], found[i])
    end
    local deadline = now + tonumber(ARGV[1])
    local entry_args, index_args, lease_args, claim_args = {}, {}, {}, {}
    for i = 1, keep do
      local tag, pair, n = prefix .. i, sources[i], 2 * i - 1
      entry_args[n], entry_args[n + 1] = tag, '[' .. found[i] .. ARGV[6 + pair]
      index_args[n], index_args[n + 1] = deadline, tag
      claim_args[n] = tag
      claim_args[n + 1] = (i == 1 and '1' or '0') .. ids[i] .. '\0' .. KEYS[pairs_from + 2 * pair - 1]
      answer[3 * i - 2], answer[3 * i - 1], answer[3 * i] = found[i], pair, tonumber(counts[i] or 0)
    end
    redis.call('HSET', unacked, unpack(entry_args))
    redis.call('ZADD', index, unpack(index_args))
    redis.call('ZADD', leases, unpack(index_args))
    redis.call('HSET', claims, unpack(claim_args))
    redis.call('HINCRBY', starts, ids[1], 1)
  end
end
return answer
