-- claim: take over the leases of messages that were handed back, whose worker is known to be dead, or whose worker was
-- silent for its min idle (the visibility timeout). Never our own.
--
-- include: now died owned
-- KEYS[1]  <prefix>:{<lane>}:stream
-- KEYS[2]  <prefix>:{<lane>}:leases
-- KEYS[3]  <prefix>:{<lane>}:deaths
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that claims
-- ARGV[3]  the consumer that stands for nobody
-- ARGV[4]  its own min idle in ms, which counts for its leases
-- ARGV[5]  most messages to claim
-- ARGV[6]  how many workers are given whose registration ran out; then their names
-- then     per consumer that it has watched for long enough: its name, when it was last heard of
--
-- A silent consumer is taken from only if it was watched, and has not moved since: its silence may have been the server's.
-- What is looked at are consumers, never all of their messages.
--
-- Returns {the server's time in ms, whether there is more, {{consumer, when it was last heard of, its min idle}, ...},
-- {{id, fields, delivery count, previous owner, idle ms}, ...}}; the consumers are those that hold something.
local me, nobody, most = ARGV[2], ARGV[3], tonumber(ARGV[5])
local now = tonumber(now_ms())
redis.call('HSET', KEYS[2], me, ARGV[4])
redis.call('ZREM', KEYS[3], me)
local gone = tonumber(ARGV[6])
for at = 7, 6 + gone do died(KEYS[3], ARGV[at], now) end
local watched = {}
for at = 7 + gone, #ARGV, 2 do watched[ARGV[at]] = tonumber(ARGV[at + 1]) end

local consumers = rows_of('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
local seen, sources = {}, {}
for _, flat in ipairs(consumers) do
  local consumer = {}
  for at = 1, #flat, 2 do consumer[flat[at]] = flat[at + 1] end
  local name = consumer.name
  if consumer.pending > 0 and name ~= me then
    local min_idle = name == nobody and 0 or tonumber(redis.call('HGET', KEYS[2], name) or ARGV[4])
    local heard = now - consumer.idle
    if min_idle == 0 then
      table.insert(sources, 1, {name, 0})
    else
      seen[#seen + 1] = {name, heard, min_idle}
      if watched[name] and math.abs(watched[name] - heard) <= 20 and consumer.idle >= min_idle then
        sources[#sources + 1] = {name, min_idle}
      end
    end
  end
end

local taken, more = {}, 0
for _, source in ipairs(sources) do
  local name, min_idle = source[1], source[2]
  local asked = most - #taken
  if asked <= 0 then
    more = 1
    break
  end
  local rows = redis.call('XPENDING', KEYS[1], ARGV[1], 'IDLE', min_idle, '-', '+', asked, name)
  for _, row in ipairs(rows) do
    -- An entry that was deleted while it was pending is dropped from the pending list by XCLAIM itself.
    local entry = redis.call('XCLAIM', KEYS[1], ARGV[1], me, min_idle, row[1], 'RETRYCOUNT', row[4])[1]
    if entry then taken[#taken + 1] = {row[1], entry[2], row[4], name, row[3]} end
  end
  if #rows >= asked then more = 1 end
end
return {now, more, seen, taken}
