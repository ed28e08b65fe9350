-- cancel: take a message off the queue for good, wherever it waits or runs. Its record says that it failed, and why; it is no
-- dead letter.
--
-- include: now users notify
-- KEYS[1..5] the lane: stream, delayed, dead, users, parked
-- KEYS[6]  <prefix>:{<lane>}:task:<user>/<item_id>
-- KEYS[7]  <prefix>:{<lane>}:oldest (what the status remembers of the stream)
-- ARGV[1]  consumer group
-- ARGV[2]  seconds for which the status of a finished message is kept
-- ARGV[3]  most messages of one user in the stream (0: no limit)
-- ARGV[4]  <prefix>:wake
-- ARGV[5]  the lane's name
--
-- Returns 'cancelled', or what there was to find instead: its state, or '' if nothing is known.
local lane, task, now = lane_at(1, ARGV[3]), KEYS[6], now_ms()
local state, entry, due = unpack(redis.call('HMGET', task, 'state', 'entry', 'due'))
if state ~= 'waiting' and state ~= 'in_progress' then return state or '' end

-- counted(fields): the user whose unfinished messages this one is counted with; a foreign producer's is nobody's.
local function counted(fields, first)
  local user, submitted = '', false
  for name = first, #fields, 2 do
    if fields[name] == 'user_id' then user = fields[name + 1] end
    if fields[name] == 'submitted' then submitted = true end
  end
  return submitted and user or ''
end

local user = ''
local row = entry and entry ~= '' and redis.call('XRANGE', lane.stream, entry, entry)[1]
if row then
  user = counted(row[2], 1)
elseif due then
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', lane.delayed, due, due)) do
    local head = string.match(member, '^%["[^"]*"')
    if head and cjson.decode(head .. ']')[1] == task then
      user = counted(cjson.decode(member), 2)
      redis.call('ZREM', lane.delayed, member)
      if user ~= '' then count_delayed(lane, escaped(user), -1) end
      break
    end
  end
end
redis.call('HSET', task, 'state', 'failed', 'finished', now, 'reason', 'cancelled', 'error', 'cancelled')
redis.call('HDEL', task, 'checkpoint', 'due')
-- One that is parked stays in its place, for finding it there would cost too much; when its turn comes it is dropped
-- for what its record says, and only then the record may expire.
if row or due then redis.call('EXPIRE', task, ARGV[2]) end
if row then
  uncount(lane, user, {entry}, now)
  redis.call('XACK', lane.stream, ARGV[1], entry)
  redis.call('XDEL', lane.stream, entry)
  redis.call('DEL', KEYS[7])
  notify_cancelled(ARGV[4], ARGV[5])
end
return 'cancelled'
