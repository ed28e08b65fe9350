-- conclude: acknowledge a handler's messages and submit its follow-ups, or neither.
--
-- include: now owned users accept notify record statistics
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6..] one task key per message that is done; then per follow-up: the five keys of its lane, and its task key;
--          last <prefix>:lanes, for a lane is known before it holds its first message, or nobody would see it.
--          If they are staged: <prefix>:{<lane>}:outbox and the batch in which they are (see stage).
-- ARGV[1]  consumer group
-- ARGV[2]  consumer that concludes
-- ARGV[3]  seconds for which the status of a finished message is kept
-- ARGV[4]  most messages of one user in the stream (0: no limit)
-- ARGV[5]  <prefix>:wake
-- ARGV[6]  number of entry ids to check; then those ids: everything that the handler was given
-- then     number of messages done; then entry id and user id of each
-- then     per follow-up: user id, delay in ms, lane name, number of field strings, the field strings.
--          If they are staged: the batch, how many pages and how many follow-ups it has.
-- ARGV[#]  'direct' or 'staged'
--
-- Returns the ids that no longer belong to the consumer. If there is one, nothing at all was done; nor if the one is '',
-- which says that not all pages are there. What may fail comes
-- first, the acknowledgement last: a script that broke off is called again, and finds what it accepted by its item id.
-- What a follow-up's lane refused is raised with the name of that lane at its end.
local own = lane_at(1, ARGV[4])
local checked = tonumber(ARGV[6])
local ids = {unpack(ARGV, 7, 6 + checked)}
local mine = owned(own.stream, ARGV[1], ARGV[2], ids)
local lost = {}
for _, id in ipairs(ids) do
  if not mine[id] then lost[#lost + 1] = id end
end
if #lost > 0 then return lost end

local now = now_ms()
local count = tonumber(ARGV[7 + checked])
local done_at = 8 + checked
local at = done_at + 2 * count
local key = 6 + count
if ARGV[#ARGV] == 'staged' then
  local outbox, batch = KEYS[key], KEYS[key + 1]
  if redis.call('HEXISTS', outbox, ARGV[at]) == 0 then
    if redis.call('LLEN', batch) ~= tonumber(ARGV[at + 1]) then return {''} end
    redis.call('PERSIST', batch)
    redis.call('HINCRBY', outbox, '', ARGV[at + 2])
    local reply = redis.pcall('HSET', outbox, ARGV[at], ARGV[at + 1])
    if refused(reply) then
      redis.pcall('HINCRBY', outbox, '', -tonumber(ARGV[at + 2]))
      error(reply.err)
    end
  end
else
  -- A follow-up is never refused for a full lane: that would throw away the work that led to it.
  while at < #ARGV do
    local user, delay, name, size = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], tonumber(ARGV[at + 3])
    local fields = {unpack(ARGV, at + 4, at + 3 + size)}
    local lane, task = lane_at(key, ARGV[4]), KEYS[key + 5]
    redis.call('SADD', KEYS[#KEYS], name)
    local accepted, problem = pcall(function()
      local earliest = redis.call('ZRANGE', lane.delayed, 0, 0)[1]
      local outcome = accept(lane, task, user, fields, delay, now)
      if outcome ~= 'duplicate' then add_to_statistics(stats_of(lane), {'submitted', 1}, now) end
      if outcome == 'delayed' then notify_due(lane.delayed, earliest, ARGV[5], name) end
    end)
    if not accepted then
      error(text_of(problem) .. ' (refused by the lane ' .. name .. ')')
    end
    at = at + 4 + size
    key = key + 6
  end
end

for number = 1, count do
  local id, user, task = ARGV[done_at + 2 * number - 2], ARGV[done_at + 2 * number - 1], KEYS[5 + number]
  record_completed(task, now, ARGV[3])
  redis.call('XDEL', own.stream, id)
  redis.call('XACK', own.stream, ARGV[1], id)
  uncount(own, user, {id}, now)
end
return lost
